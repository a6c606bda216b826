"""A compiled description, opened for use: the light table, finding operations, their details on demand."""

import difflib
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from connectors.errors import SpecError, UnknownOperation
from connectors.openapi import artifact, bounds
from connectors.openapi.model import Body, OperationDetails, OperationRow, Parameter
from connectors.openapi.routes import Routes
from connectors.openapi.template import TemplateError, parse

_WORD = re.compile(r"[a-z0-9]+")
_DETAILS_KEPT = 256
_CANDIDATES = 40


class SpecIndex:
    """One description. Immutable to its users; what it caches is bounded."""

    def __init__(self, meta: Mapping[str, Any], rows: list[OperationRow], spans: list[tuple[int, int]], blobs: bytes):
        self.digest: str = meta["digest"]
        self.base_path: str = meta["base_path"]
        self.title: str = meta["title"]
        self.counts: Mapping[str, int] = meta["counts"]
        self.rows: Sequence[OperationRow] = rows
        self._spans = spans
        self._blobs = blobs
        self._by_id = {row.id: row for row in rows}
        self._by_ref = {row.ref: row for row in rows}
        self._by_shape: dict[str, OperationRow | None] = {}
        for row in rows:
            shape = f"{row.method} {_shape(row.path)}"
            self._by_shape[shape] = None if shape in self._by_shape else row
        self._routes = Routes(rows)
        self._words = _word_index(rows)
        self._details: OrderedDict[int, OperationDetails] = OrderedDict()

    @classmethod
    def load(cls, data: bytes) -> "SpecIndex":
        """Opens an artifact.

        Cheap: no schema is read. Raises SpecError for one that is damaged or of another version.
        """
        sections = artifact.unpack(data, max_rows=bounds.MAX_ROWS_BYTES)
        rows: list[OperationRow] = []
        spans: list[tuple[int, int]] = []
        try:
            for number, (
                name,
                method,
                path,
                summary,
                tags,
                deprecated,
                groups,
                required,
                at,
                length,
            ) in enumerate(orjson.loads(sections.rows)):
                permitted = None if groups is None else tuple(groups)
                row = OperationRow(
                    name, method, path, summary, tuple(tags), deprecated, permitted, tuple(required), number
                )
                rows.append(row)
                spans.append((at, length))
            return cls(orjson.loads(sections.meta), rows, spans, sections.details)
        except (ValueError, TypeError, KeyError) as error:
            raise SpecError("the compiled description is damaged; compile it again") from error

    def find(self, ref: str) -> OperationRow:
        """The operation of an id, or of "METHOD /path" over the description's templates.

        Parameter names need not match and a leading base path is tolerated; an id must be exact. A *concrete*
        path ("GET /zones/023e…") names no operation. Raises UnknownOperation.
        """
        row = self._by_id.get(ref) or self._by_ref.get(ref)
        if row is not None:
            return row
        method, _, path = ref[: bounds.MAX_TEMPLATE + 16].strip().partition(" ")
        path = path.strip()
        if path.startswith("/"):
            for candidate in self._spellings(path):
                row = self._by_ref.get(f"{method.upper()} {candidate}")
                row = row or self._by_shape.get(f"{method.upper()} {_shape(candidate)}")
                if row is not None:
                    return row
        raise UnknownOperation(ref)

    def _spellings(self, path: str) -> list[str]:
        found = [path]
        if self.base_path and path.startswith(self.base_path + "/"):
            found.append(path[len(self.base_path) :])
        return found + [p.rstrip("/") for p in found if p.endswith("/") and p != "/"]

    def nearest(self, ref: str, allow: Callable[[OperationRow], bool], n: int = 5) -> list[str]:
        """Up to `n` operations that `allow` admits, most like `ref` first: refs for a path, else ids."""
        asked = ref[:300].replace(self.base_path, "").lower() if self.base_path else ref[:300].lower()
        as_ref = "/" in asked
        method, _, path = ref[:300].strip().partition(" ")
        whole = self.match(method, path.strip()) if as_ref else None
        first = [whole[0]] if whole is not None and allow(whole[0]) else []
        ranked: list[tuple[float, OperationRow]] = []
        for number, share in self._by_words(asked):
            row = self.rows[number]
            if len(ranked) >= _CANDIDATES:
                break
            if row not in first and allow(row):
                texts = (row.ref,) if as_ref else (row.id, row.summary)
                likeness = max(_likeness(asked, text.lower()) for text in texts)
                ranked.append((2 * share + likeness + (0.3 if row.method == method.upper() else 0), row))
        best = sorted(ranked, key=lambda pair: (-pair[0], pair[1].number))
        return [row.ref if as_ref else row.id for row in [*first, *(row for _, row in best)][:n]]

    def _by_words(self, asked: str) -> list[tuple[int, float]]:
        """The rows that share words with a text and the share they cover, best first.

        Rare words weigh more.
        """
        scores: dict[int, float] = {}
        total = 0.0
        for word in set(_WORD.findall(asked)):
            rows = self._words.get(word) or self._words.get(word.rstrip("s")) or ()
            weight = 1.0 / math.log2(3 + len(rows))
            total += weight
            for number in rows:
                scores[number] = scores.get(number, 0.0) + weight
        ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[: _CANDIDATES * 10]
        return [(number, score / total) for number, score in ranked]

    def match(self, method: str, concrete_path: str) -> tuple[OperationRow, dict[str, str]] | None:
        """The operation a percent-encoded, concrete path belongs to and its decoded values; literals win.

        A leading base path is tolerated. None where no operation takes the path.
        """
        found = self._routes.match(method.upper(), concrete_path)
        if found is None and self.base_path and concrete_path.startswith(self.base_path + "/"):
            return self._routes.match(method.upper(), concrete_path[len(self.base_path) :])
        return found

    def raw_details(self, row: OperationRow) -> bytes:
        """The details as stored. Equal bytes mean equal details, whichever description they come from."""
        at, length = self._spans[row.number]
        return self._blobs[at : at + length]

    def details(self, row: OperationRow) -> OperationDetails:
        """All that building the operation's request needs. Read on first use; the last 256 are kept."""
        kept = self._details.get(row.number)
        if kept is not None:
            self._details.move_to_end(row.number)
            return kept
        details = _read_details(row, artifact.inflate(self.raw_details(row), bounds.MAX_DETAIL))
        self._details[row.number] = details
        if len(self._details) > _DETAILS_KEPT:
            self._details.popitem(last=False)
        return details


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one[:150], other[:150], autojunk=False).ratio()


def _shape(path: str) -> str:
    """The template with every parameter written `{}`; itself where it is none."""
    try:
        return parse(path).shape
    except TemplateError:
        return path


def _word_index(rows: Sequence[OperationRow]) -> dict[str, list[int]]:
    index: dict[str, list[int]] = {}
    for row in rows:
        words = set(_WORD.findall(f"{row.method} {row.path} {row.id} {row.summary}".lower()))
        for word in words | {word.rstrip("s") for word in words}:
            index.setdefault(word, []).append(row.number)
    return index


def _read_details(row: OperationRow, data: bytes) -> OperationDetails:
    try:
        raw = orjson.loads(data)
        return OperationDetails(
            row=row,
            template=parse(row.path),
            parameters=tuple(
                Parameter(
                    p["name"], p["in"], p.get("required", False), p["schema"], p["style"],
                    p.get("explode", False), p.get("json", False), p.get("description", ""),
                )
                for p in raw["parameters"]
            ),
            bodies={media: Body(b["schema"], b["parts"]) for media, b in raw["bodies"].items()},
            body_required=raw["body_required"],
            responses={status: tuple(types) for status, types in raw["responses"].items()},
            defs=raw["defs"],
            description=raw["description"],
        )  # fmt: skip
    except (ValueError, TypeError, KeyError) as error:
        raise SpecError("the compiled description is damaged; compile it again") from error
