"""A call may start from a look-up of the last second; what was taken or given since holds for the very next call."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.errors import Problem
from broker.gate import revoke
from broker.identity.tokens import parse
from connectors.errors import UpstreamUnreachable
from tests.integration.accounts.world import MARCO, PRIYA, World
from tests.integration.identity.world import refused


async def _ready(world: World) -> tuple[str, str]:
    await world.connect()
    account = await world.put(world.demo.priya_token.value)
    await world.grant("write")
    token = await world.session()
    for _ in range(3):
        assert not (await world.call(token, "GET /zones")).is_error
    return token, account["id"]


async def _session_gone(world: World, token: str, _: str) -> None:
    tenant = parse(token).tenant_id
    (row,) = await world.rows("select id from broker.bearers where tenant_id = :t and kind = 'session'")
    async with world.db.tenant(tenant) as conn:
        await revoke.bearer(conn, tenant, row.id, "over", (await world.admin()).now)


async def _account_gone(world: World, _: str, account: str) -> None:
    await world.accounts.revoke(await world.admin(), account, reason="over", upstream=False, drain_seconds=0)


async def _identity_gone(world: World, token: str, _: str) -> None:
    tenant = parse(token).tenant_id
    (row,) = await world.rows("select id from broker.identities where tenant_id = :t and identifier = :who", who=PRIYA)
    async with world.db.tenant(tenant) as conn:
        await revoke.identity(conn, tenant, row.id, "left", (await world.admin()).now)


async def _grants_gone(world: World, token: str, _: str) -> None:
    tenant = parse(token).tenant_id
    await world.execute("update broker.grants set deleted_at = now() where tenant_id = :t")
    async with world.db.tenant(tenant) as conn:
        await revoke.policy_changed(conn, tenant)


@pytest.mark.parametrize(
    ("taken", "code"),
    [
        (_session_gone, "unauthenticated"),
        (_account_gone, "revoked"),
        (_identity_gone, "unauthenticated"),
        (_grants_gone, "not_granted"),
    ],
)
async def test_what_was_taken_is_gone_for_the_next_call(
    world: World, taken: Callable[[World, str, str], Awaitable[None]], code: str
) -> None:
    token, account = await _ready(world)
    arrived = len(world.reached())
    await taken(world, token, account)
    for _ in range(3):
        await refused(world.call(token, "GET /zones"), code)
    assert len(world.reached()) == arrived, "nothing was sent"


async def test_what_was_given_is_there_for_the_next_call(world: World) -> None:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    await world.grant("read")
    token = await world.session()
    assert not (await world.call(token, "GET /zones")).is_error
    zone = world.demo.com.id
    body = {"purge_everything": True}
    purge = {"path_params": {"zone_id": zone}, "body": body}
    await refused(world.call(token, "POST /zones/{zone_id}/purge_cache", **purge), "not_granted")
    await world.grant("write")
    assert not (await world.call(token, "POST /zones/{zone_id}/purge_cache", **purge)).is_error


async def test_a_refusal_is_recorded_once(world: World) -> None:
    token, _ = await _ready(world)
    await refused(
        world.call(token, "DELETE /zones/{zone_id}/dns_records/{dns_record_id}", **_record(world)), "not_granted"
    )
    rows = await world.rows("select id from audit.events where tenant_id = :t and kind = 'refusal'")
    assert len(rows) == 1


class _Unreachable:
    """An upstream to which no connection can be made."""

    async def send(self, **_: Any) -> Any:
        raise UpstreamUnreachable("refused", sent=False)


@pytest.mark.parametrize("recent", [True, False])
async def test_a_call_that_never_left_is_one_call_and_no_refusal(
    world: World, monkeypatch: pytest.MonkeyPatch, recent: bool
) -> None:
    token, _ = await _ready(world)
    await world.settled()
    before = {kind: await _count(world, kind) for kind in ("intent", "outcome", "refusal")}
    monkeypatch.setattr(world.dispatch, "_http", _Unreachable())
    if not recent:
        monkeypatch.setattr(world.runner._authenticator, "recent", lambda *_: None)
    with pytest.raises(Problem) as told:
        await world.call(token, "GET /zones")
    assert (told.value.code, told.value.sent) == ("upstream_unreachable", False)
    after = {kind: await _count(world, kind) for kind in before}
    assert after == {"intent": before["intent"] + 1, "outcome": before["outcome"] + 1, "refusal": before["refusal"]}
    assert (await world.outcomes())[-1] == "not_sent"
    (row,) = await world.rows("select count(*) n from broker.open_calls where tenant_id = :t")
    assert row.n == 0


async def _count(world: World, kind: str) -> int:
    (row,) = await world.rows("select count(*) n from audit.events where tenant_id = :t and kind = :kind", kind=kind)
    return int(row.n)


def _record(world: World) -> dict[str, object]:
    return {"path_params": {"zone_id": world.demo.com.id, "dns_record_id": "0" * 32}}


async def test_another_identity_gets_nothing_of_it(world: World) -> None:
    await _ready(world)
    await world.put(world.demo.marco_token.value, identifier=MARCO)
    marco = await world.session(MARCO)
    outside = {"path_params": {"zone_id": world.demo.com.id}}
    await refused(world.call(marco, "GET /zones/{zone_id}/dns_records", **outside), "not_permitted_upstream")
