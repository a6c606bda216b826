"""A provider's documents, fetched by the one way out and kept for a while. One object per process.

A description is fresh for an hour, keys for five minutes. What cannot be fetched again may be used until ten minutes
after that (keys: until they are ten minutes old). A key that is not among those kept has them fetched again, at most
once a minute; what failed is not asked for again within fifteen seconds. So nobody at the sign-in page can make this
server hammer a provider, and a key that a provider withdrew is believed for ten minutes at most.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from broker.identity.oidc.discovery import Metadata, address_of, check_issuer, read_metadata
from broker.identity.oidc.errors import Away, BadProvider, OidcFault
from broker.identity.oidc.keys import SigningKey, read_keys
from connectors.base import HttpSender
from connectors.documents import NoDocument, fetch_json
from connectors.egress import EgressPolicy
from connectors.errors import EgressRefused

DESCRIPTION_FRESH: Final = timedelta(hours=1)
DESCRIPTION_USABLE: Final = timedelta(hours=1, minutes=10)
KEYS_FRESH: Final = timedelta(minutes=5)
KEYS_USABLE: Final = timedelta(minutes=10)
AGAIN: Final = timedelta(minutes=1)
FAILED_FOR: Final = timedelta(seconds=15)
HELD: Final = 500
"""Issuers, and sets of keys, that are kept; the one longest unused goes first."""

T = TypeVar("T")


@dataclass(slots=True)
class _Held(Generic[T]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    value: T | None = None
    at: datetime | None = None
    tried: datetime | None = None
    fault: OidcFault | None = None


class _Kept(Generic[T]):
    """Values by address. Whoever asks while one is fetched waits for it."""

    def __init__(self, fresh: timedelta, usable: timedelta) -> None:
        self._fresh = fresh
        self._usable = usable
        self._held: OrderedDict[str, _Held[T]] = OrderedDict()

    async def get(
        self, address: str, fetch: Callable[[], Awaitable[T]], now: datetime, *, newer_than: timedelta | None = None
    ) -> T:
        """The value. `newer_than`: one that was fetched less long ago, if that may be tried. Raises OidcFault."""
        held = self._held.setdefault(address, _Held())
        self._held.move_to_end(address)
        while len(self._held) > HELD:
            self._held.popitem(last=False)
        async with held.lock:
            wanted = self._fresh if newer_than is None else newer_than
            if held.value is not None and _within(held.at, now, wanted):
                return held.value
            if held.fault is not None and _within(held.tried, now, newer_than or FAILED_FOR):
                return self._older(held, now, held.fault)
            try:
                held.value, held.at, held.fault = await fetch(), now, None
                return held.value
            except OidcFault as fault:
                held.fault, held.tried = fault, now
                return self._older(held, now, fault)

    def _older(self, held: _Held[T], now: datetime, fault: OidcFault) -> T:
        """What is kept, if it may be used where no newer can be had, and else the fault."""
        if held.value is None or isinstance(fault, BadProvider) or not _within(held.at, now, self._usable):
            raise type(fault)(str(fault))
        return held.value


class Documents:
    """The descriptions and keys of all providers."""

    def __init__(self, http: HttpSender, egress: EgressPolicy) -> None:
        self._http = http
        self.egress = egress
        self._descriptions: _Kept[Metadata] = _Kept(DESCRIPTION_FRESH, DESCRIPTION_USABLE)
        self._keys: _Kept[tuple[SigningKey, ...]] = _Kept(KEYS_FRESH, KEYS_USABLE)

    async def metadata(self, issuer: str, now: datetime) -> Metadata:
        """The issuer's description. Raises OidcFault."""
        return await self._descriptions.get(issuer, lambda: self.fetch_metadata(issuer), now)

    async def keys(self, metadata: Metadata, now: datetime, *, again: bool = False) -> tuple[SigningKey, ...]:
        """The issuer's keys; `again`: one was missing among them, so not those of more than a minute ago. Raises
        OidcFault."""
        newer = AGAIN if again else None
        return await self._keys.get(metadata.jwks_uri, lambda: self.fetch_keys(metadata), now, newer_than=newer)

    async def fetch_metadata(self, issuer: str) -> Metadata:
        """The issuer's description, as it is now. Raises OidcFault."""
        try:
            check_issuer(issuer, self.egress)
            return read_metadata(await fetch_json(self._http, address_of(issuer)), issuer, self.egress)
        except NoDocument as none:
            raise Away(f"its description cannot be used: {none}") from None
        except EgressRefused as refused:
            raise BadProvider(f"an address of it is not allowed: {refused.reason}") from None

    async def fetch_keys(self, metadata: Metadata) -> tuple[SigningKey, ...]:
        """The issuer's keys, as they are now. Raises OidcFault."""
        try:
            return read_keys(await fetch_json(self._http, metadata.jwks_uri))
        except NoDocument as none:
            raise Away(f"its keys cannot be used: {none}") from None


def _within(at: datetime | None, now: datetime, span: timedelta) -> bool:
    """Whether `at` is less than `span` ago. A time in the future counts as long ago: clocks are set back."""
    return at is not None and timedelta() <= now - at < span
