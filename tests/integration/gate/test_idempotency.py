"""Every state a key can be in, and who may use whose."""

from typing import Any

import orjson
import pytest

from broker.errors import Problem
from broker.gate import revoke
from broker.gate.idempotency import Claim, Idempotency, Replay
from tests.integration.gate.world import WRITE, Node, Person, Upstream, World

BODY = b'{"id":98765432109876543210,"n":1e2,"s":"\xc3\xa9"}'
RESULT: dict[str, Any] = {
    "execution_id": "x",
    "is_error": False,
    "data": orjson.Fragment(BODY),
    "error": None,
    "warnings": [],
    "calls": [[1, "POST", "/things", 200, "write", True]],
}


@pytest.fixture
def keys(node: Node) -> Idempotency:
    return Idempotency(node.db, node.vault_)


@pytest.fixture
async def priya(world: World) -> Person:
    return await world.person("priya")


async def test_a_finished_run_is_replayed_byte_for_byte(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person
) -> None:
    prepared = upstream.prepared(WRITE, body=b"{}")
    claim = await keys.begin(await world.call(priya, upstream), prepared, "k")
    assert isinstance(claim, Claim)
    await keys.finish(claim, RESULT)
    again = await keys.begin(await world.call(priya, upstream), prepared, "k")
    assert isinstance(again, Replay)
    assert orjson.dumps(again.result["data"]) == BODY
    assert again.result["calls"] == RESULT["calls"]
    assert again.kept


async def test_a_binary_result_is_replayed_as_one(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person
) -> None:
    claim = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(claim, Claim)
    binary = {"$binary": {"media_type": "image/png", "bytes": 1, "base64": "AA=="}}
    await keys.finish(claim, {**RESULT, "data": binary})
    again = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(again, Replay)
    assert again.result["data"] == binary


async def test_the_kept_result_is_sealed(world: World, keys: Idempotency, upstream: Upstream, priya: Person) -> None:
    claim = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(claim, Claim)
    await keys.finish(claim, {**RESULT, "data": "canary-in-a-result"})
    async with world.db.tenant(world.tenant_id) as conn:
        rows = (await conn.exec_driver_sql("select result from broker.idempotency")).all()
    assert len(rows) == 1
    assert b"canary" not in rows[0][0]


async def test_another_request_under_the_same_key_is_a_conflict(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person
) -> None:
    await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE, body=b"1"), "k")
    for other in (
        upstream.prepared(WRITE, body=b"2"),
        upstream.prepared(WRITE, body=b"1", query="a=1"),
        upstream.prepared(WRITE, body=b"1", headers=(("x", "1"),)),
    ):
        with pytest.raises(Problem) as caught:
            await keys.begin(await world.call(priya, upstream), other, "k")
        assert (caught.value.code, caught.value.sent) == ("idempotency_conflict", False)


async def test_a_running_one_is_waited_for_and_one_past_its_deadline_is_unknown(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person
) -> None:
    first = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(first, Claim)
    with pytest.raises(Problem) as caught:
        await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert caught.value.code == "idempotency_in_progress"
    assert 1 <= (caught.value.retry_after or 0) <= 5
    assert caught.value.execution_id == str(first.execution_id)
    await world.execute("update broker.idempotency set deadline_at = now()")
    with pytest.raises(Problem) as caught:
        await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert (caught.value.code, caught.value.sent) == ("outcome_unknown", "unknown")
    # The run was alive after all: its result counts.
    await keys.finish(first, RESULT)
    assert isinstance(await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k"), Replay)


@pytest.mark.parametrize(("sent", "freed"), [(False, True), (None, True), (True, False), ("unknown", False)])
async def test_what_was_never_sent_frees_the_key(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person, sent: Any, *, freed: bool
) -> None:
    claim = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(claim, Claim)
    await keys.failed(claim, Problem("upstream_unreachable", "x", sent=sent))
    if freed:
        assert isinstance(await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k"), Claim)
        return
    with pytest.raises(Problem) as caught:
        await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert caught.value.code == "outcome_unknown"


async def test_a_429_frees_the_key_and_a_large_result_is_not_kept(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person
) -> None:
    claim = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(claim, Claim)
    await keys.finish(claim, {**RESULT, "error": {"status": 429}})
    claim = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(claim, Claim)
    await keys.finish(claim, {**RESULT, "data": "x" * 2_000_000})
    again = await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "k")
    assert isinstance(again, Replay)
    assert not again.kept
    assert orjson.dumps(again.result["data"]) == b"null"


async def test_a_key_belongs_to_identity_account_tool_and_holder(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person
) -> None:
    marco = await world.person("marco")
    agent, token = await world.key(identifiers=["*"])
    other, other_token = await world.key(identifiers=["*"])
    calls = [
        await world.call(priya, upstream),
        await world.call(marco, upstream),
        await world.call(priya, upstream, token=token, identifier="priya"),
        await world.call(priya, upstream, token=other_token, identifier="priya"),
    ]
    assert agent != other
    for call in calls:
        assert isinstance(await keys.begin(call, upstream.prepared(WRITE), "k"), Claim)
    _, fresh = await world.session(priya.identity_id)
    with pytest.raises(Problem) as caught:  # another session of the same client is the same holder
        await keys.begin(await world.call(priya, upstream, token=fresh), upstream.prepared(WRITE), "k")
    assert caught.value.code == "idempotency_in_progress"


async def test_old_keys_go(world: World, keys: Idempotency, upstream: Upstream, priya: Person) -> None:
    await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "old")
    await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "older")
    await world.execute("update broker.idempotency set expires_at = now(), state = 'unknown'")
    assert isinstance(await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), "old"), Claim)
    assert await keys.expire(world.tenant_id) == 1


async def test_a_replay_needs_todays_authority(world: World, node: Node, upstream: Upstream, priya: Person) -> None:
    """`authorize` stands before `begin` (tools/execute.py); here: that it says no after a grant went."""
    await world.execute("update broker.grants set deleted_at = now()")
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.policy_changed(conn, world.tenant_id)
    with pytest.raises(Problem) as caught:
        node.gate.authorize(await world.call(priya, upstream), upstream.prepared(WRITE))
    assert caught.value.code == "not_granted"


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb"])
async def test_malformed_keys_are_refused(
    world: World, keys: Idempotency, upstream: Upstream, priya: Person, key: str
) -> None:
    with pytest.raises(Problem) as caught:
        await keys.begin(await world.call(priya, upstream), upstream.prepared(WRITE), key)
    assert caught.value.code == "invalid_input"
