"""Which subject of which issuer is which identity. One subject an identity, and one identity a subject.

A person is the pair of issuer and subject (Core § 5.7: nothing else is promised never to be given to somebody else). An
e-mail address counts once, for the first sign-in, and only where an admin chose so: then whoever runs the provider
decides who has an address in the allowed domains, and so who becomes which identity that nobody is linked to yet.
"""

import hashlib
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column, DateTime, Table, Text, Uuid, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.db.metadata import metadata as tables
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.identity import names
from broker.identity.identities import existing
from broker.identity.oidc.discovery import MAX_ISSUER
from broker.identity.oidc.id_token import MAX_SUBJECT, Person
from broker.identity.oidc.providers import Provider, Providers, end_logins
from broker.identity.roles import require
from broker.identity.tables import identities
from broker.identity.taking import Revocation, hold_identity
from broker.ids import new_id

sign_ins = Table(
    "sign_ins",
    tables,
    Column("tenant_id", Uuid, primary_key=True),
    Column("identity_id", Uuid, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("linked_by", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True)),
)

_KNOWN: Final = text(
    "select identity_id from broker.sign_ins where tenant_id = :tenant and issuer = :issuer and subject = :subject"
)
_HELD: Final = text(
    """
    select identity_id, linked_by from broker.sign_ins
     where tenant_id = :tenant and issuer = :issuer and subject = :subject for update"""
)
_OF: Final = text("select issuer, subject from broker.sign_ins where tenant_id = :tenant and identity_id = :identity")
_USED: Final = text(
    "update broker.sign_ins set last_used_at = :now where tenant_id = :tenant and identity_id = :identity"
)
_PUT: Final = text(
    """
    insert into broker.sign_ins (tenant_id, identity_id, issuer, subject, linked_by, made_by, created_at)
    values (:tenant, :identity, :issuer, :subject, 'admin', :by, :now)
    on conflict (tenant_id, identity_id) do update
       set issuer = excluded.issuer, subject = excluded.subject, linked_by = 'admin', made_by = excluded.made_by,
           created_at = excluded.created_at, last_used_at = null"""
)
_FIRST: Final = text(
    """
    insert into broker.sign_ins (tenant_id, identity_id, issuer, subject, linked_by, made_by, created_at)
    values (:tenant, :identity, :issuer, :subject, :how, :by, :now) on conflict do nothing returning identity_id"""
)
_DELETE: Final = text(
    "delete from broker.sign_ins where tenant_id = :tenant and identity_id = :identity returning issuer, subject"
)
_NAMED: Final = text(
    """
    select id, identifier, status from broker.identities
     where tenant_id = :tenant and (lower(email) = :email or lower(identifier) = :email) limit 2"""
)
_CREATE: Final = text(
    """
    insert into broker.identities (tenant_id, id, identifier, email, display_name, groups, status, version, created_at)
    values (:tenant, :id, :email, :email, :name, '{}', 'active', 1, :now) on conflict do nothing returning id"""
)


class People:
    """The links of all tenants."""

    def __init__(self, *, db: Database, trail: AuditTrail, revocation: Revocation, providers: Providers) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation
        self._providers = providers

    async def link(self, caller: Caller, identifier: str, *, issuer: str | None, subject: str) -> dict[str, Any]:
        """Links an identity to one subject, instead of any other before; that one's logins end. Without `issuer`: of
        the tenant's provider. Raises Problem `forbidden`, `invalid_input`, `unknown_identity`, `already_exists`."""
        require(caller, "sign_in.write")
        named = await self._issuer(caller, issuer)
        names.printable("subject", subject, MAX_SUBJECT)
        try:
            async with self._db.tenant(caller.tenant_id) as conn:
                owner = await existing(conn, caller, identifier)
                values = {"tenant": caller.tenant_id, "identity": owner.id, "issuer": named, "subject": subject}
                before: Any = (await conn.execute(_OF, values)).one_or_none()
                await conn.execute(_PUT, {**values, "by": caller.actor[:300], "now": caller.now})
                details = {"issuer": named, "subject_digest": subject_digest(named, subject), "by": "admin"}
                if before is None or (before.issuer, before.subject) != (named, subject):
                    # Also where there was no link before: somebody may have become it by an address meanwhile.
                    ended = await self._end(conn, caller, owner.id)
                    details |= {"signed_out": str(ended)} if ended else {}
                await self._trail.change(
                    conn, caller, "identity.sign_in_linked", identifier=identifier, details=details
                )
        except IntegrityError:
            told = "another identity of this tenant is linked to that subject"
            raise Problem("already_exists", told, hint="unlink the other one first") from None
        return {"identifier": identifier, "issuer": named, "subject": subject}

    async def unlink(self, caller: Caller, identifier: str) -> dict[str, Any]:
        """Takes the link away; logins begun with it, and editors let in by them, end. Raises Problem `forbidden`,
        `unknown_identity`, `not_found`."""
        require(caller, "sign_in.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            owner = await existing(conn, caller, identifier)
            gone: Any = (await conn.execute(_DELETE, {"tenant": caller.tenant_id, "identity": owner.id})).one_or_none()
            if gone is None:
                raise Problem("not_found", "this identity is linked to nobody at a sign-in provider")
            ended = await self._end(conn, caller, owner.id)
            details = {
                "issuer": gone.issuer,
                "subject_digest": subject_digest(gone.issuer, gone.subject),
                "signed_out": ended,
            }
            await self._trail.change(conn, caller, "identity.sign_in_unlinked", identifier=identifier, details=details)
        return {"deleted_at": caller.now, "signed_out": ended}

    async def list(self, caller: Caller, page: PageRequest, *, identifier: str | None = None) -> Page[dict[str, Any]]:
        """Who is linked to whom, oldest first. Raises Problem `forbidden`."""
        require(caller, "sign_in.read")
        statement = (
            select(sign_ins, identities.c.identifier)
            .join(
                identities,
                (identities.c.tenant_id == sign_ins.c.tenant_id) & (identities.c.id == sign_ins.c.identity_id),
            )
            .where(sign_ins.c.tenant_id == caller.tenant_id)
        )
        if identifier is not None:
            statement = statement.where(identities.c.identifier == identifier)
        async with self._db.tenant(caller.tenant_id) as conn:
            found = await keyset(conn, statement, (sign_ins.c.created_at, sign_ins.c.identity_id), page, of="sign_ins")
        return Page([_shown(row) for row in found.items], found.next_page_token)

    async def known(self, provider: Provider, person: Person) -> bool:
        """Whether this subject is linked to an identity."""
        async with self._db.tenant(provider.tenant_id) as conn:
            return await conn.scalar(_KNOWN, _values(provider, person)) is not None

    async def linked_to(self, conn: AsyncConnection, tenant_id: UUID, issuer: str, subject: str | None) -> UUID | None:
        """The identity that a subject is linked to, if any."""
        found: UUID | None = await conn.scalar(_KNOWN, {"tenant": tenant_id, "issuer": issuer, "subject": subject})
        return found

    async def identity_of(
        self, conn: AsyncConnection, provider: Provider, person: Person, now: datetime
    ) -> tuple[UUID, str]:
        """Who signs in, held until the transaction ends, and how that is known: `subject`, or, at the first time,
        `email` or `created`. Raises Problem `forbidden`, `identity_disabled`."""
        values = _values(provider, person)
        row: Any = (await conn.execute(_HELD, values)).one_or_none()
        if row is None:
            how = await self._first(conn, provider, person, now)
            row = (await conn.execute(_HELD, values)).one()
        else:
            how = "subject"
        await hold_identity(conn, row.identity_id)
        await conn.execute(_USED, {**values, "identity": row.identity_id, "now": now})
        return row.identity_id, how

    async def _first(self, conn: AsyncConnection, provider: Provider, person: Person, now: datetime) -> str:
        """Links somebody who signs in for the first time, where the admin chose how. Raises Problem `forbidden`,
        `identity_disabled`."""
        email = person.email
        chosen = provider.link_by_email or provider.create_identities
        if not chosen or email is None or email.rpartition("@")[2] not in provider.allowed_domains:
            raise stranger(person)
        values: dict[str, Any] = {"tenant": provider.tenant_id, "email": email, "now": now}
        found: list[Any] = list(await conn.execute(_NAMED, values))
        if not found:
            return await self._created(conn, provider, person, values)
        if len(found) > 1 or not provider.link_by_email:
            raise stranger(person)
        if found[0].status != "active":
            raise Problem("identity_disabled", f"identity {found[0].identifier!r} is disabled")
        await self._link_first(conn, provider, person, found[0].id, found[0].identifier, "email", now)
        return "email"

    async def _created(self, conn: AsyncConnection, provider: Provider, person: Person, values: dict[str, Any]) -> str:
        if not provider.create_identities:
            raise stranger(person)
        identifier = names.identifier("email", values["email"])
        made = {**values, "id": new_id(), "name": person.name}
        if (await conn.execute(_CREATE, made)).one_or_none() is None:
            raise stranger(person)  # somebody made it meanwhile: not by this sign-in, so not for it
        await self._trail.change(
            conn,
            None,
            "identity.created",
            identifier=identifier,
            details={"groups": [], "by": "oidc", "issuer": person.issuer},
            tenant_id=provider.tenant_id,
            actor=actor_of(person),
        )
        await self._link_first(conn, provider, person, made["id"], identifier, "created", values["now"])
        return "created"

    async def _link_first(
        self,
        conn: AsyncConnection,
        provider: Provider,
        person: Person,
        identity_id: UUID,
        identifier: str,
        how: str,
        now: datetime,
    ) -> None:
        by = actor_of(person)
        values = {**_values(provider, person), "identity": identity_id, "how": how, "by": by, "now": now}
        if (await conn.execute(_FIRST, values)).one_or_none() is None:
            # Another subject has this identity, or this subject another one: whoever was first keeps it.
            if (await conn.execute(_KNOWN, values)).scalar() == identity_id:
                return
            raise stranger(person)
        await self._trail.change(
            conn,
            None,
            "identity.sign_in_linked",
            identifier=identifier,
            details={
                "issuer": person.issuer,
                "subject_digest": subject_digest(person.issuer, person.subject),
                "by": how,
            },
            tenant_id=provider.tenant_id,
            actor=by,
        )

    async def _issuer(self, caller: Caller, issuer: str | None) -> str:
        if issuer is not None:
            return names.printable("issuer", issuer, MAX_ISSUER)
        provider = await self._providers.find(caller.tenant_id)
        if provider is None:
            raise invalid("issuer", "is needed while the tenant has no sign-in provider")
        return provider.issuer

    async def _end(self, conn: AsyncConnection, caller: Caller, identity_id: UUID) -> int:
        reason = "linked to another account at the sign-in provider, or to none"
        return len(await end_logins(conn, self._revocation, caller.tenant_id, identity_id, reason, caller.now))


def subject_digest(issuer: str, subject: str) -> str:
    """By which the audit names somebody at a provider: the first 32 hex digits of a SHA-256."""
    return hashlib.sha256("\n".join((issuer, subject)).encode()).hexdigest()[:32]


def actor_of(person: Person) -> str:
    """How the audit names somebody of whom nothing but the provider's word is known."""
    return f"oidc:{subject_digest(person.issuer, person.subject)}"


def stranger(person: Person) -> Problem:
    """The refusal of somebody who is nobody here. It tells them apart no names that exist from those that don't."""
    told = "you have proven who you are, and no identity here is linked to that account"
    hint = f"give your admin the subject {person.subject} of {person.issuer}, for: keyreeve sign-in-provider link"
    return Problem("forbidden", told, hint=hint)


def _values(provider: Provider, person: Person) -> dict[str, Any]:
    return {"tenant": provider.tenant_id, "issuer": person.issuer, "subject": person.subject}


def _shown(row: Any) -> dict[str, Any]:
    return {
        "identifier": row.identifier,
        "issuer": row.issuer,
        "subject": row.subject,
        "linked_by": row.linked_by,
        "made_by": row.made_by,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
    }
