"""Who runs next, and where. Pure: no clock, no I/O.

Tenants take turns, each with a cap on what it has running. A tenant's runs stand on at most half of the workers.
Tenants that computed much of late ("heavy") share at most half of the workers among all of them, so that whoever is not
heavy always finds a worker without them: a program that spins holds up its own kind. Workers that were made to give way
on the machine, for a program of theirs computed on and on, are the heavy ones' first choice; for everybody else one
counts as if one run more computed there.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from uuid import UUID

T = TypeVar("T")
P = TypeVar("P")

HEAVY_SECONDS: Final = 0.5
"""CPU time, decaying, above which a tenant counts as heavy."""
HALF_LIFE_SECONDS: Final = 10.0
_REMEMBERED: Final = 10_000


class Turns(Generic[T]):
    """Waiting items by tenant, taken round robin; first come, first served within a tenant unless its first cannot
    go yet.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[UUID, deque[T]] = OrderedDict()
        self.count = 0

    def waiting(self, tenant: UUID) -> int:
        """How many items of that tenant wait."""
        return len(self._waiting.get(tenant, ()))

    def add(self, tenant: UUID, item: T) -> None:
        """To the end of its tenant's queue."""
        self._waiting.setdefault(tenant, deque()).append(item)
        self.count += 1

    def remove(self, tenant: UUID, item: T) -> None:
        """It waits no longer; nothing happens where it does not wait."""
        queue = self._waiting.get(tenant)
        if queue is None or item not in queue:
            return
        queue.remove(item)
        self.count -= 1
        if not queue:
            del self._waiting[tenant]

    def items(self) -> list[T]:
        """All that wait."""
        return [item for queue in self._waiting.values() for item in queue]

    def take(self, place: Callable[[UUID, T], P | None], alike: Callable[[T], Hashable]) -> tuple[T, P] | None:
        """The next item that `place` finds a place for. Its tenant then goes to the end of the line.

        Where one item of a tenant finds none, those `alike` (of equal keys) are not tried.
        """
        for tenant, queue in self._waiting.items():
            tried: set[Hashable] = set()
            for item in queue:
                key = alike(item)
                if key in tried:
                    continue
                tried.add(key)
                found = place(tenant, item)
                if found is not None:
                    self.remove(tenant, item)
                    if tenant in self._waiting:
                        self._waiting.move_to_end(tenant)
                    return item, found
        return None


@dataclass(slots=True)
class _Used:
    seconds: float
    at: float


@dataclass(slots=True)
class Usage:
    """How much each tenant computed of late, decaying by half every 10 s. Times are seconds of any monotonic clock."""

    _used: OrderedDict[UUID, _Used] = field(default_factory=OrderedDict)

    def add(self, tenant: UUID, seconds: float, now: float) -> None:
        """It used that much just now."""
        total = self.seconds(tenant, now) + seconds
        self._used[tenant] = _Used(total, now)
        self._used.move_to_end(tenant)
        if len(self._used) > _REMEMBERED:
            self._used.popitem(last=False)

    def seconds(self, tenant: UUID, now: float) -> float:
        """What is left of it now."""
        used = self._used.get(tenant)
        return 0.0 if used is None else used.seconds * 0.5 ** ((now - used.at) / HALF_LIFE_SECONDS)

    def heavy(self, tenant: UUID, now: float) -> bool:
        """Whether it shares a worker with its own kind only."""
        return self.seconds(tenant, now) > HEAVY_SECONDS


@dataclass(frozen=True, slots=True)
class Place:
    """A worker as the choice sees it: `runs` in it, how many of them are computing or about to (`owed`), whether it
    has `room` for the run at all, whether the tenant is there (`mine`), whether another, heavy one is (`heavy`), and
    whether it gives way on the machine (`slow`).
    """

    runs: int
    owed: int
    room: bool
    mine: bool
    heavy: bool
    slow: bool = False


def choose(places: Sequence[Place], *, heavy: bool) -> int | None:
    """The index of the place for a run of a tenant that is or is not `heavy`; None where it has to wait."""
    half = max(1, len(places) // 2)
    spread = sum(place.mine for place in places)
    lane = sum(place.heavy for place in places)

    def allowed(place: Place) -> bool:
        if not place.room or (spread >= half and not place.mine):
            return False
        if heavy:
            return place.heavy or place.mine or lane < half
        return not place.heavy or lane == len(places)

    open_to_it = [index for index, place in enumerate(places) if allowed(place)]
    if not open_to_it:
        return None

    def rank(index: int) -> tuple[bool, bool, int, int]:
        place = places[index]
        if heavy:
            return not place.heavy, not place.slow, place.owed, place.runs
        return place.heavy, False, place.owed + place.slow, place.runs

    return min(open_to_it, key=rank)
