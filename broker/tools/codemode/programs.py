"""Programs as `execute_tool` runs them: once per idempotency key, where one was given."""

import asyncio
from typing import Final

import orjson

from broker.domain import Account
from broker.errors import Problem
from broker.gate.idempotency import Idempotency, Replay
from broker.policy.reach import Reach
from broker.tools.codemode.asked import Job
from broker.tools.codemode.run import CodeMode, Placed
from broker.tools.codemode.standing import still_stands
from broker.tools.replay import replayed, stored
from broker.tools.results import Result
from connectors.base import EFFECT_RANK

_KIND: Final = b"program 1\n"
_GRANTS: Final = "grants"
"""Under which grants a kept answer was made: their fingerprints (`standing.py`)."""


class _Run:
    """What a key counts within."""

    def __init__(self, job: Job, account: Account) -> None:
        self.resolved = job.resolved
        self.account = account
        self.tool_name = job.tool.name
        self.execution_id = job.execution_id
        self.deadline = job.deadline


class Programs:
    """One per process."""

    def __init__(self, code: CodeMode, idempotency: Idempotency) -> None:
        self._code = code
        self._idempotency = idempotency

    async def run(self, job: Job) -> Result:
        """The answer of one `NAME_search` or `NAME_execute`. Raises Problem."""
        # Who may run it is judged first, also for a replay, which shows a result.
        placed = await self._code.place(job)
        key = job.request.idempotency_key
        if key is None or placed.account is None:
            return await self._code.run(placed)
        return await self._once(job, placed, key)

    async def _once(self, job: Job, placed: Placed, key: str) -> Result:
        assert placed.account is not None  # noqa: S101 - `run` has looked
        # A result is shown to no narrower bearer than made it: the replay itself asks policy for the tool alone.
        asked = [job.request.tool_input, job.request.dry_run, placed.owner.access]
        meant = _KIND + orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
        claim = await self._idempotency.begin(_Run(job, placed.account), meant, key)
        if isinstance(claim, Replay):
            _still_granted(claim, placed.reach, placed.grants)
            return replayed(claim)
        try:
            result = await self._code.run(placed)
        except Problem as problem:
            await asyncio.shield(self._idempotency.failed(claim, problem))
            raise
        except BaseException:
            await asyncio.shield(self._idempotency.unknown(claim))
            raise
        await asyncio.shield(self._idempotency.finish(claim, stored(result) | {_GRANTS: sorted(placed.grants)}))
        return result


def _still_granted(claim: Replay, reach: Reach, standing: set[str]) -> None:
    """Returns if today's grants go as far as what the program did, and none of those it ran under has ended or was
    narrowed. Raises Problem `not_granted`."""
    gone = not still_stands(claim.result.get(_GRANTS, ()), standing)
    if gone or any(EFFECT_RANK[effect] > EFFECT_RANK[reach.access] for _, _, _, _, effect, _ in claim.result["calls"]):
        told = "the first run with this idempotency key did what is granted no longer, so its result is not shown"
        raise Problem("not_granted", told, sent=False)
