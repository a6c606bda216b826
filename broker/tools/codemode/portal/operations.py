"""What an API offers, answered from its description's index: the helpers `find`, `operation`, `operations`, `products`.

Every answer holds only what its caller may use: the bitmap that the connection's own search is given decides.
"""

import asyncio
import base64
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from broker.errors import Problem
from broker.tools.codemode.portal.ranking import Ranking
from broker.tools.codemode.searching import hidden_sentence
from connectors.base import Operation, Programmable
from connectors.errors import UnknownOperation
from connectors.openapi.index import SpecIndex
from connectors.openapi.model import OperationDetails, OperationRow
from connectors.openapi.schema import input_schema

KEPT: Final = 4
"""Descriptions whose index is kept; one of Cloudflare's size takes about 10 MB."""
FOUND_MOST: Final = 200
LISTED_MOST: Final = 5_000
_OPTIONS: Final = ("method", "tag", "product", "limit")
_PARAMETER: Final = re.compile(r"\{([^}]*)\}")
_LISTS: Final = frozenset({"list", "all"})


@dataclass(frozen=True, slots=True)
class Index:
    """A description made ready: its operations by number, and their words."""

    spec: SpecIndex
    operations: Sequence[Operation]
    ranking: Ranking


@dataclass(frozen=True, slots=True)
class Offer:
    """The part of a description that a caller may use. `bits`: bit n is operation n, None: all of them."""

    index: Index
    bits: int | None
    hidden: Mapping[str, int]

    def _shows(self, number: int) -> bool:
        return self.bits is None or bool(self.bits >> number & 1)

    def find(self, query: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The operations that fit words best (all, in order, where there are none). Raises Problem `invalid_input`."""
        return [_briefly(self._row(number), self.index) for number, _ in self.ranked(query, options, most=20)]

    def ranked(self, query: str, options: Mapping[str, Any], *, most: int) -> list[tuple[int, float]]:
        """(number, score) of the same. Raises as `find`."""
        passes = _filter(options)
        limit = min(_limit(options, most), FOUND_MOST)
        found = self._weighed(query) if query.strip() else [(row.number, 0.0) for row in self.index.spec.rows]
        made: list[tuple[int, float]] = []
        for number, score in found:
            if len(made) >= limit:
                break
            if self._shows(number) and passes(self._row(number)):
                made.append((number, score))
        return made

    def _weighed(self, query: str) -> list[tuple[int, float]]:
        """Of two that fit alike, the shorter path; and one whose method is what was asked for."""
        verbs = set(query.lower().split()[:24])
        wanted = next((methods for verb, methods in _VERBS.items() if verb in verbs), ())
        ranked = []
        for number, score in self.index.ranking.find(query):
            row = self._row(number)
            weight = (1.3 if row.method in wanted else 0.85) if wanted else 1.0
            if verbs & _LISTS:
                weight *= 0.85 if row.path.endswith("}") else 1.15
            weight *= 0.5 if row.deprecated else 1.0
            ranked.append((number, score * weight / (1 + 0.0035 * len(row.path))))
        return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))

    def operations(self, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every operation, in the description's order. Raises Problem `invalid_input`."""
        passes, limit = _filter(options), _limit(options, LISTED_MOST)
        rows = (row for row in self._rows() if passes(row))
        return [_listed(row, self.index) for row, _ in zip(rows, range(limit), strict=False)]

    def products(self) -> list[dict[str, Any]]:
        """How many operations each product has, the largest first."""
        counts = Counter(_product(row) for row in self._rows())
        return [{"product": product, "operations": count} for product, count in counts.most_common()]

    def operation(self, ref: str) -> Callable[[], dict[str, Any]]:
        """What describes one operation, with its input's schema, in any thread. It raises Problem `unknown_operation`,
        with the nearest."""
        row = self._find(ref)
        if row is None or not self._shows(row.number):
            return partial(self._unknown, ref)
        # The index keeps what it reads: that is done here, by one thread alone.
        return partial(_described, row, self.index.spec.details(row), self.index)

    def _unknown(self, ref: str) -> dict[str, Any]:
        near = self.index.spec.nearest(ref, lambda one: self._shows(one.number))
        told = f"no operation {ref[:200]!r} that you may use"
        if any(self.hidden.values()):
            told += f" ({hidden_sentence(self.hidden)})"
        hint = "did you mean " + " or ".join(f"`{one}`" for one in near) + "?" if near else None
        raise Problem("unknown_operation", told, hint=hint)

    def _find(self, ref: str) -> OperationRow | None:
        spec = self.index.spec
        try:
            return spec.find(ref)
        except UnknownOperation:
            method, _, path = ref[:300].strip().partition(" ")
            met = spec.match(method, path.strip()) if path.strip().startswith("/") else None
            return None if met is None else met[0]

    def briefly(self, number: int) -> dict[str, Any]:
        """One operation in a line."""
        return _briefly(self._row(number), self.index)

    def _row(self, number: int) -> OperationRow:
        return self.index.spec.rows[number]

    def _rows(self) -> Iterator[OperationRow]:
        return (row for row in self.index.spec.rows if self._shows(row.number))


class Offers:
    """Makes offers, and keeps the indexes. One per process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Index] = OrderedDict()
        self._making = asyncio.Lock()

    async def offer(
        self, digest: str, spec: SpecIndex, connector: Programmable, bitmap: str | None, hidden: Mapping[str, int]
    ) -> Offer:
        """The offer of a description under a bitmap (base64, the least significant bit first; None: all of it)."""
        found = self._kept.get(digest) or await self._made(digest, spec, connector)
        bits = None if bitmap is None else int.from_bytes(base64.b64decode(bitmap), "little")
        return Offer(found, bits, hidden)

    async def _made(self, digest: str, spec: SpecIndex, connector: Programmable) -> Index:
        async with self._making:  # one at a time, and off the event loop
            found = self._kept.get(digest)
            if found is None:
                found = self._kept[digest] = await asyncio.to_thread(_indexed, spec, connector)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return found


_VERBS: Final[Mapping[str, tuple[str, ...]]] = {
    "list": ("GET",), "get": ("GET",), "show": ("GET",), "read": ("GET",), "find": ("GET",),
    "create": ("POST",), "add": ("POST",), "new": ("POST",), "purge": ("POST",), "run": ("POST",), "query": ("POST",),
    "delete": ("DELETE",), "remove": ("DELETE",), "update": ("PATCH", "PUT"), "edit": ("PATCH", "PUT"),
    "change": ("PATCH", "PUT"), "set": ("PUT", "PATCH"), "put": ("PUT",), "upload": ("PUT", "POST"),
    "enable": ("PATCH", "PUT", "POST"), "disable": ("PATCH", "PUT", "DELETE"),
}  # fmt: skip


def _indexed(spec: SpecIndex, connector: Programmable) -> Index:
    def fields(row: OperationRow) -> Sequence[tuple[str, float]]:
        path = _PARAMETER.sub(" ", row.path)
        return [(path, 30), (row.summary, 30), (" ".join(row.tags), 20), (row.id, 12)]

    return Index(spec, connector.operations(spec), Ranking(fields(row) for row in spec.rows))


def _product(row: OperationRow) -> str:
    return row.tags[0] if row.tags else ""


def _briefly(row: OperationRow, index: Index) -> dict[str, Any]:
    made = {
        "method": row.method,
        "path": row.path,
        "summary": row.summary,
        "product": _product(row),
        "effect": index.operations[row.number].effect,
    }
    return made | ({"deprecated": True} if row.deprecated else {})


def _listed(row: OperationRow, index: Index) -> dict[str, Any]:
    operation = index.operations[row.number]
    return _briefly(row, index) | {"operationId": row.id, "permissions": list(operation.permissions[:8])}


def _described(row: OperationRow, details: OperationDetails, index: Index) -> dict[str, Any]:
    operation = index.operations[row.number]
    made = _listed(row, index)
    if details.description and details.description != row.summary:
        made["description"] = details.description[:800]
    if operation.guarded:
        made["guarded"] = "needs a grant that names this operation"
    made["inputSchema"] = input_schema(details)
    made["contentTypes"] = list(details.bodies)
    made["responses"] = {status: list(types) for status, types in details.responses.items()}
    path = _PARAMETER.sub(lambda found: "${" + re.sub(r"\W", "_", found[1]) + "}", row.path)
    body = ", body" if details.bodies else ""
    made["call"] = f'await connections[name].request({{ method: "{row.method}", path: `{path}`{body} }})'
    return made


def _limit(options: Mapping[str, Any], default: int) -> int:
    value = options.get("limit", default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Problem("invalid_input", "limit must be a whole number")
    return min(value, LISTED_MOST)


def _filter(options: Mapping[str, Any]) -> Any:
    for name in options:
        if name not in _OPTIONS:
            raise Problem("invalid_input", f"the option {name[:60]!r} is not known; there are {', '.join(_OPTIONS)}")
    methods, tags, products = (_choices(options.get(name)) for name in ("method", "tag", "product"))

    def passes(row: OperationRow) -> bool:
        return (
            (not methods or row.method.lower() in methods)
            and (not tags or any(tag.lower() in tags for tag in row.tags))
            and (not products or _product(row).lower() in products)
        )

    return passes


def _choices(value: object) -> frozenset[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return frozenset(str(one).lower() for one in values[:50])
