"""Exports of the audit: complete, in order, resumable by cursor, and themselves recorded; against a real PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from broker.audit import export as export_module
from broker.audit.export import AuditExport, ExportRequest
from broker.domain import Caller
from broker.errors import Problem
from broker.identity.roles import reach
from tests.integration.audit.conftest import World


async def _export(world: World, caller: Caller, **request: Any) -> list[dict[str, Any]]:
    export = AuditExport(world.db, world.trail, reach)
    lines: AsyncIterator[bytes] = await export.begin(caller, ExportRequest(**request))
    whole = b"".join([block async for block in lines])
    return [orjson.loads(line) for line in whole.splitlines()]


async def test_an_export_is_complete_ordered_and_itself_recorded(varied: World) -> None:
    *items, end = await _export(varied, varied.auditor())
    assert end["kind"] == "end"
    assert end["items"] == len(items) == 9
    times = [i["at"] for i in items]
    assert times == sorted(times)
    timed_out = next(i for i in items if i["outcome"] == "timeout")
    assert [r["kind"] for r in timed_out["records"]] == ["intent", "outcome"]
    assert len(timed_out["records"][0]["mac"]) == 64
    newest = (await varied.items(varied.auditor()))[0]
    assert newest["operation"] == "audit.exported"


async def test_what_is_not_yet_committed_is_left_for_the_next_export(varied: World) -> None:
    late = varied.with_boot()
    auditor = varied.auditor()
    async with varied.db.tenant(varied.tenant_id) as conn:
        await late.trail.change(conn, None, "slow.transaction", tenant_id=varied.tenant_id)
        await varied.call(varied.caller(identifier="fast"))
        *first, end = await _export(varied, auditor)
    *second, _ = await _export(varied, auditor, cursor=end["cursor"])
    assert not {i["id"] for i in first} & {i["id"] for i in second}
    everything = {i["id"] for i in await varied.items(auditor)}
    assert {i["id"] for i in first} | {i["id"] for i in second} >= {
        i["id"] for i in await varied.items(auditor) if i.get("operation") != "audit.exported"
    }
    assert {i["id"] for i in [*first, *second]} <= everything
    assert any(i.get("operation") == "slow.transaction" for i in second)


async def test_a_late_outcome_brings_its_call_into_the_next_export(world: World) -> None:
    intent = await world.call(world.caller(), None)
    *first, end = await _export(world, world.auditor())
    assert [i["outcome"] for i in first] == ["open"]
    await world.outcome(intent, "ok", 200)
    *second, _ = await _export(world, world.auditor(), cursor=end["cursor"])
    assert [i["outcome"] for i in second if i["kind"] == "call"] == ["ok"]


async def test_an_export_in_many_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "BATCH", 3)
    monkeypatch.setattr(export_module, "WALK", 4)
    for i in range(11):
        if i % 2:
            world.clock.forward(microseconds=1)
        await world.call(world.caller(), "ok" if i % 3 else None)
    *items, end = await _export(world, world.auditor())
    assert end["items"] == len({i["id"] for i in items}) == 11
    assert sum(i["outcome"] == "ok" for i in items) == 7


async def test_who_may_export_what(world: World) -> None:
    for caller in (world.caller(), world.caller("agent", None)):
        with pytest.raises(Problem, match="forbidden"):
            await _export(world, caller)
    for request in ({"format": "ocsf"}, {"cursor": "x"}, {"cursor": "9" * 30}):
        with pytest.raises(Problem, match="invalid_input"):
            await _export(world, world.auditor(), **request)
