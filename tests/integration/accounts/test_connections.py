"""Connections: who may point them where, what a change does to their accounts and budgets, and renewed descriptions."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from broker.errors import Problem
from connectors.cloudflare.config import SPEC_SOURCE
from connectors.errors import UpstreamUnreachable
from tests.conftest import Server
from tests.integration.accounts.world import ALL, DOCUMENT, MARCO, World
from tests.integration.identity.world import refused


async def test_unofficial_origins_are_a_platform_admins_alone(world: World) -> None:
    admin = await world.admin()
    given = {"name": "cf", "connector": "cloudflare", "config": world.config(), "default_grant": None}
    await refused(world.connections.create(admin, **given), "forbidden")
    await world.connect()
    for config in (world.config(tools=[]), world.config() | {"base_url": world.second.base_url}):
        await refused(world.connections.change(admin, "cloudflare", config=config, version=None), "forbidden")
    assert (await world.connections.get(admin, "cloudflare"))["version"] == 1


async def test_only_addresses_that_the_operator_opened(world: World) -> None:
    for base_url in ("http://127.0.0.1:9/client/v4", "https://10.0.0.1", "http://api.cloudflare.com/client/v4"):
        given = {"name": "cf", "connector": "cloudflare", "config": world.config() | {"base_url": base_url}}
        with pytest.raises(Problem) as caught:
            await world.connections.create(await world.platform(), **given, default_grant=None)
        assert caught.value.code in ("egress_refused", "invalid_input")
    assert (await world.rows("select count(*) from broker.connections where tenant_id = :t"))[0][0] == 0


@pytest.mark.parametrize(
    "source", ["https://evil.example/openapi.json", "http://127.0.0.1:80/x.json", "../root.key", "file:///etc/passwd"]
)
async def test_nobody_makes_the_server_fetch_what_is_not_official(world: World, source: str) -> None:
    for caller in (await world.admin(), await world.platform()):
        given = {"name": "cf", "connector": "cloudflare", "config": {"spec": {"source": source}}}
        await refused(
            world.connections.create(caller, **given, default_grant=None), "invalid_input", "config.spec.source"
        )


async def test_an_unknown_field_and_an_unknown_name_are_told_the_nearest(world: World) -> None:
    await world.connect()
    caller, name = await world.platform(), "cloudflar"
    config = world.config() | {"base_ulr": "x"}
    made = world.connections.create(caller, name="cf", connector="cloudflare", config=config, default_grant=None)
    problem = await refused(made, "unknown_field")
    assert (problem.fields[0].path, "base_url" in problem.fields[0].problem) == ("config.base_ulr", True)
    near = "did you mean `cloudflare`?"
    assert (await refused(world.connections.get(caller, name), "unknown_connection")).hint == near
    assert (await refused(world.put("x" * 40, connection_name=name), "unknown_connection")).hint == near


async def test_without_a_way_out_it_says_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def send(**request: Any) -> Any:
        asked.append(request)
        raise UpstreamUnreachable("no route", sent=False)

    monkeypatch.setattr(world.connections._specs._http, "send", send)
    given = {"name": "cf", "connector": "cloudflare", "config": {}, "default_grant": None}
    problem = await refused(world.connections.create(await world.admin(), **given), "upstream_unreachable")
    assert (problem.fix, "specs" in (problem.hint or "")) == ("operator", True)
    (request,) = asked
    assert request["origin"] + request["path"] == SPEC_SOURCE
    assert [name for name, _ in request["headers"]] == ["accept"]
    assert request["allowed_origins"] == (request["origin"],)


async def test_a_description_other_than_the_pinned_one_is_refused(world: World) -> None:
    config = world.config() | {"spec": {"source": "simulator.json", "pin": "0" * 64}}
    given = {"name": "cf", "connector": "cloudflare", "config": config, "default_grant": None}
    await refused(world.connections.create(await world.platform(), **given), "invalid_input", "config.spec.pin")
    digest = (await world.connect())["spec"]["digest"]
    pinned = {"source": "simulator.json", "pin": digest[:12]}
    await world.connections.change(
        await world.platform(), "cloudflare", config=world.config() | {"spec": pinned}, version=1
    )


async def test_another_origin_makes_accounts_needs_reauth_and_never_gets_the_old_credential(world: World) -> None:
    await world.connect()
    await world.grant()
    made = await world.put(world.demo.priya_token.value)
    token = await world.session()
    assert not (await world.call(token, "GET /zones")).is_error
    moved = world.config() | {"base_url": world.second.base_url}
    await world.connections.change(await world.platform(), "cloudflare", config=moved, version=None)
    await refused(world.call(token, "GET /zones"), "needs_reauth")
    await refused(world.accounts.verify(await world.admin(), made["id"]), "needs_reauth")
    # Also not where somebody writes to the database: the origins are sealed with the credential.
    await world.execute("update broker.accounts set status = 'active', version = version + 1 where tenant_id = :t")
    await refused(world.call(token, "GET /zones"), "egress_refused")
    await refused(world.accounts.verify(await world.admin(), made["id"]), "egress_refused")
    await world.execute("update vault.credentials set origins = :o where tenant_id = :t", o=[world.second.url])
    await refused(world.call(token, "GET /zones"), "unavailable")
    assert world.reached(world.second) == []


async def test_a_change_beside_a_pending_deposit_is_no_conflict(world: World) -> None:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    await world.execute(
        "insert into broker.accounts (tenant_id, id, connection_id, identity_id, status, kind, created_at)"
        " select tenant_id, gen_random_uuid(), connection_id, identity_id, 'pending', kind, created_at"
        " from broker.accounts where tenant_id = :t"
    )
    moved = world.config() | {"base_url": world.second.base_url}
    await world.connections.change(await world.platform(), "cloudflare", config=moved, version=None)
    found = await world.rows("select status from broker.accounts where tenant_id = :t order by status")
    assert [row.status for row in found] == ["needs_reauth", "pending"]


async def test_a_stale_version_is_refused(world: World) -> None:
    await world.connect()
    await world.change(body_check="strict")
    stale = world.connections.change(await world.platform(), "cloudflare", config=world.config(), version=1)
    await refused(stale, "version_conflict")


async def test_deleting_a_connection_revokes_its_accounts(world: World) -> None:
    await world.connect()
    await world.grant()
    made = await world.put(world.demo.priya_token.value)
    token = await world.session()
    answer = await world.connections.delete(await world.admin(), "cloudflare", "gone")
    assert answer["in_flight"] == []
    assert (await world.account_of(made["id"])).status == "revoked"
    assert await world.credentials() == [(1, "revoked")]
    await refused(world.call(token, "GET /zones"), "unknown_connection")
    await refused(world.connections.delete(await world.admin(), "cloudflare", "gone"), "unknown_connection")
    assert (await world.connect())["version"] == 1


# --- budgets


async def _budgets(world: World) -> list[dict[str, Any]]:
    return list((await world.budgets.list(await world.admin())).items)


async def test_what_verifying_spent_is_the_tenants_own_use(world: World) -> None:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    spent = len(world.reached())
    (line,) = await _budgets(world)
    assert (line["principal"], line["key"], line["used"], line["foreign"]) == (
        f"user:{world.demo.priya.id}",
        "user",
        spent,
        0,
    )
    await world.accounts.verify(
        await world.admin(), (await world.accounts.list(await world.admin(), ALL)).items[0]["id"]
    )
    (line,) = await _budgets(world)
    assert (line["used"], line["foreign"]) == (2 * spent, 0)
    assert line["remaining"] == line["limit"] - 2 * spent


async def test_an_admins_verification_makes_nobody_share_the_budget(world: World, server: Server) -> None:
    await world.connect()
    await world.grant()
    made = await world.put(world.demo.priya_token.value)
    await world.call(await world.session(), "GET /zones")
    await world.accounts.verify(await world.admin(), made["id"])
    assert await _shared(world, server) == [False]


async def _shared(world: World, server: Server) -> list[bool]:
    keys = await world.rows("select principal_key from broker.accounts where tenant_id = :t and status = 'active'")
    conn = await asyncpg.connect(**server.superuser)
    try:
        found = await conn.fetch(
            "select shared from broker.budgets where principal_key = any ($1)", [bytes(k.principal_key) for k in keys]
        )
    finally:
        await conn.close()
    return [row["shared"] for row in found]


async def test_the_budgets_key_chooses_whose_it_is_and_a_change_moves_live_accounts(world: World) -> None:
    await world.connect(budget={"key": "token"})
    demo = world.demo
    second = demo.state.add_token(demo.priya, name="second", permissions=("User Details Read",))
    one = await world.put(demo.priya_token.value)
    two = await world.put(second.value, label="second")
    gone = await world.put(demo.marco_token.value, identifier=MARCO)
    await world.accounts.revoke(await world.admin(), gone["id"], reason="x", upstream=False, drain_seconds=0)
    tokens = {f"token:{demo.priya_token.id}", f"token:{second.id}"}
    assert {(line["key"], line["principal"]) for line in await _budgets(world)} == {("token", t) for t in tokens}
    keys = [(await world.account_of(a["id"])).principal_key for a in (one, two, gone)]
    assert len(set(keys)) == 3

    await world.change(budget={"key": "user"})
    moved = [(await world.account_of(a["id"])).principal_key for a in (one, two, gone)]
    assert moved[0] == moved[1] != keys[0]
    assert moved[2] == keys[2]
    await world.grant()
    await world.call(await world.session(), "GET /zones", connected_account_id=UUID(one["id"]))
    await world.call(await world.session(), "GET /zones", connected_account_id=UUID(two["id"]))
    (line,) = await _budgets(world)
    assert (line["principal"], line["used"]) == (f"user:{demo.priya.id}", 2)

    await world.change(budget={"key": "account"})
    by_account = [(await world.account_of(a["id"])).principal_key for a in (one, two)]
    assert by_account[0] != moved[0]
    # The second token sees no account: its principal stands in.
    assert by_account[1] == moved[1]


async def test_maintenance_spends_the_budget_that_the_key_means(world: World) -> None:
    await world.connect(budget={"key": "account"})
    made = await world.put(world.demo.priya_token.value)
    (line,) = await _budgets(world)
    before = line["used"]
    assert line["principal"] == f"account:{world.demo.account.id}"
    assert before > 0
    await world.accounts.verify(await world.admin(), made["id"])
    assert [line["used"] for line in await _budgets(world)] == [2 * before]


async def test_budgets_are_paged(world: World) -> None:
    await world.connect(budget={"key": "token"})
    for n in range(3):
        token = world.demo.state.add_token(world.demo.priya, name=f"t{n}", permissions=("User Details Read",))
        await world.put(token.value, label=f"l{n}")
    seen: list[str] = []
    page: str | None = None
    while True:
        found = await world.budgets.list(await world.admin(), page_size=2, page_token=page)
        seen += [line["principal"] for line in found.items]
        page = found.next_page_token
        if page is None:
            break
    assert len(seen) == len(set(seen)) == 3
    for bad in ("=", "\x00", "é", "a"):
        await refused(world.budgets.list(await world.admin(), page_token=bad), "invalid_input")


# --- renewed descriptions


def _rewrite(world: World, edit: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(DOCUMENT.read_bytes())
    edit(document)
    (world.specs_folder / "simulator.json").write_text(json.dumps(document))


def _add(document: dict[str, Any]) -> None:
    listing = document["paths"]["/zones"]["get"]
    document["paths"]["/zones/everything"] = {"get": {**listing, "operationId": "zones-everything"}}


def _form(document: dict[str, Any]) -> None:
    listing = document["paths"]["/zones"]["get"]
    listing.setdefault("parameters", []).append({"name": "zz_new", "in": "query", "schema": {"type": "string"}})


async def test_a_widening_refresh_waits_and_accepting_it_applies_it(world: World) -> None:
    made = await world.connect()
    await world.grant(operations=("GET /zones/**",))
    await world.put(world.demo.priya_token.value)
    token = await world.session()
    _rewrite(world, _add)
    found = await world.connections.refresh(await world.admin(), "cloudflare")
    assert (found.applied, found.pending) == (False, True)
    assert found.report["waits_for"] == ["GET /zones/everything"]
    shown = await world.connections.get(await world.admin(), "cloudflare")
    assert shown["spec"]["digest"] == made["spec"]["digest"]
    assert shown["pending_spec"]["digest"] == found.digest
    await refused(world.call(token, "zones-everything"), "unknown_operation")
    await refused(world.connections.accept(await world.admin(), "cloudflare", "0" * 64), "version_conflict")
    accepted = await world.connections.accept(await world.admin(), "cloudflare", found.digest)
    assert (accepted["spec"]["digest"], accepted["pending_spec"]) == (found.digest, None)
    await refused(world.connections.accept(await world.admin(), "cloudflare", found.digest), "version_conflict")
    assert (await world.call(token, "zones-everything")).data is not None
    assert len(await world.changed("connection.spec_accepted")) == 1


async def test_a_refresh_that_widens_nothing_granted_is_applied(world: World) -> None:
    await world.connect()
    await world.grant(operations=("GET /accounts/**",))
    _rewrite(world, _add)
    found = await world.connections.refresh(await world.admin(), "cloudflare")
    assert (found.applied, found.pending, found.report["added"]) == (True, False, ["GET /zones/everything"])


async def test_a_change_of_form_is_applied_though_everything_is_granted(world: World) -> None:
    await world.connect()
    await world.grant()
    _rewrite(world, _form)
    found = await world.connections.refresh(await world.admin(), "cloudflare")
    assert (found.applied, found.pending) == (True, False)
    assert [c["what"] for c in found.report["changed_operations"]] == [["parameters"]]
    again = await world.connections.refresh(await world.admin(), "cloudflare")
    assert again.report == {"changed": False}


async def test_what_waits_goes_when_the_source_is_as_it_was(world: World) -> None:
    await world.connect()
    await world.grant()
    _rewrite(world, _add)
    assert (await world.connections.refresh(await world.admin(), "cloudflare")).pending
    # A change of something else leaves it waiting.
    await world.change(body_check="strict")
    assert (await world.connections.get(await world.admin(), "cloudflare"))["pending_spec"] is not None
    _rewrite(world, lambda _: None)
    (world.specs_folder / "simulator.json").write_bytes(DOCUMENT.read_bytes())
    assert not (await world.connections.refresh(await world.admin(), "cloudflare")).pending
    assert (await world.connections.get(await world.admin(), "cloudflare"))["pending_spec"] is None
