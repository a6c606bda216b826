"""Reading a raw description: bounds first, then local references. Runs in the child process."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from connectors.errors import SpecError
from connectors.openapi.bounds import MAX_DEPTH, MAX_NODES, MAX_RAW, MAX_REF_HOPS

_OPAQUE = frozenset({"example", "examples", "default", "enum", "const"})
"""Keys under which a `$ref` is a value and not a reference."""


class Document:
    """A parsed description whose every reference is local.

    Duplicate keys: the last one wins, as in most parsers.
    """

    def __init__(self, raw: bytes) -> None:
        """Raises SpecError: over the bounds, not JSON, not OpenAPI 3, or with a remote reference."""
        if len(raw) > MAX_RAW:
            raise SpecError(f"the description is larger than {MAX_RAW // 1024 // 1024} MiB")
        try:
            root = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise SpecError(f"the description is not JSON: {str(error)[:200]}") from None
        if not isinstance(root, dict):
            raise SpecError("the description is not a JSON object")
        _check_bounds(root)
        self.root: Mapping[str, Any] = root
        self.minor = _version(root)

    def resolve(self, node: Any) -> Any:
        """Follows `$ref`s until something that is none.

        None where one dangles; raises SpecError for a cycle.
        """
        for _ in range(MAX_REF_HOPS):
            if not (isinstance(node, dict) and isinstance(node.get("$ref"), str)):
                return node
            node = self.lookup(node["$ref"])
        raise SpecError("references refer to each other in a circle")

    def lookup(self, ref: str) -> Any:
        """What a local reference names, or None where nothing is there. Raises SpecError for a remote one."""
        if not ref.startswith("#"):
            raise SpecError(f"the description refers outside itself ({ref[:100]!r}); only #/… is accepted")
        node: Any = self.root
        for token in unquote(ref[1:]).split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict):
                node = node.get(key)
            elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) < 9:
                node = node[int(key)] if int(key) < len(node) else None
            else:
                return None
        return node


def _check_bounds(root: Mapping[str, Any]) -> None:
    """One walk, without recursion: depth, number of values, and no remote reference where one would count."""
    stack: list[tuple[Any, int, bool]] = [(root, 1, False)]
    nodes = 0
    while stack:
        node, depth, opaque = stack.pop()
        nodes += len(node)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise SpecError(f"the description is nested deeper than {MAX_DEPTH} or holds over {MAX_NODES:,} values")
        if isinstance(node, dict):
            ref = node.get("$ref")
            if isinstance(ref, str) and not opaque and not ref.startswith("#"):
                raise SpecError(f"the description refers outside itself ({ref[:100]!r}); only #/… is accepted")
            for key, value in node.items():
                if isinstance(value, (dict, list)):
                    stack.append((value, depth + 1, opaque or key in _OPAQUE))
        else:
            stack.extend((value, depth + 1, opaque) for value in node if isinstance(value, (dict, list)))


def _version(root: Mapping[str, Any]) -> int:
    if "swagger" in root:
        raise SpecError("this is a Swagger 2 description; convert it to OpenAPI 3 first")
    version = root.get("openapi")
    if not isinstance(version, str) or not version.startswith("3.") or not version[2:3].isdigit():
        raise SpecError("the description does not say that it is OpenAPI 3 (`openapi`: 3.0 or 3.1)")
    return int(version[2])
