"""Client credentials (OAuth 2.1 § 4.2): an agent backend's key, exchanged for a session token of one identity.

The client's id is the agent key's id, its secret the key itself: one table, one revoke path.
"""

from datetime import datetime
from typing import Final

from broker.errors import Problem
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.names import EVERYONE
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.resources import Resource
from broker.identity.oauth.scopes import access_of, scope_of
from broker.identity.oauth.sign_ins import ACCESS_SECONDS, Tokens
from broker.identity.sessions import Sessions
from broker.identity.tokens import MalformedToken, parse

_REFUSED: Final = "the client id or secret is wrong, or the key was revoked"


class Machines:
    """What backends get tokens from."""

    def __init__(self, *, authenticator: Authenticator, sessions: Sessions) -> None:
        self._authenticator = authenticator
        self._sessions = sessions

    async def tokens(
        self,
        tenant: str,
        *,
        client_id: str | None,
        secret: str | None,
        identifier: str | None,
        resource: Resource,
        scope: str | None,
        now: datetime,
    ) -> Tokens:
        """A session token for `identifier`, which may be left out where the key lists one alone. It reaches as far as
        `scope` asks, `tools:read` without one. Raises OAuthRefusal."""
        try:
            token = parse(secret or "")
        except MalformedToken:
            raise OAuthRefusal("invalid_client", _REFUSED) from None
        if token.kind != "agent":
            raise OAuthRefusal("invalid_client", _REFUSED)
        access = access_of(scope)
        try:
            caller = (await self._authenticator.resolve(token, Asked(tenant=tenant), now)).caller
            if str(caller.bearer.id) != client_id:
                raise OAuthRefusal("invalid_client", _REFUSED)
            made = await self._sessions.create(
                caller,
                identifier=identifier or _only(caller.bearer.identifiers),
                connections=None if resource.connection is None else [resource.connection],
                access=access,
                ttl_seconds=ACCESS_SECONDS if caller.bearer.expires_at is None else None,
                audience=resource.path,
            )
        except Problem as problem:
            if problem.kind.status == 401 or problem.code == "forbidden":
                raise OAuthRefusal("invalid_client", _REFUSED) from None
            if problem.kind.status < 500:
                raise OAuthRefusal("invalid_grant", problem.detail) from None
            raise
        return Tokens(made["token"], None, int((made["expires_at"] - now).total_seconds()), scope_of(access))


def _only(identifiers: tuple[str, ...] | None) -> str:
    """The one identity that a key lists. Raises OAuthRefusal."""
    if identifiers is None or len(identifiers) != 1 or identifiers[0] == EVERYONE:
        raise OAuthRefusal("invalid_request", "say by `identifier` for which identity: the key lists several")
    return identifiers[0]
