"""Nodes: objects and arrays of resolved JSON, each different one kept once."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import orjson

from broker.tools.codemode.spec.bounds import HUGE, MAX_HEIGHT, MAX_NODES, MAX_STRING
from connectors.errors import SpecError


class Node:
    """An object or array. `value` holds scalars and nodes; `size` is the length of its JSON when written out, at most
    2^40; `uses` counts the places that hold it.
    """

    __slots__ = ("height", "mark", "plain", "size", "uses", "value")

    def __init__(self, value: dict[str, Any] | list[Any], mark: orjson.Fragment, size: int, height: int) -> None:
        self.value = value
        self.mark = mark
        self.size = size
        self.height = height
        self.uses = 0
        self.plain: Any = None


Value: TypeAlias = Node | str | int | float | bool | None
_ADDRESS = "$n"
_NOTHING = orjson.Fragment(b"null")


def _mark(node: Any) -> orjson.Fragment:
    if isinstance(node, Node):
        return node.mark
    raise SpecError("the description holds a value that is not JSON")


class Dag:
    """Makes nodes; `nodes` has children before what holds them."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[bytes, Node] = {}
        self._truncated: Node | None = None

    def forget_known(self) -> None:
        """No node is made any more."""
        self._known.clear()

    def node(self, value: dict[str, Any] | list[Any]) -> Node:
        """The node of a value whose objects and arrays are nodes already. Raises SpecError where there are too many."""
        try:
            key = orjson.dumps(value, default=_mark)
        except (orjson.JSONEncodeError, TypeError) as error:
            raise SpecError("the description holds a value that cannot be written as JSON") from error
        known = self._known.get(key)
        if known is not None:
            return known
        size, height = len(key), 0
        for child in value.values() if isinstance(value, dict) else value:
            if isinstance(child, Node):
                size += child.size
                height = max(height, child.height)
        if height >= MAX_HEIGHT:
            return self._too_high()
        if len(self.nodes) >= MAX_NODES:
            raise SpecError(f"the description's operations have more than {MAX_NODES:,} different parts")
        made = Node(
            value, orjson.Fragment(b'{"%s":%d}' % (_ADDRESS.encode(), len(self.nodes))), min(size, HUGE), height + 1
        )
        self._known[key] = made
        self.nodes.append(made)
        return made

    def _too_high(self) -> Node:
        if self._truncated is None:
            self._truncated = self.node({"$truncated": "nested too deeply to be shown"})
        return self._truncated

    def encode(self, roots: Iterable[Value]) -> tuple[list[bytes], Callable[[Any], bytes]]:
        """(table, write): JSON of the nodes used more than once, in an order in which each refers to earlier ones as
        `{"$n": place}`; and a function that writes any value of nodes in that form. Call it once.
        """
        for root in roots:
            if isinstance(root, Node):
                root.uses += 1
        for node in reversed(self.nodes):
            if node.uses:
                for child in node.value.values() if isinstance(node.value, dict) else node.value:
                    if isinstance(child, Node):
                        child.uses += 1
        table: list[bytes] = []
        for node in self.nodes:
            if not node.uses:
                continue
            encoded = orjson.dumps(node.value, default=_mark)
            if node.uses > 1 and len(encoded) > len(_ADDRESS) + 8:
                node.mark = orjson.Fragment(b'{"%s":%d}' % (_ADDRESS.encode(), len(table)))
                table.append(encoded)
            else:
                node.mark = orjson.Fragment(encoded)
        return table, lambda value: orjson.dumps(value, default=_mark)

    def forget_encoded(self) -> None:
        """Lets go of what `encode` wrote into the nodes."""
        for node in self.nodes:
            node.mark = _NOTHING

    def unfold(self) -> None:
        """Gives every used node `plain`, the value as plain JSON that shares its parts."""
        for node in self.nodes:
            if not node.uses:
                continue
            if isinstance(node.value, dict):
                node.plain = {k: v.plain if isinstance(v, Node) else v for k, v in node.value.items()}
            else:
                node.plain = [v.plain if isinstance(v, Node) else v for v in node.value]


def safe_key(key: str) -> str:
    """The key, or another where it would mean something to the guest's loader or to JavaScript itself."""
    return f"{key}_" if key in (_ADDRESS, "__proto__") else key[:MAX_STRING]


def safe_text(text: str) -> str:
    """The text, cut at the bound."""
    return text if len(text) <= MAX_STRING else f"{text[:MAX_STRING]}… ({len(text) - MAX_STRING:,} more characters)"
