"""Small descriptions, their chunks, and the chunks read back without the guest."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from broker.tools.codemode.spec.operations import Row
from broker.tools.codemode.spec.prepare import resolve

METHODS = ("get", "put", "post", "delete", "patch", "head")
EFFECTS = {"get": "read", "head": "read", "delete": "destructive"}


def document(paths: Mapping[str, Any], schemas: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "openapi": "3.0.3",
        "info": {"title": "t", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas or {}},
    }


def rows(root: Mapping[str, Any]) -> list[Row]:
    """What a compiled index would say of the description."""
    found = []
    for path, item in root["paths"].items():
        for method in METHODS:
            if method in item:
                name = item[method].get("operationId", f"{method} {path}")
                found.append(
                    Row(name, method.upper(), path, ("A Read",), EFFECTS.get(method, "write"), path.endswith("/tokens"))
                )
    return found


def chunks(root: Mapping[str, Any]) -> list[bytes]:
    return list(resolve(root, rows(root)))


def sections(made: Iterable[bytes]) -> list[list[bytes]]:
    found: list[list[bytes]] = [[]]
    for chunk in made:
        if chunk:
            found[-1].append(chunk)
        else:
            found.append([])
    assert found.pop() == []
    return found


def read_back(made: Sequence[bytes]) -> list[Mapping[str, Any]]:
    """The deep parts of every operation, linked."""
    _, table_chunks, deep_chunks, _ = sections(made)
    table: list[Any] = []

    def link(value: Any) -> Any:
        if isinstance(value, list):
            return [link(item) for item in value]
        if isinstance(value, dict):
            return table[value["$n"]] if "$n" in value else {key: link(item) for key, item in value.items()}
        return value

    for chunk in table_chunks:
        for entry in orjson.loads(chunk):
            table.append(link(entry))
    deep = [entry for chunk in deep_chunks for entry in orjson.loads(chunk)]
    assert [number for number, _ in deep] == list(range(len(deep)))
    return [link(parts) for _, parts in deep]
