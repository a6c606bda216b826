"""Sign-ins: that one identity let one client in, at one resource. Begun by a code, kept alive by refresh tokens, ended
by whoever may revoke sessions.

A sign-in is a session bearer whose token nobody has, and which lasts at most `LASTS`; access tokens are its children.
Where an admin's link let the person in, the admin's bearer is its parent: what that key let happen ends with it.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Access, Bearer, Caller, Restrictions
from broker.errors import Problem
from broker.identity.logins import Login
from broker.identity.minting import mint_bearer
from broker.identity.oauth import refresh
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.scopes import scope_of
from broker.identity.restrictions import as_columns, of_row, read_access_by
from broker.identity.taking import Revocation, hold_identity, hold_minter, scope
from broker.identity.tokens import MalformedToken, parse
from broker.ids import parse_id

LASTS: Final = timedelta(days=90)
ACCESS_SECONDS: Final = 900
"""Claude Code refreshes before every single request where it is 300 or less."""

_INSERT: Final = text(
    """
    insert into broker.oauth_sign_ins
        (tenant_id, bearer_id, client_id, client_name, resource, turn, turned_at, created_at, session)
    values (:tenant, :bearer, :client, :name, :resource, 0, :now, :now,
            (select l.session from broker.logins l where l.tenant_id = :tenant and l.bearer_id = :login))"""
)
"""`session`: the OpenID provider's, with which the login that let the client in ends, and the client too."""
_FIND: Final = """
    select s.bearer_id, s.client_id, s.client_name, s.resource, s.turn, s.turned_at, s.again, s.created_at,
           b.root_id, b.identity_id, b.connections, b.access, b.access_by, b.expires_at, b.revoked_at,
           i.identifier, i.status, t.status as tenant_status
      from broker.oauth_sign_ins s
      join broker.bearers b on b.tenant_id = s.tenant_id and b.id = s.bearer_id
      join broker.identities i on i.tenant_id = b.tenant_id and i.id = b.identity_id
      join broker.tenants t on t.id = s.tenant_id
     where s.tenant_id = :tenant"""
_ONE: Final = text(_FIND + " and s.bearer_id = :id")
_HELD: Final = text(_FIND + " and s.bearer_id = :id for update of s")
_MINE: Final = text(
    _FIND
    + """ and b.identity_id = :identity and b.revoked_at is null and b.expires_at > :now and s.turned_at > :idle
     order by s.created_at desc limit 100"""
)
_TURNED: Final = text(
    """
    update broker.oauth_sign_ins set turn = :turn, turned_at = :turned, again = :again
     where tenant_id = :tenant and bearer_id = :id"""
)
_BY_ACCESS: Final = text(
    """
    select parent_id from broker.bearers
     where tenant_id = :tenant and token_hash = :hash and kind = 'session' and parent_tenant_id = :tenant"""
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client is given, shown this once. `refresh` None: client credentials."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    seconds: int
    scope: str

    def as_wire(self) -> dict[str, Any]:
        """The token endpoint's answer (RFC 6749 § 5.1)."""
        wire = {"access_token": self.access, "token_type": "Bearer", "expires_in": self.seconds, "scope": self.scope}
        return wire if self.refresh is None else wire | {"refresh_token": self.refresh}


class SignIns:
    """The sign-ins of all tenants. `key`: 32 bytes, equal on all nodes (`refresh.PURPOSE`)."""

    def __init__(self, *, db: Database, trail: AuditTrail, revocation: Revocation, key: bytes) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation
        self._key = key

    async def begin_in(
        self, conn: AsyncConnection, tenant_id: UUID, parent: Caller | None, code: Any, identity: Any, now: datetime
    ) -> tuple[UUID, Tokens]:
        """Begins a sign-in from a code's row, in a transaction that holds `identity` and `parent`."""
        values = as_columns(of_row(code.connections, code.access, code.access_by)) | {"audience": code.resource}
        sign_in = await mint_bearer(
            conn,
            tenant_id,
            "session",
            parent,
            now,
            identity_id=identity.id,
            client=f"signed in with {code.client_name}"[:300],
            expires_at=now + LASTS,
            **values,
        )
        kept = {"tenant": tenant_id, "bearer": sign_in.id, "client": code.client_id, "name": code.client_name}
        await conn.execute(_INSERT, {**kept, "resource": code.resource, "login": code.login_bearer_id, "now": now})
        row: Any = (await conn.execute(_ONE, {"tenant": tenant_id, "id": sign_in.id})).one()
        details = {"session_id": str(sign_in.id), "client_id": code.client_id, "client": code.client_name, **values}
        await self._changed(conn, tenant_id, row, "client.signed_in", details)
        return sign_in.id, await self._tokens(conn, tenant_id, row, 0, now)

    async def refreshed(
        self, tenant_id: UUID, token: str | None, client_id: str | None, resource: str | None, now: datetime
    ) -> Tokens:
        """The next turn. `resource`: the path of the one named, if any. Raises OAuthRefusal."""
        turn = self._turn(tenant_id, token)
        async with self._db.tenant(tenant_id) as conn:
            found = await self._standing(conn, turn, client_id, now)
            if resource not in (None, found.resource):
                raise OAuthRefusal("invalid_target", "the sign-in is for another resource")
            judged = refresh.judge(turn.number, found.turn, found.turned_at, found.again, now)
            if judged in ("next", "again"):
                ahead = judged == "next"
                at = found.turn + 1 if ahead else found.turn
                kept: dict[str, Any] = {"tenant": tenant_id, "id": turn.sign_in, "turn": at}
                kept |= {"turned": now if ahead else found.turned_at, "again": 0 if ahead else found.again + 1}
                await conn.execute(_TURNED, kept)
                return await self._tokens(conn, tenant_id, found, at, now)
        # The locks that let a token be minted are given back: ending it asks for them alone.
        if judged == "reused":
            await self.end(tenant_id, turn.sign_in, "client.reuse_refused", "refresh token used twice", now)
        raise OAuthRefusal("invalid_grant", "the refresh token was used before or lay too long; sign in again")

    async def revoke(self, tenant_id: UUID, token: str, client_id: str | None, now: datetime) -> None:
        """Ends the sign-in that a refresh or access token belongs to; nothing where there is none, or where it is
        another client's (RFC 7009 § 2.1)."""
        try:
            sign_in: UUID | None = self._turn(tenant_id, token).sign_in
        except OAuthRefusal:
            sign_in = await self._of_access(tenant_id, token)
        if sign_in is None:
            return
        async with self._db.tenant(tenant_id) as conn:
            row: Any = (await conn.execute(_ONE, {"tenant": tenant_id, "id": sign_in})).one_or_none()
        if row is not None and row.client_id == client_id:
            await self.end(tenant_id, sign_in, "client.signed_out", "signed out", now)

    async def mine(self, login: Login, now: datetime) -> list[dict[str, Any]]:
        """The clients that the person signed in is signed in with, newest first, at most 100."""
        values = {"tenant": login.tenant_id, "identity": login.identity_id, "now": now, "idle": now - refresh.IDLE}
        async with self._db.tenant(login.tenant_id) as conn:
            rows = await conn.execute(_MINE, values)
            return [_shown(row) for row in rows]

    async def end_mine(self, login: Login, sign_in_id: str, now: datetime) -> None:
        """Ends one of the person's own. Raises Problem `not_found`."""
        wanted = parse_id(sign_in_id)
        async with self._db.tenant(login.tenant_id) as conn:
            values = {"tenant": login.tenant_id, "id": wanted}
            row: Any = None if wanted is None else (await conn.execute(_ONE, values)).one_or_none()
        if row is None or row.identity_id != login.identity_id:
            raise Problem("not_found", "no such sign-in of yours")
        await self.end(login.tenant_id, row.bearer_id, "client.signed_out", "signed out", now)

    async def end(self, tenant_id: UUID, sign_in: UUID, action: str, reason: str, now: datetime) -> None:
        """Ends a sign-in: when this returns nothing new is admitted on it anywhere."""
        async with self._db.tenant(tenant_id) as conn:
            row: Any = (await conn.execute(_ONE, {"tenant": tenant_id, "id": sign_in})).one_or_none()
            if row is None or row.revoked_at is not None:
                return
            details = {"session_id": str(sign_in), "client_id": row.client_id, "client": row.client_name}
            await self._changed(conn, tenant_id, row, action, details)
            await self._revocation.bearer(conn, tenant_id, sign_in, reason, now)

    def _turn(self, tenant_id: UUID, token: str | None) -> refresh.Turn:
        try:
            turn = refresh.parse(self._key, token or "")
        except refresh.NoRefreshToken:
            raise OAuthRefusal("invalid_grant", "not a refresh token of this issuer") from None
        if turn.tenant_id != tenant_id:
            raise OAuthRefusal("invalid_grant", "not a refresh token of this issuer")
        return turn

    async def _standing(self, conn: AsyncConnection, turn: refresh.Turn, client_id: str | None, now: datetime) -> Any:
        """The sign-in's row, held with its identity and bearer until the transaction ends. Raises OAuthRefusal."""
        ended = OAuthRefusal("invalid_grant", "the sign-in has ended; sign in again")
        named = {"tenant": turn.tenant_id, "id": turn.sign_in}
        row: Any = (await conn.execute(_ONE, named)).one_or_none()
        if row is None or row.client_id != client_id:
            raise ended
        await hold_identity(conn, row.identity_id)
        try:
            await hold_minter(conn, _holder(turn.tenant_id, row, now))
        except Problem:
            raise ended from None
        # Read again behind the locks: a revocation or another refresh that was under way has finished by now.
        row = (await conn.execute(_HELD, named)).one()
        if row.status != "active" or row.tenant_status != "active" or row.expires_at <= now:
            raise ended
        return row

    async def _of_access(self, tenant_id: UUID, token: str) -> UUID | None:
        try:
            parsed = parse(token)
        except MalformedToken:
            return None
        if parsed.kind != "session" or parsed.tenant_id != tenant_id:
            return None
        async with self._db.tenant(tenant_id) as conn:
            found: UUID | None = await conn.scalar(_BY_ACCESS, {"tenant": tenant_id, "hash": parsed.digest})
        return found

    async def _tokens(self, conn: AsyncConnection, tenant_id: UUID, row: Any, turn: int, now: datetime) -> Tokens:
        minted = await mint_bearer(
            conn,
            tenant_id,
            "session",
            _holder(tenant_id, row, now),
            now,
            identity_id=row.identity_id,
            connections=row.connections,
            access=row.access,
            access_by=_by(row),
            audience=row.resource,
            client=f"access token of {row.client_name}"[:300],
            expires_at=now + timedelta(seconds=ACCESS_SECONDS),
        )
        assert minted.expires_at is not None  # noqa: S101 - it was given one
        seconds = int((minted.expires_at - now).total_seconds())
        spelled = refresh.spell(self._key, refresh.Turn(tenant_id, row.bearer_id, turn))
        return Tokens(minted.token.text, spelled, seconds, scope_of(row.access))

    async def _changed(
        self, conn: AsyncConnection, tenant_id: UUID, row: Any, action: str, details: dict[str, Any]
    ) -> None:
        actor = f"session:{row.identifier}"
        values = {"identifier": row.identifier, "details": details, "tenant_id": tenant_id, "actor": actor}
        await self._trail.change(conn, None, action, **values)


_PARENT: Final = text("select id, kind, root_id, expires_at from broker.bearers where tenant_id = :tenant and id = :id")


async def parent_of(conn: AsyncConnection, tenant_id: UUID, login: Any, now: datetime) -> Caller | None:
    """Whose key let the person in, held until the transaction ends; None where they signed in themselves: then the
    login is held, so that whoever ends it finds what was let in with it. `login` is the login's bearer. Raises Problem
    `unauthenticated` where what is held stands no longer."""
    if login.parent_id is None:
        bearer = _bearer(login.bearer_id, tenant_id, "session", login.root_id, login.expires_at)
        await hold_minter(conn, _caller(tenant_id, bearer, now))
        return None
    await scope(conn, login.parent_tenant_id)
    row: Any = (await conn.execute(_PARENT, {"tenant": login.parent_tenant_id, "id": login.parent_id})).one_or_none()
    await scope(conn, tenant_id)
    if row is None:
        raise Problem("unauthenticated", "the key that let this person in was revoked")
    bearer = _bearer(row.id, login.parent_tenant_id, row.kind, row.root_id, row.expires_at)
    caller = _caller(tenant_id, bearer, now)
    await hold_minter(conn, caller)
    return caller


def _holder(tenant_id: UUID, row: Any, now: datetime) -> Caller:
    """A sign-in as the one who mints its access tokens."""
    return _caller(tenant_id, _bearer(row.bearer_id, tenant_id, "session", row.root_id, row.expires_at), now)


def _bearer(bearer_id: UUID, home: UUID, kind: Any, root_id: UUID, expires_at: datetime | None) -> Bearer:
    """As much of a bearer as minting from it needs; it may do nothing itself."""
    return Bearer(bearer_id, home, kind, root_id, "", None, None, None, None, Restrictions(), expires_at)


def _caller(tenant_id: UUID, bearer: Bearer, now: datetime) -> Caller:
    return Caller(
        tenant_id=tenant_id,
        tenant_name="",
        policy_version=0,
        bearer=bearer,
        identity=None,
        on_behalf_of=False,
        client=None,
        agent=None,
        run_id=None,
        now=now,
    )


def _by(row: Any) -> dict[str, Access] | None:
    by = read_access_by(row.access_by)
    return None if by is None else dict(by)


def _shown(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.bearer_id),
        "client": row.client_name,
        "client_id": row.client_id,
        "resource": row.resource,
        "connections": row.connections,
        "access": row.access,
        "access_by": _by(row),
        "created_at": row.created_at,
        "last_used_at": row.turned_at,
        "expires_at": row.expires_at,
    }
