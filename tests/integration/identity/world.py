"""Two tenants, every service of this package over a real database, and callers made by real tokens."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.db.paging import PageRequest
from broker.domain import Caller, Resolved
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.inflight import Drain
from broker.identity.authenticate import NO_CONNECTION, Asked, Authenticator
from broker.identity.identities import Identities
from broker.identity.keys import Keys, KeySpec
from broker.identity.offboard import Offboarding
from broker.identity.sessions import Sessions
from broker.identity.tenants import Tenants
from broker.identity.tokens import mint, parse
from broker.ids import new_id
from broker.metrics import Metrics
from broker.policy.grants import Grants
from vault.keyring import Keyring
from vault.keystore import SqlKeyStore
from vault.store import Vault
from vault.testing import memory_sealed_storage, random_root

ALL = PageRequest(1000)


class SetClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class World:
    """The services, as `app.py` puts them together, and the tokens of a platform admin (at home in `home`) and of an
    admin of `tenant`."""

    db: Database
    clock: SetClock
    sealed_storage: Vault
    trail: AuditTrail
    authenticator: Authenticator
    tenants: Tenants
    identities: Identities
    keys: Keys
    sessions: Sessions
    grants: Grants
    offboarding: Offboarding
    home: str
    tenant: str
    platform_token: str
    admin_token: str

    async def resolve(self, token: str, *, connection: str | None = NO_CONNECTION, **asked: Any) -> Resolved:
        return await self.authenticator.resolve(
            parse(token), Asked(connection=connection, client="tests/1", **asked), self.clock.now()
        )

    async def caller(self, token: str | None = None, **asked: Any) -> Caller:
        """Whoever the token says; an admin of the tenant without one."""
        return (await self.resolve(token or self.admin_token, **asked)).caller

    async def platform(self, tenant: str | None = None) -> Caller:
        return await self.caller(self.platform_token, tenant=tenant)

    async def identity(self, identifier: str = "priya", **more: Any) -> dict[str, Any]:
        return await self.identities.create(await self.caller(), identifier=identifier, **more)

    async def key(self, by: Caller | None = None, **spec: Any) -> dict[str, Any]:
        spec = {"kind": "agent", "name": "k", **spec}
        return await self.keys.create(by or await self.caller(), KeySpec(**spec))

    async def session(self, by: Caller | None = None, identifier: str | None = "priya", **more: Any) -> dict[str, Any]:
        return await self.sessions.create(by or await self.caller(), identifier=identifier, **more)

    async def connection(self, name: str = "cloudflare") -> UUID:
        caller, made = await self.caller(), new_id()
        async with self.db.tenant(caller.tenant_id) as conn:
            await conn.execute(
                text(
                    "insert into broker.connections (tenant_id, id, name, connector, config, origins, created_at)"
                    " values (:t, :id, :name, 'cloudflare', '{}', '{}', now())"
                ),
                {"t": caller.tenant_id, "id": made, "name": name},
            )
        return made

    async def account(self, connection_id: UUID, identity_id: UUID | None) -> UUID:
        caller, made = await self.caller(), new_id()
        async with self.db.tenant(caller.tenant_id) as conn:
            await conn.execute(
                text(
                    "insert into broker.accounts (tenant_id, id, connection_id, identity_id, status, kind, created_at)"
                    " values (:t, :id, :c, :i, 'active', 'api_token', now())"
                ),
                {"t": caller.tenant_id, "id": made, "c": connection_id, "i": identity_id},
            )
        return made

    async def open_call(
        self, connection_id: UUID, account_id: UUID, identity_id: UUID, bearer_id: UUID | None = None
    ) -> tuple[UUID, UUID]:
        """An admitted call that is not settled; its call and execution id."""
        caller, call, execution = await self.caller(), new_id(), new_id()
        async with self.db.tenant(caller.tenant_id) as conn:
            await conn.execute(
                text(
                    "insert into broker.open_calls (tenant_id, call_id, execution_id, account_id, connection_id,"
                    " identity_id, bearer_id, intent_at, admitted_at, deadline_at, principal_key, meters, costs,"
                    " slot_seconds, slot_eras, slots_seen, boot)"
                    " values (:t, :call, :e, :a, :c, :i, :b, now(), now(), now() + interval '30 s', '', '{}', '{}',"
                    " '{}', '{}', '{}', :call)"
                ),
                {
                    "t": caller.tenant_id,
                    "call": call,
                    "e": execution,
                    "a": account_id,
                    "c": connection_id,
                    "i": identity_id,
                    "b": bearer_id or new_id(),
                },
            )
        return call, execution

    async def settle(self, call: UUID) -> None:
        caller = await self.caller()
        async with self.db.tenant(caller.tenant_id) as conn:
            await conn.execute(text("delete from broker.open_calls where call_id = :c"), {"c": call})

    async def changes(self, caller: Caller | None = None) -> list[dict[str, Any]]:
        """The tenant's audited changes, in the order they were made."""
        where = (caller or await self.caller()).tenant_id
        async with self.db.tenant(where) as conn:
            rows = await conn.execute(
                text("select * from audit.events where kind = 'change' order by recorded_at, counter")
            )
            return [dict(row) for row in rows.mappings()]

    async def policy_version(self) -> int:
        return (await self.caller()).policy_version


async def refused(awaited: Awaitable[Any], code: str, path: str | None = None) -> Problem:
    """The problem that `awaited` raises, which must have this code and, if given, name this field."""
    with pytest.raises(Problem) as caught:
        await awaited
    assert caught.value.code == code
    if path is not None:
        assert caught.value.fields[0].path == path
    return caught.value


class Gone:
    """Gives everything back at once."""

    async def give_back(self, _: Caller, account_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        return dict.fromkeys(account_ids, "deleted")


async def make_world(db: Database) -> World:
    clock = SetClock()
    keyring = Keyring(SqlKeyStore(db.tenant), random_root())
    sealed_storage = Vault(keyring)
    # Its own, not the database's: other tests share that, with another root key.
    sealed_storage._platform = (await memory_sealed_storage())._platform
    trail = AuditTrail(vault_=sealed_storage, db=db, node="node-1", boot=new_id(), clock=clock, metrics=Metrics())
    world = World(
        db=db,
        clock=clock,
        sealed_storage=sealed_storage,
        trail=trail,
        authenticator=Authenticator(db),
        tenants=Tenants(db=db, keyring=keyring, trail=trail, policy_changed=revoke.policy_changed),
        identities=Identities(db=db, trail=trail, revocation=revoke),
        keys=Keys(db=db, trail=trail, revocation=revoke),
        sessions=Sessions(db=db, trail=trail, revocation=revoke, mcp_url=lambda t: f"https://k.test/t/{t}/mcp"),
        grants=Grants(db=db, trail=trail, policy_changed=revoke.policy_changed),
        offboarding=Offboarding(db=db, trail=trail, revocation=revoke, drain=Drain(db), giving_back=Gone()),
        home=f"h{new_id().hex}",
        tenant=f"t{new_id().hex}",
        platform_token="",
        admin_token="",
    )
    world.platform_token = await _platform_admin(db, keyring, world.home, clock.now())
    made = await world.tenants.create(await world.platform(), name=world.tenant)
    world.admin_token = made["admin_key"]
    return world


async def _platform_admin(db: Database, keyring: Keyring, name: str, now: datetime) -> str:
    """What the first start makes, under another name: tests share one database."""
    tenant_id, bearer_id = new_id(), new_id()
    token = mint("operator", tenant_id)
    async with db.tenant(tenant_id) as conn:
        await conn.execute(
            text("insert into broker.tenants (id, name, created_at) values (:id, :name, :now)"),
            {"id": tenant_id, "name": name, "now": now},
        )
        await keyring.ensure(conn, tenant_id, now)
        await conn.execute(
            text(
                "insert into broker.bearers (tenant_id, id, kind, token_hash, root_id, name, role, created_at)"
                " values (:t, :id, 'operator', :hash, :id, 'bootstrap', 'platform_admin', :now)"
            ),
            {"t": tenant_id, "id": bearer_id, "hash": token.digest, "now": now},
        )
    return token.text
