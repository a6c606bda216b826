"""One account's tokens, renewed by several processes: a refresh token is used once, and the next pair is kept."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text

from broker.accounts.upstream_oauth.renewals import Place, Renewals, Standing
from broker.accounts.upstream_oauth.sign_ins import make_upstream_sign_ins
from broker.db.database import Database
from broker.domain import Connection
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.maintenance import Maintenance, MaintenanceCall
from broker.ids import new_id
from connectors.auth import oauth_fields
from connectors.base import Answer, Prepared, RateHint
from connectors.egress import EgressPolicy
from connectors.mcp_upstream.oauth.discovery import SignIn
from connectors.mcp_upstream.oauth.tokens import Tokens
from tests.integration.accounts.world import PRIYA, World, make
from vault.binding import CredentialBinding

ORIGIN = "https://mcp.example.com"
FIRST = Tokens(
    access_token="access-0",
    refresh_token="refresh-0",
    scope=None,
    issuer="https://as.example.com",
    resource=f"{ORIGIN}/mcp",
    token_endpoint="https://as.example.com/token",
    revocation_endpoint=None,
    client_id="c",
    client_secret=None,
    method="none",
    expires_in=10,
)


SIGN_IN = SignIn(f"{ORIGIN}/mcp", None, FIRST.issuer, "a", FIRST.token_endpoint, None, None, (), False, True)


class Issuer:
    """An authorization server that takes each refresh token once, and takes its time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taken: list[str] = []
        self.during: Any = None
        self.refusal: str | None = None
        self.lasts: int | None = 3600

    async def perform(self, call: MaintenanceCall, _: Prepared) -> Answer:
        held = await held_by(self.world, call.account_id)
        assert held.refresh_token is not None
        again = held.refresh_token in self.taken
        self.taken.append(held.refresh_token)
        await asyncio.sleep(0.2)
        if self.during is not None:
            await self.during()
        n = len(self.taken)
        refusal = self.refusal or ("invalid_grant" if again else None)
        fresh = replace(held, access_token=f"access-{n}", refresh_token=f"refresh-{n}", expires_in=self.lasts)
        error = None if refusal is None else {"detail": "no", "code": refusal, "issuer": held.issuer, "status": 400}
        return Answer(200, fresh, error is not None, error, None, 0, 0, RateHint())


async def held_by(world: World, account_id: UUID) -> Tokens:
    """What is sealed of the account now."""
    (row,) = await world.rows(
        "select k.* from broker.accounts a join vault.credentials k on k.tenant_id = a.tenant_id "
        "and k.id = a.credential_id where a.tenant_id = :t and a.id = :id",
        id=account_id,
    )
    binding = CredentialBinding(row.tenant_id, account_id, row.id, row.version, row.kind, tuple(row.origins))
    return Tokens.load(oauth_fields(await world.base.sealed_storage.open(binding, bytes(row.sealed))))


class Stand:
    """An account that was connected by signing in, and processes that may renew it."""

    def __init__(self, world: World, place: Place, issuer: Issuer) -> None:
        self.world = world
        self.place = place
        self.issuer = issuer

    def process(self) -> Renewals:
        """One more process: it shares nothing but the database with the others."""

        class Asking(Maintenance):
            def __init__(self, issuer: Issuer) -> None:
                self.issuer = issuer

            async def perform(self, call: MaintenanceCall, prepared: Prepared) -> Answer:
                return await self.issuer.perform(call, prepared)

        base = self.world.base
        return Renewals(
            db=self.world.db,
            vault_=base.sealed_storage,
            trail=base.trail,
            clock=base.clock,
            views=self.world.views,
            maintenance=Asking(self.issuer),
        )

    async def credentials(self) -> list[tuple[int, str]]:
        return await self.world.credentials()


@pytest_asyncio.fixture
async def stand(db: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    async with make(db, tmp_path) as world:
        caller = await world.admin()
        tenant_id, connection_id, account_id, credential_id = caller.tenant_id, new_id(), new_id(), new_id()
        (who,) = await world.rows(
            "select id from broker.identities where tenant_id = :t and identifier = :who", who=PRIYA
        )
        now = world.base.clock.now()
        async with world.db.tenant(tenant_id) as conn:
            values = {"t": tenant_id, "c": connection_id, "a": account_id, "k": credential_id, "i": who.id, "now": now}
            await conn.execute(
                text(
                    "insert into broker.connections (tenant_id, id, name, connector, config, origins, created_at) "
                    "values (:t, :c, 'up', 'mcp', jsonb_build_object('url', cast(:url as text)), "
                    "array[cast(:origin as text)], :now)"
                ),
                {**values, "url": f"{ORIGIN}/mcp", "origin": ORIGIN},
            )
            await conn.execute(
                text(
                    "insert into broker.accounts (tenant_id, id, connection_id, identity_id, status, kind, "
                    "credential_id, created_at) values (:t, :a, :c, :i, 'active', 'oauth', :k, :now)"
                ),
                values,
            )
            binding = CredentialBinding(tenant_id, account_id, credential_id, 1, "oauth", (ORIGIN,))
            await world.base.sealed_storage.put_credential(conn, binding, FIRST.dump(), now)
        place = Place(caller, Connection(connection_id, "up", "mcp", 1, "active"), account_id)
        made = Stand(world, place, Issuer(world))
        await made.process().kept(tenant_id, account_id, FIRST)
        yield made


async def test_processes_renew_one_after_another(stand: Stand) -> None:
    processes = [stand.process() for _ in range(3)]
    found = await asyncio.gather(*[p.ready(stand.place) for p in processes for _ in range(3)])
    assert stand.issuer.taken == ["refresh-0"], "nine calls in three processes"
    assert {standing.generation for standing in found} == {2}
    held = await held_by(stand.world, stand.place.account_id)
    assert (held.access_token, held.refresh_token) == ("access-1", "refresh-1")
    assert await stand.credentials() == [(1, "superseded"), (2, "active")]
    await asyncio.gather(*[p.renew(stand.place, found[0]) for p in processes])
    assert stand.issuer.taken == ["refresh-0", "refresh-1"]
    assert await stand.credentials() == [(2, "superseded"), (3, "active")], "what is of no use is not kept"


async def test_the_next_pair_is_kept_when_the_caller_leaves(stand: Stand) -> None:
    process = stand.process()
    asking = asyncio.create_task(process.ready(stand.place))
    while not stand.issuer.taken:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await process.close()
    assert (await held_by(stand.world, stand.place.account_id)).refresh_token == "refresh-1"


async def test_a_process_that_died_holds_nobody_up_for_ever(stand: Stand) -> None:
    await stand.world.execute(
        "update broker.upstream_tokens set refreshing_by = :me, refreshing_until = clock_timestamp() - interval '1 s' "
        "where tenant_id = :t",
        me=new_id(),
    )
    assert (await stand.process().ready(stand.place)).generation == 2


async def test_a_revocation_wins(stand: Stand) -> None:
    async def revoked() -> None:
        tenant_id = stand.place.caller.tenant_id
        async with stand.world.db.tenant(tenant_id) as conn:
            now = stand.world.base.clock.now()
            await revoke.account(conn, tenant_id, stand.place.account_id, "left", now)

    stand.issuer.during = revoked
    with pytest.raises(Problem) as caught:
        await stand.process().renew(stand.place, Standing(1, None))
    assert caught.value.code == "needs_reauth"
    assert await stand.credentials() == [(1, "revoked"), (2, "revoked")], "the pair that came too late opens nothing"
    held = await held_by(stand.world, stand.place.account_id)
    assert held.refresh_token == "refresh-1", "and is what there is to give back"
    account = await stand.world.account_of(str(stand.place.account_id))
    assert account.status == "revoked"


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client"])
async def test_a_sign_in_that_ended_is_said_once(stand: Stand, code: str) -> None:
    stand.issuer.refusal = code
    for place in ("issuer:ours", "connection:an-admins"):
        await stand.world.execute(
            "insert into broker.upstream_clients (tenant_id, place, issuer, sealed, created_at) "
            "values (:t, :place, :issuer, '', now())",
            place=place,
            issuer=FIRST.issuer,
        )
    process = stand.process()
    for _ in range(2):
        with pytest.raises(Problem) as caught:
            await process.ready(stand.place)
        assert caught.value.code == "needs_reauth"
    assert len(stand.issuer.taken) == 1
    account = await stand.world.account_of(str(stand.place.account_id))
    assert account.status == "needs_reauth"
    assert len(await stand.world.changed("account.sign_in_ended")) == 1
    rows = await stand.world.rows("select place from broker.upstream_clients where tenant_id = :t")
    expected = {"connection:an-admins"} | ({"issuer:ours"} if code == "invalid_grant" else set())
    assert {row.place for row in rows} == expected, "who knows us no longer is registered at anew"


async def test_trouble_at_the_issuer_leaves_a_token_that_is_good(stand: Stand) -> None:
    stand.issuer.refusal = "temporarily_unavailable"
    process = stand.process()
    assert (await process.ready(stand.place)).generation == 1, "it has 10 s left"
    await stand.world.execute(
        "update broker.upstream_tokens set expires_at = :past where tenant_id = :t",
        past=stand.world.base.clock.now() - timedelta(seconds=1),
    )
    with pytest.raises(Problem) as caught:
        await stand.process().ready(stand.place)
    assert caught.value.code == "upstream_unreachable"
    account = await stand.world.account_of(str(stand.place.account_id))
    assert account.status == "active", "trouble is not the end of a sign-in"


async def test_an_hour_is_not_renewed(stand: Stand) -> None:
    process = stand.process()
    first = await process.ready(stand.place)
    assert await process.ready(stand.place) == first
    assert len(stand.issuer.taken) == 1


async def test_an_offboarding_that_waits_for_a_renewal_finds_its_tokens(stand: Stand, monkeypatch: Any) -> None:
    """The pair that is being stored while the identity is offboarded is revoked with the rest."""
    tenant_id, base = stand.place.caller.tenant_id, stand.world.base
    (who,) = await stand.world.rows(
        "select identity_id as id from broker.accounts where tenant_id = :t and id = :a", a=stand.place.account_id
    )
    storing, go_on = asyncio.Event(), asyncio.Event()
    put = base.sealed_storage.put_credential

    async def slowly(*given: Any) -> Any:
        done = await put(*given)
        storing.set()
        await go_on.wait()
        return done

    monkeypatch.setattr(type(base.sealed_storage), "put_credential", lambda _, *given: slowly(*given))

    async def offboarded() -> None:
        async with stand.world.db.tenant(tenant_id) as conn:
            await revoke.identity(conn, tenant_id, who.id, "left", base.clock.now())

    renewing = asyncio.create_task(stand.process().renew(stand.place, Standing(1, None)))
    await asyncio.wait_for(storing.wait(), 30)
    leaving = asyncio.create_task(offboarded())
    await _waited_for(stand.world)
    go_on.set()
    await asyncio.gather(renewing, leaving)
    assert {status for _, status in await stand.credentials()} == {"revoked"}


async def test_the_end_of_a_sign_in_waits_for_policy_before_it_holds_the_account(stand: Stand) -> None:
    """A deposit holds the tenant's policy and then wants the account: the other way round both would wait for ever."""
    stand.issuer.refusal = "invalid_grant"
    tenant_id, account_id = stand.place.caller.tenant_id, stand.place.account_id
    async with stand.world.db.tenant(tenant_id) as conn:
        await revoke.policy_changed(conn, tenant_id)
        renewing = asyncio.create_task(stand.process().renew(stand.place, Standing(1, None)))
        await _waited_for(stand.world)
        await conn.execute(
            text("update broker.accounts set label = label where tenant_id = :t and id = :a"),
            {"t": tenant_id, "a": account_id},
        )
    with pytest.raises(Problem) as caught:
        await renewing
    assert caught.value.code == "needs_reauth"
    assert (await stand.world.account_of(str(account_id))).status == "needs_reauth"


@pytest.mark.parametrize(("held", "asked"), [("a", "base b a"), ("x" * 1000 + " " + "y" * 1000, "base b")])
async def test_a_call_that_wanted_more_takes_nothing_away(stand: Stand, held: str, asked: str) -> None:
    """The next sign-in asks for what was wanted and for what was given, as far as that may be sent."""
    base, place = stand.world.base, stand.place
    http: Any = None
    sign_ins = make_upstream_sign_ins(
        base_url="https://k.example",
        db=stand.world.db,
        vault_=base.sealed_storage,
        trail=base.trail,
        clock=base.clock,
        views=stand.world.views,
        http=http,
        egress=EgressPolicy(),
    )
    account = await stand.world.account_of(str(place.account_id))
    tenant_id = place.caller.tenant_id
    who = {"tenant": tenant_id, "identity": account.identity_id, "connection": account.connection_id}
    await stand.process().kept(tenant_id, place.account_id, replace(FIRST, scope=held))
    assert await sign_ins._scope(who, replace(SIGN_IN, scope="base")) == "base"
    await stand.process().wants(tenant_id, place.account_id, "b")
    assert await sign_ins._scope(who, replace(SIGN_IN, scope="base")) == asked


async def _waited_for(world: World) -> None:
    """Until somebody waits for a lock in this database."""
    async with asyncio.timeout(30):
        while not await world.rows("select 1 from pg_locks where not granted and cast(:t as uuid) is not null"):
            await asyncio.sleep(0.01)
