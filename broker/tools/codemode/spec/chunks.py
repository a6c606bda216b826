"""Operations and nodes as the guest's `__load` takes them: texts in four sections, each ended by an empty one.

1. the light parts, one JSON array for each of the columns (`_columns`): values of one kind stand together, so that
a search touches little memory; 2. the table of shared nodes, JSON arrays of them; 3. the deep parts, JSON arrays of
`[number, {…}]`; 4. the searchable texts, one chunk each, as they are.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from broker.tools.codemode.spec.bounds import MAX_TABLE, MAX_TEXT, MAX_TEXTS
from broker.tools.codemode.spec.dag import Dag, Node
from broker.tools.codemode.spec.operations import Shown
from connectors.errors import SpecError
from connectors.openapi.compile import METHODS

_AT_ONCE: Final = 200
_DEPRECATED, _GUARDED, _BODY = 1, 2, 4
_PLAIN: Final = (
    ("‘", "'"), ("’", "'"), ("“", '\\"'), ("”", '\\"'), ("–", "-"), ("—", "-"), ("…", "..."),
    ("\u00a0", " "), ("•", "*"),
)  # fmt: skip
"""What typographers write for characters that people search for; also keeps the texts at one byte a character."""


def write_chunks(dag: Dag, operations: Sequence[Shown]) -> Iterator[bytes]:
    """All chunks, each made when it is asked for. Raises SpecError where they are too large."""
    for column in _columns(operations):
        yield orjson.dumps(column)
    yield b""
    for section in _resolved(dag, operations):
        while section:
            yield _batch(section)
        yield b""
    limit = _text_limit(operations)
    dag.unfold()
    for operation in operations:
        yield _text(operation, limit)
    yield b""


def _resolved(dag: Dag, operations: Sequence[Shown]) -> Iterator[deque[bytes]]:
    """The table, and the deep parts. Raises SpecError where they are too large."""
    table, write = dag.encode(value for operation in operations for value in operation.deep.values())
    deep = deque(write([number, operation.deep]) for number, operation in enumerate(operations))
    dag.forget_encoded()
    if sum(map(len, table)) + sum(map(len, deep)) > MAX_TABLE:
        raise SpecError(f"the description's operations take more than {MAX_TABLE // 1024 // 1024} MiB when resolved")
    yield deque(table)
    yield deep


def _columns(operations: Sequence[Shown]) -> Iterator[list[Any]]:
    """Paths, then tag lists, then effects, each different one once; then for every operation: its path, tag list and
    effect by place in those, its method, flags, summary, and id.
    """
    paths = {path: place for place, path in enumerate(dict.fromkeys(o.row.path for o in operations))}
    tags = {listed: place for place, listed in enumerate(dict.fromkeys(tuple(o.light["tags"]) for o in operations))}
    effects = {effect: place for place, effect in enumerate(dict.fromkeys(o.row.effect for o in operations))}
    yield list(paths)
    yield list(tags)
    yield list(effects)
    yield [paths[o.row.path] for o in operations]
    yield [tags[tuple(o.light["tags"])] for o in operations]
    yield [effects[o.row.effect] for o in operations]
    yield [METHODS.index(o.row.method.lower()) for o in operations]
    yield [_flags(o) for o in operations]
    yield [o.light["summary"] for o in operations]
    yield [o.row.id for o in operations]


def _flags(operation: Shown) -> int:
    flags = _DEPRECATED if operation.light["deprecated"] else 0
    return flags | (_GUARDED if operation.row.guarded else 0) | (_BODY if "requestBody" in operation.deep else 0)


def _batch(entries: deque[bytes]) -> bytes:
    """The next of them, which are gone then."""
    return b"[" + b",".join(entries.popleft() for _ in range(min(_AT_ONCE, len(entries)))) + b"]"


def _text_limit(operations: Sequence[Shown]) -> int:
    """How much text each operation may have so that all together keep within the bound."""
    limit = MAX_TEXT
    while limit > 1 and sum(min(_size(operation), limit) for operation in operations) > MAX_TEXTS:
        limit //= 2
    return limit


def _size(operation: Shown) -> int:
    return 500 + sum(value.size if isinstance(value, Node) else 0 for value in operation.deep.values())


def _text(operation: Shown, limit: int) -> bytes:
    """Lower-case JSON of the operation as a program sees it, cut at the limit. Parts that are larger than that by
    themselves are left out.
    """
    parts: dict[str, Any] = {"path": operation.row.path, "method": operation.row.method, **operation.light}
    for name, value in operation.deep.items():
        if not isinstance(value, Node):
            parts[name] = value
        elif value.size <= 4 * limit:
            parts[name] = value.plain
    text = orjson.dumps(parts).decode().lower()
    if not text.isascii():
        for typographic, plain in _PLAIN:
            text = text.replace(typographic, plain)
    return text[:limit].encode()
