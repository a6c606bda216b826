"""The same over REST: statuses, bodies, refusals by field, and what `/openapi.json` says of it."""

import base64
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from broker.endpoints.rest import grants, identities, keys, problems, sessions, tenants
from broker.metrics import Metrics
from tests.integration.identity.world import World


def make_app(world: World) -> FastAPI:
    app = FastAPI()
    routers = [module.router for module in (tenants, identities, keys, sessions, grants)]
    problems.install(app, routers)
    for router in routers:
        app.include_router(router)
    app.state.services = SimpleNamespace(
        authenticator=world.authenticator,
        clock=world.clock,
        metrics=Metrics(),
        tenants=world.tenants,
        identities=world.identities,
        keys=world.keys,
        sessions=world.sessions,
        grants=world.grants,
        offboarding=world.offboarding,
    )
    return app


class Client:
    """Speaks to the app as the tenant's admin, unless another token is given."""

    def __init__(self, http: httpx.AsyncClient, world: World) -> None:
        self.http = http
        self.world = world

    async def __call__(
        self, method: str, path: str, body: Any = None, *, expect: int = 200, token: str | None = None, **params: Any
    ) -> Any:
        answer = await self.http.request(
            method,
            path,
            content=None if body is None else json.dumps(body),
            params=params,
            headers={
                "Authorization": f"Bearer {token or self.world.admin_token}",
                "Content-Type": "application/json",
            },
        )
        assert answer.status_code == expect, answer.text
        if expect >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.json()


@pytest.fixture
async def call(world: World) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(make_app(world))
    async with httpx.AsyncClient(transport=transport, base_url="http://k.test") as http:
        yield Client(http, world)


async def test_from_tenant_to_offboarding(world: World, call: Client) -> None:
    name = f"{world.tenant}x"[:63]
    made = await call("POST", "/v1/tenants", {"name": name}, expect=201, token=world.platform_token)
    assert made["tenant"]["name"] == name
    token = made["admin_key"]
    body = {"identifier": "a/b@c", "groups": ["dns"]}
    assert (await call("POST", "/v1/identities", body, expect=201, token=token))["version"] == 1
    assert (await call("GET", "/v1/identities/a/b@c", token=token))["groups"] == ["dns"]
    assert (await call("GET", "/v1/identities/a%2Fb@c", token=token))["groups"] == ["dns"]
    changed = await call("PATCH", "/v1/identities/a/b@c", {"email": "a@b.c", "version": 1}, token=token)
    assert (changed["email"], changed["version"]) == ("a@b.c", 2)
    conflict = await call("PATCH", "/v1/identities/a/b@c", {"email": None, "version": 1}, token=token, expect=409)
    assert conflict["code"] == "version_conflict"
    listed = await call("GET", "/v1/identities", token=token)
    assert (len(listed["items"]), listed["next_page_token"]) == (1, None)
    session = await call("POST", "/v1/sessions", {"identifier": "a/b@c"}, expect=201, token=token)
    assert set(session) >= {"id", "token", "expires_at", "mcp_url"}
    report = await call("POST", "/v1/identities/a/b@c:offboard", {"reason": "left"}, token=token)
    assert report["sessions"] == [session["id"]]
    assert set(report) >= {"identifier", "at", "report_id", "sessions", "keys", "connected_accounts"}
    assert (await call("GET", "/v1/sessions", token=session["token"], expect=401))["code"] == "unauthenticated"


async def test_keys_and_sessions(world: World, call: Client) -> None:
    await world.identity()
    key = await call("POST", "/v1/keys", {"kind": "agent", "name": "ci", "identifiers": ["priya"]}, expect=201)
    assert key["key"].startswith("krv_ag_")
    session = await call("POST", "/v1/sessions", {"identifier": "priya"}, token=key["key"], expect=201)
    child = await call("POST", "/v1/sessions", {"ttl_seconds": 60}, token=session["token"], expect=201)
    assert child["identifier"] == "priya"
    shown = await call("GET", "/v1/keys", kind="agent")
    assert [k["id"] for k in shown["items"]] == [key["id"]]
    assert all("key" not in k for k in shown["items"])
    gone = await call("DELETE", f"/v1/sessions/{session['id']}", token=key["key"])
    assert gone["also_revoked"] == [child["id"]]
    gone = await call("DELETE", f"/v1/keys/{key['id']}", keep_minted="true")
    assert (gone["in_flight"], gone["also_revoked"]) == ([], [])
    await call("DELETE", "/v1/keys/nothing", expect=404)


async def test_grants(world: World, call: Client) -> None:
    await world.identity()
    await world.connection()
    body = {
        "subject": {"identifier": "priya"},
        "connection_name": "cloudflare",
        "tools": ["*"],
        "access": "read",
        "operations": ["GET /zones/**"],
        "resources": {"zones": ["z1"]},
        "account": "own",
        "expires_at": "2999-01-31T00:00:00Z",
    }
    made = await call("POST", "/v1/grants", body, expect=201)
    stored = {name: made[name] for name in body}
    assert stored == {**body, "resources": {"accounts": None, "zones": ["z1"]}}
    assert [g["id"] for g in (await call("GET", "/v1/grants", identifier="priya"))["items"]] == [made["id"]]
    assert (await call("DELETE", f"/v1/grants/{made['id']}"))["in_flight"] == []


WRONG: list[tuple[str, str, Any, str, str]] = [
    ("POST", "/v1/identities", {"identifier": "a", "groop": 1}, "unknown_field", "groop"),
    ("POST", "/v1/identities", {}, "invalid_input", "identifier"),
    ("POST", "/v1/identities", {"identifier": "a/../b"}, "invalid_input", "identifier"),
    ("POST", "/v1/identities", {"identifier": "a", "email": "x"}, "invalid_input", "email"),
    ("POST", "/v1/identities", {"identifier": "\ud800"}, "invalid_input", "identifier"),
    ("POST", "/v1/keys", {"kind": "agent", "name": "x"}, "invalid_input", "identifiers"),
    ("POST", "/v1/keys", {"kind": "agent", "name": "x", "expires_at": 5}, "invalid_input", "expires_at"),
    ("POST", "/v1/keys", {"kind": "x", "name": "x"}, "invalid_input", "kind"),
    ("POST", "/v1/sessions", {"identifier": "priya", "ttl_seconds": 5}, "invalid_input", "ttl_seconds"),
    ("POST", "/v1/sessions", {"identifier": "priya", "ttl_seconds": True}, "invalid_input", "ttl_seconds"),
    ("POST", "/v1/sessions", {}, "invalid_input", "identifier"),
    (
        "POST",
        "/v1/grants",
        {"subject": {}, "connection_name": "cloudflare", "access": "read"},
        "invalid_input",
        "subject",
    ),
    (
        "POST",
        "/v1/grants",
        {"subject": {"everyone": False}, "connection_name": "cloudflare", "access": "read"},
        "invalid_input",
        "subject.everyone",
    ),
    (
        "POST",
        "/v1/grants",
        {
            "subject": {"everyone": True},
            "connection_name": "cloudflare",
            "access": "read",
            "expires_at": "9999-12-31T23:59:59-12:00",
        },
        "invalid_input",
        "expires_at",
    ),
    (
        "POST",
        "/v1/grants",
        {"subject": {"everyone": True}, "connection_name": "cloudflare", "access": "read", "operations": ["zones/*"]},
        "invalid_input",
        "operations.0",
    ),
    ("POST", "/v1/identities/priya:offboard", {"reason": "x", "drain_seconds": 61}, "invalid_input", "drain_seconds"),
    ("PATCH", "/v1/identities/priya", {"status": "disabled"}, "invalid_input", "status"),
]


@pytest.mark.parametrize(("method", "path", "body", "code", "field"), WRONG)
async def test_wrong_bodies_are_refused_by_field(
    world: World, call: Client, method: str, path: str, body: Any, code: str, field: str
) -> None:
    await world.identity()
    await world.connection()
    problem = await call(method, path, body, expect=422)
    assert problem["code"] == code
    assert problem["fields"][0]["path"] == field
    assert problem["fix"] == "model"


LISTS = ("identities", "keys", "sessions", "grants")


@pytest.mark.parametrize("token", ["x", "", "e30", "too late"])
async def test_forged_page_tokens_are_refused(call: Client, token: str) -> None:
    for name in LISTS:
        late = json.dumps(["9999-12-31T23:59:59-12:00", "01a1fd90-3b0c-75b8-ad83-9a969fe69db0", name]).encode()
        forged = base64.urlsafe_b64encode(late).decode() if token == "too late" else token
        problem = await call("GET", f"/v1/{name}", page_token=forged, expect=422)
        assert problem["fields"][0]["path"] == "page_token"


async def test_a_page_token_is_good_for_its_own_list(world: World, call: Client) -> None:
    for n in range(2):
        await world.identity(f"i{n}")
        await call("POST", "/v1/keys", {"kind": "agent", "name": f"k{n}", "identifiers": ["*"]}, expect=201)
    for mine in ("identities", "keys"):
        token = (await call("GET", f"/v1/{mine}", page_size=1))["next_page_token"]
        for name in LISTS:
            answer = await call("GET", f"/v1/{name}", page_token=token, expect=200 if name == mine else 422)
            assert name == mine or answer["fields"][0]["path"] == "page_token"


async def test_a_wrong_method_is_told_the_right_ones(call: Client) -> None:
    for path, allowed in (
        ("/v1/identities", "GET, HEAD, POST"),
        ("/v1/identities/priya", "GET, HEAD, PATCH"),
        ("/v1/grants/x", "DELETE"),
    ):
        answer = await call.http.put(path, json={})
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("content", "media_type", "hinted"),
    [
        (b"{nope", "application/json", False),
        (b'{"name": "x"}', "text/plain", True),
        (b"\xff", "application/json", False),
    ],
)
async def test_what_is_no_json_is_told_so(call: Client, content: bytes, media_type: str, hinted: bool) -> None:
    headers = {"Authorization": f"Bearer {call.world.admin_token}", "Content-Type": media_type}
    problem = (await call.http.post("/v1/identities", content=content, headers=headers)).json()
    assert (problem["code"], problem["fields"][0]["path"]) == ("invalid_input", "body")
    assert ("Content-Type: application/json" in problem.get("hint", "")) is hinted


async def test_a_key_for_everybody_is_told_near_names(world: World, call: Client) -> None:
    await world.identity("priya")
    made = await call("POST", "/v1/keys", {"kind": "agent", "name": "x", "identifiers": ["*"]}, expect=201)
    problem = await call("POST", "/v1/sessions", {"identifier": "prya"}, token=made["key"], expect=404)
    assert (problem["code"], problem["hint"]) == ("unknown_identity", "did you mean `priya`?")


async def test_pages_over_rest(world: World, call: Client) -> None:
    for n in range(3):
        await world.identity(f"i{n}")
    first = await call("GET", "/v1/identities", page_size=2)
    rest = await call("GET", "/v1/identities", page_size=2, page_token=first["next_page_token"])
    assert [i["identifier"] for i in first["items"] + rest["items"]] == ["i0", "i1", "i2"]
    assert rest["next_page_token"] is None


async def test_it_is_described(world: World) -> None:
    described = make_app(world).openapi()
    paths = described["paths"]
    assert set(paths["/v1/identities/{identifier}"]) == {"get", "patch"}
    assert set(paths["/v1/identities/{identifier}:offboard"]) == {"post"}
    for methods in paths.values():
        for operation in methods.values():
            assert {"401", "403", "422"} <= set(operation["responses"])
            assert operation["description"]
    # Only requests that are taken are examples.
    for name in ("NewIdentity", "NewKey", "NewSession", "NewGrant", "NewTenant", "Offboard"):
        assert "example" in described["components"]["schemas"][name]
