"""References: where they lead, and which lie on a cycle."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import orjson

MISSING: Final = object()
_REF: Final = re.compile(rb'"\$ref":"((?:[^"\\]|\\.)*)"')


class References:
    """The references of one document, looked up once each. Values under example keys count too: a cycle more is only
    more work.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._found: dict[str, Any] = {}
        self._group: dict[str, int] = {}
        self._cyclic: set[int] = set()

    def target(self, ref: str) -> Any:
        """What a local reference (RFC 6901 in a fragment) leads to; MISSING where that is nothing, or elsewhere."""
        if ref not in self._found:
            self._found[ref] = self._look_up(ref)
        return self._found[ref]

    def cycle_of(self, ref: str) -> int | None:
        """The number of the cycle (strongly connected group) that the reference lies on, None where it lies on none."""
        if ref not in self._group:
            self._explore(ref)
        group = self._group[ref]
        return group if group in self._cyclic else None

    def _look_up(self, ref: str) -> Any:
        if not ref.startswith("#"):
            return MISSING
        node: Any = self._root
        for token in unquote(ref[1:]).split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) < 9 and int(key) < len(node):
                node = node[int(key)]
            else:
                return MISSING
        return node

    def _referred(self, ref: str) -> list[str]:
        target = self.target(ref)
        if not isinstance(target, (dict, list)):
            return []
        found = set(_REF.findall(orjson.dumps(target)))
        return [str(orjson.loads(b'"' + name + b'"')) for name in found]

    def _explore(self, start: str) -> None:
        """Tarjan's strongly connected components, without recursion."""
        order: dict[str, int] = {}
        low: dict[str, int] = {}
        path: list[str] = []
        on_path: set[str] = set()
        work: list[tuple[str, list[str]]] = []

        def enter(ref: str) -> None:
            order[ref] = low[ref] = len(order)
            path.append(ref)
            on_path.add(ref)
            referred = self._referred(ref)
            if ref in referred:
                looped.add(ref)
            work.append((ref, referred))

        looped: set[str] = set()
        enter(start)
        while work:
            ref, left = work[-1]
            if left:
                following = left.pop()
                if following in on_path:
                    low[ref] = min(low[ref], order[following])
                elif following not in self._group and following not in order:
                    enter(following)
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[ref])
            if low[ref] == order[ref]:
                self._close(ref, path, on_path, looped)

    def _close(self, ref: str, path: list[str], on_path: set[str], looped: set[str]) -> None:
        members: list[str] = []
        while True:
            member = path.pop()
            on_path.discard(member)
            members.append(member)
            if member == ref:
                break
        number = len(self._group)
        for member in members:
            self._group[member] = number
        if len(members) > 1 or ref in looped:
            self._cyclic.add(number)
