"""The way to one server during one call: one address, one credential, one deadline, and bounds over all that comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Literal

from connectors.auth import Authorisation
from connectors.base import HttpSender, Prepared, RawAnswer
from connectors.errors import UpstreamTimeout
from connectors.mcp_upstream.streams import MAX_ANSWER, AnswerWatch

Headers = tuple[tuple[str, str], ...]

MAX_TOLD: Final = 64 * 1024
"""Bytes that are read of what comes back for a message that is owed no answer."""


@dataclass(frozen=True, slots=True)
class Line:
    """Every request over it is sent at most once, with the credential, to the address of `prepared`."""

    http: HttpSender
    prepared: Prepared
    authorisation: Authorisation
    allowed_origins: Sequence[str]
    until: float
    """On the monotonic clock."""

    def left(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.until - monotonic()

    async def post(self, headers: Headers, body: bytes, watch: AnswerWatch | None = None) -> RawAnswer:
        """Sends one request. Raises UpstreamFault, EgressRefused."""
        return await self._send("POST", headers, body, watch)

    async def tell(self, headers: Headers, body: bytes) -> None:
        """Sends a notification, or an answer: a message that is owed none. Raises as `post`."""
        await self._send("POST", headers, body, None, MAX_TOLD)

    async def get(self, headers: Headers, watch: AnswerWatch) -> RawAnswer:
        """Asks for a stream. Raises as `post`."""
        return await self._send("GET", headers, None, watch)

    async def _send(
        self,
        method: Literal["GET", "POST"],
        headers: Headers,
        body: bytes | None,
        watch: AnswerWatch | None,
        most: int = MAX_ANSWER,
    ) -> RawAnswer:
        left = self.left()
        if left <= 0:
            raise UpstreamTimeout("no time was left for the request", sent=False)
        raw = await self.http.send(
            method=method,
            origin=self.prepared.origin,
            path=self.prepared.path,
            query=self.prepared.query,
            headers=(*headers, *self.authorisation.headers),
            body=body,
            timeout_seconds=left,
            max_response_bytes=most,
            allowed_origins=self.allowed_origins,
            watch=watch,
        )
        if watch is None or watch.answer is None:
            return raw
        return RawAnswer(raw.status, {**raw.headers, "content-type": "application/json"}, watch.answer)
