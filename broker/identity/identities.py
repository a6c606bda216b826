"""Identities: the tenant's users and service principals, by the tenant's own names."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import any_, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.identity import names
from broker.identity.roles import allows, require
from broker.identity.tables import identities
from broker.identity.taking import Revocation
from broker.ids import new_id

_AROUND: Final = text(
    """
    (select identifier from broker.identities where tenant_id = :tenant and identifier < :asked
      order by identifier desc limit 200)
    union all
    (select identifier from broker.identities where tenant_id = :tenant and identifier >= :asked
      order by identifier limit 200)"""
)

CHANGEABLE: Final = frozenset({"email", "display_name", "groups", "status"})


class Identities:
    """The identities of the caller's tenant."""

    def __init__(self, *, db: Database, trail: AuditTrail, revocation: Revocation) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation

    async def create(
        self,
        caller: Caller,
        *,
        identifier: str,
        email: str | None = None,
        display_name: str | None = None,
        groups: Sequence[str] = (),
    ) -> dict[str, Any]:
        """A new identity, active. Raises Problem `forbidden`, `invalid_input`, `already_exists`."""
        require(caller, "identities.write")
        checked = _checked({"email": email, "display_name": display_name, "groups": groups})
        values = {
            "tenant_id": caller.tenant_id,
            "id": new_id(),
            "identifier": names.identifier("identifier", identifier),
            "status": "active",
            "version": 1,
            "created_at": caller.now,
            **checked,
        }
        statement = insert(identities).values(values).on_conflict_do_nothing().returning(identities)
        async with self._db.tenant(caller.tenant_id) as conn:
            row = (await conn.execute(statement)).one_or_none()
            if row is None:
                raise Problem("already_exists", f"there is an identity {identifier!r} already", hint="PATCH changes it")
            details = {"groups": values["groups"]}
            await self._trail.change(conn, caller, "identity.created", identifier=identifier, details=details)
        return shown(row)

    async def get(self, caller: Caller, identifier: str) -> dict[str, Any]:
        """One identity. Raises Problem `forbidden`, `unknown_identity`."""
        require(caller, "identities.read")
        async with self._db.tenant(caller.tenant_id) as conn:
            return shown(await existing(conn, caller, identifier))

    async def list(
        self, caller: Caller, page: PageRequest, *, group: str | None = None, status: str | None = None
    ) -> Page[dict[str, Any]]:
        """The tenant's identities, oldest first; those of one group or status."""
        require(caller, "identities.read")
        statement = select(identities).where(identities.c.tenant_id == caller.tenant_id)
        if group is not None:
            statement = statement.where(literal(names.group("group", group)) == any_(identities.c.groups))
        if status is not None:
            statement = statement.where(identities.c.status == status)
        async with self._db.tenant(caller.tenant_id) as conn:
            found = await keyset(conn, statement, (identities.c.created_at, identities.c.id), page, of="identities")
        return Page([shown(row) for row in found.items], found.next_page_token)

    async def change(
        self, caller: Caller, identifier: str, changes: Mapping[str, Any], version: int | None
    ) -> dict[str, Any]:
        """Changes what `changes` holds, out of `CHANGEABLE`. `version`, where given, is the one that was
        read.

        `status` takes `active` alone: it brings an offboarded identity back, without the sessions, keys and
        accounts it lost. Disabling is offboarding. Raises Problem `forbidden`, `invalid_input`,
        `unknown_identity`, `version_conflict`.
        """
        require(caller, "identities.write")
        checked = _checked(changes)
        if not checked:
            raise invalid("body", f"must change one of {', '.join(sorted(CHANGEABLE))}")
        async with self._db.tenant(caller.tenant_id) as conn:
            if checked.keys() & {"groups", "status"}:
                # What policy would answer changes, so calls decided on the old facts must not be admitted
                # after this.
                await self._revocation.policy_changed(conn, caller.tenant_id)
            row = await existing(conn, caller, identifier, lock=True)
            if version is not None and version != row.version:
                raise Problem("version_conflict", f"the identity is at version {row.version} now", hint="read it again")
            if "status" in checked:
                checked["disabled_at"] = None
            statement = (
                update(identities)
                .where(identities.c.tenant_id == caller.tenant_id, identities.c.id == row.id)
                .values(version=row.version + 1, **checked)
                .returning(identities)
            )
            changed = (await conn.execute(statement)).one()
            await self._trail.change(
                conn,
                caller,
                "identity.changed",
                identifier=identifier,
                details={"fields": sorted(checked), "groups": changed.groups, "version": changed.version},
            )
        return shown(changed)


async def existing(conn: AsyncConnection, caller: Caller, identifier: str, *, lock: bool = False) -> Any:
    """The identity's row. Raises Problem `unknown_identity`, with the names that the caller may know as a
    hint."""
    statement = select(identities).where(
        identities.c.tenant_id == caller.tenant_id, identities.c.identifier == identifier
    )
    row = None
    if len(identifier) <= names.MAX_IDENTIFIER and identifier.isprintable():
        row = (await conn.execute(statement.with_for_update() if lock else statement)).one_or_none()
    if row is None:
        raise await unknown_identity(conn, caller, identifier)
    return row


async def unknown_identity(conn: AsyncConnection, caller: Caller, identifier: str) -> Problem:
    """The refusal, with near names: any of the tenant's for whoever may list them or act for all of them, for another
    agent key those it lists."""
    known: list[str] = []
    asked = identifier[: names.MAX_IDENTIFIER]
    everyone = names.EVERYONE in (caller.bearer.identifiers or ())
    if (everyone or allows(caller, "identities.read")) and asked.isprintable():
        rows = await conn.execute(_AROUND, {"tenant": caller.tenant_id, "asked": asked})
        known = [str(row[0]) for row in rows]
    elif caller.bearer.kind == "agent":
        known = [name for name in caller.bearer.identifiers or () if name != identifier]
    return Problem("unknown_identity", f"no identity {asked!r} in this tenant", hint=names.near(asked, known))


def shown(row: Any) -> dict[str, Any]:
    """An identity as API.md shows it."""
    return {
        "id": str(row.id),
        "identifier": row.identifier,
        "email": row.email,
        "display_name": row.display_name,
        "groups": list(row.groups),
        "status": row.status,
        "disabled_at": row.disabled_at,
        "version": row.version,
        "created_at": row.created_at,
    }


def _checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes, each in its bounds. Raises Problem `invalid_input`."""
    checked = dict(changes)
    if checked.get("email") is not None:
        checked["email"] = names.email("email", checked["email"])
    if checked.get("display_name") is not None:
        checked["display_name"] = names.printable("display_name", checked["display_name"], 200)
    if "groups" in checked:
        if checked["groups"] is None:
            raise invalid("groups", "must be a list; an empty one takes the identity out of every group")
        checked["groups"] = names.groups("groups", checked["groups"])
    if "status" in checked and checked["status"] != "active":
        raise invalid("status", "takes `active` alone", hint="to disable an identity, offboard it")
    return checked
