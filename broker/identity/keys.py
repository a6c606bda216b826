"""Operator and agent keys: minted within the minter's own authority and lifetime, shown once, revoked with
what they minted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db import functions
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import Caller, Role
from broker.errors import Problem, invalid
from broker.identity import names
from broker.identity.minting import mint_bearer
from broker.identity.roles import may_mint, require
from broker.identity.tables import bearers, tenants
from broker.identity.taking import Revocation, hold_minter
from broker.ids import parse_id

MAX_IDENTIFIERS: Final = 1000
MAX_TENANTS: Final = 100

_LIVE_PLATFORM_ADMIN: Final = text(
    """
    select exists (select from broker.bearers where tenant_id = :tenant and role = 'platform_admin'
                      and revoked_at is null and (expires_at is null or expires_at > clock_timestamp()))"""
)

_ANCESTORS: Final = text(
    """
    with recursive line(id, parent_id) as (
        select id, parent_id from broker.bearers where tenant_id = :tenant and id = :bearer
        union
        select b.id, b.parent_id from broker.bearers b join line l on b.id = l.parent_id where b.tenant_id = :tenant
    ) select id from line"""
)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key that is asked for. An operator key has a role; an agent key has identifiers, `["*"]` for all of
    them, and may have tenants. `expires_at` None: as long as its minter."""

    kind: Literal["operator", "agent"]
    name: str
    role: Role | None = None
    identifiers: Sequence[str] | None = None
    tenants: Sequence[str] | None = None
    expires_at: datetime | None = None


class Keys:
    """The keys whose home is the caller's tenant."""

    def __init__(self, *, db: Database, trail: AuditTrail, revocation: Revocation) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation

    async def create(self, caller: Caller, spec: KeySpec) -> dict[str, Any]:
        """A new key, with its text in `key`: it is shown this once. Raises Problem `forbidden`,
        `invalid_input`."""
        require(caller, "keys.write")
        values = _checked(caller, spec)
        async with self._db.tenant(caller.tenant_id) as conn:
            await hold_minter(conn, caller)
            if spec.tenants is not None:
                await _tenants_exist(conn, spec.tenants)
            minted = await mint_bearer(
                conn, caller.tenant_id, spec.kind, caller, caller.now, expires_at=spec.expires_at, **values
            )
            row = await _existing(conn, caller, minted.id)
            details = {name: value for name, value in values.items() if value is not None}
            await self._trail.change(
                conn, caller, "key.created", details={"key_id": str(minted.id), "kind": spec.kind, **details}
            )
        return {**_shown(row), "key": minted.token.text}

    async def list(self, caller: Caller, page: PageRequest, *, kind: str | None = None) -> Page[dict[str, Any]]:
        """The tenant's keys, oldest first, the revoked ones too. None of their texts: nobody has them."""
        require(caller, "keys.read")
        statement = select(bearers).where(bearers.c.tenant_id == caller.tenant_id, bearers.c.kind != "session")
        if kind is not None:
            statement = statement.where(bearers.c.kind == kind)
        async with self._db.tenant(caller.tenant_id) as conn:
            found = await keyset(conn, statement, (bearers.c.created_at, bearers.c.id), page, of="keys")
        return Page([_shown(row) for row in found.items], found.next_page_token)

    async def revoke(self, caller: Caller, key_id: str, *, keep_minted: bool = False) -> dict[str, Any]:
        """Revokes a key and all that was minted from it, in every tenant; with `keep_minted` the key alone,
        and what it minted lives on by itself: that is how a key is replaced without ending what stands on it.

        When this returns nothing new is admitted on their authority; `in_flight` names the executions still
        open. Raises Problem `forbidden` (also for a key of a higher role, and for the last platform admin's),
        `not_found`.
        """
        require(caller, "keys.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            wanted = parse_id(key_id)
            row = None if wanted is None else await _existing(conn, caller, wanted)
            if row is None or row.kind == "session":
                raise Problem("not_found", "no such key in this tenant")
            if row.role is not None and not may_mint(caller, row.role):
                raise Problem("forbidden", f"an {caller.bearer.role}'s key may not revoke a {row.role}'s")
            kept = await _release_minted(conn, caller, row.id) if keep_minted else 0
            gone = await self._revocation.bearer(conn, caller.tenant_id, row.id, "key revoked", caller.now)
            if row.role == "platform_admin" and not await conn.scalar(
                _LIVE_PLATFORM_ADMIN, {"tenant": caller.tenant_id}
            ):
                raise Problem(
                    "forbidden",
                    "this is the last platform admin's key; without it nobody could run the installation",
                    hint="mint another first, and revoke this one with keep_minted=true if it is the minter",
                )
            also = [str(i) for i in gone.ids if i != row.id]
            details = {"key_id": str(row.id), "name": row.name, "also_revoked": len(also), "kept": kept}
            await self._trail.change(conn, caller, "key.revoked", details=details)
        return {
            "revoked_at": gone.at,
            "in_flight": [str(e) for e in gone.in_flight],
            "also_revoked": also,
        }


async def _existing(conn: AsyncConnection, caller: Caller, key_id: UUID) -> Any:
    statement = select(bearers).where(bearers.c.tenant_id == caller.tenant_id, bearers.c.id == key_id)
    return (await conn.execute(statement)).one_or_none()


async def _release_minted(conn: AsyncConnection, caller: Caller, key_id: UUID) -> int:
    """Frees what the key minted from it. Raises Problem `forbidden` where that would let a stolen key save its own
    offspring: it takes a key that does not descend from this one, or the platform admin."""
    if caller.bearer.role != "platform_admin":
        ancestors = await conn.execute(_ANCESTORS, {"tenant": caller.tenant_id, "bearer": caller.bearer.id})
        if key_id in {row[0] for row in ancestors}:
            raise Problem(
                "forbidden", "a key cannot keep what it minted itself; ask with one that does not stem from it"
            )
    statement = text(functions.call("select broker.release_minted{v}(:tenant, :key)"))
    released: int = (await conn.execute(statement, {"tenant": caller.tenant_id, "key": key_id})).scalar_one()
    return released


async def _tenants_exist(conn: AsyncConnection, wanted: Sequence[str]) -> None:
    rows = await conn.execute(select(tenants.c.name).where(tenants.c.name.in_(wanted), tenants.c.status != "closed"))
    known = {row.name for row in rows}
    for n, name in enumerate(wanted):
        if name not in known:
            raise invalid(f"tenants.{n}", f"there is no tenant {name!r}")


def _checked(caller: Caller, spec: KeySpec) -> dict[str, Any]:
    """The key's own columns. Raises Problem `invalid_input`, or `forbidden` for authority beyond the
    minter's."""
    name = names.printable("name", spec.name, 100)
    if spec.expires_at is not None:
        check_expiry(caller, spec.expires_at)
    own = _operator(caller, spec) if spec.kind == "operator" else _agent(caller, spec)
    return {"name": name, **own}


def check_expiry(caller: Caller, expires_at: datetime) -> None:
    """Returns if something minted by the caller may live so long. Raises Problem `invalid_input`."""
    names.future("expires_at", expires_at, caller.now)
    limit = caller.bearer.expires_at
    if limit is not None and expires_at > limit:
        raise invalid("expires_at", f"must not be after {limit.isoformat()}, when the key that mints it expires")


def _operator(caller: Caller, spec: KeySpec) -> dict[str, Any]:
    if spec.identifiers is not None or spec.tenants is not None:
        raise invalid("identifiers", "belongs to agent keys; an operator key has a role")
    if spec.role is None:
        raise invalid("role", "is required: platform_admin, admin or auditor")
    if not may_mint(caller, spec.role):
        raise Problem("forbidden", f"an {caller.bearer.role}'s key may not mint a {spec.role}'s")
    if spec.role == "platform_admin" and caller.tenant_id != caller.bearer.tenant_id:
        raise invalid("role", "a platform admin's key lives where its minter does; leave X-Keyreeve-Tenant out")
    return {"role": spec.role}


def _agent(caller: Caller, spec: KeySpec) -> dict[str, Any]:
    if spec.role is not None:
        raise invalid("role", "belongs to operator keys; an agent key has identifiers")
    if not spec.identifiers:
        raise invalid("identifiers", 'is required: the identities it may act for, or ["*"] for all of them')
    if len(spec.identifiers) > MAX_IDENTIFIERS:
        raise invalid("identifiers", f"holds at most {MAX_IDENTIFIERS}; more are `*`")
    identifiers = list(dict.fromkeys(spec.identifiers))
    if names.EVERYONE in identifiers and identifiers != [names.EVERYONE]:
        raise invalid("identifiers", "`*` stands alone: it means every identity")
    if identifiers != [names.EVERYONE]:
        for n, value in enumerate(identifiers):
            names.identifier(f"identifiers.{n}", value)
    if spec.tenants is None:
        return {"identifiers": identifiers}
    require(caller, "tenants.create")
    if caller.tenant_id != caller.bearer.tenant_id:
        raise invalid("tenants", "such a key lives where its minter does; leave X-Keyreeve-Tenant out")
    if not 1 <= len(spec.tenants) <= MAX_TENANTS:
        raise invalid("tenants", f"holds 1 to {MAX_TENANTS} names")
    listed = [names.tenant_name(f"tenants.{n}", value) for n, value in enumerate(dict.fromkeys(spec.tenants))]
    return {"identifiers": identifiers, "tenants": listed}


def _shown(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "kind": row.kind,
        "name": row.name,
        "role": row.role,
        "identifiers": row.identifiers,
        "tenants": row.tenants,
        "minted_by": None if row.parent_id is None else str(row.parent_id),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }
