"""Every way we know in which a credential leaks, tried. What each reply shows is checked here; what is left behind in
logs, tables and files, when the run is over (tests/running.py).
"""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.security.canary import find

CREATE = "POST /user/tokens"
ROLL = "PUT /user/tokens/{token_id}/value"


@pytest.fixture(scope="module")
def kit(running_server: Stand) -> Iterator[TenantKit]:
    made = running_server.tenant()
    made.connection()
    yield made
    made.close()


@pytest.fixture
def engineer(kit: TenantKit) -> Iterator[Engineer]:
    made = kit.engineer()
    yield made
    made.close()


def clean(engineer: Engineer, *texts: str) -> None:
    """None of these holds the engineer's upstream token or session token in any spelling."""
    assert find({str(n): text.encode() for n, text in enumerate(texts)}, [engineer.token, engineer.session]) == []


@pytest.mark.parametrize("status", [200, 400, 403, 500])
@pytest.mark.parametrize("where", ["message", "header", "escaped"])
def test_an_upstream_that_echoes_the_credential(
    running_server: Stand, kit: TenantKit, engineer: Engineer, where: str, status: int
) -> None:
    running_server.simulator.fault("echo", match={"principal": engineer.principal}, where=where, status=status)
    reply = engineer.api.call("GET /zones")
    assert reply.status_code in (200, 502), reply.text
    trail = kit.admin.send("GET", f"/v1/audit/events?identifier={engineer.identifier}")
    clean(engineer, reply.text, str(reply.headers), trail.text)
    if reply.status_code == 200 and where != "header":
        assert json.loads(reply.content), "what is left is still JSON"


def test_a_redirect_carries_nothing_away(running_server: Stand, engineer: Engineer) -> None:
    """To another origin: not followed, and nobody there is told anything."""
    visits: list[Any] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visits.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        location = f"http://127.0.0.1:{other.server_address[1]}/client/v4/zones"
        for status in (301, 302, 303, 307, 308):
            running_server.simulator.fault(
                "redirect", match={"principal": engineer.principal}, location=location, status=status
            )
            reply = engineer.api.call("GET /zones")
            assert reply.status_code == 502 or reply.json()["is_error"], reply.text
        other.shutdown()
        thread.join()
    assert visits == []


@pytest.mark.parametrize("kind", ["garbage", "truncated", "wrong_length", "bomb", "reset", "status"])
def test_a_broken_answer_shows_nothing(running_server: Stand, engineer: Engineer, kind: str) -> None:
    running_server.simulator.fault(kind, match={"principal": engineer.principal})
    reply = engineer.api.call("GET /zones")
    assert reply.status_code in (200, 413, 502, 504), reply.text
    clean(engineer, reply.text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: {"kind": "api_token", "token": [t]},
        lambda t: {"kind": "api_token", "token": {"value": t}},
        lambda t: {"kind": "api_token", "token": f"{t} "},
        lambda t: {"kind": "api_token", "token": f"Bearer {t}"},
        lambda t: {"kind": "api_token", "token": t, "secret": t},
        lambda t: {"kind": "api_token", t: t},
        lambda t: {"kind": t},
        lambda t: {"kind": "account_token", "token": t, "account_id": t},
        lambda t: {"kind": "global_key", "email": t, "key": t},
        lambda t: {"kind": "global_key", "email": "a@b.example", "key": t},
        lambda t: {"kind": "api_token", "token": t, "permissions": [t, 1]},
        lambda t: t,
        lambda t: {"kind": "api_token", "token": t[:-1] + "!"},
    ],
)
def test_a_deposit_that_is_refused_repeats_nothing(
    running_server: Stand, kit: TenantKit, engineer: Engineer, spoil: Any
) -> None:
    body = {
        "connection_name": "cloudflare",
        "identifier": engineer.identifier,
        "label": "second",
        "credential": spoil(engineer.token),
    }
    reply = kit.admin.send("PUT", "/v1/connected_accounts", json=body)
    assert reply.status_code == 422, reply.text
    clean(engineer, reply.text)


def test_a_token_in_the_wrong_place_is_not_kept(kit: TenantKit, engineer: Engineer) -> None:
    """People and models paste tokens where they don't belong: into an argument, a sentence, a header."""
    token = engineer.token
    for reply in (
        engineer.api.call("GET /zones", query={"name": token}),
        engineer.api.call("GET /zones", intent=f"use {token} please"),
        engineer.api.call(f"GET /zones/{token}"),
        engineer.api.call("GET /zones", agent=f"agent {token}"),
        engineer.api.call("GET /zones/{zone_id}", path_params={"zone_id": token}),
        engineer.api.send("GET", "/v1/tools/scoped", headers={"user-agent": f"curl {token}"}),
        engineer.api.send("GET", f"/v1/nothing/{token}"),
        engineer.api.send("GET", "/v1/tools/scoped", params={token: "x"}),
        kit.admin.send("POST", "/v1/connections", json={"name": "x", "connector": token}),
    ):
        assert reply.status_code < 500
        clean(engineer, reply.text)
    trail = kit.admin.send("GET", f"/v1/audit/events?identifier={engineer.identifier}&page_size=1000")
    clean(engineer, trail.text)


def test_a_token_made_through_us_is_not_shown(running_server: Stand, kit: TenantKit, engineer: Engineer) -> None:
    """An agent cannot mint itself a token that outlives its offboarding: what secrets operations return is redacted."""
    groups = engineer.api.call("GET /user/tokens/permission_groups").json()["data"]["result"]
    body = {
        "name": "mine",
        "policies": [
            {
                "effect": "allow",
                "permission_groups": [{"id": groups[0]["id"]}],
                "resources": {"com.cloudflare.api.user." + engineer.principal.removeprefix("user:"): "*"},
            }
        ],
    }
    unnamed = engineer.api.call(CREATE, body=body)
    assert (unnamed.status_code, unnamed.json()["code"]) == (403, "not_granted"), "a broad grant does not name it"
    kit.grant({"identifier": engineer.identifier}, "destructive", operations=[CREATE, ROLL])
    before = {t["value"] for t in running_server.simulator.control("GET", "/credentials")["tokens"]}
    made = engineer.api.call(CREATE, body=body)
    assert made.status_code == 200, made.text
    after = {t["value"]: t["id"] for t in running_server.simulator.control("GET", "/credentials")["tokens"]}
    new = set(after) - before
    assert len(new) == 1, made.text
    value = new.pop()
    assert find({"reply": made.content}, [value]) == []
    rolled = engineer.api.call(ROLL, path_params={"token_id": after[value]}, body={})
    assert rolled.status_code == 200, rolled.text
    values = {t["id"]: t["value"] for t in running_server.simulator.control("GET", "/credentials")["tokens"]}
    assert values[after[value]] != value, "it was rolled"
    assert find({"reply": rolled.content}, [values[after[value]]]) == []


def test_metadata_alone_is_shown(kit: TenantKit, engineer: Engineer) -> None:
    shown = kit.admin.send("GET", f"/v1/connected_accounts/{engineer.account_id}")
    listed = kit.admin.send("GET", "/v1/connected_accounts")
    keys = kit.admin.send("GET", "/v1/keys")
    sessions = kit.admin.send("GET", "/v1/sessions")
    exported = kit.admin.send("GET", "/v1/audit/export?format=native")
    clean(engineer, shown.text, listed.text, keys.text, sessions.text, exported.text)
    assert shown.json()["credential"]["fingerprint"]
    assert engineer.token[-4:] not in json.dumps(shown.json()["credential"]), "a fingerprint is no part of it"


def test_the_key_files_are_closed(running_server: Stand) -> None:
    for name in ("root.key", "admin.key", "postgres/connection.json"):
        assert (running_server.data_dir / name).stat().st_mode & 0o077 == 0, name
    assert running_server.data_dir.stat().st_mode & 0o077 == 0
