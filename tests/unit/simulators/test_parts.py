"""Routing, multipart, DNS rules, faults and the journal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.simulators.cloudflare.answers import ApiError
from connectors.simulators.cloudflare.faults import Faults, Match
from connectors.simulators.cloudflare.handlers.dns_rules import checked, conflict, full_name
from connectors.simulators.cloudflare.journal import Entry, Journal
from connectors.simulators.cloudflare.multipart import parse
from connectors.simulators.cloudflare.routes import ROUTES
from connectors.simulators.cloudflare.routing import Router


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(ROUTES)


def test_literals_win_over_parameters(router: Router) -> None:
    assert router.find("GET", b"/user/tokens/verify")[0].id == "user-api-tokens-verify-token"
    assert router.find("GET", b"/user/tokens/abc") == (
        next(r for r in ROUTES if r.id == "user-api-tokens-token-details"),
        {"token_id": "abc"},
    )


def test_encoded_slashes_stay_in_their_segment(router: Router) -> None:
    _, params = router.find("GET", b"/accounts/a/storage/kv/namespaces/n/values/a%2Fb%20%C3%A9")
    assert params["key_name"] == "a/b é"


def test_object_keys_may_hold_slashes(router: Router) -> None:
    found, params = router.find("PUT", b"/accounts/a/r2/buckets/b/objects/dir/file.txt")
    assert (found.id, params["object_key"]) == ("r2-put-object", "dir/file.txt")


@pytest.mark.parametrize("path", [b"/", b"/zones/x/nope", b"/accounts//tokens", b"/zones/%2e%2e/../x/y"])
def test_unknown_paths(router: Router, path: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        router.find("GET", path)
    assert [e["code"] for e in refused.value.errors] == [7003, 7000]


def test_known_path_wrong_method(router: Router) -> None:
    with pytest.raises(ApiError) as refused:
        router.find("PUT", b"/zones")
    assert refused.value.status == 405


@given(st.lists(st.tuples(st.from_regex(r"\A[a-z]{1,8}\Z"), st.binary(max_size=200)), max_size=8))
def test_multipart_gives_back_the_bytes(fields: list[tuple[str, bytes]]) -> None:
    boundary = "0123456789abcdefXYZ"
    fields = [(name, value) for name, value in fields if boundary.encode() not in value]
    body = b""
    for name, value in fields:
        head = f'Content-Disposition: form-data; name="{name}"; filename="{name}.js"'
        body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + value + b"\r\n"
    parts = parse(f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode())
    assert [(p.name, p.filename, p.body) for p in parts] == [(n, f"{n}.js", v) for n, v in fields]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nno end"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--"),
    ],
)
def test_broken_multipart_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(ValueError):
        parse(kind, body)


def record(**changes: Any) -> dict[str, Any]:
    return {"type": "A", "name": "www", "content": "203.0.113.1", "ttl": 300} | changes


def test_a_record_is_completed() -> None:
    made = checked(record(), "example.com")
    assert made["name"] == "www.example.com"
    assert (made["proxiable"], made["proxied"], made["comment"], made["tags"]) == (True, False, None, [])
    assert full_name("@", "example.com") == "example.com"
    assert full_name("bücher", "example.com") == "xn--bcher-kva.example.com"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "NOPE"}, 9001),
        ({"name": ""}, 9000),
        ({"name": "a..b"}, 9000),
        ({"content": "2001:db8::1"}, 9005),
        ({"content": "nonsense"}, 9005),
        ({"type": "AAAA"}, 9006),
        ({"type": "CNAME", "content": "not a host"}, 9007),
        ({"type": "MX", "content": "mail.example.com"}, 9101),
        ({"ttl": 59}, 9021),
        ({"ttl": True}, 9021),
        ({"ttl": "300"}, 9021),
        ({"type": "TXT", "content": "x", "proxied": True}, 9004),
        ({"content": "10.0.0.1", "proxied": True}, 9003),
        ({"type": "TXT", "content": ""}, 9020),
    ],
)
def test_bad_records_are_refused_with_their_code(changes: dict[str, Any], code: int) -> None:
    with pytest.raises(ApiError) as refused:
        checked(record(**changes), "example.com")
    assert (refused.value.status, refused.value.errors[0]["code"]) == (400, code)


def test_conflicts() -> None:
    a, b = checked(record(), "example.com"), checked(record(ttl=600), "example.com")
    alias = checked(record(type="CNAME", content="example.com"), "example.com")
    text = checked(record(type="TXT", content="hello"), "example.com")
    codes = [error.errors[0]["code"] if error else None for error in (conflict(a, [x]) for x in (a, b, alias, text))]
    assert codes == [81058, 81057, 81053, None]


def test_faults_count_down_and_the_first_match_is_used() -> None:
    faults = Faults()
    faults.add({"method": "POST", "path": r"^/zones/.*/purge_cache$"}, "reset", times=2)
    faults.add(Match(contains="mark=7"), "hang", times=None)
    assert faults.take("GET", "/zones", "", "p") is None
    for kind in ("reset", "reset", None):
        hit = faults.take("POST", "/zones/z/purge_cache", "", "p")
        assert (hit.kind if hit else None) == kind
    assert [faults.take("GET", "/zones", "mark=7", "p").kind for _ in range(3)] == ["hang"] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad", [{"kind": "nope"}, {"kind": "hang", "match": {"path": "("}}, {"kind": "hang", "match": {"x": 1}}]
)
def test_bad_faults_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Faults().add(bad.get("match"), bad["kind"])


def test_the_journal_forgets_the_oldest_and_counts_all() -> None:
    journal = Journal(capacity=3)
    for n in range(5):
        journal.add(Entry(0, float(n), 0.0, "p", "t", "GET", f"/{n}", "", (b"host",), ()))
    assert journal.total == 5
    assert [entry.path for entry in journal.find()] == ["/2", "/3", "/4"]
    assert [entry.n for entry in journal.find(since=4)] == [4]
