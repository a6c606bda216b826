"""The simulator's OpenAPI document and its routes say the same."""

import json
import re
from typing import Any

from connectors.simulators.cloudflare.app import description
from connectors.simulators.cloudflare.routes import ROUTES

# What Cloudflare's own description still calls by an old name.
RENAMED = {
    "Zone Zone Read": {"Zone Read", "Zone Write"},
    "Zone Zone Edit": {"Zone Write"},
    "Zone DNS Edit": set(),
}

DOCUMENT: dict[str, Any] = json.loads(description())
OPERATIONS = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def test_every_route_is_described_and_nothing_else() -> None:
    routes = {(r.method, r.template.replace("+}", "}")): r.id for r in ROUTES if r.id != "graphql"}
    assert {key: operation["operationId"] for key, operation in OPERATIONS.items()} == routes
    assert len(routes) >= 30


def test_described_permissions_are_the_enforced_ones() -> None:
    for found in ROUTES:
        if found.id == "graphql":
            continue
        described = OPERATIONS[found.method, found.template.replace("+}", "}")].get("x-api-token-group", [])
        names = set().union(*(RENAMED.get(name, {name}) for name in described)) if described else set()
        assert names == {group.name for group in found.groups}, found.id


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return here + [ref for value in node.values() for ref in references(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in references(value)]
    return []


def test_every_reference_resolves() -> None:
    for ref in references(DOCUMENT):
        node = DOCUMENT
        for step in ref.removeprefix("#/").split("/"):
            node = node[step]
        assert node


def test_path_parameters_are_declared() -> None:
    for (_, path), operation in OPERATIONS.items():
        parameters = operation.get("parameters", [])
        resolved = [
            DOCUMENT["components"]["parameters"][p["$ref"].rsplit("/", 1)[1]] if "$ref" in p else p for p in parameters
        ]
        assert {p["name"] for p in resolved if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
