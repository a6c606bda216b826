"""A tenant with everything a call needs, a gate around it, and an upstream that does as it is told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from broker.audit.trail import AuditTrail
from broker.clock import SystemClock
from broker.db.database import Database
from broker.domain import Resolved
from broker.gate.admission import Admissions
from broker.gate.dispatch import Dispatch
from broker.gate.inflight import Drain, InFlight
from broker.gate.maintenance import Maintenance
from broker.gate.nodes import NodeInfo, Nodes
from broker.gate.perform import Gate
from broker.gate.principals import Principals
from broker.gate.sweep import Sweeper
from broker.gate.types import CallRequest, Measure
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.tokens import mint, parse
from broker.ids import new_id
from broker.metrics import Metrics
from broker.settings import Limits
from connectors.base import Answer, Meter, Operation, Permissions, Permit, Prepared, RateHint
from vault.binding import CredentialBinding
from vault.reveal import reveal
from vault.secret import Secret
from vault.store import Vault

ORIGIN = "https://api.example.test"
READ = Operation("things-list", "GET", "/things", "read", permissions=("Read",), annotated=True)
WRITE = Operation("things-create", "POST", "/things", "write", permissions=("Write",), annotated=True)
OK = Answer(200, {"success": True}, False, None, "ray-1", 10, 20, RateHint())


def answer(status: int = 200, **rate: int) -> Answer:
    error = None if status < 400 else {"detail": f"upstream said {status}", "status": status}
    return Answer(status, {"status": status}, status >= 400, error, "ray", 10, 20, RateHint(**rate))


class Upstream:
    """A connector whose sends are remembered; `reply` decides what comes back."""

    name = "fake"
    title = "Fake"
    official_origins: tuple[str, ...] = (ORIGIN,)
    kinds = ()
    needs_spec = False

    def __init__(self, limit: int = 1200, window: int = 300) -> None:
        self.meters = (Meter("rest", limit, window),)
        self.sent: list[tuple[Prepared, str]] = []
        self.reply: Callable[[Prepared], Awaitable[Answer]] = self._ok
        self.permit_verdict = Permit("allowed")

    async def _ok(self, _: Prepared) -> Answer:
        return OK

    def permit(self, prepared: Prepared, permissions: Permissions) -> Permit:
        return self.permit_verdict

    def learn(self, prepared: Prepared, given: Answer) -> str | None:
        return "Things Write" if given.status == 403 else None

    async def send(self, http: Any, prepared: Prepared, kind: str, secret: Secret, **_: Any) -> Answer:
        self.sent.append((prepared, reveal(secret).decode()))
        return await self.reply(prepared)

    def prepared(self, operation: Operation = READ, meters: tuple[Meter, ...] | None = None, **more: Any) -> Prepared:
        return Prepared(
            operation=operation,
            method=operation.method,
            origin=ORIGIN,
            path=operation.path,
            meters=self.meters if meters is None else meters,
            **more,
        )


@dataclass
class Node:
    """One process's gate."""

    db: Database
    vault_: Vault
    limits: Limits = field(default_factory=Limits)
    measures: list[Measure] = field(default_factory=list)
    learned: list[tuple[UUID, UUID, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.info = NodeInfo("test", new_id())
        clock = SystemClock()
        self.clock = clock
        self.trail = AuditTrail(
            vault_=self.vault_, db=self.db, node="test", boot=self.info.boot, clock=clock, metrics=Metrics()
        )
        self.in_flight = InFlight(
            per_tenant=self.limits.in_flight_per_tenant, per_identity=self.limits.in_flight_per_identity
        )
        self.admissions = Admissions(self.db, clock.now())
        self.dispatch = Dispatch(
            admissions=self.admissions,
            vault_=self.vault_,
            trail=self.trail,
            http=None,  # type: ignore[arg-type] - the fake upstream needs none
            in_flight=self.in_flight,
            observe=self.measures.append,
        )

        async def on_learned(*facts: Any) -> None:
            self.learned.append(facts)

        self.gate = Gate(
            dispatch=self.dispatch,
            trail=self.trail,
            clock=clock,
            limits=self.limits,
            in_flight=self.in_flight,
            on_learned=on_learned,
        )
        self.principals = Principals(self.vault_.platform_digest)
        self.maintenance = Maintenance(
            dispatch=self.dispatch,
            admissions=self.admissions,
            principals=self.principals,
            clock=clock,
            limits=self.limits,
            in_flight=self.in_flight,
        )
        self.nodes = Nodes(self.db, self.info)
        self.sweeper = Sweeper(self.admissions, self.trail, self.nodes)
        self.drain = Drain(self.db)


@dataclass
class Person:
    """An identity with one account and one session token."""

    identity_id: UUID
    identifier: str
    account_id: UUID
    bearer_id: UUID
    token: str
    credential: str


class World:
    """One tenant's rows, and callers in it."""

    def __init__(self, db: Database, vault_: Vault, tenant_id: UUID) -> None:
        self.db = db
        self.vault_ = vault_
        self.tenant_id = tenant_id
        self.connection_id = new_id()
        self.authenticator = Authenticator(db)

    async def set_up(self) -> "World":
        now = SystemClock().now()
        async with self.db.tenant(self.tenant_id) as conn:
            await self.vault_.keyring.ensure(conn, self.tenant_id, now)
            await conn.execute(
                text(
                    "insert into broker.connections (tenant_id, id, name, connector, config, origins, created_at)"
                    " values (:t, :id, 'fake', 'fake', '{}', :origins, :now)"
                ),
                {"t": self.tenant_id, "id": self.connection_id, "origins": [ORIGIN], "now": now},
            )
            await conn.execute(
                text(
                    "insert into broker.grants"
                    " (tenant_id, id, subject_kind, connection_id, access, created_by, created_at)"
                    " values (:t, :id, 'everyone', :c, 'write', 'test', :now)"
                ),
                {"t": self.tenant_id, "id": new_id(), "c": self.connection_id, "now": now},
            )
        return self

    async def person(self, identifier: str, principal: bytes | None = None) -> Person:
        now = SystemClock().now()
        identity_id, account_id, credential_id = new_id(), new_id(), new_id()
        secret = f"upstream-secret-of-{identifier}"
        binding = CredentialBinding(self.tenant_id, account_id, credential_id, 1, "api_token", (ORIGIN,))
        async with self.db.tenant(self.tenant_id) as conn:
            await conn.execute(
                text("insert into broker.identities (tenant_id, id, identifier, created_at) values (:t, :i, :n, :now)"),
                {"t": self.tenant_id, "i": identity_id, "n": identifier, "now": now},
            )
            await self.vault_.put_credential(conn, binding, secret.encode(), now)
            await conn.execute(
                text(
                    "insert into broker.accounts"
                    " (tenant_id, id, connection_id, identity_id, status, kind, credential_id,"
                    " principal, principal_key, created_at)"
                    " values (:t, :a, :c, :i, 'active', 'api_token', :k, 'user:1', :p, :now)"
                ),
                {
                    "t": self.tenant_id,
                    "a": account_id,
                    "c": self.connection_id,
                    "i": identity_id,
                    "k": credential_id,
                    "p": principal or new_id().bytes * 2,
                    "now": now,
                },
            )
        bearer_id, token = await self.session(identity_id)
        return Person(identity_id, identifier, account_id, bearer_id, token, secret)

    async def session(
        self, identity_id: UUID, parent: UUID | None = None, root: UUID | None = None, seconds: float = 900
    ) -> tuple[UUID, str]:
        minted, bearer_id = mint("session", self.tenant_id), new_id()
        await self.bearer(
            id=bearer_id,
            kind="session",
            token_hash=minted.digest,
            root_id=root or bearer_id,
            parent_id=parent,
            identity_id=identity_id,
            expires_at=SystemClock().now() + timedelta(seconds=seconds),
        )
        return bearer_id, minted.text

    async def key(self, kind: str = "agent", tenants: list[str] | None = None, **more: Any) -> tuple[UUID, str]:
        minted, bearer_id = mint(kind, self.tenant_id), new_id()  # type: ignore[arg-type]
        more.setdefault("root_id", bearer_id)
        await self.bearer(id=bearer_id, kind=kind, token_hash=minted.digest, tenants=tenants, **more)
        return bearer_id, minted.text

    async def bearer(self, **values: Any) -> None:
        row = {"tenant_id": self.tenant_id, "name": "test", "created_at": SystemClock().now(), **values}
        names = ", ".join(row)
        async with self.db.tenant(self.tenant_id) as conn:
            await conn.execute(
                text(f"insert into broker.bearers ({names}) values ({', '.join(':' + n for n in row)})"), row
            )

    async def resolve(self, token: str, identifier: str | None = None, tenant: str | None = None) -> Resolved:
        asked = Asked(identifier=identifier, connection="fake", tenant=tenant, client="test")
        return await self.authenticator.resolve(parse(token), asked, SystemClock().now())

    async def call(self, person: Person, upstream: Upstream, **more: Any) -> CallRequest:
        token, identifier, tenant = (
            more.pop("token", person.token),
            more.pop("identifier", None),
            more.pop("tenant", None),
        )
        resolved = await self.resolve(token, identifier, tenant)

        async def reload() -> Resolved:
            return await self.resolve(token, identifier, tenant)

        return CallRequest(
            resolved=resolved,
            reload=reload,
            connection=resolved.connections[0],
            connector=upstream,  # type: ignore[arg-type] - as much of one as the gate uses
            permissions=Permissions("all"),
            permission_check="refuse",
            account=next(a for a in resolved.accounts if a.id == person.account_id),
            tool_name="fake_call",
            execution_id=new_id(),
            n=1,
            deadline=SystemClock().now() + timedelta(seconds=more.pop("seconds", 20)),
            **more,
        )

    async def events(self, kind: str | None = None) -> Sequence[Any]:
        async with self.db.tenant(self.tenant_id) as conn:
            rows = (await conn.execute(text("select * from audit.events order by recorded_at, counter"))).all()
        return [r for r in rows if kind in (None, r.kind)]

    async def open_calls(self) -> int:
        async with self.db.tenant(self.tenant_id) as conn:
            return int((await conn.execute(text("select count(*) from broker.open_calls"))).scalar_one())

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.db.tenant(self.tenant_id) as conn:
            await conn.execute(text(statement), values)


def forever() -> Awaitable[None]:
    return asyncio.Event().wait()


def soon(seconds: float) -> datetime:
    return SystemClock().now() + timedelta(seconds=seconds)
