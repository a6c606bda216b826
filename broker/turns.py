"""Turns: no tenant's requests crowd out another's in one process.

A request is its party's: the home tenant of its bearer where this process has last seen that bearer accepted, else the
address it comes from (nobody can stand in another tenant's line by naming it). While one tenant alone asks, nothing
waits. For a second after requests of two tenants came one after the other, each party has at most `share` requests at
work at once; its others wait in a line of its own, first come, first served. Addresses always share. A request is at
work until it is answered, except while it waits for an upstream (`elsewhere`); what takes `SEAT_SECONDS` waits as well.

Whoever has `most` at work and in line is refused, after a pause: a client that asks again at once must not keep the
process busy with saying no. Reading large JSON is paid for in the time that it took, which nothing
else could use: a party has a twentieth of a process's time for it, and a quarter of a second in advance.
"""

import asyncio
import gc
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from hashlib import sha256
from ipaddress import IPv6Address
from math import ceil
from time import monotonic, perf_counter
from typing import Final
from uuid import UUID

from broker.errors import Problem

Key = UUID | str
"""A party: a tenant's id or an address."""

TOGETHER_SECONDS: Final = 1.0
"""How long tenants share after one asked after another."""
SEAT_SECONDS: Final = 0.1
PAUSE_SECONDS: Final = 1
PAUSED: Final = 2_000
"""Refusals that are held back at once; beyond, they go out as they come."""
PAID_BYTES: Final = 16 * 1024
"""Smaller bodies cost less to read than the rest of their request."""
PAID_SHARE: Final = 0.05
ADVANCE_SECONDS: Final = 0.25
REMEMBERED: Final = 10_000
"""Bearers, and parties that owe, remembered; the oldest are forgotten."""


class _Party:
    """Those of one party that are at work, and the line of the others."""

    __slots__ = ("at_work", "line")

    def __init__(self) -> None:
        self.at_work = 0
        self.line: deque[asyncio.Future[None]] = deque()


class Turn:
    """One request's, at work from the start."""

    __slots__ = ("_bearer", "_key", "_seat", "_token", "_turns", "payer")

    def __init__(self, turns: "Turns", key: Key, bearer: bytes | None) -> None:
        self._turns = turns
        self._bearer = bearer
        self._key = key
        self._seat: asyncio.TimerHandle | None = self._sit()
        self._token: Token[Turn | None] = _current.set(self)
        self.payer = key
        """Who pays for what is read: the tenant, as soon as it is known."""

    def _sit(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(SEAT_SECONDS, self.rest)

    def work(self) -> None:
        """At work again, at once: the party's next come in when that many fewer are at work."""
        if self._seat is None:
            self._turns.returned(self._key)
            self._seat = self._sit()

    def rest(self) -> None:
        """The seat is free for the party's next. Repeating it does nothing."""
        if self._seat is not None:
            self._seat.cancel()
            self._seat = None
            self._turns.freed(self._key)

    def end(self) -> None:
        """The request was answered."""
        _current.reset(self._token)
        self.rest()

    def belongs(self, tenant_id: UUID) -> None:
        """The bearer was accepted: from now on its requests are its home tenant's."""
        if self.payer != tenant_id:
            self.payer = tenant_id
            self._turns.remember(self._bearer, tenant_id)

    def refused(self) -> None:
        """The bearer is good no more: the next that shows it stands in the line of its address."""
        self._turns.forget(self._bearer)

    def afford(self) -> None:
        """Returns if the party may have a large body read. Raises Problem `rate_limited`."""
        self._turns.afford(self.payer)

    def pay(self, seconds: float) -> None:
        """Reading a body took so long."""
        self._turns.pay(self.payer, seconds)


class Turns:
    """One per process."""

    def __init__(
        self,
        *,
        most: int,
        share: int,
        elapsed: Callable[[], float] = monotonic,
        waited: Callable[[float], None] | None = None,
    ) -> None:
        """`waited` is told the seconds of each wait in line."""
        if min(most, share) < 1:
            raise ValueError("everyone may have at least one request at work")
        self._most = most
        self._share = share
        self._elapsed = elapsed
        self._waited = waited
        self._parties: dict[Key, _Party] = {}
        self._tenants: OrderedDict[bytes, UUID] = OrderedDict()
        self._paused = 0
        self._last: UUID | None = None
        self._together_until = 0.0
        self._paid_until: OrderedDict[Key, float] = OrderedDict()

    async def take(self, authorization: bytes | None, address: str, size: int = 0) -> Turn:
        """The turn of a request, of which nothing has been read but its headers; `end` it. `size` is what they say of
        its body. Raises Problem `rate_limited` where its party has too many in hand, or may not have so much read."""
        bearer = None if authorization is None else sha256(authorization).digest()
        tenant_id = None if bearer is None else self._tenants.get(bearer)
        key = _network(address) if tenant_id is None else tenant_id
        if size >= PAID_BYTES:
            try:
                self.afford(key)
            except Problem as owing:
                raise await self._late(owing) from None
        party = self._parties.get(key)
        if party is None:
            party = self._parties[key] = _Party()
        elif party.at_work + len(party.line) >= self._most:
            raise await self._late(_crowded(self._most))
        if tenant_id is not None and tenant_id != self._last:
            if self._last is not None:
                self._together_until = self._elapsed() + TOGETHER_SECONDS
            self._last = tenant_id
        if not party.line and self._free(key, party):
            party.at_work += 1
        else:
            await self._wait(key, party)
        return Turn(self, key, bearer)

    async def _late(self, problem: Problem) -> Problem:
        """The same, after a pause."""
        if self._paused < PAUSED:
            self._paused += 1
            try:
                await asyncio.sleep(PAUSE_SECONDS)
            finally:
                self._paused -= 1
        return problem

    async def _wait(self, key: Key, party: _Party) -> None:
        began = perf_counter()
        place = asyncio.get_running_loop().create_future()
        party.line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.freed(key)  # it was this one's turn already
            elif place in party.line:
                party.line.remove(place)
            raise
        if self._waited is not None:
            self._waited(perf_counter() - began)

    def returned(self, key: Key) -> None:
        """A request of the party is at work that was not."""
        self._parties.setdefault(key, _Party()).at_work += 1

    def freed(self, key: Key) -> None:
        """One of the party's seats is free: the next in line takes it."""
        party = self._parties[key]
        party.at_work -= 1
        waiting = party.line
        while waiting and (waiting[0].done() or self._free(key, party)):
            place = waiting.popleft()
            if not place.done():
                party.at_work += 1
                place.set_result(None)
        if not party.at_work and not waiting:
            del self._parties[key]

    def _free(self, key: Key, party: _Party) -> bool:
        return party.at_work < self._share or (isinstance(key, UUID) and self._elapsed() >= self._together_until)

    def remember(self, bearer: bytes | None, tenant_id: UUID) -> None:
        """Whose requests those with this `Authorization` are."""
        if bearer is not None:
            self._tenants[bearer] = tenant_id
            if len(self._tenants) > REMEMBERED:
                self._tenants.popitem(last=False)

    def forget(self, bearer: bytes | None) -> None:
        """Requests with this `Authorization` are nobody's that is known."""
        if bearer is not None:
            self._tenants.pop(bearer, None)

    def afford(self, key: Key) -> None:
        """Returns if the party may have a large body read. Raises Problem `rate_limited`: in how many seconds."""
        left = self._paid_until.get(key, 0.0) - self._elapsed() - ADVANCE_SECONDS / PAID_SHARE
        if left > 0:
            raise Problem(
                "rate_limited",
                "reading your large requests has taken more than its share of this server's time",
                hint="send smaller bodies, or long texts rather than many values",
                retry_after=ceil(left),
                sent=False,
            )

    def pay(self, key: Key, seconds: float) -> None:
        """Reading for this party took so long."""
        now = self._elapsed()
        self._paid_until[key] = max(self._paid_until.get(key, 0.0), now) + seconds / PAID_SHARE
        self._paid_until.move_to_end(key)
        while len(self._paid_until) > REMEMBERED or next(iter(self._paid_until.values())) <= now:
            self._paid_until.popitem(last=False)


_current: ContextVar[Turn | None] = ContextVar("turn", default=None)


class elsewhere:  # noqa: N801 - a context manager, read as a word
    """Around what the current request waits for that is not of this installation."""

    __slots__ = ("_turn",)

    def __enter__(self) -> None:
        self._turn = _current.get()
        if self._turn is not None:
            self._turn.rest()

    def __exit__(self, *_: object) -> None:
        if self._turn is not None:
            self._turn.work()


def belongs(tenant_id: UUID) -> None:
    """The current request's bearer was accepted; its home is this tenant."""
    turn = _current.get()
    if turn is not None:
        turn.belongs(tenant_id)


def refused() -> None:
    """The current request's bearer was refused: whose it was, if anybody's, is not who asks."""
    turn = _current.get()
    if turn is not None:
        turn.refused()


@contextmanager
def paid(size: int) -> Iterator[None]:
    """Around what reads a body of `size` bytes without a pause. Raises Problem `rate_limited`."""
    turn = _current.get()
    if turn is None or size < PAID_BYTES:
        yield
        return
    turn.afford()
    collecting = gc.isenabled()
    gc.disable()  # nothing that is made here is garbage yet, and looking for it takes four times as long as making it
    began = perf_counter()
    try:
        yield
    finally:
        turn.pay(perf_counter() - began)
        if collecting:
            gc.enable()


def _crowded(most: int) -> Problem:
    return Problem(
        "rate_limited",
        f"{most} of your requests are in hand here already",
        hint="wait for some to finish",
        retry_after=PAUSE_SECONDS,
        sent=False,
    )


def _network(address: str) -> str:
    """One customer's addresses as one party: an IPv6 network of 64 bits."""
    if ":" not in address:
        return address
    try:
        return str(IPv6Address(int(IPv6Address(address.partition("%")[0])) >> 64 << 64))
    except ValueError:
        return address
