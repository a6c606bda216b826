"""Who may ask `why`, and for whom: the look-up before the explanation."""

from typing import Any

from broker.accounts.views import Views
from broker.clock import Clock
from broker.errors import invalid
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.roles import require
from broker.identity.tokens import ParsedToken
from broker.tools.why import explain_operation


class Explaining:
    """Explains policy to whoever may read grants. Sends nothing and changes nothing."""

    def __init__(self, *, authenticator: Authenticator, views: Views, clock: Clock) -> None:
        self._authenticator = authenticator
        self._views = views
        self._clock = clock

    async def explain(self, token: ParsedToken, asked: Asked, ref: str) -> dict[str, Any]:
        """As `why.explain_operation`. Raises Problem `forbidden` and those of authentication, too."""
        resolved = await self._authenticator.resolve(token, asked, self._clock.now())
        require(resolved.caller, "grants.read")
        if resolved.caller.identity is None or asked.connection is None:
            raise invalid("identifier", "name the identity to explain for")
        return await explain_operation(self._views, resolved, asked.connection, ref)
