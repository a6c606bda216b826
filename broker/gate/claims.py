"""What the gate's two round trips are asked and what they answer. Values, and the ways they fail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from broker.audit.events import CallFacts
from connectors.base import Meter, RateHint
from connectors.errors import Sent
from connectors.frozen import quick

GRACE_SECONDS: Final = 5
"""How much longer than the upstream's timeout a slot is booked ahead: a call is over before its booking is."""
HOLD_SECONDS_MAX: Final = 120
"""The furthest a slot can be booked ahead: the length of the ring beyond the window."""


class AdmitLost(Exception):
    """The database is away. That nothing was sent is certain; with `asked`, whether the intent was written is not."""

    def __init__(self, what: str, *, asked: bool) -> None:
        self.asked = asked
        super().__init__(what)


class AdmitBusy(Exception):
    """A lock could not be had in time; nothing was written."""


class SettleLost(Exception):
    """The outcome could not be written in time. The sweeper will close the call as `unknown`."""


NO_HINT: Final = RateHint()


@quick
@dataclass(frozen=True, slots=True)
class Claim:
    """What admit is asked. `maintenance`: a call of our own, on an account in any state but revoked; only then may
    `principal` be set: booked on that budget instead of the account's own. `meters` in one fixed order. `hold_seconds`
    1..120.
    """

    tenant_id: UUID
    policy_version: int
    identity_id: UUID | None
    bearer_tenant_id: UUID
    bearer_id: UUID
    root_id: UUID
    connection_id: UUID
    connection_version: int
    account_id: UUID
    account_version: int
    meters: tuple[Meter, ...]
    reserve: int
    hold_seconds: int
    call_id: UUID
    execution_id: UUID
    maintenance: bool = False
    principal: bytes | None = None


@quick
@dataclass(frozen=True, slots=True)
class Admitted:
    """The intent is durable and the slots are booked. `sealed` opens only for exactly these binding facts."""

    principal: bytes
    credential_id: UUID
    credential_version: int
    kind: str
    origins: tuple[str, ...]
    remaining: int | None
    reset_seconds: int
    sealed: bytes = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was written. `reason` "budget": `retry_seconds` until enough slots of `meter` are free on `principal`."""

    reason: str
    principal: bytes | None = None
    meter: str | None = None
    retry_seconds: float = 0.0


@quick
@dataclass(frozen=True, slots=True)
class Settlement:
    """How a call ended, for the budget. `how` "sent" also where it is not known.

    `only_open`: do nothing unless the call is open still (the sweeper, and whoever lost admit's answer).
    """

    tenant_id: UUID
    call_id: UUID
    account_id: UUID
    principal: bytes
    meters: Sequence[str]
    costs: Sequence[int]
    how: Literal["sent", "not_sent"]
    block_seconds: int = 0
    rate: RateHint = NO_HINT
    only_open: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome is durable. `late`: the sweeper had come first. `remaining` None: it was settled before already."""

    late: bool
    remaining: int | None
    reset_seconds: int


@quick
@dataclass(frozen=True, slots=True)
class Overdue:
    """A call that nobody will settle any more, with the facts of its intent."""

    facts: CallFacts
    account_id: UUID
    principal: bytes
    meters: tuple[str, ...]
    costs: tuple[int, ...]


def hold_seconds(timeout_seconds: float) -> int:
    """How far ahead to book for an upstream timeout of at most 115 s."""
    return min(int(timeout_seconds) + 1 + GRACE_SECONDS, HOLD_SECONDS_MAX)


def how_sent(sent: Sent) -> Literal["sent", "not_sent"]:
    """What is not known counts as sent."""
    return "not_sent" if sent is False else "sent"


def ordered(meters: Sequence[Meter]) -> tuple[Meter, ...]:
    """Meters in the order in which they are locked, so that two calls never wait for each other."""
    return meters if len(meters) < 2 and isinstance(meters, tuple) else tuple(sorted(meters, key=lambda m: m.name))
