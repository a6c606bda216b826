"""Every method but those of tools and of streams: which there are in each era, and who answers."""

from typing import TYPE_CHECKING, Final

from broker.domain import Resolved
from broker.endpoints.mcp import answers, handshake
from broker.endpoints.mcp.behind import Asking, Behind
from broker.endpoints.mcp.prompts import Prompts
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.resources import Resources
from broker.endpoints.mcp.rpc import INVALID_PARAMS, METHOD_NOT_FOUND, Refused
from broker.endpoints.mcp.visit import Visit
from broker.tools.results import dumps

if TYPE_CHECKING:
    from broker.services import Services

WAITING: Final = frozenset({"prompts/get", "resources/read", "resources/list", "completion/complete"})
"""Methods that a server behind us answers: the client may wait for them, and hang up."""

PINNED: Final = frozenset({"prompts/list", "resources/templates/list", "resources/subscribe", "resources/unsubscribe"})
"""Methods answered from what is known of those servers."""

_OLDER: Final = frozenset({"resources/subscribe", "resources/unsubscribe"})
_LEVELS: Final = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})


class Methods:
    """One per process."""

    def __init__(self, services: "Services") -> None:
        self._behind = Behind(services)
        self._resources = Resources(self._behind)
        self._prompts = Prompts(self._behind, self._resources)

    async def session(self, visit: Visit, resolved: Resolved) -> str | None:
        """The id of the session that an `initialize` begins; None: the client is in none, for it can be asked nothing,
        or nothing behind us asks."""
        session = handshake.session_id(visit.message.params.get("capabilities"))
        return session if session is not None and await self._behind.asks_while_waiting(resolved) else None

    async def waited(self, visit: Visit, resolved: Resolved, relay: Relay) -> bytes:
        """The encoded result of one of `WAITING`. Raises Refused; Problem where the caller is not authenticated after
        all."""
        try:
            match visit.message.method:
                case "prompts/get":
                    return await self._prompts.got(visit, resolved, relay)
                case "resources/read":
                    return await self._resources.read(visit, resolved, relay)
                case "resources/list":
                    return await self._resources.listed(visit, resolved)
                case _:
                    return await self._prompts.completed(visit, resolved, relay)
        except Asking as asking:
            return dumps(asking.result)

    async def pinned(self, visit: Visit, resolved: Resolved) -> bytes:
        """The encoded result of one of `PINNED`. Raises Refused."""
        message = visit.message
        if message.modern and message.method in _OLDER:
            raise unknown(visit)
        if message.method == "prompts/list":
            return await self._prompts.listed(visit, resolved)
        if message.method == "resources/templates/list":
            return await self._resources.templates(visit, resolved)
        return await self._resources.subscribed(visit, resolved)


def own(visit: Visit) -> bytes:
    """The encoded result of what we answer ourselves. Raises Refused for a method that there is not."""
    message = visit.message
    if message.modern and message.method == "server/discover":
        return answers.discovered(message)
    if not message.modern:
        if message.method == "initialize":
            return answers.initialized(message)
        if message.method == "ping":
            return b"{}"
        if message.method == "logging/setLevel":
            # Taken, for clients set it without looking whether it is announced. There is nothing to log to them.
            if message.params.get("level") not in _LEVELS:
                raise Refused(INVALID_PARAMS, f"params.level must be one of {', '.join(sorted(_LEVELS))}")
            return b"{}"
    raise unknown(visit)


def unknown(visit: Visit) -> Refused:
    """There is no such method in this era."""
    return Refused(METHOD_NOT_FOUND, f"there is no method {visit.message.method[:100]!r}")
