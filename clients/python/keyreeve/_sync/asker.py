"""Who asks: the client with its key, or a handle with its session.

Made from `_async` by unasync.py; edit that.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from keyreeve._sync import waiting
from keyreeve.ask import Ask, get
from keyreeve.config import Target, TimeoutSeconds
from keyreeve.errors import HandleClosed, NotFound, SessionExpired, Timeout, Unauthenticated
from keyreeve.records import Nothing, Page
from keyreeve.slot import PATIENCE, Slot, Token

if TYPE_CHECKING:
    import httpx

    from keyreeve._sync.channel import Channel

T = TypeVar("T")

PAGE = 1000


class Asker(Protocol):
    """Sends a request as somebody."""

    def ask(self, ask: Ask[T], timeout: TimeoutSeconds = None) -> T:
        """The answer."""
        ...


def pages(asker: Asker, path: str, item: type[T], query: Mapping[str, Any]) -> Iterator[T]:
    """The items of a list, page after page. Raises KeyreeveError."""
    token: str | None = None
    while True:
        wanted: Any = get(path, Page[item], **query, page_size=PAGE, page_token=token)  # type: ignore[valid-type]  # made now
        page: Page[T] = asker.ask(wanted)
        for found in page.items:
            yield found
        token = page.next_page_token
        if token is None:
            return


class KeyAsker:
    """Asks with the client's own key."""

    def __init__(self, channel: "Channel", target: Target) -> None:
        self._channel = channel
        self._headers = channel.headers(target.key.reveal(), target.tenant)

    def ask(self, ask: Ask[T], timeout: TimeoutSeconds = None) -> T:
        """The answer. Raises KeyreeveError."""
        return self._channel.ask(self._headers, ask, timeout)

    def lines(self, ask: Ask[Any]) -> Iterator[bytes]:
        """The lines of a streamed answer."""
        return self._channel.lines(self._headers, ask)


class SessionAsker:
    """Asks with a slot's session token: whatever is reachable from here speaks for one identity."""

    def __init__(self, channel: "Channel", slot: Slot) -> None:
        self._channel = channel
        self._slot = slot
        self._made: tuple[Token, httpx.Headers] | None = None

    def token(self) -> Token:
        """The token as of now, minted or renewed where needed. Raises what minting failed with, Timeout."""
        self._slot.loop = waiting.here()
        found = self._slot.current()
        if isinstance(found, Token):
            return found
        try:
            return waiting.settled(found, PATIENCE)
        except TimeoutError:
            pass
        raise Timeout(f"no session token within {PATIENCE:g} s (a handle does not survive a fork)", sent=False)

    def ask(self, ask: Ask[T], timeout: TimeoutSeconds = None) -> T:
        """The answer. A session that turns out expired is renewed once; one that was revoked ends the handle, for a
        new one would undo the revocation. Raises KeyreeveError."""
        token = self.token()
        try:
            return self._channel.ask(self._headers(token), ask, timeout)
        except SessionExpired:
            # Refused at the door: nothing was done.
            self._slot.spoil(token)
        except Unauthenticated as error:
            self._slot.end(error)
            raise
        return self._channel.ask(self._headers(self.token()), ask, timeout)

    def end(self) -> None:
        """Revokes the sessions that may still live. Raises TransportError where that cannot be done."""
        for token in self._slot.end(HandleClosed):
            gone = Ask("DELETE", f"/v1/sessions/{token.id}", Nothing, repeatable=True)
            try:
                self._channel.ask(self._headers(token), gone, None)
            except (SessionExpired, Unauthenticated, NotFound):
                continue  # ended already

    def _headers(self, token: Token) -> "httpx.Headers":
        made = self._made
        if made is None or made[0] is not token:
            made = self._made = (token, self._channel.headers(token.key.reveal(), None))
        return made[1]
