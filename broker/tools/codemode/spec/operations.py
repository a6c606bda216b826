"""The operations of a description as programs see them, in the order of its compiled index."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.tools.codemode.spec.dag import Dag, Value, safe_text
from broker.tools.codemode.spec.resolve import Place, Resolver
from connectors.errors import SpecError
from connectors.openapi.compile import METHODS
from connectors.openapi.template import TemplateError, parse

MAX_TAGS: Final = 16
_PRODUCT: Final = re.compile(r"^/(?:accounts|zones)/\{[^}]+\}/([^/{]+)")
_FIRST: Final = re.compile(r"^/([^/{]+)")


@dataclass(frozen=True, slots=True)
class Row:
    """What the server knows of an operation besides its description. `guarded`: needs a grant that names it."""

    id: str
    method: str
    path: str
    permissions: tuple[str, ...]
    effect: str
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """An operation. `light` is read by every search; `deep` are the parts that few searches look at."""

    row: Row
    light: Mapping[str, Any]
    deep: Mapping[str, Value]


def product_of(path: str) -> str:
    """The product's name as Cloudflare's own server derives it: the segment behind the account or zone; else the first
    one.
    """
    found = _PRODUCT.match(path) or _FIRST.match(path)
    return found[1] if found else ""


def shown(root: Mapping[str, Any], rows: Sequence[Row], dag: Dag) -> list[Shown]:
    """All operations. Raises SpecError where `rows` are not those of this description."""
    resolver = Resolver(root, dag)
    found = list(_operations(root, resolver))
    if [(method, path) for method, path, _, _ in found] != [(row.method, row.path) for row in rows]:
        raise SpecError("the description is not the one that was compiled; refresh it")
    return [_show(row, shared, operation, resolver) for row, (_, _, shared, operation) in zip(rows, found, strict=True)]


def _operations(root: Mapping[str, Any], resolver: Resolver) -> Iterator[tuple[str, str, list[Any], Mapping[str, Any]]]:
    """In the order of `connectors.openapi.compile`, leaving out what it leaves out."""
    paths = root.get("paths")
    for path, item in paths.items() if isinstance(paths, dict) else ():
        item = resolver.raw(item)
        if not isinstance(item, dict):
            continue
        try:
            template = parse(path).text
        except TemplateError:
            continue
        shared = item.get("parameters")
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                yield method.upper(), template, shared if isinstance(shared, list) else [], operation


def _show(row: Row, shared: list[Any], operation: Mapping[str, Any], resolver: Resolver) -> Shown:
    light: dict[str, Any] = {
        "summary": _text(operation.get("summary")),
        "tags": _tags(row.path, operation.get("tags")),
        "operationId": row.id,
        "deprecated": operation.get("deprecated") is True,
        "effect": row.effect,
        "guarded": row.guarded,
    }
    deep: dict[str, Value] = {"description": _text(operation.get("description"))}
    deep["permissions"] = resolver.resolve(list(row.permissions), Place.OPAQUE)
    deep["parameters"] = _parameters(shared, operation.get("parameters"), resolver)
    if "requestBody" in operation:
        deep["requestBody"] = resolver.resolve(operation["requestBody"])
    deep["responses"] = resolver.resolve(operation.get("responses", {}), Place.NAMES)
    return Shown(row, light, deep)


def _parameters(shared: list[Any], own: Any, resolver: Resolver) -> Value:
    """The operation's own and the path's, whose place and name the operation does not take up again (OpenAPI 3.1 §
    4.8.9.1).
    """
    merged: dict[tuple[Any, Any], Any] = {}
    for number, entry in enumerate([*shared, *(own if isinstance(own, list) else [])]):
        parameter = resolver.raw(entry)
        named = (
            isinstance(parameter, dict)
            and isinstance(parameter.get("name"), str)
            and isinstance(parameter.get("in"), str)
        )
        merged[(parameter["in"], parameter["name"]) if named else (number, None)] = entry
    return resolver.resolve(list(merged.values()))


def _tags(path: str, given: Any) -> list[str]:
    product = product_of(path)
    tags = [tag[:200] for tag in (given if isinstance(given, list) else []) if isinstance(tag, str)]
    rest = [tag for tag in tags if tag.casefold() != product.casefold()]
    return ([product, *rest] if product else rest)[:MAX_TAGS]


def _text(value: Any) -> str:
    return safe_text(value) if isinstance(value, str) else ""
