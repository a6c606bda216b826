"""What a person is told on the page where they deposit a credential: what the connection is for, what the credential
must be able to do, and afterwards whose it is, what it can do, and whether that is more than their grants need."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from broker.accounts.views import View, Views
from broker.domain import Account, Connection, Resolved
from broker.errors import Problem
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.tokens import ParsedToken
from broker.policy.reach import reach_of_tool
from connectors.base import CredentialKind, Operation, Permissions
from connectors.cloudflare import token_page


@dataclass(frozen=True, slots=True)
class Offer:
    """One connection as its page shows it. `sentence` says how far the identity's grants reach, None where no grant
    covers it; `needed` names permissions, `needed_more` says that there are too many to list. `sign_in` is the host
    that a person may sign in to instead of pasting a credential; `paste` whether they may paste one."""

    connection_name: str
    title: str
    origin: str
    official: bool
    kinds: tuple[CredentialKind, ...]
    permissions_help: str
    sentence: str | None
    needed: tuple[str, ...]
    needed_more: int
    form_url: str | None
    connected: bool
    status: str | None
    sign_in: str | None = None
    paste: bool = True


@dataclass(frozen=True, slots=True)
class Review:
    """What a deposited credential can do. `source` as in `connectors.base.Permissions`; `excess` None: not known."""

    source: str
    abilities: tuple[str, ...]
    excess: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose page it is: their session, and how the audit names what they use."""

    token: ParsedToken
    client: str


class Offers:
    """Reads what the pages show of one connection. Sends nothing, changes nothing."""

    def __init__(self, *, authenticator: Authenticator, views: Views) -> None:
        self._authenticator = authenticator
        self._views = views

    async def caller(self, asker: Asker, now: datetime, *, connection_name: str | None = "") -> Resolved:
        """The person's look-up; "" asks for no connection, None for all. Raises those of authentication."""
        return await self._authenticator.resolve(
            asker.token, Asked(connection=connection_name, client=asker.client), now
        )

    async def offer(self, asker: Asker, connection_name: str, now: datetime) -> Offer:
        """The connection's page. Raises Problem `unknown_connection`, `forbidden`, those of authentication."""
        resolved = await self.caller(asker, now, connection_name=connection_name)
        connection = _connection(resolved, connection_name)
        view = await self._views.connection(resolved.caller.tenant_id, connection)
        reach = reach_of_tool(resolved, connection, None, f"{connection_name}_call", None, now)
        needed = await asyncio.to_thread(_needed, resolved, connection, view, now)
        mine = [a for a in resolved.accounts if a.connection_id == connection.id and not a.shared and a.label is None]
        live = next((a for a in mine if a.status in ("active", "needs_reauth")), None)
        listed = needed if len(needed) <= token_page.MAX_NAMED else ()
        return Offer(
            connection_name=connection_name,
            title=view.connector.title,
            origin=view.origins[0],
            official=view.origins[0] in view.connector.official_origins,
            kinds=tuple(view.connector.kinds),
            permissions_help=view.connector.permissions_help,
            sentence=None if reach is None else reach.sentence,
            needed=listed,
            needed_more=len(needed) - len(listed),
            form_url=_form(view, listed),
            connected=live is not None and live.status == "active",
            status=None if live is None else live.status,
            sign_in=_sign_in(view),
            paste=view.config.get("auth") != "oauth",
        )

    async def review(self, asker: Asker, connection_name: str, account_id: str, now: datetime) -> Review:
        """What the account's credential can do, beside what the grants need. Raises as `offer`."""
        resolved = await self.caller(asker, now, connection_name=connection_name)
        connection = _connection(resolved, connection_name)
        view = await self._views.connection(resolved.caller.tenant_id, connection)
        account = next((a for a in resolved.accounts if str(a.id) == account_id), None)
        if account is None:
            return Review("unknown", (), None)
        permissions = await self._views.permissions(resolved.caller.tenant_id, account)
        return await asyncio.to_thread(_review, resolved, connection, view, account, permissions, now)


def _connection(resolved: Resolved, name: str) -> Connection:
    connection = next((c for c in resolved.connections if c.name == name), None)
    narrowed = resolved.caller.bearer.restrictions.connections
    if connection is None or (narrowed is not None and name not in narrowed):
        raise Problem("unknown_connection", f"there is no connection {name!r} here", hint="ask your admin for its name")
    if connection.status != "active":
        raise Problem("forbidden", f"connection {name} is {connection.status}")
    return connection


class _Covers:
    """Whether some grant lets the identity's calls on the connection do an operation, as far as it goes."""

    def __init__(self, resolved: Resolved, connection: Connection, account: Account | None, now: datetime) -> None:
        self._facts = (resolved, connection, account, f"{connection.name}_call")
        self._now = now

    def __call__(self, operation: Operation) -> bool:
        resolved, connection, account, tool = self._facts
        return reach_of_tool(resolved, connection, account, tool, operation, self._now) is not None


def _needed(resolved: Resolved, connection: Connection, view: View, now: datetime) -> tuple[str, ...]:
    if view.connector.name != "cloudflare":
        return ()
    return token_page.needed(view, _Covers(resolved, connection, None, now))


def _sign_in(view: View) -> str | None:
    """The host that people may sign in to, where the connection is one that they may sign in to."""
    if view.connector.name != "mcp" or view.config.get("auth") == "token":
        return None
    return view.origins[0].partition("://")[2]


def _form(view: View, groups: tuple[str, ...]) -> str | None:
    return token_page.form_url(view, groups, "Keyreeve") if view.connector.name == "cloudflare" else None


def _review(
    resolved: Resolved, connection: Connection, view: View, account: Account, permissions: Permissions, now: datetime
) -> Review:
    if view.connector.name != "cloudflare":
        return Review(permissions.source, (), None)
    covers = _Covers(resolved, connection, account, now)
    return Review(permissions.source, token_page.abilities(permissions), token_page.excess(view, permissions, covers))
