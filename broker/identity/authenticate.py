"""From a bearer token to a `Resolved`: one look-up, then pure checks of who may act for whom."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from broker import turns
from broker.db import functions
from broker.db.database import Database
from broker.domain import (
    Access,
    Account,
    Bearer,
    Caller,
    Connection,
    Grant,
    Identity,
    Resolved,
)
from broker.errors import Problem
from broker.identity.identities import unknown_identity
from broker.identity.restrictions import capped, of_row
from broker.identity.tokens import MalformedToken, ParsedToken, parse

_RESOLVE = "select * from broker.resolve{v}($1, $2, $3, $4, $5)"

NO_CONNECTION = ""
"""Asks for the caller alone: no connection, account or grant is read."""


class Asked:
    """What a request says about itself before anything is believed: bounded texts, set once by the endpoint.

    `access` narrows the caller for this request, below what its bearer allows. `audience` is the resource that was
    asked: a bearer that is good at one resource is good nowhere else, and where none is named (RFC 8707 § 2).
    """

    __slots__ = ("access", "agent", "audience", "client", "connection", "identifier", "run_id", "tenant")

    def __init__(
        self,
        *,
        tenant: str | None = None,
        identifier: str | None = None,
        connection: str | None = NO_CONNECTION,
        client: str | None = None,
        agent: str | None = None,
        run_id: str | None = None,
        access: Access | None = None,
        audience: str | None = None,
    ) -> None:
        self.tenant = tenant
        self.identifier = identifier
        self.connection = connection
        self.client = client
        self.agent = agent
        self.run_id = run_id
        self.access = access
        self.audience = audience


def parse_bearer(authorization: str | None) -> ParsedToken:
    """The token of an `Authorization: Bearer …` header (RFC 6750 § 2.1). Raises Problem `unauthenticated`."""
    if not authorization:
        raise Problem(
            "unauthenticated",
            "no Authorization header",
            hint="send `Authorization: Bearer KEY` with an operator key, an agent key or a session token",
        )
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or len(token) > 200:
        raise Problem("unauthenticated", "the Authorization header is not a bearer token")
    try:
        return parse(token.strip())
    except MalformedToken as problem:
        raise Problem("unauthenticated", str(problem)) from None


class UnknownIdentity(Exception):
    """The look-up found no such identity: the caller may be told near names that it may know."""

    def __init__(self, caller: Caller, identifier: str) -> None:
        self.caller = caller
        self.identifier = identifier
        super().__init__("no such identity")


RECENT_SECONDS = 1.0
"""How old a look-up may be that a call starts from. Admission judges all of it anew, under locks."""

RECENT_ENTRIES = 4096

_Key = tuple[bytes, str | None, str | None, str | None, Access | None, str | None]


def _key(token: ParsedToken, asked: Asked) -> _Key:
    return (token.digest, asked.tenant, asked.identifier, asked.connection, asked.access, asked.audience)


class Authenticator:
    """Looks callers up. `resolve` always asks the database: a revoked token is refused by the very next request.

    `recent` is for calls that go through admission, and for nothing else: admission re-checks bearer, identity,
    connection, account, credential and policy version in a new statement, so that a look-up of the last second saves a
    round trip and decides nothing by itself.
    """

    def __init__(self, db: Database, elapsed: Callable[[], float] = monotonic) -> None:
        self._db = db
        self._elapsed = elapsed
        self._recent: OrderedDict[_Key, tuple[float, Resolved]] = OrderedDict()

    def recent(self, token: ParsedToken, asked: Asked, now: datetime) -> Resolved | None:
        """The same look-up, made less than a second ago, or None. Never a refusal: those are always asked for anew."""
        found = self._recent.get(_key(token, asked))
        if found is None or found[0] <= self._elapsed():
            return None
        resolved = found[1]
        expires_at = resolved.caller.bearer.expires_at
        if expires_at is not None and expires_at <= now:
            return None
        before = resolved.caller
        caller = Caller(
            tenant_id=before.tenant_id,
            tenant_name=before.tenant_name,
            policy_version=before.policy_version,
            bearer=before.bearer,
            identity=before.identity,
            on_behalf_of=before.on_behalf_of,
            client=asked.client,
            agent=asked.agent,
            run_id=asked.run_id,
            now=now,
        )
        return Resolved(caller, resolved.connections, resolved.accounts, resolved.grants)

    def forget(self, token: ParsedToken, asked: Asked) -> None:
        """Drops what `recent` would give: something was learned that the next call must start from."""
        self._recent.pop(_key(token, asked), None)

    def _remember(self, token: ParsedToken, asked: Asked, resolved: Resolved) -> Resolved:
        key = _key(token, asked)
        self._recent[key] = (self._elapsed() + RECENT_SECONDS, resolved)
        self._recent.move_to_end(key)
        # In the order of their ends: what is over is let go, for one look-up may hold a thousand grants.
        over = self._elapsed()
        while len(self._recent) > RECENT_ENTRIES or (self._recent and next(iter(self._recent.values()))[0] <= over):
            self._recent.popitem(last=False)
        return resolved

    async def resolve(self, token: ParsedToken, asked: Asked, now: datetime) -> Resolved:
        """The caller and what could serve it. Raises Problem: `unauthenticated`, `session_expired`, `forbidden`,
        `unknown_identity`, `identity_disabled`, `unavailable`."""
        row = await self._db.pool.fetchrow(
            functions.call(_RESOLVE),
            token.tenant_id,
            token.digest,
            asked.tenant,
            asked.identifier,
            asked.connection,
        )
        try:
            resolved = read(row, token.tenant_id, asked, now)
        except UnknownIdentity as unknown:
            async with self._db.tenant(unknown.caller.tenant_id) as conn:
                raise await unknown_identity(conn, unknown.caller, unknown.identifier) from None
        except Problem as problem:
            self.forget(token, asked)
            if problem.code in ("unauthenticated", "session_expired"):
                turns.refused()
            raise
        turns.belongs(token.tenant_id)
        return resolved if resolved.caller.identity is None else self._remember(token, asked, resolved)

    async def usable_connections(self, caller: Caller, most: int = 50) -> list[str]:
        """The first names of connections on which a grant applies to the caller's identity: for hints and choices,
        never to decide by."""
        if caller.identity is None:
            return []
        statement = text(
            """
            select distinct c.name from broker.connections c
              join broker.grants g on g.tenant_id = c.tenant_id and g.connection_id = c.id and g.deleted_at is null
             where c.status = 'active' and (g.identity_id = :identity or g.subject_kind = 'everyone'
                    or (g.subject_kind = 'group' and g.group_name = any (:groups)))
             order by 1 limit :most"""
        )
        async with self._db.tenant(caller.tenant_id) as conn:
            rows = await conn.execute(
                statement, {"identity": caller.identity.id, "groups": list(caller.identity.groups), "most": most}
            )
            names = [str(row[0]) for row in rows]
        allowed = caller.bearer.restrictions.connections
        return names if allowed is None else [n for n in names if n in allowed]


def read(row: Any, home: UUID, asked: Asked, now: datetime) -> Resolved:
    """The pure half of `resolve`: one database row to a Resolved, or the refusal it amounts to."""
    status = row["status"]
    if status == "unauthenticated":
        raise Problem("unauthenticated", "the key or token is unknown or was revoked", hint="ask for a new one")
    if status == "session_expired":
        raise Problem("session_expired", "the session token or key has expired", hint="mint a new session")
    if status == "foreign_tenant":
        raise Problem("forbidden", "this key may not act in that tenant", hint="check X-Keyreeve-Tenant")
    if row["audience"] is not None and row["audience"] != asked.audience:
        told = f"this token is good at {row['audience']} alone"
        raise Problem("unauthenticated", told, hint="sign in for this address")
    bearer = _bearer(row, home, asked.access)
    if row["tenant_id"] != home and not _may_enter(bearer, row["tenant_name"]):
        # The look-up has refused this already; said again where no null can turn a refusal into a silence.
        raise Problem("forbidden", "this key may not act in that tenant", hint="check X-Keyreeve-Tenant")
    if row["tenant_status"] != "active":
        raise Problem("forbidden", f"tenant {row['tenant_name']} is {row['tenant_status']}")
    _may_ask(row, bearer, asked)
    if asked.identifier is not None and row["identity_id"] is None:
        raise UnknownIdentity(_caller(row, bearer, None, asked, now), asked.identifier)
    return Resolved(
        _caller(row, bearer, _identity(row), asked, now),
        tuple(_connection(c) for c in _array(row["connections"])),
        tuple(_account(a) for a in _array(row["accounts"])),
        tuple(_grant(g) for g in _array(row["grants"])),
    )


def _caller(row: Any, bearer: Bearer, identity: Identity | None, asked: Asked, now: datetime) -> Caller:
    return Caller(
        tenant_id=row["tenant_id"],
        tenant_name=row["tenant_name"],
        policy_version=row["policy_version"],
        bearer=bearer,
        identity=identity,
        on_behalf_of=identity is not None and bearer.kind == "operator",
        client=asked.client,
        agent=asked.agent,
        run_id=asked.run_id,
        now=now,
    )


def _array(value: str | bytes | None) -> list[Any]:
    return orjson.loads(value) if value else []


def _bearer(row: Any, home: UUID, asked: Access | None) -> Bearer:
    stored = of_row(row["restrict_connections"], row["restrict_access"], row["restrict_access_by"])
    return Bearer(
        id=row["bearer_id"],
        tenant_id=home,
        kind=row["bearer_kind"],
        root_id=row["root_id"],
        name=row["bearer_name"],
        role=row["role"],
        identifiers=None if row["identifiers"] is None else tuple(row["identifiers"]),
        tenants=None if row["tenants"] is None else tuple(row["tenants"]),
        identity_id=row["bearer_identity"],
        restrictions=capped(stored, asked),
        expires_at=row["bearer_expires"],
        audience=row["audience"],
    )


def _may_enter(bearer: Bearer, tenant_name: str) -> bool:
    """Whether a bearer of another tenant may act in this one: a platform admin, or an agent key that lists it."""
    if bearer.kind == "operator":
        return bearer.role == "platform_admin"
    return bearer.kind == "agent" and bearer.tenants is not None and tenant_name in bearer.tenants


def may_act_for(bearer: Bearer, identifier: str) -> bool:
    """Whether an agent key lists `identifier` (or `*`)."""
    return bearer.identifiers is not None and (identifier in bearer.identifiers or "*" in bearer.identifiers)


def _may_ask(row: Any, bearer: Bearer, asked: Asked) -> None:
    """Refuses a bearer that may not act for the identity it names. What it may not name, it learns nothing about."""
    if bearer.kind == "session":
        if row["identity_id"] is None:
            raise Problem("unauthenticated", "the session's identity no longer exists")
        if asked.identifier is not None and asked.identifier != row["identifier"]:
            raise Problem(
                "forbidden",
                "a session token acts for its own identity only",
                hint="leave `identifier` out, or use an agent key that lists it",
            )
    elif asked.identifier is None:
        return
    elif bearer.kind == "agent":
        if not may_act_for(bearer, asked.identifier):
            raise Problem(
                "forbidden",
                "this agent key does not list that identifier",
                hint="ask an admin for a key whose `identifiers` include it",
            )
    elif bearer.role == "auditor":
        raise Problem("forbidden", "an auditor never acts on behalf of an identity")
    elif not row["impersonation"]:
        raise Problem("forbidden", "this tenant does not let operators act on behalf of identities")


def _identity(row: Any) -> Identity | None:
    if row["identity_id"] is None:
        return None
    if row["identity_status"] != "active":
        raise Problem("identity_disabled", f"identity {row['identifier']!r} is disabled")
    return Identity(row["identity_id"], row["identifier"], tuple(row["groups"]), row["identity_status"])


def _connection(c: list[Any]) -> Connection:
    return Connection(UUID(c[0]), c[1], c[2], c[3], c[4])


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _account(a: list[Any]) -> Account:
    return Account(
        id=UUID(a[0]),
        connection_id=UUID(a[1]),
        identity_id=None if a[2] is None else UUID(a[2]),
        label=a[3],
        status=a[4],
        kind=a[5],
        version=a[6],
        permissions_version=a[7],
        upstream_account_id=a[8],
        expires_at=_time(a[9]),
    )


def _names(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _grant(g: list[Any]) -> Grant:
    return Grant(
        id=UUID(g[0]),
        subject="everyone" if g[1] == "everyone" else f"{g[1]}:{g[2]}",
        connection_id=UUID(g[3]),
        tools=_names(g[4]),
        access=g[5],
        operations=_names(g[6]),
        accounts=_names(g[7]),
        zones=_names(g[8]),
        account=g[9],
        expires_at=_time(g[10]),
    )
