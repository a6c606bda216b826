"""Which operation a concrete path belongs to: a trie over the templates' segments."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.openapi.model import OperationRow
from connectors.openapi.template import DOTS, Segment, match_segment, parse, unquoted

_Found = tuple[OperationRow, dict[str, str]]


@dataclass(slots=True)
class _Node:
    """Children by literal, by mixed segment (`{a}.{b}`), by whole parameter; `rows` end here, by method.

    Parameter names differ between templates that share a node, so values are collected by place and named at
    the end.
    """

    literals: dict[str, "_Node"] = field(default_factory=dict)
    mixed: dict[Segment, "_Node"] = field(default_factory=dict)
    parameter: "_Node | None" = None
    rows: dict[str, tuple[OperationRow, tuple[Segment, ...]]] = field(default_factory=dict)


class Routes:
    """Matches in time bounded by the number of templates: each node is visited at most once for a path."""

    def __init__(self, rows: Sequence[OperationRow]) -> None:
        self._root = _Node()
        for row in rows:
            segments = parse(row.path).segments
            node = self._root
            for segment in segments:
                node = _child(node, segment)
            node.rows.setdefault(row.method, (row, segments))

    def match(self, method: str, path: str) -> _Found | None:
        """The operation and its decoded values; literal segments win over mixed ones, those over others."""
        if not path.startswith("/"):
            return None
        texts = path[1:].split("/")
        if any(unquoted(text) in DOTS for text in texts):
            return None
        return self._walk(self._root, method, texts, 0)

    def _walk(self, node: _Node, method: str, texts: list[str], at: int) -> _Found | None:
        if at == len(texts):
            return _named(node, method, texts)
        text = texts[at]
        ways = [node.literals[text]] if text in node.literals else []
        ways.extend(child for segment, child in node.mixed.items() if match_segment(segment, text) is not None)
        if node.parameter is not None and text:
            ways.append(node.parameter)
        for child in ways:
            found = self._walk(child, method, texts, at + 1)
            if found is not None:
                return found
        return None


def _child(node: _Node, segment: Segment) -> _Node:
    if not any(part.is_parameter for part in segment):
        return node.literals.setdefault("".join(part.text for part in segment), _Node())
    if len(segment) == 1:
        if node.parameter is None:
            node.parameter = _Node()
        return node.parameter
    return node.mixed.setdefault(segment, _Node())


def _named(node: _Node, method: str, texts: list[str]) -> _Found | None:
    if method not in node.rows:
        return None
    row, segments = node.rows[method]
    values: dict[str, str] = {}
    for segment, text in zip(segments, texts, strict=True):
        part = match_segment(segment, text)
        if part is None or any(values.get(name, value) != value for name, value in part.items()):
            return None
        values.update(part)
    return row, values
