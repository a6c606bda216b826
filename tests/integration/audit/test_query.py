"""Items, filters, paging, whose audit one sees and executions, against a real PostgreSQL."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit import query as query_module
from broker.audit import scan
from broker.audit.events import RefusalFacts
from broker.audit.executions import Executions
from broker.audit.query import AuditFilter, AuditQuery, conditions
from broker.db.paging import read_page
from broker.domain import Caller
from broker.errors import Problem
from broker.identity.roles import reach
from broker.ids import new_id
from tests.conftest import Server
from tests.integration.audit.conftest import World


async def test_a_call_is_one_item_with_everything_asked_for(world: World) -> None:
    caller = world.caller()
    intent = await world.call(caller, sentence="look")
    (item,) = await world.items(world.auditor())
    facts = intent.facts
    assert item["id"]
    assert item["latency_ms"] == 12.345
    assert item["args_digest"].startswith("1:")
    assert UUID(item["grant_id"]) == intent.decision.grant_id
    expected = {
        "kind": "call",
        "outcome": "ok",
        "actor": "session:priya@example.com",
        "identifier": "priya@example.com",
        "client": "sdk/1",
        "agent": "helper",
        "session_id": str(caller.bearer.id),
        "run_id": "run-1",
        "execution_id": str(facts.execution_id),
        "n": 1,
        "connection_name": "cf",
        "connected_account_id": str(world.account_id),
        "tool_name": "cf_call",
        "operation": "dns-records-list",
        "operation_ref": "GET /zones/{zone_id}/dns_records",
        "method": "GET",
        "path": "/client/v4/zones/abc/dns_records",
        "effect": "read",
        "decision": "allowed",
        "reason": "granted",
        "upstream_status": 200,
        "upstream_ray": "8f-AMS",
        "request_bytes": 310,
        "response_bytes": 1024,
        "sent": True,
        "intent": "look",
        "summary": {"zone_id": "abc", "per_page": 5},
    }
    assert {name: item.get(name) for name in expected} == expected
    assert "on_behalf_of" not in item
    assert "key_id" not in item


async def test_an_operator_acting_for_someone_is_named(world: World) -> None:
    await world.call(world.caller("operator"))
    (item,) = await world.items(world.auditor())
    assert (item["actor"], item["on_behalf_of"], "key_id" in item) == ("operator:ops", "priya@example.com", True)


async def test_the_true_outcome_wins_over_the_sweepers(world: World) -> None:
    caller = world.caller()
    intent = await world.call(caller, None)
    auditor = world.auditor()
    assert [i["outcome"] for i in await world.items(auditor)] == ["open"]
    assert [i["outcome"] for i in await world.items(auditor, status="open")] == ["open"]
    await world.outcome(intent, "unknown")
    assert [i["outcome"] for i in await world.items(auditor)] == ["unknown"]
    world.clock.forward(seconds=30)
    await world.outcome(intent, "ok", 200)
    assert [i["outcome"] for i in await world.items(auditor)] == ["ok"]
    world.clock.forward(seconds=30)
    await world.outcome(intent, "unknown")
    assert [i["outcome"] for i in await world.items(auditor)] == ["ok"]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 9),
        ({"identifier": "a"}, 5),
        ({"identifier": "b"}, 4),
        ({"connection_name": "other"}, 1),
        ({"tool_name": "cf_zone_list"}, 1),
        ({"operation": "purge"}, 1),
        ({"operation": "POST /zones/{zone_id}/purge_cache"}, 1),
        ({"operation": "account.revoked"}, 1),
        ({"status": "403"}, 1),
        ({"status": "200"}, 3),
        ({"status": "timeout"}, 1),
        ({"status": "open"}, 1),
        ({"outcome": "refused"}, 1),
        ({"outcome": "done"}, 1),
        ({"outcome": "ok"}, 4),
        ({"outcome": "ok", "identifier": "a", "status": "200"}, 3),
        ({"run_id": "run-9"}, 1),
        ({"actor": "agent:ci"}, 1),
        ({"kind": "call"}, 6),
        ({"kind": "change"}, 1),
        ({"identifier": "nobody"}, 0),
    ],
)
async def test_filters(varied: World, filters: dict[str, Any], count: int) -> None:
    assert len(await varied.items(varied.auditor(), **filters)) == count


async def test_a_span_is_half_open_and_newest_comes_first(varied: World) -> None:
    now = varied.clock.now()
    items = await varied.items(varied.auditor(), since=now - timedelta(seconds=4), until=now)
    assert len(items) == 4
    times = [datetime.fromisoformat(i["at"]) for i in items]
    assert times == sorted(times, reverse=True)
    assert times[-1] == now - timedelta(seconds=4)


async def test_a_status_that_is_none_is_refused(varied: World) -> None:
    with pytest.raises(Problem, match="status"):
        await varied.items(varied.auditor(), status="fine")


@pytest.mark.parametrize("walk", [2, 20_000])
async def test_pages_neither_skip_nor_repeat(varied: World, walk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "WALK", walk)
    audit = AuditQuery(varied.db, reach)
    for filters in ({}, {"identifier": "b"}, {"status": "ok"}):
        whole = [i["id"] for i in await varied.items(varied.auditor(), **filters)]
        seen: list[str] = []
        token = None
        for _ in range(20):
            page = await audit.events(varied.auditor(), AuditFilter(**filters), read_page(2, token))
            seen += [i["id"] for i in page.items]
            token = page.next_page_token
            if token is None:
                break
            await varied.trail.refusal(varied.caller(), RefusalFacts("newer"))
        assert [i for i in seen if i in whole] == whole


async def test_what_is_written_between_two_statements_repeats_nothing(
    varied: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a step stopped is asked after what it found: both must speak of the same rows."""
    monkeypatch.setattr(query_module, "WALK", 5)
    whole = [i["id"] for i in await varied.items(varied.auditor())]
    execute = AsyncConnection.execute

    async def written(self: AsyncConnection, statement: Any, *rest: Any, **more: Any) -> Any:
        if "as walked" in str(statement):
            await varied.trail.refusal(varied.caller(), RefusalFacts("newer"))
        return await execute(self, statement, *rest, **more)

    monkeypatch.setattr(AsyncConnection, "execute", written)
    assert [i["id"] for i in await varied.items(varied.auditor())] == whole


async def test_an_impatient_answer_can_be_resumed(varied: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "WALK", 2)
    monkeypatch.setattr(query_module, "PATIENCE_SECONDS", -1.0)
    audit = AuditQuery(varied.db, reach)
    token, found, pages = None, 0, 0
    while pages == 0 or token is not None:
        page = await audit.events(varied.auditor(), AuditFilter(outcome="ok"), read_page(50, token))
        found += len(page.items)
        pages += 1
        token = page.next_page_token
    assert found == 4
    assert pages > 3


async def _bearer(world: World, caller: Caller, kind: str, parent: Caller | None, root: UUID) -> None:
    assert caller.identity is not None or kind == "agent"
    async with world.db.tenant(world.tenant_id) as conn:
        identity = None
        if kind == "session":
            identity = caller.identity.id  # type: ignore[union-attr]
            await conn.execute(
                text("insert into broker.identities (tenant_id, id, identifier, created_at) values (:t, :i, :n, :now)"),
                {"t": world.tenant_id, "i": identity, "n": f"n{identity}", "now": caller.now},
            )
        await conn.execute(
            text(
                """insert into broker.bearers (tenant_id, id, kind, token_hash, root_id, parent_id,
                identity_id, created_at) values (:t, :id, :kind, decode(md5(:salt) || md5(:salt), 'hex'),
                :root, :parent, :identity, :now)
                """
            ),
            {
                "t": world.tenant_id,
                "id": caller.bearer.id,
                "kind": kind,
                "salt": str(caller.bearer.id),
                "root": root,
                "parent": None if parent is None else parent.bearer.id,
                "identity": identity,
                "now": caller.now,
            },
        )


async def test_who_sees_what(world: World) -> None:
    agent = world.caller("agent", None, name="ci")
    minted = world.caller(identifier="a")
    grandchild = world.caller(identifier="a")
    stranger = world.caller(identifier="b")
    root = agent.bearer.root_id
    await _bearer(world, agent, "agent", None, root)
    await _bearer(world, minted, "session", agent, root)
    await _bearer(world, grandchild, "session", minted, root)
    # Of the same root, as when one operator made both keys, and yet not the agent's.
    await _bearer(world, stranger, "session", None, root)
    own = await world.call(world.caller("agent", "a", bearer_id=agent.bearer.id, name="ci"))
    first, second, foreign = await world.call(minted), await world.call(grandchild), await world.call(stranger)
    executions = Executions(world.db, reach)
    everything = {i.facts.execution_id for i in (own, first, second, foreign)}

    async def seen(caller: Caller) -> set[UUID]:
        listed = {UUID(i["execution_id"]) for i in await world.items(caller)}
        readable = set()
        for execution_id in everything:
            with suppress(Problem):
                await executions.read(caller, execution_id)
                readable.add(execution_id)
        assert listed == readable
        return listed

    for role in ("auditor", "admin", "platform_admin"):
        assert await seen(world.caller("operator", None, role=role)) == everything
    assert await seen(agent) == everything - {foreign.facts.execution_id}
    assert await seen(minted) == everything - {foreign.facts.execution_id}
    assert await seen(stranger) == {foreign.facts.execution_id}


async def test_another_tenant_sees_nothing(world: World, make_tenant: Any) -> None:
    intent = await world.call(world.caller())
    elsewhere = await make_tenant()
    spy = World(world.db, elsewhere, world.vault_, world.clock, world.trail).caller("operator", None)
    assert await world.items(spy) == []
    with pytest.raises(Problem, match="no such execution"):
        await Executions(world.db, reach).read(spy, intent.facts.execution_id)


async def test_did_it_happen(world: World) -> None:
    caller = world.caller()
    executions = Executions(world.db, reach)
    execution = new_id()
    intent = await world.call(caller, None, execution_id=execution)
    answer = await executions.read(caller, execution)
    assert (answer["state"], answer["sent"], answer["calls"][0]["outcome"]) == ("open", "unknown", "open")
    await world.outcome(intent, "not_sent")
    answer = await executions.read(caller, execution)
    assert (answer["state"], answer["sent"]) == ("done", False)
    await world.call(caller, "ok", execution_id=execution, n=2)
    answer = await executions.read(caller, execution)
    assert answer["sent"] is True
    assert [(c["n"], c["outcome"], c["sent"], c["status"]) for c in answer["calls"]] == [
        (1, "not_sent", False, None),
        (2, "ok", True, 200),
    ]
    refused = new_id()
    await world.trail.refusal(caller, RefusalFacts("no_grant", execution_id=refused, code="not_granted", detail="no"))
    answer = await executions.read(caller, refused)
    assert (answer["state"], answer["sent"], answer["refusal"]["code"]) == ("refused", False, "not_granted")


async def _fill(world: World) -> None:
    """20,000 calls of fifty identities, each with its outcome, one of them in a run; and a refusal."""
    await world.trail.refusal(world.caller(identifier="x7", run_id=None), RefusalFacts("no_grant", detail="no"))
    async with world.db.tenant(world.tenant_id) as conn:
        await conn.execute(
            text(
                """insert into audit.events (tenant_id, at, id, kind, call_id, execution_id, n, actor,
                identifier, run_id, outcome, body, recorded_at, node, boot, counter, mac_key, mac)
                select cast(:t as uuid), now() - make_interval(secs => g * 0.001), gen_random_uuid(), k.kind, c.id,
                c.id, 1, 'session:x', 'x' || g % 50, case g when 19000 then 'rare' end, k.outcome, '{}', now(), 'n',
                gen_random_uuid(), g, 1, '\\x00'
                from generate_series(1, 20000) g, lateral (select md5(g || cast(:t as uuid)::text)::uuid as id) c,
                     (values ('intent', null), ('outcome', 'ok')) k (kind, outcome)
                """
            ),
            {"t": world.tenant_id},
        )


async def test_a_large_table_is_read_by_its_keys(world: World, server: Server) -> None:
    """The plans, not the clock: what has an index is found without reading the rest. The partition is analysed, as it
    is within a minute or so: statistics of other tenants alone say nothing of this one."""
    await _fill(world)
    connection = await asyncpg.connect(**server.superuser)
    await connection.execute("analyze audit.events")
    await connection.close()
    async with world.db.tenant(world.tenant_id) as conn:
        execution = await conn.scalar(text("select execution_id from audit.events where run_id = 'rare' limit 1"))
        for wanted, found, most in (
            (AuditFilter(), 20, 1100),
            (AuditFilter(identifier="x7"), 20, 1100),
            (AuditFilter(identifier="nobody"), 0, 0),
            (AuditFilter(run_id="rare"), 1, 3),
            (AuditFilter(execution_id=execution), 1, 3),
            (AuditFilter(kind="refusal"), 1, 3),
            (AuditFilter(outcome="refused"), 1, 3),
            (AuditFilter(kind="change"), 0, 0),
        ):
            where = conditions(wanted)
            statement, stopped = scan._statement(where, newest_first=True, resumed=False)
            params = where.params | {"tenant": world.tenant_id, "walk": 500, "size": 20}
            await conn.execute(scan._BOUNDS, {"ms": "10000"})
            for asked in (statement, stopped):
                plan = await conn.execute(text(f"explain (analyze, format json) {asked}"), params)
                assert _rows_read(plan.scalar_one()[0]["Plan"]) <= most, wanted
            assert len((await conn.execute(text(statement), params)).all()) == found, wanted
    items = await world.items(world.auditor(), identifier="x7", size=300)
    assert len(items) == 300
    summary = await Executions(world.db, reach).read(world.auditor(), execution)
    assert (summary["state"], [call["outcome"] for call in summary["calls"]]) == ("done", ["ok"])


async def test_every_partition_has_every_index(world: World) -> None:
    """Also those that are made later."""
    async with world.db.tenant(world.tenant_id) as conn:
        await conn.execute(text("select audit.ensure_partitions(current_date + 8, current_date + 9)"))
        found = await conn.execute(
            text(
                """select c.relname, count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid
                join pg_index x on x.indrelid = c.oid and x.indisvalid
                where i.inhparent = 'audit.events'::regclass group by 1"""
            )
        )
        counts = dict(tuple(row) for row in found)
        await conn.rollback()
    assert len(counts) >= 9
    assert set(counts.values()) == {5}


def _rows_read(node: dict[str, Any]) -> int:
    """Rows that the plan's scans gave, and threw away by a filter."""
    below = sum(_rows_read(child) for child in node.get("Plans", []))
    if "Scan" not in node["Node Type"] or node.get("Plans"):
        return below
    return int(node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) + below
