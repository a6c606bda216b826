"""API.md's role × call table, cell by cell, over the wire. A route that is not in the table below fails."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from bench.harness import Stand
from bench.kit import Api, Engineer, TenantKit
from tests.security.oidc_calls import SIGN_IN

PARTIES = ("platform_admin", "admin", "auditor", "agent", "session")
ALL = set(PARTIES)
ADMINS = {"platform_admin", "admin"}
READERS = ADMINS | {"auditor"}
USERS = ADMINS | {"agent", "session"}


@dataclass
class World:
    """One tenant with everything that a request may name, and a client of each party."""

    kit: TenantKit
    engineer: Engineer
    other: Engineer
    execution: str
    clients: dict[str, Api]
    grant: str

    def fresh(self) -> str:
        return f"f{secrets.token_hex(5)}"


def nowhere(_: World) -> str:
    return str(uuid4())


Ask = Callable[[World], tuple[str, Any]]

# For each call: who may make it, and a request that is otherwise in order. What it names is often not there: 404 is as
# good an answer as 200, for only an authorised caller gets it.
TABLE: dict[tuple[str, str], tuple[set[str], Ask]] = {
    ("POST", "/v1/tenants"): ({"platform_admin"}, lambda w: ("/v1/tenants", {"name": w.fresh()})),
    ("GET", "/v1/tenants/{tenant}"): ({"platform_admin"}, lambda w: (f"/v1/tenants/{w.kit.name}", None)),
    ("PATCH", "/v1/tenants/{tenant}"): (
        {"platform_admin"},
        lambda w: (f"/v1/tenants/{w.kit.name}", {"sandbox": {"host_calls": 150}}),
    ),
    ("POST", "/v1/identities"): (ADMINS, lambda w: ("/v1/identities", {"identifier": w.fresh()})),
    ("GET", "/v1/identities"): (ADMINS, lambda w: ("/v1/identities", None)),
    ("GET", "/v1/identities/{identifier}"): (ADMINS, lambda w: (f"/v1/identities/{w.engineer.identifier}", None)),
    ("PATCH", "/v1/identities/{identifier}"): (
        ADMINS,
        lambda w: (f"/v1/identities/{w.other.identifier}", {"display_name": w.fresh()}),
    ),
    ("POST", "/v1/identities/{identifier}:offboard"): (
        ADMINS,
        lambda w: (f"/v1/identities/{w.fresh()}:offboard", {"reason": "matrix"}),
    ),
    ("GET", "/v1/connectors"): (ALL, lambda w: ("/v1/connectors", None)),
    ("POST", "/v1/connections"): (
        ADMINS,
        lambda w: (
            "/v1/connections",
            {"name": w.fresh(), "connector": "cloudflare", "config": {"spec": {"source": "simulator.json"}}},
        ),
    ),
    ("GET", "/v1/connections"): (ADMINS, lambda w: ("/v1/connections", None)),
    ("GET", "/v1/connections/{name}"): (ADMINS, lambda w: ("/v1/connections/cloudflare", None)),
    ("GET", "/v1/connections/{name}/definitions"): (
        ADMINS,
        lambda w: (f"/v1/connections/{w.fresh()}/definitions", None),
    ),
    ("PUT", "/v1/connections/{name}/oauth_client"): (
        ADMINS,
        lambda w: (f"/v1/connections/{w.fresh()}/oauth_client", {"issuer": "https://a.example", "client_id": "x"}),
    ),
    ("GET", "/v1/connections/{name}/oauth_client"): (
        ADMINS,
        lambda w: (f"/v1/connections/{w.fresh()}/oauth_client", None),
    ),
    ("DELETE", "/v1/connections/{name}/oauth_client"): (
        ADMINS,
        lambda w: (f"/v1/connections/{w.fresh()}/oauth_client", None),
    ),
    ("PATCH", "/v1/connections/{name}"): (ADMINS, lambda w: (f"/v1/connections/{w.fresh()}", {"config": {}})),
    ("DELETE", "/v1/connections/{name}"): (ADMINS, lambda w: (f"/v1/connections/{w.fresh()}", None)),
    ("POST", "/v1/connections/{name}:refresh"): (ADMINS, lambda w: (f"/v1/connections/{w.fresh()}:refresh", None)),
    ("POST", "/v1/connections/{name}:accept"): (
        ADMINS,
        lambda w: (f"/v1/connections/{w.fresh()}:accept", {"digest": "0" * 64}),
    ),
    ("PUT", "/v1/connected_accounts"): (
        ADMINS | {"session"},
        lambda w: (
            "/v1/connected_accounts",
            {
                "connection_name": "cloudflare",
                "identifier": w.engineer.identifier,
                "label": w.fresh(),
                "credential": {"kind": "api_token", "token": "cfut_" + "x" * 48},
            },
        ),
    ),
    ("GET", "/v1/connected_accounts"): (ADMINS | {"session"}, lambda w: ("/v1/connected_accounts", None)),
    ("GET", "/v1/connected_accounts/{account_id}"): (
        ADMINS | {"session"},
        lambda w: (f"/v1/connected_accounts/{w.engineer.account_id}", None),
    ),
    ("POST", "/v1/connected_accounts/{account_id}:revoke"): (
        ADMINS,
        lambda w: (f"/v1/connected_accounts/{nowhere(w)}:revoke", {"reason": "matrix"}),
    ),
    ("POST", "/v1/connected_accounts/{account_id}:verify"): (
        ADMINS,
        lambda w: (f"/v1/connected_accounts/{nowhere(w)}:verify", None),
    ),
    ("GET", "/v1/budgets"): (READERS | {"session"}, lambda w: ("/v1/budgets", None)),
    ("POST", "/v1/grants"): (
        ADMINS,
        lambda w: (
            "/v1/grants",
            {"subject": {"group": w.fresh()}, "connection_name": "cloudflare", "access": "read"},
        ),
    ),
    ("GET", "/v1/grants"): (ADMINS, lambda w: ("/v1/grants", None)),
    ("DELETE", "/v1/grants/{grant_id}"): (ADMINS, lambda w: (f"/v1/grants/{nowhere(w)}", None)),
    ("POST", "/v1/keys"): (
        ADMINS,
        lambda w: ("/v1/keys", {"kind": "agent", "name": w.fresh(), "identifiers": [w.engineer.identifier]}),
    ),
    ("GET", "/v1/keys"): (ADMINS, lambda w: ("/v1/keys", None)),
    ("DELETE", "/v1/keys/{key_id}"): (ADMINS, lambda w: (f"/v1/keys/{nowhere(w)}", None)),
    ("POST", "/v1/sessions"): (USERS, lambda w: ("/v1/sessions", {"identifier": w.engineer.identifier})),
    ("GET", "/v1/sessions"): (USERS, lambda w: ("/v1/sessions", None)),
    ("DELETE", "/v1/sessions/{session_id}"): (USERS, lambda w: (f"/v1/sessions/{nowhere(w)}", None)),
    ("POST", "/v1/connect_links"): (
        USERS,
        lambda w: (
            "/v1/connect_links",
            {"connection_name": "cloudflare", "identifier": w.engineer.identifier},
        ),
    ),
    ("POST", "/v1/sign_in_links"): (ADMINS, lambda w: ("/v1/sign_in_links", {"identifier": w.fresh()})),
    **{call: (ADMINS, ask) for call, ask in SIGN_IN.items()},
    ("GET", "/v1/tools/scoped"): (
        USERS,
        lambda w: (f"/v1/tools/scoped?identifier={w.engineer.identifier}", None),
    ),
    ("POST", "/v1/tools/execute"): (
        USERS,
        lambda w: (
            "/v1/tools/execute",
            {
                "tool_name": "cloudflare_call",
                "tool_input": {"operation": "GET /zones"},
                "identifier": w.engineer.identifier,
            },
        ),
    ),
    ("GET", "/v1/audit/events"): (READERS | {"agent", "session"}, lambda w: ("/v1/audit/events", None)),
    ("GET", "/v1/audit/export"): (READERS, lambda w: ("/v1/audit/export?format=native", None)),
    ("GET", "/v1/executions/{execution_id}/code"): (
        READERS,
        lambda w: (f"/v1/executions/{w.execution}/code", None),
    ),
    ("GET", "/v1/executions/{execution_id}"): (
        READERS | {"agent", "session"},
        lambda w: (f"/v1/executions/{w.execution}", None),
    ),
    ("GET", "/v1/policy/explain"): (
        ADMINS,
        lambda w: (
            f"/v1/policy/explain?identifier={w.engineer.identifier}&connection_name=cloudflare&operation=zones-get",
            None,
        ),
    ),
}
OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}


@pytest.fixture(scope="module")
def world(running_server: Stand) -> Iterator[World]:
    kit = running_server.tenant()
    kit.connection()
    engineer, other = kit.engineer(), kit.engineer()
    agent = kit.key("agent", identifiers=[engineer.identifier])["key"]
    api = running_server.server.api
    clients = {
        "platform_admin": kit.platform,
        "admin": kit.admin,
        "auditor": api(kit.key("operator", role="auditor")["key"]),
        "agent": api(agent),
        "session": engineer.api,
    }
    execution = clients["agent"].call("GET /zones", identifier=engineer.identifier).json()["execution_id"]
    grant = kit.grant({"everyone": True}, "read")["id"]
    yield World(kit, engineer, other, execution, clients, grant)
    for client in clients.values():
        client.close()
    other.close()


@pytest.fixture(scope="module")
def stranger(running_server: Stand) -> Iterator[Api]:
    """Somebody without a key."""
    client = running_server.server.api(None)
    yield client
    client.close()


def ask(client: Api, method: str, route: tuple[str, str], world: World) -> httpx.Response:
    path, body = TABLE[route][1](world)
    return client.send(method, path, **({} if body is None else {"json": body}))


def test_every_route_is_in_the_table(running_server: Stand) -> None:
    described = running_server.admin.ok("GET", "/openapi.json")["paths"]
    routes = {(method.upper(), path) for path, item in described.items() for method in item}
    assert routes - OPEN == TABLE.keys(), "a new route must say here who may call it"


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("route", TABLE, ids=lambda r: f"{r[0]} {r[1]}")
def test_cell(world: World, route: tuple[str, str], party: str) -> None:
    allowed, _ = TABLE[route]
    reply = ask(world.clients[party], route[0], route, world)
    assert reply.status_code < 500, reply.text
    if party in allowed:
        if party == "session" and route == ("GET", "/v1/executions/{execution_id}"):
            assert reply.status_code in (200, 404)
        else:
            assert reply.status_code not in (401, 403), reply.text
    else:
        assert reply.status_code == 403, reply.text
        assert reply.json()["code"] == "forbidden"


@pytest.mark.parametrize("route", TABLE, ids=lambda r: f"{r[0]} {r[1]}")
@pytest.mark.parametrize("bearer", [None, "", "nonsense", "krv_ag_" + "0" * 60, "wrong check digit", "another scheme"])
def test_nobody(world: World, stranger: Api, route: tuple[str, str], bearer: str | None) -> None:
    path, body = TABLE[route][1](world)
    good = world.clients["admin"].key or ""
    text = {
        "wrong check digit": f"Bearer {good[:-1]}{'a' if good[-1] != 'a' else 'b'}",
        "another scheme": f"Basic {good}",
        "": "Bearer",
    }.get(bearer or "", f"Bearer {bearer}")
    headers = {} if bearer is None else {"authorization": text}
    options: dict[str, Any] = {} if body is None else {"json": body}
    reply = stranger.send(route[0], path, headers=headers, **options)
    assert reply.status_code == 401, reply.text
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert reply.json()["code"] == "unauthenticated"
    assert "www-authenticate" in reply.headers, "RFC 9110 § 11.6.1"


@pytest.mark.parametrize("route", TABLE, ids=lambda r: f"{r[0]} {r[1]}")
@pytest.mark.parametrize("party", ["admin", "auditor", "agent", "session"])
def test_another_tenant_is_closed(
    running_server: Stand, world: World, foreign: TenantKit, route: tuple[str, str], party: str
) -> None:
    """Naming another tenant opens nothing, and answers no differently whether it exists."""
    answers = []
    for name in (foreign.name, "no-such-tenant"):
        client = running_server.server.api(world.clients[party].key, tenant=name)
        try:
            reply = ask(client, route[0], route, world)
        finally:
            client.close()
        answers.append((reply.status_code, reply.json().get("code"), reply.json().get("detail")))
    assert answers[0] == answers[1]
    assert answers[0][:2] == (403, "forbidden")


def test_authority_over_everyone_ends_at_the_tenant(running_server: Stand, world: World, tenant: TenantKit) -> None:
    """The sharp form: an agent key for all identities of one tenant, and an identity and account in the other."""
    tenant.connection()
    victim = tenant.engineer()
    everyone = world.kit.key("agent", identifiers=["*"])["key"]
    client = running_server.server.api(everyone, tenant=tenant.name)
    reply = client.call("GET /zones", identifier=victim.identifier)
    victim.close()
    client.close()
    assert (reply.status_code, reply.json().get("code")) == (403, "forbidden"), reply.text


@pytest.fixture(scope="module")
def foreign(running_server: Stand) -> Iterator[TenantKit]:
    kit = running_server.tenant()
    yield kit
    kit.close()


def test_ids_of_another_tenant_are_not_there(world: World, foreign: TenantKit) -> None:
    """By id: 404 for what exists elsewhere exactly as for what doesn't exist."""
    for path in (
        f"/v1/connected_accounts/{world.engineer.account_id}",
        f"/v1/executions/{world.execution}",
        f"/v1/identities/{world.engineer.identifier}",
        "/v1/connections/cloudflare",
    ):
        assert foreign.admin.send("GET", path).status_code == 404
    for path in (f"/v1/grants/{world.grant}", f"/v1/sessions/{world.engineer.session_id}"):
        assert foreign.admin.send("DELETE", path).status_code == 404
    assert foreign.admin.ok("GET", "/v1/audit/events?kind=call")["items"] == []
    assert foreign.admin.ok("GET", "/v1/budgets")["items"] == []


def test_an_agent_key_acts_for_its_identifiers_alone(world: World) -> None:
    agent = world.clients["agent"]
    other = world.other.identifier
    for reply in (
        agent.call("GET /zones", identifier=other),
        agent.send("POST", "/v1/sessions", json={"identifier": other}),
        agent.send("GET", f"/v1/tools/scoped?identifier={other}"),
        agent.call("GET /zones", identifier="nobody-here"),
    ):
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    theirs = world.other.api.call("GET /zones").json()["execution_id"]
    assert agent.send("GET", f"/v1/executions/{theirs}").status_code == 404
    assert theirs not in {e.get("execution_id") for e in agent.ok("GET", "/v1/audit/events")["items"]}


def test_a_session_is_itself_alone(world: World) -> None:
    session, other = world.clients["session"], world.other
    assert session.call("GET /zones", identifier=other.identifier).json()["code"] == "forbidden"
    deposit = {
        "connection_name": "cloudflare",
        "identifier": other.identifier,
        "credential": {"kind": "api_token", "token": "cfut_" + "x" * 48},
    }
    assert session.send("PUT", "/v1/connected_accounts", json=deposit).status_code == 403
    shared = {**deposit, "shared": True}
    del shared["identifier"]
    assert session.send("PUT", "/v1/connected_accounts", json=shared).status_code == 403
    assert session.send("GET", f"/v1/connected_accounts/{other.account_id}").status_code == 404
    assert {a["id"] for a in session.ok("GET", "/v1/connected_accounts")["items"]} == {world.engineer.account_id}
    assert session.send("DELETE", f"/v1/sessions/{other.session_id}").status_code in (403, 404)
    mine = {world.engineer.identifier}
    assert {e["identifier"] for e in session.ok("GET", "/v1/audit/events")["items"]} <= mine
    assert session.send("POST", "/v1/sessions", json={"identifier": other.identifier}).status_code == 403


def test_a_child_session_is_never_wider_or_longer(running_server: Stand, world: World) -> None:
    narrow = world.kit.session(world.engineer.identifier, access="read", connections=["cloudflare"])
    api = running_server.server.api(narrow["token"])
    assert api.send("POST", "/v1/sessions", json={"access": "write"}).status_code in (403, 422)
    world.kit.connection("other")
    assert api.send("POST", "/v1/sessions", json={"connections": ["other"]}).status_code in (403, 422)
    child = api.ok("POST", "/v1/sessions", {})
    below = running_server.server.api(child["token"])
    assert child["access"] == "read"
    assert child["connections"] == ["cloudflare"]
    assert child["expires_at"] <= narrow["expires_at"]
    refused = below.call(
        "POST /zones/{zone_id}/purge_cache",
        path_params={"zone_id": running_server.simulator.zones["example.com"]},
        body={"purge_everything": True},
    )
    assert (refused.status_code, refused.json()["code"]) in ((403, "not_granted"), (403, "forbidden"))
    world.kit.admin.ok("DELETE", f"/v1/sessions/{narrow['id']}")
    assert below.call("GET /zones").status_code == 401
    api.close()
    below.close()


def test_no_key_mints_above_itself(running_server: Stand, world: World) -> None:
    admin = world.clients["admin"]
    for body in (
        {"kind": "operator", "name": "x", "role": "platform_admin"},
        {"kind": "agent", "name": "x", "identifiers": ["*"], "tenants": ["default"]},
    ):
        assert admin.send("POST", "/v1/keys", json=body).status_code == 403, body
    brief = world.kit.key("operator", role="admin", expires_at="2999-01-01T00:00:00Z")
    lasting = running_server.server.api(brief["key"], tenant=world.kit.name)
    longer = {"kind": "agent", "name": "x", "identifiers": ["*"], "expires_at": "3000-01-01T00:00:00Z"}
    reply = lasting.send("POST", "/v1/keys", json=longer)
    assert reply.status_code in (403, 422), reply.text
    made = lasting.ok("POST", "/v1/keys", {"kind": "agent", "name": "x", "identifiers": ["*"]})
    assert made["expires_at"] <= brief["expires_at"]
    lasting.close()


def test_only_a_platform_admin_sets_unofficial_origins(running_server: Stand, world: World) -> None:
    config = {"base_url": running_server.simulator.base_url, "spec": {"source": "simulator.json"}}
    wanted = {"name": world.fresh(), "connector": "cloudflare", "config": config}
    reply = world.clients["admin"].send("POST", "/v1/connections", json=wanted)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    current = world.clients["admin"].ok("GET", "/v1/connections/cloudflare")
    moved = {"config": {**config, "base_url": "http://127.0.0.1:1/client/v4"}, "version": current["version"]}
    assert world.clients["admin"].send("PATCH", "/v1/connections/cloudflare", json=moved).status_code in (403, 422)
    assert world.clients["platform_admin"].send("PATCH", "/v1/connections/cloudflare", json=moved).status_code == 422
