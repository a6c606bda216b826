"""What is given back of a revoked sign-in is what its server issued last."""

import asyncio
from typing import Any

import pytest

from broker.accounts.upstream_oauth.giving_back import AT_ONCE, GivingBack
from broker.accounts.upstream_oauth.renewals import Standing
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.maintenance import Maintenance, MaintenanceCall
from broker.ids import new_id
from connectors.base import Answer, Prepared, RateHint
from connectors.errors import UpstreamUnreachable
from connectors.mcp_upstream.oauth.errors import NoRevocation
from connectors.mcp_upstream.oauth.renewal import REVOKE
from tests.integration.mcp_upstream.test_renewals import Stand, held_by, stand

__all__ = ["stand"]


class Taking(Maintenance):
    """An authorization server that takes tokens back, or does what `ends` says."""

    def __init__(self, stand: Stand, ends: Exception | None = None) -> None:
        self.stand = stand
        self.ends = ends
        self.taken: list[str | None] = []

    async def perform(self, call: MaintenanceCall, prepared: Prepared) -> Answer:
        assert prepared.operation.id == REVOKE
        self.taken.append((await held_by(self.stand.world, call.account_id)).refresh_token)
        if self.ends is not None:
            raise self.ends
        return Answer(200, None, False, None, None, 0, 0, RateHint())


def giving_back(stand: Stand, maintenance: Maintenance) -> GivingBack:
    base = stand.world.base
    return GivingBack(
        db=stand.world.db, trail=base.trail, clock=base.clock, views=stand.world.views, maintenance=maintenance
    )


async def revoked(stand: Stand) -> None:
    tenant_id = stand.place.caller.tenant_id
    async with stand.world.db.tenant(tenant_id) as conn:
        await revoke.account(conn, tenant_id, stand.place.account_id, "left", stand.world.base.clock.now())


async def test_a_renewal_under_way_is_waited_for(stand: Stand) -> None:
    """Or the pair that it brings would stay good there, and the spent one be called given back."""
    asking, go_on = asyncio.Event(), asyncio.Event()

    async def held_up() -> None:
        asking.set()
        await go_on.wait()

    stand.issuer.during = held_up
    renewing = asyncio.create_task(stand.process().renew(stand.place, Standing(1, None)))
    await asyncio.wait_for(asking.wait(), 30)
    await revoked(stand)
    taking = Taking(stand)
    giver = giving_back(stand, taking)
    found = await giver.give_back(stand.place.caller, [stand.place.account_id], seconds=0.3)
    assert (found, taking.taken) == ({stand.place.account_id: "pending"}, [])
    go_on.set()
    with pytest.raises(Problem):
        await renewing
    await giver.close(30)
    assert taking.taken == ["refresh-1"]
    account = await stand.world.account_of(str(stand.place.account_id))
    assert (account.status, account.giving_back) == ("revoked", "deleted")


@pytest.mark.parametrize(
    ("ends", "standing"),
    [
        (NoRevocation(), "kept"),
        (UpstreamUnreachable("away", sent=False), "failed"),
        (Problem("budget_exhausted", "used up"), "failed"),
    ],
)
async def test_how_it_ended_is_what_is_told(stand: Stand, ends: Exception, standing: str) -> None:
    await revoked(stand)
    account_id, caller = stand.place.account_id, stand.place.caller
    taking = Taking(stand, ends)
    giver = giving_back(stand, taking)
    assert await giver.give_back(caller, [account_id], seconds=30) == {account_id: standing}
    [change] = await stand.world.changed("account.given_back")
    assert change["body"]["summary"]["upstream"] == standing
    taking.ends = None
    assert await giver.give_back(caller, [account_id], seconds=30) == {account_id: "deleted"}
    assert await giver.give_back(caller, [account_id], seconds=30) == {account_id: "deleted"}
    assert len(taking.taken) == 2, "what is done is not asked for again"


async def test_the_end_of_a_process_waits_for_no_server(stand: Stand) -> None:
    """It stays to be asked for; whoever asks again, in any process, is answered."""

    class Hanging(Taking):
        async def perform(self, call: MaintenanceCall, prepared: Prepared) -> Answer:
            await asyncio.Event().wait()
            return await super().perform(call, prepared)

    await revoked(stand)
    giver = giving_back(stand, Hanging(stand))
    found = await giver.give_back(stand.place.caller, [stand.place.account_id], seconds=0.1)
    assert found == {stand.place.account_id: "pending"}
    async with asyncio.timeout(30):
        await giver.close(0.1)
    again = giving_back(stand, Taking(stand))
    assert await again.standing(stand.place.caller.tenant_id, [stand.place.account_id]) == found
    told = await again.give_back(stand.place.caller, [stand.place.account_id], seconds=30)
    assert told == {stand.place.account_id: "deleted"}


async def test_asking_again_and_again_asks_its_server_once(stand: Stand) -> None:
    """Or whoever owns an account at a server that does not answer could fill this process with such calls."""
    go_on = asyncio.Event()

    class Slow(Taking):
        async def perform(self, call: MaintenanceCall, prepared: Prepared) -> Answer:
            answer = await super().perform(call, prepared)
            await go_on.wait()
            return answer

    await revoked(stand)
    account_id, caller = stand.place.account_id, stand.place.caller
    taking = Slow(stand)
    giver = giving_back(stand, taking)
    for _ in range(3):
        assert await giver.give_back(caller, [account_id], seconds=0.2) == {account_id: "pending"}
    assert len(taking.taken) == 1
    go_on.set()
    await giver.close(30)
    assert await giver.standing(caller.tenant_id, [account_id]) == {account_id: "deleted"}


async def test_one_tenants_servers_keep_nobody_elses_waiting(stand: Stand) -> None:
    giver = giving_back(stand, Taking(stand))
    await revoked(stand)
    busy = giver._room(new_id())
    for _ in range(AT_ONCE):
        await busy.acquire()
    account_id = stand.place.account_id
    assert await giver.give_back(stand.place.caller, [account_id], seconds=30) == {account_id: "deleted"}


async def test_nothing_of_an_account_that_stands_is_given_back(stand: Stand) -> None:
    taking: Any = Taking(stand)
    giver = giving_back(stand, taking)
    account_id = stand.place.account_id
    assert await giver.give_back(stand.place.caller, [account_id]) == {account_id: "kept"}
    await stand.world.execute("update broker.accounts set kind = 'bearer' where tenant_id = :t")
    await revoked(stand)
    assert await giver.give_back(stand.place.caller, [account_id]) == {account_id: "kept"}, "nor what is no sign-in"
    assert taking.taken == []


async def test_who_asks_beside_another_tells_nothing_else(stand: Stand) -> None:
    """The gate admits the second call no more once the first has ended: what is done is not told as failed."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    class Late(Taking):
        async def perform(self, call: MaintenanceCall, prepared: Prepared) -> Answer:
            arrived.set()
            await go_on.wait()
            return await super().perform(call, prepared)

    await revoked(stand)
    account_id, caller = stand.place.account_id, stand.place.caller
    late = giving_back(stand, Late(stand, Problem("revoked", "the account was revoked")))
    second = asyncio.create_task(late.give_back(caller, [account_id], seconds=30))
    await asyncio.wait_for(arrived.wait(), 30)
    first = giving_back(stand, Taking(stand))
    done = {account_id: "deleted"}
    assert await first.give_back(caller, [account_id], seconds=30) == done
    go_on.set()
    assert await second == done
    changes = await stand.world.changed("account.given_back")
    assert [change["body"]["summary"]["upstream"] for change in changes] == ["deleted"]
