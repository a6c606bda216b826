"""What a program can reach: its requests, each made through the gate like any call, and its own earlier results.

Everything that arrives here was written by hostile code. A request is matched to the description, judged, admitted
under locks, recorded and settled exactly as if it had been a call of its own; the execution's id holds them together.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from broker.accounts.views import Views
from broker.domain import Account, Connection, Resolved
from broker.errors import Problem
from broker.gate.perform import KEPT_REFUSALS, Gate
from broker.gate.types import BudgetView, CallRecord, CallRequest, Performed
from broker.ids import parse_id
from broker.logs import log_call
from broker.tools.codemode import requesting
from broker.tools.codemode.asked import Job
from broker.tools.codemode.keeping import Keeping, Owner
from broker.tools.codemode.reporting import Failures
from broker.tools.codemode.sandbox.errors import HostError
from broker.tools.codemode.standing import stands_on
from broker.tools.hints import Hints
from broker.tools.lines import call_line
from broker.tools.results import dumps
from connectors.base import Permissions, Prepared

FRESH_SECONDS: Final = 1.0
"""Requests start from a look-up at most so old; admission judges all of it anew, under locks."""


class BeforeWrite(Protocol):
    """Waits until the program itself is on record."""

    async def __call__(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose requests these are, as looked up last."""

    resolved: Resolved
    connection: Connection
    account: Account
    permissions: Permissions
    at: float
    recent: bool = False
    """From a look-up older than the execution: nothing may be refused by it, nor shown, before it is confirmed."""


class Requests:
    """Answers the host calls of one program. Afterwards `calls`, `budget`, `warnings` and `would` tell what
    happened."""

    def __init__(
        self,
        *,
        job: Job,
        standing: Standing,
        intent: str | None,
        gate: Gate,
        views: Views,
        hints: Hints,
        keeping: Keeping,
        owner: Owner,
        before_write: BeforeWrite,
        grants: set[str] | None = None,
    ) -> None:
        self._job = job
        self._grants = set() if grants is None else grants
        self._standing = standing
        self._intent = intent
        self._gate = gate
        self._views = views
        self._hints = hints
        self._keeping = keeping
        self._owner = owner
        self._before_write = before_write
        self._looking_up = asyncio.Lock()
        self._confirmed = not standing.recent
        self._made: dict[int, CallRecord] = {}
        self._begun = 0
        self.failures = Failures()
        self.budget: BudgetView | None = None
        self.warnings: list[str] = []
        self.would: dict[str, Any] | None = None

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """Every request that reached the gate, in the order in which the program made them."""
        return tuple(self._made[n] for n in sorted(self._made))

    async def __call__(self, name: str, argument: bytes) -> bytes:
        """Answers one host call with JSON. Raises HostError."""
        try:
            if name == "request":
                return await self._request(await requesting.read(argument, self._prepare))
            if name == "previous":
                return await self._previous(await requesting.read(argument, dict))
        except Problem as problem:
            raise HostError(self.failures.problem(problem)) from None
        raise HostError({"message": f"there is no {name[:60]!r} to call here", "code": "not_found"})

    async def _request(self, prepared: Prepared) -> bytes:
        if self._job.request.dry_run and (self.would is not None or prepared.effect != "read"):
            raise await self._would(prepared)
        if prepared.effect != "read":
            await self._before_write()
        standing = await self._fresh()
        self._begun += 1
        n = self._begun
        sent: Any = "unknown"
        status: int | None = None
        try:
            call, performed = await self._perform(prepared, standing, n)
            sent, status = True, performed.answer.status
        except Problem as problem:
            sent = False if problem.sent is None else problem.sent
            raise
        finally:
            # Also when it was cut off: what may have been done must be seen.
            self._made[n] = CallRecord(n, prepared.method, prepared.path, status, prepared.effect, sent)
        log_call(call_line(call, prepared, performed))
        self.budget = performed.budget or self.budget
        for warning in prepared.warnings:
            if warning not in self.warnings and len(self.warnings) < 20:
                self.warnings.append(warning)
        answer = performed.answer
        if answer.is_error:
            raise HostError(self.failures.upstream(answer))
        return dumps({"status": answer.status, "body": answer.data})

    async def _perform(self, prepared: Prepared, standing: Standing, n: int) -> tuple[CallRequest, Performed]:
        """The call number `n`, as performed. Raises Problem."""
        call = self._call(standing, n)
        try:
            performed = await self._gate.perform(call, prepared)
        except Problem as problem:
            final = problem.recorded or problem.sent not in (None, False) or problem.code in KEPT_REFUSALS
            if final or not call.recent:
                raise
            # Refused from what may be a second old: said only if it is still so.
            call = self._call(await self.confirmed(), n)
            performed = await self._gate.perform(call, prepared)
        self._confirmed = True  # admission has judged everything that the look-up told
        return call, performed

    def _prepare(self, given: Mapping[str, Any]) -> Prepared:
        standing = self._standing
        return requesting.request(self._hints, self._job.view, standing.resolved, standing.connection, given)

    async def _fresh(self) -> Standing:
        """The look-up to start from. Raises Problem where there is nothing to start from any more."""
        if time.monotonic() - self._standing.at <= FRESH_SECONDS:
            return self._standing
        async with self._looking_up:
            if time.monotonic() - self._standing.at <= FRESH_SECONDS:
                return self._standing
            return await self._look_up()

    async def confirmed(self) -> Standing:
        """Whose requests these are, by an admission or a look-up that is no older than the execution. Raises as
        `_fresh`."""
        async with self._looking_up:
            return await self._look_up() if self._standing.recent else self._standing

    @property
    def unconfirmed(self) -> bool:
        """Whether all that is known of the caller was known before the execution began."""
        return not self._confirmed

    async def _reload(self) -> Resolved:
        """A fresh look-up; what its grants may allow from now on, the result stands on."""
        resolved = await self._job.reload()
        self._grants |= self._stands_on(resolved)
        return resolved

    def _stands_on(self, resolved: Resolved) -> set[str]:
        now = resolved.caller.now
        return stands_on(resolved, self._standing.connection, self._standing.account, now)

    async def _look_up(self) -> Standing:
        at = time.monotonic()
        resolved = await self._reload()
        was = self._standing
        connection = next((c for c in resolved.connections if c.id == was.connection.id), None)
        if connection is None or connection.status != "active":
            raise Problem("forbidden", f"connection {was.connection.name} is not active any more", sent=False)
        if connection.version != was.connection.version:
            told = f"connection {connection.name} was changed while the program ran"
            raise Problem("unavailable", told, hint="run it again", fix="wait", retry_after=1, sent=False)
        account = next((a for a in resolved.accounts if a.id == was.account.id), None)
        if account is None or account.status != "active":
            raise Problem("revoked", "the connected account was revoked", sent=False)
        permissions = await self._views.permissions(resolved.caller.tenant_id, account)
        self._standing = Standing(resolved, connection, account, permissions, at)
        self._confirmed = True
        return self._standing

    def _call(self, standing: Standing, n: int) -> CallRequest:
        config = self._job.view.config
        return CallRequest(
            resolved=standing.resolved,
            reload=self._reload,
            connection=standing.connection,
            connector=self._job.view.connector,
            permissions=standing.permissions,
            permission_check=config.get("permission_check", "refuse"),
            account=standing.account,
            tool_name=self._job.request.tool_name,
            execution_id=self._job.execution_id,
            n=n,
            deadline=self._job.deadline,
            max_wait_seconds=self._job.request.max_wait_seconds,
            reserve=int((config.get("budget") or {}).get("reserve", 0)),
            intent=self._intent,
            recent=standing.recent,
        )

    async def _would(self, prepared: Prepared) -> HostError:
        """A dry run has reached its first write: what it would be, and nothing is sent from here on."""
        if self.would is None:
            standing = await self._fresh()
            self.would = requesting.described(prepared, self._gate, self._call(standing, self._begun + 1))
        told = "this is a dry run: it ends at the first write, which was not made"
        return HostError({"message": told, "code": "dry_run"})

    async def _previous(self, given: Mapping[str, Any]) -> bytes:
        asked = given.get("execution_id")
        execution_id = parse_id(asked) if isinstance(asked, str) and len(asked) <= 36 else None
        if execution_id is None:
            raise Problem("invalid_input", "previous takes the execution_id of an earlier answer, a UUID")
        # Shown without an admission: whoever asks, and what is granted, is looked up now.
        async with self._looking_up:
            standing = await self._look_up()
        grants = self._stands_on(standing.resolved)
        return await self._keeping.previous(standing.resolved.caller.tenant_id, execution_id, self._owner, grants)
