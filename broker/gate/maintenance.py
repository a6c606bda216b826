"""Calls that Keyreeve makes for itself with a tenant's credential: verifying it, and later refreshing and deleting it.

They pass the gate like any other: budget, durable intent and outcome, revocation. What they don't pass is policy:
whoever asks for them has been judged by role, and the account need not be active yet.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from broker.clock import Clock
from broker.domain import Caller, Connection, Decision
from broker.errors import Problem
from broker.gate import endings
from broker.gate.admission import Admissions
from broker.gate.claims import Claim, Refused, hold_seconds, ordered
from broker.gate.dispatch import Dispatch, Order
from broker.gate.inflight import InFlight
from broker.gate.perform import Pace
from broker.gate.principals import Principals
from broker.ids import new_id
from broker.settings import Limits
from connectors.base import Answer, Connector, Meter, Prepared

_TURN_SECONDS = 5.0
"""How long a call of ours waits for its turn towards an official origin."""

_DECISION = Decision(allowed=True, reason="maintenance")


@dataclass(frozen=True, slots=True)
class MaintenanceCall:
    """One such call, with the account's current credential.

    `principal` None: the account's own budget; else the upstream principal's name, or `deposit:<place>` before it is
    known.
    """

    caller: Caller
    connection: Connection
    connector: Connector
    account_id: UUID
    principal: str | None
    execution_id: UUID
    n: int
    deadline: datetime


class Maintenance:
    """One per process."""

    def __init__(
        self,
        *,
        dispatch: Dispatch,
        admissions: Admissions,
        principals: Principals,
        clock: Clock,
        limits: Limits,
        in_flight: InFlight,
        pace: Pace | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._admissions = admissions
        self._principals = principals
        self._clock = clock
        self._limits = limits
        self._in_flight = in_flight
        self._pace = pace

    async def perform(self, call: MaintenanceCall, prepared: Prepared) -> Answer:
        """Sends one maintenance request. Raises Problem where it is not admitted, and the connector's own UpstreamFault
        or EgressRefused where no usable answer came."""
        with self._in_flight.room(call.caller.tenant_id, None):
            if self._pace is not None and prepared.origin in call.connector.official_origins:
                await self._turn(self._pace, call)
            timeout = min((call.deadline - self._clock.now()).total_seconds(), self._limits.call_seconds_max)
            if timeout <= 0:
                raise endings.deadline_passed()
            found = await self._dispatch.admit(
                self._order(call, prepared, timeout), self._claim(call, prepared, timeout), self._clock.now(), 0.0
            )
            if isinstance(found, Refused):
                if found.reason == "budget":
                    raise endings.budget_exhausted(found.meter or "", found.retry_seconds)
                raise endings.refused(found.reason)
            ended = await self._dispatch.send(found)
        if ended.cause is not None:
            raise ended.cause
        if ended.answer is None:
            assert ended.ending.problem is not None  # noqa: S101 - an ending has an answer or a problem
            raise ended.ending.problem
        return ended.answer

    async def book(
        self,
        connector: Connector,
        origin: str,
        tenant_id: UUID,
        principal: str,
        meters: tuple[Meter, ...],
        requests: int,
        *,
        sharer: UUID | None = None,
    ) -> None:
        """Books requests made under another name on the principal they turned out to belong to, as the use of `sharer`
        (the account's identity; None: the tenant's own)."""
        key = self._principals.key(connector, origin, tenant_id, principal)
        await self._admissions.book(key, meters, requests, tenant_id, sharer or tenant_id)

    @staticmethod
    async def _turn(pace: Pace, call: MaintenanceCall) -> None:
        """Whoever deposits one credential after another must not spend the address's rate that all tenants share."""
        try:
            await pace.turn(call.caller.tenant_id, monotonic() + _TURN_SECONDS)
        except TimeoutError:
            told = "this installation's own rate towards the upstream is used up"
            raise Problem("rate_limited", told, retry_after=1, sent=False) from None

    def _order(self, call: MaintenanceCall, prepared: Prepared, timeout: float) -> Order:
        return Order(
            caller=call.caller,
            connection=call.connection,
            connector=call.connector,
            account_id=call.account_id,
            tool_name=f"{call.connection.name}_maintenance",
            execution_id=call.execution_id,
            n=call.n,
            prepared=prepared,
            decision=_DECISION,
            sentence=None,
            timeout_seconds=timeout,
        )

    def _claim(self, call: MaintenanceCall, prepared: Prepared, timeout: float) -> Claim:
        caller, tenant_id = call.caller, call.caller.tenant_id
        key = None
        if call.principal is not None:
            key = self._principals.key(call.connector, prepared.origin, tenant_id, call.principal)
        return Claim(
            tenant_id=tenant_id,
            policy_version=caller.policy_version,
            identity_id=None if caller.identity is None else caller.identity.id,
            bearer_tenant_id=caller.bearer.tenant_id,
            bearer_id=caller.bearer.id,
            root_id=caller.bearer.root_id,
            connection_id=call.connection.id,
            connection_version=call.connection.version,
            account_id=call.account_id,
            account_version=0,
            meters=ordered(prepared.meters or call.connector.meters[:1]),
            reserve=0,
            hold_seconds=hold_seconds(timeout),
            call_id=new_id(),
            execution_id=call.execution_id,
            maintenance=True,
            principal=key,
        )


@dataclass(slots=True)
class Series:
    """Requests of ours for one purpose: one execution, numbered from 1, each with its own deadline in `seconds`."""

    maintenance: Maintenance
    clock: Clock
    caller: Caller
    connection: Connection
    connector: Connector
    account_id: UUID
    principal: str | None
    seconds: float
    made: int = 0
    execution_id: UUID = field(default_factory=new_id)

    async def perform(self, prepared: Prepared) -> Answer:
        """Sends the next. Raises what `Maintenance.perform` raises."""
        self.made += 1
        call = MaintenanceCall(
            caller=self.caller,
            connection=self.connection,
            connector=self.connector,
            account_id=self.account_id,
            principal=self.principal,
            execution_id=self.execution_id,
            n=self.made,
            deadline=self.clock.now() + timedelta(seconds=self.seconds),
        )
        return await self.maintenance.perform(call, prepared)
