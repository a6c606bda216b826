"""HTTP as an attacker writes it: refused without an answer of 500, without delay to others, without a word too much."""

import json
import time
from collections.abc import Iterator

import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.security.rawhttp import Raw, exchange, open_socket, receive, request

HUGE = 300 * 1024


@pytest.fixture(scope="module")
def engineer(running_server: Stand) -> Iterator[Engineer]:
    kit = running_server.tenant()
    kit.connection()
    made = kit.engineer()
    yield made
    made.close()
    kit.close()


@pytest.fixture(scope="module")
def admin(running_server: Stand) -> Iterator[TenantKit]:
    kit = running_server.tenant()
    yield kit
    kit.close()


def refused(answer: Raw) -> bool:
    """Refused as a client's fault, or cut off."""
    return answer.closed if answer.status == 0 else 400 <= answer.status < 500


def hosts(stand: Stand) -> dict[str, str | None]:
    here = stand.url.removeprefix("http://")
    name, _, port = here.partition(":")
    return {
        "none": None,
        "another": "evil.example",
        "no port": name,
        "another port": f"{name}:1",
        "dot": f"{here}.",
        "user": f"evil@{here}",
        "list": f"{here}, evil.example",
        "suffix": f"{name}.evil.example:{port}",
        "long": f"{'a' * 5000}:{port}",
    }


@pytest.mark.parametrize(
    "which", ["none", "another", "no port", "another port", "dot", "user", "list", "suffix", "long"]
)
@pytest.mark.parametrize("path", ["/healthz", "/v1/keys", "/v1/tools/execute", "/openapi.json", "/nothing"])
def test_only_its_own_name_is_answered(running_server: Stand, which: str, path: str) -> None:
    """DNS rebinding: a page on another name must not reach this server through the browser."""
    answer = exchange(running_server, request(running_server, path, host=hosts(running_server)[which]))
    assert refused(answer), answer


@pytest.mark.parametrize("order", ["good first", "good last"])
def test_two_hosts_are_refused(running_server: Stand, order: str) -> None:
    """RFC 9112 § 3.2: more than one Host is an error; whichever is believed, somebody in front believed the other."""
    good = running_server.url.removeprefix("http://")
    first, second = (good, "evil.example") if order == "good first" else ("evil.example", good)
    answer = exchange(running_server, request(running_server, "/healthz", host=first, headers=(f"Host: {second}",)))
    assert refused(answer), answer


def test_forwarded_names_are_not_believed(running_server: Stand) -> None:
    headers = ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Forwarded-Proto: https")
    body = b'{"identifier": "x"}'
    key = running_server.admin_key
    answer = exchange(
        running_server, request(running_server, "/v1/sessions", method="POST", headers=headers, body=body, key=key)
    )
    assert b"evil.example" not in answer.body


@pytest.mark.parametrize(
    ("name", "lines", "tail"),
    [
        ("two lengths", ("Content-Length: 2", "Content-Length: 3"), b"{}x"),
        ("negative length", ("Content-Length: -1",), b""),
        ("length is no number", ("Content-Length: 0x10",), b"{}"),
        ("length and chunks", ("Content-Length: 2", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
        ("unknown coding", ("Transfer-Encoding: xchunked",), b"0\r\n\r\n"),
        ("huge chunk size", ("Transfer-Encoding: chunked",), b"FFFFFFFFFFFFFFFFF\r\n"),
        ("chunk size is no number", ("Transfer-Encoding: chunked",), b"zz\r\n"),
        ("folded header", ("X-A: b\r\n c",), b""),
        ("NUL in a header", ("X-A: a\0b",), b""),
        ("space before the colon", ("Content-Length : 2",), b"{}"),
        ("bare line feed", ("X-A: b\nX-B: c",), b""),
        ("compressed", ("Content-Encoding: gzip", "Content-Length: 2"), b"\x1f\x8b"),
        ("claims too much", ("Content-Length: 999999999999",), b""),
        ("expects to send too much", ("Content-Length: 90000000", "Expect: 100-continue"), b""),
        ("form", ("Content-Type: application/x-www-form-urlencoded", "Content-Length: 3"), b"a=b"),
        ("multipart", ("Content-Type: multipart/form-data; boundary=x", "Content-Length: 7"), b"--x--\r\n"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/identities", "/v1/tools/execute"])
def test_smuggling_and_nonsense(
    running_server: Stand, admin: TenantKit, path: str, name: str, lines: tuple[str, ...], tail: bytes
) -> None:
    data = request(running_server, path, method="POST", headers=lines, key=admin.admin.key) + tail
    answer = exchange(running_server, data)
    assert refused(answer), (name, answer)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00" + bytes(range(256)),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 1000,
        b"SSH-2.0-x\r\n",
        b"GET  /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz\r\n\r\n",
    ],
)
def test_what_is_not_http(running_server: Stand, data: bytes) -> None:
    assert refused(exchange(running_server, data, 3))


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PROPFIND", "CONNECT", "get", "G\x00T"])
def test_methods(running_server: Stand, method: str) -> None:
    data = request(running_server, "/v1/keys", method=method, key=running_server.admin_key)
    answer = exchange(running_server, data, 3)
    assert refused(answer)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("path", "limit"), [("/v1/identities", 256 * 1024), ("/v1/tools/execute", 26 * 1024 * 1024)])
def test_a_body_has_an_end(running_server: Stand, admin: TenantKit, path: str, limit: int, *, chunked: bool) -> None:
    """Refused once it is too long, whether it says so at first or not, and before anybody reads it as JSON."""
    if not chunked:
        lines = (f"Content-Length: {limit + 1}", "Content-Type: application/json")
        data = request(running_server, path, method="POST", headers=lines, key=admin.admin.key)
        assert exchange(running_server, data).status == 413
        return
    lines = ("Transfer-Encoding: chunked", "Content-Type: application/json")
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with open_socket(running_server) as sock:
        sock.sendall(request(running_server, path, method="POST", headers=lines, key=admin.admin.key))
        sent = 0
        try:
            while sent <= limit + 4 * 1024 * 1024:
                sock.sendall(piece)
                sent += 65536
        except ConnectionError:
            pass
        answer = receive(sock, 10)
    assert answer.status == 413 or (answer.status == 0 and answer.closed)


@pytest.mark.parametrize("headers", [("X-A: " + "a" * HUGE,), tuple(f"X-{n}: b" for n in range(20_000))])
def test_headers_have_an_end(running_server: Stand, headers: tuple[str, ...]) -> None:
    """Before anybody is authenticated, nobody may fill the memory."""
    assert refused(exchange(running_server, request(running_server, "/healthz", headers=headers)))


def test_a_target_has_an_end(running_server: Stand) -> None:
    assert refused(exchange(running_server, request(running_server, "/healthz?" + "a" * HUGE)))


@pytest.mark.slow
def test_slow_clients_are_cut_off_and_hold_nobody_up(running_server: Stand, engineer: Engineer) -> None:
    """200 connections that never finish their request: others are served at once, and the slow ones end."""
    slow = [open_socket(running_server) for _ in range(200)]
    try:
        for sock in slow:
            sock.sendall(b"POST /v1/tools/execute HTTP/1.1\r\nHost: ")
        began = time.perf_counter()
        assert engineer.api.call("GET /zones").status_code == 200
        assert time.perf_counter() - began < 2
        dripped = time.perf_counter()
        answer = Raw(-1)
        while time.perf_counter() - dripped < 20 and answer.status == -1:
            answer = receive(slow[0], 2)
            if answer.status == -1:
                slow[0].sendall(b"a")
    except ConnectionError:
        answer = Raw(0, closed=True)
    finally:
        for sock in slow:
            sock.close()
    assert refused(answer), "a head that never ends is not waited for longer than 20 s"


EVIL = {
    "NUL": "a\0b",
    "newline": "a\r\nX-Evil: 1",
    "bidi": "a\u202eb",
    "long": "a" * 5000,
    "traversal": "../../root.key",
    "encoded traversal": "..%2f..%2froot.key",
    "surrogate": "\ud800",
    "template": "{{7*7}}${7*7}",
    "sql": "'; drop table broker.tenants; --",
    "markup": "<script>alert(1)</script>",
}
FIELDS = {
    "identifier": ("/v1/identities", lambda v: {"identifier": v}),
    "display_name": ("/v1/identities", lambda v: {"identifier": "evil-x", "display_name": v}),
    "email": ("/v1/identities", lambda v: {"identifier": "evil-x", "email": v}),
    "group": ("/v1/identities", lambda v: {"identifier": "evil-x", "groups": [v]}),
    "tenant": ("/v1/tenants", lambda v: {"name": v}),
    "connection": ("/v1/connections", lambda v: {"name": v, "connector": "cloudflare"}),
    "connector": ("/v1/connections", lambda v: {"name": "evil", "connector": v}),
    "spec": (
        "/v1/connections",
        lambda v: {"name": "evil", "connector": "cloudflare", "config": {"spec": {"source": v}}},
    ),
    "base_url": (
        "/v1/connections",
        lambda v: {"name": "evil", "connector": "cloudflare", "config": {"base_url": f"https://{v}"}},
    ),
    "key name": ("/v1/keys", lambda v: {"kind": "agent", "name": v, "identifiers": ["*"]}),
    "key identifier": ("/v1/keys", lambda v: {"kind": "agent", "name": "x", "identifiers": [v]}),
    "grant operation": (
        "/v1/grants",
        lambda v: {
            "subject": {"everyone": True},
            "connection_name": "cloudflare",
            "access": "read",
            "operations": [v],
        },
    ),
    "reason": ("/v1/identities/nobody-here:offboard", lambda v: {"reason": v}),
}


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("field", FIELDS)
def test_texts(running_server: Stand, admin: TenantKit, field: str, value: str) -> None:
    """Any text in any field: taken as a text or refused, never a fault, never a header."""
    path, build = FIELDS[field]
    body = json.dumps(build(EVIL[value])).encode()
    data = request(running_server, path, method="POST", body=body, key=admin.platform.key)
    answer = exchange(
        running_server,
        data[: -len(body)].replace(b"\r\n\r\n", f"\r\nX-Keyreeve-Tenant: {admin.name}\r\n\r\n".encode()) + body,
        20,
    )
    assert 200 <= answer.status < 500, answer
    assert "x-evil" not in answer.headers
    if value in {"NUL", "newline", "surrogate", "long"}:
        assert answer.status in (404, 422), answer


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b'{"identifier": NaN}',
        b'{"identifier": -Infinity}',
        b'{"identifier": 1e999}',
        b'{"identifier": ' + b"9" * 6000 + b"}",
        b'\xff\xfe{"identifier": "a"}',
        b'{"identifier": "\xff"}',
        b'{"identifier": "a"} trailing',
        b"null",
        b'"text"',
        b"[]",
        b"{'identifier': 'a'}",
        b'{"identifier": {"$ne": null}}',
        b'{"identifier": ["a"]}',
        b'{"__proto__": {}, "identifier": "a"}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/identities", "/v1/tools/execute"])
def test_json(running_server: Stand, admin: TenantKit, path: str, body: bytes) -> None:
    data = request(running_server, path, method="POST", body=body, key=admin.admin.key)
    answer = exchange(running_server, data)
    assert answer.status == 422, answer
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "value",
    [
        "../../user/tokens",
        "..%2f..%2fuser%2ftokens",
        "..",
        "a/b",
        "a?x=1",
        "a#b",
        "a\\b",
        "%2e%2e",
        "http://evil.example/",
        "//evil.example",
        "a\r\nHost: evil.example",
        "a\0",
        "",
        "．．",
    ],
)
def test_a_path_parameter_stays_in_its_segment(running_server: Stand, engineer: Engineer, value: str) -> None:
    before = running_server.simulator.control("GET", "/counters")["requests"]
    reply = engineer.api.call("GET /zones/{zone_id}", path_params={"zone_id": value})
    arrived = running_server.simulator.journal(since=before)
    if reply.status_code == 200:
        assert [entry["path"].count("/") for entry in arrived] == [4], arrived
        assert arrived[0]["path"].startswith("/client/v4/zones/")
        assert ".." not in arrived[0]["path"]
    else:
        assert reply.status_code == 422, reply.text
        assert arrived == []


@pytest.mark.parametrize("operation", ["GET /zones/../user", "GET http://evil.example/", "TRACE /zones", "GET //zones"])
def test_an_operation_is_one_of_the_description(running_server: Stand, engineer: Engineer, operation: str) -> None:
    before = running_server.simulator.control("GET", "/counters")["requests"]
    assert engineer.api.call(operation).status_code in (404, 422)
    assert running_server.simulator.control("GET", "/counters")["requests"] == before


def test_a_path_of_ours_is_matched_as_it_stands(running_server: Stand) -> None:
    key = running_server.admin_key
    for path in (
        "/v1/identities/../keys",
        "/v1/identities/..%2f..%2fkeys",
        "//v1/keys",
        "/v1/./keys",
        "/v1/keys/",
        "/V1/keys",
    ):
        answer = exchange(running_server, request(running_server, path, key=key))
        assert answer.status == 404, (path, answer)


def test_integers_survive(running_server: Stand, engineer: Engineer) -> None:
    """A number beyond 64 bits reaches the upstream as it is, or is refused; it is never another number."""
    zone = running_server.simulator.zones["example.com"]
    reply = engineer.api.call(
        "POST /zones/{zone_id}/purge_cache", path_params={"zone_id": zone}, body={"purge_everything": 2**80 + 1}
    )
    assert reply.status_code in (200, 422), reply.text


@pytest.mark.parametrize("value", ["%00", "a%00b", "%ff%fe", "%ED%A0%80", "%0d%0aX-Evil:1", "%25%00", "a" * 3000])
def test_every_parameter_of_every_route(running_server: Stand, admin: TenantKit, value: str) -> None:
    """Each text in a path or a query, one at a time, as what no database and no header can hold."""
    described = running_server.admin.ok("GET", "/openapi.json")["paths"]
    wrong = []
    for path, item in described.items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] not in ("path", "query"):
                    continue
                target = path.replace("{" + parameter["name"] + "}", value)
                others = [p for p in operation["parameters"] if p["required"] and p["in"] == "query"]
                query = {p["name"]: "x" for p in others}
                if parameter["in"] == "query":
                    query[parameter["name"]] = value
                for other in operation["parameters"]:
                    target = target.replace("{" + other["name"] + "}", "x")
                if query:
                    target += "?" + "&".join(f"{name}={text}" for name, text in query.items())
                body = b"{}" if method in ("post", "put", "patch") else b""
                data = request(running_server, target, method=method.upper(), body=body, key=admin.admin.key)
                answer = exchange(running_server, data)
                if not 200 <= answer.status < 500 or "x-evil" in answer.headers:
                    wrong.append((method, path, parameter["name"], answer.status))
    assert wrong == []


def test_still_there(running_server: Stand, engineer: Engineer) -> None:
    """After all of that."""
    assert running_server.admin.send("GET", "/readyz").status_code == 200
    assert engineer.api.call("GET /zones").json()["is_error"] is False
