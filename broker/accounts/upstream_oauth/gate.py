"""The gate, and the calls that we make for ourselves, with tokens that are good.

Only accounts of kind `oauth` cost anything here. A token that ends soon is renewed first; a 401 renews it once, and the
call is made once more: a server that answers 401 has not done it (RFC 9110 § 15.5.2). What policy refuses renews
nothing, nor does for a while a server that refused the new token too.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable
from typing import Any

from broker.accounts.rechecking import Overheard, Rechecks, says_unknown
from broker.accounts.upstream_oauth.renewals import Place, Renewals, Standing
from broker.errors import Problem
from broker.gate import endings
from broker.gate.maintenance import Maintenance, MaintenanceCall
from broker.gate.perform import Gate
from broker.gate.types import CallRequest, Performed
from connectors.base import Answer, Prepared


class RenewingGate(Gate):
    """A `Gate` for all accounts."""

    def __init__(self, *, renewals: Renewals, rechecks: Rechecks, **parts: Any) -> None:
        super().__init__(**parts)
        self._renewals = renewals
        self._rechecks = rechecks

    async def perform(self, call: CallRequest, prepared: Prepared) -> Performed:
        """As `Gate.perform`. Raises Problem `needs_reauth` too where the sign-in has ended."""
        if call.connection.connector != "mcp":
            return await super().perform(call, prepared)
        with Overheard() as overheard:
            performed = await self._renewing(call, prepared)
        if overheard.changed or (performed.answer.is_error and says_unknown(performed.answer)):
            await self._rechecks.soon(call.resolved.caller.tenant_id, call.connection.id)
        return performed

    async def _renewing(self, call: CallRequest, prepared: Prepared) -> Performed:
        if call.account.kind != "oauth" or not self.judge(call, prepared).allowed:
            return await super().perform(call, prepared)
        place = Place(call.resolved.caller, call.connection, call.account.id)
        standing = await self._in_time(call, prepared, self._renewals.ready(place))
        performed = await super().perform(call, prepared)
        answer = performed.answer
        if answer.status == 401 and self._renewals.helps(place.account_id):
            await self._in_time(call, prepared, self._renewals.renew(place, standing))
            performed = await super().perform(call, prepared)
            if performed.answer.status == 401:
                self._renewals.in_vain(place.account_id)
            return performed
        scope = (answer.error or {}).get("scope")
        if answer.status == 403 and isinstance(scope, str):
            await self._renewals.wants(place.caller.tenant_id, place.account_id, scope)
        return performed

    async def _in_time(self, call: CallRequest, prepared: Prepared, work: Awaitable[Standing]) -> Standing:
        """Its end, within the call's deadline. A refusal is recorded as one of the gate's own is."""
        try:
            async with asyncio.timeout(max(self._seconds_left(call.deadline), 0.0)):
                return await work
        except TimeoutError:
            problem = endings.deadline_passed()
        except Problem as refused:
            problem = refused
        problem.execution_id = str(call.execution_id)
        if not call.recent:
            await self._record(call, prepared, problem)
        raise problem


class RenewingMaintenance(Maintenance):
    """A `Maintenance` for all accounts. Renewals themselves go through a plain one."""

    def __init__(self, *, renewals: Renewals, **parts: Any) -> None:
        super().__init__(**parts)
        self._renewals = renewals

    async def perform(self, call: MaintenanceCall, prepared: Prepared) -> Answer:
        """As `Maintenance.perform`. Raises Problem `needs_reauth` too where the sign-in has ended."""
        standing = await self._standing(call)
        if standing is None:
            return await super().perform(call, prepared)
        place = Place(call.caller, call.connection, call.account_id)
        standing = await self._renewals.ready(place)
        answer = await super().perform(call, prepared)
        if answer.status != 401 or not self._renewals.helps(place.account_id):
            return answer
        try:
            await self._renewals.renew(place, standing)
        except Problem as problem:
            if problem.code != "needs_reauth":
                return answer
            raise
        answer = await super().perform(dataclasses.replace(call), prepared)
        if answer.status == 401:
            self._renewals.in_vain(place.account_id)
        return answer

    async def _standing(self, call: MaintenanceCall) -> Standing | None:
        if call.connection.connector != "mcp" or call.principal is not None:
            return None  # with a principal of its own it verifies a deposit, whose tokens nobody has noted yet
        return await self._renewals.now(call.caller.tenant_id, call.account_id)
