"""What a renewed description means for what was granted. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.policy.match import covers_operation
from connectors.base import Operation
from connectors.openapi.diff import SpecDiff
from connectors.openapi.model import OperationRow

WIDENING = frozenset({"moved", "renamed", "method", "groups", "permissions"})

SHOWN = 200
"""Operations listed per kind of change; the counts are always whole."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The answer of a refresh: the new digest, whether it is pinned already or waits, and what changed."""

    digest: str
    applied: bool
    pending: bool
    report: Mapping[str, Any]

    def wire(self) -> dict[str, Any]:
        """As the API answers it."""
        return {
            "digest": self.digest,
            "applied": self.applied,
            "pending": self.pending,
            "report": dict(self.report),
        }


def report(diff: SpecDiff | None) -> dict[str, Any]:
    """A bounded account of a difference, fit to be stored and shown."""
    if diff is None:
        return {"changed": True, "first": True}
    return {
        "changed": not diff.empty,
        "added_count": len(diff.added),
        "removed_count": len(diff.removed),
        "changed_count": len(diff.changed),
        "added": [change.ref for change in diff.added[:SHOWN]],
        "removed": [change.ref for change in diff.removed[:SHOWN]],
        "changed_operations": [{"operation": c.ref, "what": list(c.what)} for c in diff.changed[:SHOWN]],
    }


def must_wait(diff: SpecDiff, patterns: Sequence[str] | None) -> list[str]:
    """The operations on account of which an admin must accept the new description first.

    Those that some grant covers and that the new description adds, moves or asks other permissions for: without a look,
    the grant would reach further than whoever gave it had seen. `patterns` are the operations of all grants on the
    connection; None stands for a grant of everything. What is removed, and what changes in form only, need not wait.
    """

    def covers(row: OperationRow) -> bool:
        return covers_operation(patterns, Operation(row.id, row.method, row.path, "read"))

    return [
        change.ref
        for kind, change in diff.affects(covers)
        if kind == "added" or (kind == "changed" and not WIDENING.isdisjoint(change.what))
    ]
