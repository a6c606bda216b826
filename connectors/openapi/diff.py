"""What changed between two descriptions of one upstream, operation by operation.

Says what changed, never whether it matters: which changes hit granted operations is for the broker to decide,
with `SpecDiff.affects`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from connectors.openapi.index import SpecIndex
from connectors.openapi.model import OperationDetails, OperationRow

Kind = Literal["added", "removed", "changed"]
_PROSE = frozenset({"description", "default", "examples"})


@dataclass(frozen=True, slots=True)
class OperationChange:
    """One operation that differs.

    `what` holds words out of: `moved`, `renamed`, `method`, `groups`, `permissions`, `parameters`, `body`,
    `responses`, `deprecated`, `undeprecated`. `old` and `new` are its rows; None where it was added or
    removed.
    """

    ref: str
    what: tuple[str, ...]
    old: OperationRow | None
    new: OperationRow | None


@dataclass(frozen=True, slots=True)
class SpecDiff:
    """`added`, `removed` and `changed` operations, each in the order of its description."""

    old_digest: str
    new_digest: str
    added: tuple[OperationChange, ...]
    removed: tuple[OperationChange, ...]
    changed: tuple[OperationChange, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing that this package knows of differs."""
        return not (self.added or self.removed or self.changed)

    def affects(self, covers: Callable[[OperationRow], bool]) -> list[tuple[Kind, OperationChange]]:
        """The changes to operations that `covers` admits in their old or their new form."""
        kinds: tuple[tuple[Kind, tuple[OperationChange, ...]], ...] = (
            ("added", self.added),
            ("removed", self.removed),
            ("changed", self.changed),
        )
        return [
            (kind, change)
            for kind, changes in kinds
            for change in changes
            if any(row is not None and covers(row) for row in (change.old, change.new))
        ]

    def report(self, max_lines: int = 200) -> str:
        """A plain text of at most `max_lines` lines."""
        lines = [f"{len(self.added)} added, {len(self.removed)} removed, {len(self.changed)} changed"]
        lines.extend(f"- {change.ref}" for change in self.removed)
        lines.extend(f"~ {change.ref}: {_explain(change)}" for change in self.changed)
        lines.extend(f"+ {change.ref}" for change in self.added)
        if len(lines) > max_lines:
            lines = [*lines[: max(1, max_lines - 1)], f"… and {len(lines) - max(1, max_lines - 1)} more"]
        return "\n".join(lines)


def compare(old: SpecIndex, new: SpecIndex) -> SpecDiff:
    """The differences. An operation is the same one if it kept its id, or else its method and path template.

    Prose (summaries, descriptions, examples) is no difference.
    """
    new_by_id = {row.id: row for row in new.rows}
    new_by_ref = {row.ref: row for row in new.rows}
    old_ids = {row.id for row in old.rows}
    paired: set[int] = set()
    removed: list[OperationChange] = []
    changed: list[OperationChange] = []
    for row in old.rows:
        other = new_by_id.get(row.id)
        if other is None:
            at_place = new_by_ref.get(row.ref)
            other = at_place if at_place is not None and at_place.id not in old_ids else None
        if other is None:
            removed.append(OperationChange(row.ref, (), row, None))
            continue
        paired.add(other.number)
        what = _differences(old, row, new, other)
        if what:
            changed.append(OperationChange(other.ref, what, row, other))
    added = [OperationChange(row.ref, (), None, row) for row in new.rows if row.number not in paired]
    return SpecDiff(old.digest, new.digest, tuple(added), tuple(removed), tuple(changed))


def _differences(old: SpecIndex, a: OperationRow, new: SpecIndex, b: OperationRow) -> tuple[str, ...]:
    what = [
        word
        for word, differs in (
            ("renamed", a.id != b.id),
            ("moved", a.path != b.path),
            ("method", a.method != b.method),
            ("groups", _set(a.groups) != _set(b.groups)),
            ("permissions", _set(a.permissions_required) != _set(b.permissions_required)),
            ("deprecated", b.deprecated and not a.deprecated),
            ("undeprecated", a.deprecated and not b.deprecated),
        )
        if differs
    ]
    if old.raw_details(a) != new.raw_details(b):
        one, other = old.details(a), new.details(b)
        pairs = (
            ("parameters", _parameters(one), _parameters(other)),
            ("body", _bodies(one), _bodies(other)),
            ("responses", dict(one.responses), dict(other.responses)),
        )
        what.extend(word for word, before, after in pairs if before != after)
    return tuple(what)


def _set(labels: tuple[str, ...] | None) -> frozenset[str]:
    return frozenset(labels or ())


def _parameters(details: OperationDetails) -> bytes:
    listed = [[p.location, p.name, p.required, p.style, p.explode, p.json, _bare(p.schema)] for p in details.parameters]
    return _canonical(
        [
            sorted(listed, key=lambda item: (item[0], item[1])),
            _reached(details, [p.schema for p in details.parameters]),
        ]
    )


def _bodies(details: OperationDetails) -> bytes:
    shown = {media: [_bare(body.schema), dict(body.part_types)] for media, body in details.bodies.items()}
    reached = _reached(details, [body.schema for body in details.bodies.values()])
    return _canonical([shown, details.body_required, reached])


def _reached(details: OperationDetails, schemas: list[Any]) -> dict[str, Any]:
    """The components that schemas reach, without prose."""
    found: dict[str, Any] = {}
    waiting = [name for schema in schemas for name in _names(schema)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _bare(details.defs.get(name, True))
            waiting.extend(_names(details.defs.get(name, True)))
    return found


def _names(schema: Any) -> list[str]:
    found: list[str] = []
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found.append(node["$ref"][8:])
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return found


def _bare(schema: Any) -> Any:
    """A schema without prose. A property named like a keyword is kept: it stands one level down."""
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties") and isinstance(value, dict):
            out[key] = {name: _bare(part) for name, part in value.items()}
        elif isinstance(value, list) and key in ("anyOf", "allOf", "prefixItems"):
            out[key] = [_bare(part) for part in value]
        elif key not in _PROSE:
            out[key] = _bare(value) if key not in ("enum", "const") else value
    return out


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _explain(change: OperationChange) -> str:
    words = list(change.what)
    if change.old is not None and change.old.ref != change.ref:
        words.append(f"was {change.old.ref}")
    if change.old is not None and change.new is not None and "groups" in change.what:
        lost = sorted(_set(change.old.groups) - _set(change.new.groups))
        gained = sorted(_set(change.new.groups) - _set(change.old.groups))
        words.append(f"groups +[{', '.join(gained)[:200]}] -[{', '.join(lost)[:200]}]")
    return ", ".join(words)
