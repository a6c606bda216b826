"""What programs leave behind: sealed, bounded, and for nobody but those it belongs to."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from broker.audit.events import ExecutionDone
from broker.domain import Caller
from broker.errors import Problem
from broker.ids import new_id
from broker.jobs.forgetting import Forgetting
from broker.tools.codemode import keeping as module
from broker.tools.codemode.keeping import Keeping, Owner, digest_of
from tests.integration.gate.world import Node, Upstream, World

CODE = "async () => 'canary-in-a-program'"


@pytest.fixture
def kept(node: Node) -> Keeping:
    return Keeping(node.db, node.vault_, node.trail, lambda _caller, _what: "any")


@pytest.fixture
async def caller(world: World, upstream: Upstream) -> Caller:
    return (await world.call(await world.person("priya"), upstream)).resolved.caller


@pytest.fixture
def owner(caller: Caller) -> Owner:
    assert caller.identity is not None
    return Owner(caller.identity.id, caller.bearer.root_id, new_id(), new_id(), None)


async def finish(
    kept: Keeping, caller: Caller, owner: Owner, result: bytes | None = b'{"a":1}', code: str = CODE
) -> UUID:
    event = ExecutionDone(
        caller=caller, at=caller.now, execution_id=new_id(), tool_name="cf_execute", connection_name="cf", outcome="ok",
        calls=0, intent="why", code_digest=digest_of(code),
    )  # fmt: skip
    await kept.finish(event, code, result, owner)
    return event.execution_id


async def rows(world: World, table: str) -> list[Any]:
    async with world.db.tenant(world.tenant_id) as conn:
        return list((await conn.execute(text(f"select * from broker.{table}"))).all())


async def test_a_result_comes_back_to_its_owner_byte_for_byte(kept: Keeping, caller: Caller, owner: Owner) -> None:
    for body in (b"7", b'"' + b"x" * 5_000 + b'"', b'"' + b"y" * 200_000 + b'"', b"12345678901234567890123"):
        execution_id = await finish(kept, caller, owner, body)
        assert await kept.previous(caller.tenant_id, execution_id, owner) == body


@pytest.mark.parametrize("field", ["identity_id", "root_id", "connection_id", "account_id"])
async def test_nobody_else_gets_it(kept: Keeping, caller: Caller, owner: Owner, field: str) -> None:
    execution_id = await finish(kept, caller, owner)
    changed: dict[str, Any] = {field: new_id()}
    other = replace(owner, **changed)
    with pytest.raises(Problem) as caught:
        await kept.previous(caller.tenant_id, execution_id, other)
    assert caught.value.code == "not_found"
    with pytest.raises(Problem):
        await kept.previous(new_id(), execution_id, owner)


async def test_a_narrowed_bearer_does_not_get_what_a_wider_one_made(
    kept: Keeping, caller: Caller, owner: Owner
) -> None:
    wide = await finish(kept, caller, owner)
    with pytest.raises(Problem):
        await kept.previous(caller.tenant_id, wide, replace(owner, access="read"))
    narrow = await finish(kept, caller, replace(owner, access="read"))
    assert await kept.previous(caller.tenant_id, narrow, owner)


async def test_the_oldest_go_when_an_identity_has_too_many(
    kept: Keeping, caller: Caller, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESULTS_MOST", 3)
    made = [await finish(kept, caller, owner) for _ in range(5)]
    for gone in made[:2]:
        with pytest.raises(Problem):
            await kept.previous(caller.tenant_id, gone, owner)
    for there in made[2:]:
        assert await kept.previous(caller.tenant_id, there, owner)
    monkeypatch.setattr(module, "RESULTS_BYTES", 250)
    last = await finish(kept, caller, owner)
    assert await kept.previous(caller.tenant_id, last, owner)
    with pytest.raises(Problem):
        await kept.previous(caller.tenant_id, made[2], owner)


async def test_nothing_readable_is_stored(kept: Keeping, world: World, caller: Caller, owner: Owner) -> None:
    await finish(kept, caller, owner, b'"canary-in-a-result"')
    for table in ("programs", "code_results"):
        assert "canary" not in str(await rows(world, table))


async def test_the_program_is_there_before_and_after_once(
    kept: Keeping, world: World, caller: Caller, owner: Owner
) -> None:
    execution_id = new_id()
    await kept.keep_code(caller.tenant_id, execution_id, caller.now, CODE)
    event = ExecutionDone(caller, caller.now, execution_id, "cf_execute", "cf", "ok")
    await kept.finish(event, CODE, None, owner)
    assert len([row for row in await rows(world, "programs") if row.execution_id == execution_id]) == 1
    read = await kept.code(caller, execution_id)
    assert (read["code"], read["code_digest"]) == (CODE, digest_of(CODE))
    with pytest.raises(Problem):
        await kept.code(caller, new_id())


async def test_what_is_past_its_time_goes(
    kept: Keeping, node: Node, world: World, caller: Caller, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESULT_SECONDS", 0)
    gone = await finish(kept, caller, owner)
    with pytest.raises(Problem):
        await kept.previous(caller.tenant_id, gone, owner)
    monkeypatch.setattr(module, "RESULT_SECONDS", 3600)
    there = await finish(kept, caller, owner)
    old = new_id()
    await kept.keep_code(caller.tenant_id, old, caller.now - timedelta(days=92), CODE)
    forgetting = Forgetting(node.db, node.clock)
    assert await forgetting.code_results() >= 1
    assert await forgetting.programs() >= 1
    assert [row.execution_id for row in await rows(world, "code_results")] == [there]
    assert old not in [row.execution_id for row in await rows(world, "programs")]


async def test_a_result_is_shown_while_all_stands_that_it_was_made_under(
    kept: Keeping, caller: Caller, owner: Owner
) -> None:
    event = ExecutionDone(caller, caller.now, new_id(), "cf_execute", "cf", "ok")
    await kept.finish(event, CODE, b"7", owner, {"g1:aa", "g2:bb"})
    for now in ({"g1:aa", "g2:bb"}, {"g1:aa", "g2:bb", "g3:cc"}):
        assert await kept.previous(caller.tenant_id, event.execution_id, owner, now) == b"7"
    for less in (set[str](), {"g1:aa"}, {"g1:aa", "g2:narrowed"}):
        with pytest.raises(Problem) as caught:
            await kept.previous(caller.tenant_id, event.execution_id, owner, less)
        assert caught.value.code == "not_granted"
