"""Addresses that a server outside names are outside."""

from typing import Any

from connectors.base import HttpSender, RawAnswer
from connectors.egress import EgressPolicy, check_origin
from connectors.errors import EgressRefused


class OutwardOnly:
    """An `HttpSender` that asks nobody whom the operator has opened (`--allow-upstream`).

    What is opened is mostly inside a network. A server outside names its authorization server, and that one its
    endpoints: neither may have us send anything in there.
    """

    def __init__(self, http: HttpSender, policy: EgressPolicy) -> None:
        self._http = http
        self._policy = policy

    def opened(self, origin: str) -> bool:
        """Whether the operator has opened it. Raises EgressRefused for what is no origin, or may never be asked."""
        checked = check_origin(origin, policy=self._policy)
        return self._policy.allows(checked.host, checked.port)

    def check(self, origin: str) -> None:
        """Raises EgressRefused for an origin that is opened, or may never be asked."""
        if self.opened(origin):
            raise EgressRefused("origin", "A server outside may not name an address inside your network.")

    async def send(self, *, origin: str, **request: Any) -> RawAnswer:
        """As `HttpSender.send`. Raises EgressRefused too for an origin that is opened."""
        self.check(origin)
        return await self._http.send(origin=origin, **request)
