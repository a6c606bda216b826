"""The requests of a server that are no tools: prompts, resources, completions. Each is a read that the gate judges.

They run under three tools that no list shows, `NAME_prompts`, `NAME_resources` and `NAME_completions`: what a grant
says of those names (and of `GET /prompts/…`, `GET /resources`, `GET /completions` as operations) is said of them. Pure.
"""

from collections.abc import Mapping
from typing import Any, Final

from connectors.base import ConnectionView, Json, Operation, Tool
from connectors.errors import FieldProblem, InvalidInput
from connectors.mcp_upstream.definitions import Pinned
from connectors.mcp_upstream.naming import COMPLETIONS, PROMPTS, RESOURCES
from connectors.mcp_upstream.prompts import Prompt
from connectors.mcp_upstream.resources import MAX_CURSOR, usable_uri

MAX_ARGUMENT: Final = 100_000
"""Characters of one argument of a prompt."""
HELD: Final = "its definition has changed at the server, or its text was flagged; an admin must accept it first"

_LIST: Final = Operation("resource:list", "GET", "/resources", "read", "Lists resources", annotated=True)
_READ: Final = Operation("resource:read", "GET", "/resources", "read", "Reads a resource", annotated=True)
_COMPLETE: Final = Operation("completion:complete", "GET", "/completions", "read", "Completes", annotated=True)

_SCHEMAS: Final[Mapping[str, Mapping[str, Json]]] = {
    PROMPTS: {
        "type": "object",
        "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
        "required": ["name"],
    },
    RESOURCES: {"type": "object", "properties": {"uri": {"type": "string"}, "cursor": {"type": "string"}}},
    COMPLETIONS: {
        "type": "object",
        "properties": {"ref": {"type": "object"}, "argument": {"type": "object"}, "context": {"type": "object"}},
        "required": ["ref", "argument"],
    },
}
_TOLD: Final[Mapping[str, str]] = {
    PROMPTS: "A prompt of the server, filled in.",
    RESOURCES: "A resource of the server; without a uri, the list of them.",
    COMPLETIONS: "Values for an argument of a prompt or of a resource template.",
}

Asked = tuple[Operation, str, dict[str, Json], str | None]
"""Operation, method, params, and what `Mcp-Name` repeats."""


def prompt_operation(prompt: Prompt) -> Operation:
    """The operation that getting a prompt is."""
    path = f"/prompts/{prompt.name.replace('/', '~')}"
    return Operation(f"prompt:{prompt.name}", "GET", path, "read", prompt.title, annotated=True)


def unlisted(connection: ConnectionView, pinned: Pinned) -> list[Tool]:
    """The tools that stand for what is no tool, where the server has anything of the kind."""
    offers = pinned.definitions.offers
    named: list[tuple[str, Operation | None]] = []
    if pinned.definitions.prompts:
        named.append((PROMPTS, None))
    if "resources" in offers:
        named.append((RESOURCES, _READ))
    if "completions" in offers:
        named.append((COMPLETIONS, _COMPLETE))
    return [
        Tool(
            name=f"{connection.name}_{kind}",
            description=_TOLD[kind],
            input_schema=_SCHEMAS[kind],
            effect="read",
            annotations={"title": _TOLD[kind], "readOnlyHint": True, "destructiveHint": False},
            schema_hash=kind,
            operation=operation,
        )
        for kind, operation in named
    ]


def asked(pinned: Pinned, kind: str, given: Mapping[str, Json]) -> Asked:
    """The request that a call of one of those tools means. Raises InvalidInput."""
    for name in given:
        if name not in _SCHEMAS[kind]["properties"]:
            raise _wrong(str(name)[:100], "is not a field of this tool")
    if kind == PROMPTS:
        return _prompt(pinned, given)
    return _resource(given) if kind == RESOURCES else _completion(pinned, given)


def _prompt(pinned: Pinned, given: Mapping[str, Json]) -> Asked:
    prompt = _known(pinned, given.get("name"))
    arguments = _texts("arguments", given.get("arguments", {}))
    params: dict[str, Json] = {"name": prompt.name}
    if arguments:
        params["arguments"] = arguments
    return prompt_operation(prompt), "prompts/get", params, prompt.name


def _known(pinned: Pinned, name: Json) -> Prompt:
    prompt = pinned.definitions.prompts_by_name.get(name) if isinstance(name, str) else None
    if prompt is None:
        raise _wrong("name", "is not a prompt of this connection")
    if prompt.label in pinned.held:
        raise _wrong("name", HELD)
    return prompt


def _texts(field: str, given: Json) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > 50:
        raise _wrong(field, "must be an object of texts, at most 50")
    for name, value in given.items():
        if len(name) > 100 or not isinstance(value, str) or len(value) > MAX_ARGUMENT:
            raise _wrong(f"{field}.{name[:100]}", f"must be a text of at most {MAX_ARGUMENT} characters")
    return dict(given)


def _resource(given: Mapping[str, Json]) -> Asked:
    uri, cursor = given.get("uri"), given.get("cursor")
    if uri is None:
        if cursor is not None and (not isinstance(cursor, str) or not 0 < len(cursor) <= MAX_CURSOR):
            raise _wrong("cursor", "is not one that was given")
        return _LIST, "resources/list", {} if cursor is None else {"cursor": cursor}, None
    if not usable_uri(uri) or cursor is not None:
        raise _wrong("uri", "must be the address of a resource: a scheme, `:` and printable ASCII without spaces")
    return _READ, "resources/read", {"uri": uri}, str(uri)


def _completion(pinned: Pinned, given: Mapping[str, Json]) -> Asked:
    ref, argument, context = given.get("ref"), given.get("argument"), given.get("context")
    if not isinstance(ref, dict) or ref.get("type") not in ("ref/prompt", "ref/resource"):
        raise _wrong("ref", "must be {type: ref/prompt, name} or {type: ref/resource, uri}")
    shown: dict[str, Json]
    if ref["type"] == "ref/prompt":
        shown = {"type": "ref/prompt", "name": _known(pinned, ref.get("name")).name}
    else:
        template = next((t for t in pinned.definitions.templates if t.uri == ref.get("uri")), None)
        if template is None or template.label in pinned.held:
            raise _wrong("ref.uri", "is not a resource template of this connection")
        shown = {"type": "ref/resource", "uri": template.uri}
    if not isinstance(argument, dict):
        raise _wrong("argument", "must be {name, value}")
    texts = _texts("argument", {key: argument.get(key) for key in ("name", "value")})
    params: dict[str, Json] = {"ref": shown, "argument": texts}
    if context is not None:
        arguments = _texts("context.arguments", context.get("arguments", {}) if isinstance(context, dict) else None)
        params["context"] = {"arguments": arguments}
    return _COMPLETE, "completion/complete", params, None


def summary(operation: Operation, params: Mapping[str, Any]) -> dict[str, Json]:
    """What the audit keeps of such a request."""
    if operation.id.startswith("prompt:"):
        return {"prompt": params["name"]}
    if "uri" in params:
        # A query may hold what is nobody else's to read.
        return {"resource": str(params["uri"]).partition("?")[0][:300]}
    return {"operation": operation.id}


def _wrong(field: str, problem: str) -> InvalidInput:
    return InvalidInput([FieldProblem(field, problem)])
