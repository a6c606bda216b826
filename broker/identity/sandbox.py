"""What a tenant's programs (Code Mode) are held to, below the installation's own limits: set by a platform admin.

A member that is not there is the installation's. Every bound is the smaller of the two at each run, so that an operator
who lowers the installation's limits lowers everybody's.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Field, Problem
from broker.identity.tables import tenants
from broker.settings import Limits

KEPT: Final = 10_000
_MIB: Final = 1024 * 1024
_OUTPUT_BYTES: Final = 8 * _MIB


@dataclass(frozen=True, slots=True)
class SandboxRule:
    """One tenant's. `isolate`: each run in a process of its own, ended after it. `cpu_ms` of computing and
    `wall_seconds` from its start, for one run; `memory_mb` on top of its image; `host_calls` requests in one run;
    `output_bytes` of its result; `runs_at_once` in one serving process. None: as the installation has it."""

    isolate: bool = False
    cpu_ms: int | None = None
    wall_seconds: float | None = None
    memory_mb: int | None = None
    host_calls: int | None = None
    output_bytes: int | None = None
    runs_at_once: int | None = None

    def wire(self) -> dict[str, Any]:
        """The members that are set."""
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in shown.items() if value is not None and value is not False}


NO_RULE: Final = SandboxRule()
MEMBERS: Final = tuple(field.name for field in fields(SandboxRule))


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the installation allows: (least, most) of each number, and whether it isolates every run anyhow."""

    bounds: Mapping[str, tuple[float, float]]
    isolate: bool

    @classmethod
    def of(cls, limits: Limits, *, isolate: bool) -> "Ceilings":
        """Those of an installation's settings."""
        cpu = max(limits.code_seconds, limits.search_seconds)
        bounds: dict[str, tuple[float, float]] = {
            "cpu_ms": (10, int(cpu * 1000)),
            "wall_seconds": (1, limits.call_seconds_max),
            "memory_mb": (4, limits.code_heap_bytes // _MIB),
            "host_calls": (0, limits.code_requests),
            "output_bytes": (1024, _OUTPUT_BYTES),
            "runs_at_once": (1, limits.code_runs_per_tenant),
        }
        return cls(bounds, isolate)

    def shown(self, rule: SandboxRule) -> dict[str, Any]:
        """What is in force for a tenant with this rule."""
        own = rule.wire()
        numbers = {name: min(most, own.get(name, most)) for name, (_, most) in self.bounds.items()}
        return {"isolate": rule.isolate or self.isolate, **numbers}

    def changed(self, before: SandboxRule, changes: Mapping[str, Any]) -> SandboxRule:
        """The rule with `changes` in it; None takes a member back to the installation's. Raises Problem
        `invalid_input` that names every member that is out of its bounds: nothing goes above the installation's."""
        wrong: list[Field] = []
        members = before.wire()
        for name, value in changes.items():
            told = self._refused(name, value)
            if told is not None:
                wrong.append(Field(f"sandbox.{name}", told))
            elif value is None or value is False:
                members.pop(name, None)
            else:
                members[name] = value
        if wrong:
            hint = "a tenant's limits go below the installation's, never above"
            raise Problem("invalid_input", f"{wrong[0].path} {wrong[0].problem}", fields=wrong, hint=hint)
        return SandboxRule(**members)

    def _refused(self, name: str, value: Any) -> str | None:
        if name == "isolate":
            if value is False and self.isolate:
                return "cannot be lifted: this installation gives every run a process of its own"
            return None if isinstance(value, bool | None) else "must be true or false"
        if name not in self.bounds:
            return f"is not known; it takes {', '.join(MEMBERS)}"
        if value is None:
            return None
        least, most = self.bounds[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            return f"must be between {least:,g} and {most:,g}, which is what this installation allows"
        if name != "wall_seconds" and int(value) != value:
            return "must be a whole number"
        return None


def read_rule(stored: Mapping[str, Any]) -> SandboxRule:
    """A rule as stored. A member that this release does not know is passed over."""
    return SandboxRule(**{name: stored[name] for name in MEMBERS if stored.get(name) is not None})


class SandboxRules:
    """The tenants' rules, kept under the policy version that each was read at: a change raises it, so that no call
    that was looked up after the change runs by the old one (a call may start from a look-up of the last second). One
    per process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._kept: OrderedDict[UUID, tuple[int, SandboxRule]] = OrderedDict()

    async def of(self, caller: Caller) -> SandboxRule:
        """The rule of the caller's tenant."""
        kept = self._kept.get(caller.tenant_id)
        if kept is not None and kept[0] >= caller.policy_version:
            return kept[1]
        statement = select(tenants.c.sandbox, tenants.c.policy_version).where(tenants.c.id == caller.tenant_id)
        async with self._db.tenant(caller.tenant_id) as conn:
            row = (await conn.execute(statement)).one()
        rule = read_rule(row.sandbox)
        self._kept[caller.tenant_id] = (row.policy_version, rule)
        self._kept.move_to_end(caller.tenant_id)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return rule
