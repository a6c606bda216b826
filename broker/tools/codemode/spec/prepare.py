"""The two halves of making a description fit for programs: `order` in the server, `prepare` in the image builder's
process.
"""

import gc
import hashlib
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker.tools.codemode.spec.bounds import MAX_DEPTH, MAX_ORDER
from broker.tools.codemode.spec.chunks import write_chunks
from broker.tools.codemode.spec.dag import Dag
from broker.tools.codemode.spec.operations import Row, shown
from connectors.errors import SpecError
from connectors.openapi.model import OperationRow

PREPARE: Final = "broker.tools.codemode.spec.prepare:prepare"
"""How the image builder finds `prepare`."""
_FRAMES: Final = 4
"""Python calls for each level of nesting, at most."""

Facts = Callable[[OperationRow], Mapping[str, Any]]
"""Of a row: `permissions` (names of permission groups, any of which suffices), `effect`, and, where true, `guarded`."""


@dataclass(frozen=True, slots=True)
class Order:
    """What `prepare` is given, and a digest of it: equal digests make equal chunks."""

    parts: tuple[bytes, ...]
    digest: str


def order(document: bytes, rows: Sequence[OperationRow], facts: Facts) -> Order:
    """The parts for `prepare`.

    `document` is the raw description, zlib-compressed; `rows` those of the index compiled from it. Milliseconds.
    """
    told = []
    for row in rows:
        known = facts(row)
        told.append(
            [row.id, row.method, row.path, list(known["permissions"]), known["effect"], bool(known.get("guarded"))]
        )
    parts = (document, orjson.dumps(told))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return Order(parts, digest.hexdigest())


def prepare(parts: Sequence[bytes]) -> Iterator[bytes]:
    """The chunks for the guest's `__load`. Seconds of work. Raises SpecError."""
    document, rows = parts
    told = orjson.loads(rows)
    listed = [
        Row(name, method, path, tuple(held), effect, guarded) for name, method, path, held, effect, guarded in told
    ]
    return resolve(_root(document), listed)


def resolve(root: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[bytes]:
    """The chunks of a parsed description. Raises SpecError."""
    before = sys.getrecursionlimit()
    collecting = gc.isenabled()
    sys.setrecursionlimit(max(before, _FRAMES * MAX_DEPTH + 1_000))
    gc.disable()  # nothing made here is garbage, and looking for it takes half of the time
    try:
        dag = Dag()
        operations = shown(root, rows, dag)
        dag.forget_known()
    finally:
        sys.setrecursionlimit(before)
        if collecting:
            gc.enable()
    return write_chunks(dag, operations)


def _root(compressed: bytes) -> Mapping[str, Any]:
    inflater = zlib.decompressobj(wbits=47)  # zlib's own header or gzip's
    try:
        raw = inflater.decompress(compressed, MAX_ORDER + 1)
        root = orjson.loads(raw)
    except (zlib.error, orjson.JSONDecodeError) as error:
        raise SpecError("the kept description is damaged; refresh it") from error
    if len(raw) > MAX_ORDER or not isinstance(root, dict):
        raise SpecError("the kept description is too large or no object; refresh it")
    return root
