"""What a credential may do upstream, between its stored form and `connectors.base.Permissions`. Pure."""

from collections.abc import Mapping
from typing import Any

from connectors.base import Permissions

LEARNED_LIMIT = 200
"""Remembered refusals per account; beyond it the oldest go."""

_SOURCES = {"policies", "declared", "unknown", "all"}


def read_permissions(stored: Mapping[str, Any] | None) -> Permissions:
    """The stored form, or `unknown` for anything that does not read as one."""
    if not stored or stored.get("source") not in _SOURCES:
        return Permissions("unknown")
    return Permissions(
        source=stored["source"],
        policies=tuple(stored.get("policies", ())),
        learned=dict(stored.get("learned", {})),
    )


def write_permissions(permissions: Permissions | None) -> dict[str, Any]:
    """The stored form."""
    if permissions is None:
        return {"source": "unknown"}
    return {
        "source": permissions.source,
        "policies": [dict(p) for p in permissions.policies],
        "learned": dict(permissions.learned),
    }


def with_learned(stored: Mapping[str, Any] | None, operation_id: str, permission: str) -> dict[str, Any]:
    """The stored form with one more operation that a refusal has proved to be out of reach."""
    made = write_permissions(read_permissions(stored))
    learned = dict(made["learned"])
    learned.pop(operation_id[:200], None)
    learned[operation_id[:200]] = permission[:200]
    for oldest in list(learned)[: max(0, len(learned) - LEARNED_LIMIT)]:
        del learned[oldest]
    made["learned"] = learned
    return made
