"""A description's parts as nodes, with every reference resolved.

A reference (`{"$ref": "#/…"}`, with siblings that override what it leads to, OpenAPI 3.1 § 4.8.23 and JSON Schema
2020-12 § 8.2.3.1) becomes what it leads to. Under keys that hold example values it is a value. Where following one
would come back to a reference that is being followed, `{"$circular": ref}` stands in its place.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from broker.tools.codemode.spec.bounds import MAX_CONTEXTS, MAX_DEPTH, MAX_VISITS
from broker.tools.codemode.spec.dag import Dag, Node, Value, safe_key, safe_text
from broker.tools.codemode.spec.references import MISSING, References
from connectors.errors import SpecError


class Place(Enum):
    """What a value stands for, which says whether `$ref` in it is a reference."""

    PART = 0  # a schema, parameter, response, …
    NAMES = 1  # an object of names and parts: its keys mean nothing
    EXAMPLES = 2  # an object of names and example objects, which may be references
    EXAMPLE = 3  # one of those
    OPAQUE = 4  # a value


_UNDER: Final[Mapping[str, Place]] = {
    "properties": Place.NAMES, "patternProperties": Place.NAMES, "dependentSchemas": Place.NAMES, "$defs": Place.NAMES,
    "definitions": Place.NAMES, "responses": Place.NAMES, "headers": Place.NAMES, "content": Place.NAMES,
    "callbacks": Place.NAMES, "links": Place.NAMES, "encoding": Place.NAMES,
    "examples": Place.EXAMPLES, "example": Place.OPAQUE, "default": Place.OPAQUE, "enum": Place.OPAQUE,
    "const": Place.OPAQUE, "mapping": Place.OPAQUE, "value": Place.PART,
}  # fmt: skip

_BELOW: Final[Mapping[Place, Place]] = {
    Place.PART: Place.PART, Place.NAMES: Place.PART, Place.EXAMPLES: Place.EXAMPLE, Place.EXAMPLE: Place.OPAQUE,
    Place.OPAQUE: Place.OPAQUE,
}  # fmt: skip
"""Where the member's name does not say it."""

_NOWHERE: Final[frozenset[str]] = frozenset()


class Resolver:
    """Resolves parts of one document into one Dag. Raises SpecError at a bound."""

    def __init__(self, root: Mapping[str, Any], dag: Dag) -> None:
        self._references = References(root)
        self._dag = dag
        self._done: dict[tuple[str, frozenset[str]], Value] = {}
        self._visits = 0
        self._contexts = 0

    def resolve(self, value: Any, place: Place = Place.PART) -> Value:
        """The value of an object, array or scalar of the document."""
        return self._walk(value, place, None, _NOWHERE, 0)

    def raw(self, value: Any) -> Any:
        """The document's own value that a chain of at most 16 references leads to; None where it leads nowhere."""
        for _ in range(17):
            if not (isinstance(value, dict) and isinstance(value.get("$ref"), str)):
                return value
            value = self._references.target(value["$ref"])
            if value is MISSING:
                return None
        return None

    def _walk(self, value: Any, place: Place, cycle: int | None, inside: frozenset[str], depth: int) -> Value:
        if not isinstance(value, (dict, list)):
            return safe_text(value) if isinstance(value, str) else value
        self._visits += 1 + len(value)
        if depth > MAX_DEPTH or self._visits > MAX_VISITS:
            raise SpecError("the description's references lead too deep, or to too much")
        if isinstance(value, dict):
            ref = value.get("$ref")
            if isinstance(ref, str) and place in (Place.PART, Place.EXAMPLE):
                return self._follow(ref, value, place, cycle, inside, depth)
            return self._dag.node(self._members(value, place, cycle, inside, depth))
        below = Place.OPAQUE if place in (Place.EXAMPLES, Place.OPAQUE) else Place.PART
        items = []
        for item in value:
            if isinstance(item, (dict, list)):
                items.append(self._walk(item, below, cycle, inside, depth + 1))
            else:
                items.append(safe_text(item) if isinstance(item, str) else item)
        return self._dag.node(items)

    def _members(
        self, value: Mapping[str, Any], place: Place, cycle: int | None, inside: frozenset[str], depth: int
    ) -> dict[str, Value]:
        out: dict[str, Value] = {}
        part = place is Place.PART
        below = _BELOW[place]
        for key, member in value.items():
            if part and key.startswith("x-"):
                continue
            if isinstance(member, (dict, list)):
                inner = _UNDER.get(key, Place.PART) if part else below
                out[safe_key(key)] = self._walk(member, inner, cycle, inside, depth + 1)
            else:
                out[safe_key(key)] = safe_text(member) if isinstance(member, str) else member
        return out

    def _follow(
        self, ref: str, value: Mapping[str, Any], place: Place, cycle: int | None, inside: frozenset[str], depth: int
    ) -> Value:
        target = self._expand(ref, place, cycle, inside, depth)
        if len(value) == 1 or not isinstance(target, Node) or not isinstance(target.value, dict):
            return target
        siblings = {key: member for key, member in value.items() if key != "$ref"}
        return self._dag.node({**target.value, **self._members(siblings, place, cycle, inside, depth)})

    def _expand(self, ref: str, place: Place, cycle: int | None, inside: frozenset[str], depth: int) -> Value:
        if place is Place.EXAMPLE:
            target = self._references.target(ref)
            return (
                self._marker("$missing", ref)
                if target is MISSING
                else self._walk(target, Place.OPAQUE, None, _NOWHERE, depth + 1)
            )
        own = self._references.cycle_of(ref)
        within = inside if own is not None and own == cycle else _NOWHERE
        if ref in within:
            return self._marker("$circular", ref)
        key = (ref, within)
        if key in self._done:
            return self._done[key]
        target = self._references.target(ref)
        if target is MISSING:
            return self._marker("$missing", ref)
        if own is not None:
            self._contexts += 1
            if within and self._contexts > MAX_CONTEXTS:
                return self._marker("$circular", ref)
            within = within | {ref}
        made = self._walk(target, place, own, within, depth + 1)
        self._done[key] = made
        return made

    def _marker(self, kind: str, ref: str) -> Node:
        return self._dag.node({kind: safe_text(ref)})
