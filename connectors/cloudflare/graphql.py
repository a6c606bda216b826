"""The GraphQL endpoint as one operation: parsed enough to know what it does and whose data it asks for.

A query is a read, a mutation a write, a subscription refused. The endpoint is not in Cloudflare's
description; it has its own limit beside the REST one (320 per 300 s).
"""

from collections.abc import Iterator, Mapping
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    VariableNode,
    parse,
)

from connectors.base import Effect, Json, Operation, Resources
from connectors.cloudflare.operations import unique
from connectors.cloudflare.resources import EVERY
from connectors.errors import FieldProblem, InvalidInput, PayloadTooLarge

PATH: Final = "/graphql"
REFS: Final = frozenset({"graphql", "POST /graphql", "post /graphql"})
MAX_QUERY: Final = 65_536
MAX_TOKENS: Final = 8_000
MAX_DEPTH: Final = 40

_TAGS: Final = {"zones": "zoneTag", "accounts": "accountTag"}
_NAMELESS: Final = frozenset({"__typename", "__schema", "__type", "cost", "budget"})  # without anybody's data


def operation(effect: Effect) -> Operation:
    """The endpoint as an operation."""
    return Operation(
        id="graphql",
        method="POST",
        path=PATH,
        effect=effect,
        summary="Query analytics over GraphQL",
    )


def read_document(body: Json) -> tuple[Operation, Resources]:
    """What a GraphQL request does and whose data it names.

    A `zones` or `accounts` field that is not confined to given tags by its filter names every one (`*`). A query that
    asks for both, or for anything else beside them, names every one too: a grant for zones alone must not carry an
    account's data along.

    Raises:
        InvalidInput: not {query, variables?, operationName?}, not one GraphQL operation, or past a bound.
        PayloadTooLarge: the query is longer than `MAX_QUERY`.
    """
    query, variables, name = _fields(body)
    document = _parse(query)
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    if any(o.operation is OperationType.SUBSCRIPTION for o in operations):
        raise _refuse("query", "subscriptions are not supported; use a query")
    if not operations:
        raise _refuse("query", "holds no query")
    if len(operations) > 1 and name not in [o.name.value for o in operations if o.name is not None]:
        raise _refuse("operationName", "must name one of the document's operations, as it holds several")
    writes = any(o.operation is OperationType.MUTATION for o in operations)
    return operation("write" if writes else "read"), _resources(document, variables)


def _fields(body: Json) -> tuple[str, Mapping[str, Json], str | None]:
    if not isinstance(body, dict):
        raise _refuse("", "must be an object: {query, variables?, operationName?}")
    unknown = sorted(set(body) - {"query", "variables", "operationName"})
    if unknown:
        raise _refuse(str(unknown[0])[:60], "unknown field; a GraphQL body has query, variables and operationName")
    query, variables, name = body.get("query"), body.get("variables"), body.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise _refuse("query", "is required, as text")
    if len(query) > MAX_QUERY:
        raise PayloadTooLarge(MAX_QUERY)
    if variables is not None and not isinstance(variables, dict):
        raise _refuse("variables", "must be an object")
    if name is not None and not isinstance(name, str):
        raise _refuse("operationName", "must be text")
    return query, variables or {}, name


def _parse(query: str) -> DocumentNode:
    depth = 0
    # The parser recurses, so nesting is bounded first. Strings and comments blur the count; what slips through for
    # their sake ends in a RecursionError below.
    for character in query:
        if character in "{[(":
            depth += 1
            if depth > MAX_DEPTH:
                raise _refuse("query", f"is nested deeper than {MAX_DEPTH}")
        elif character in "}])":
            depth = max(0, depth - 1)
    try:
        return parse(query, no_location=True, max_tokens=MAX_TOKENS)
    except GraphQLError as exc:
        raise _refuse("query", f"is not GraphQL: {exc.message[:300]}") from exc
    except RecursionError as exc:
        raise _refuse("query", "is nested too deeply") from exc


def _resources(document: DocumentNode, variables: Mapping[str, Json]) -> Resources:
    found: dict[str, list[str]] = {"zones": [], "accounts": []}
    for node in _fields_of(document):
        kind = node.name.value
        tag = _TAGS.get(kind)
        if tag is not None:
            found[kind].extend(_named(node, tag, document, variables))
    if _mixed(document):
        for named in found.values():
            named.append(EVERY)
    return Resources(unique(found["accounts"]), unique(found["zones"]))


def _mixed(document: DocumentNode) -> bool:
    """Whether the document asks for data of more than one kind: zones and accounts, or anything that is neither."""
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    kinds: set[str] = set()
    for operation_ in (d for d in document.definitions if isinstance(d, OperationDefinitionNode)):
        for top in _selected(operation_.selection_set, fragments):
            if top.name.value == "viewer":
                kinds.update(field.name.value for field in _selected(top.selection_set, fragments))
            else:
                kinds.add(top.name.value)
    return len(kinds - _NAMELESS) > 1 or not kinds <= _NAMELESS | _TAGS.keys()


def _selected(
    selection: SelectionSetNode | None, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """The fields selected right here, through fragments; each fragment is entered once."""
    pending: list[SelectionSetNode | None] = [selection]
    entered: set[str] = set()
    while pending:
        current = pending.pop()
        for node in current.selections if current is not None else ():
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                pending.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in entered:
                entered.add(node.name.value)
                spread = fragments.get(node.name.value)
                pending.append(None if spread is None else spread.selection_set)


def _fields_of(node: Node) -> Iterator[FieldNode]:
    pending: list[Node] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, FieldNode):
            yield current
        for key in current.keys:
            value = getattr(current, key, None)
            if isinstance(value, Node):
                pending.append(value)
            elif isinstance(value, (list, tuple)):
                pending.extend(item for item in value if isinstance(item, Node))


def _named(node: FieldNode, tag: str, document: DocumentNode, variables: Mapping[str, Json]) -> list[str]:
    """The tags that the field's filter confines it to; `*` unless every other reading is excluded."""
    filters = [a.value for a in node.arguments or () if a.name.value == "filter"]
    if len(filters) != 1:
        return [EVERY]
    given = _plain(filters[0], document, variables)
    if not isinstance(given, dict) or len(given) != 1:
        return [EVERY]
    ((key, value),) = given.items()
    values = [value] if key == tag else value if key == f"{tag}_in" else None
    if not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
        return [EVERY]
    return [v if len(v) <= 64 else EVERY for v in values]


def _plain(node: Node, document: DocumentNode, variables: Mapping[str, Json]) -> Json:
    """A filter's value with variables filled in; what is not text, list or object counts as None."""
    if isinstance(node, StringValueNode):
        return node.value
    if isinstance(node, ListValueNode):
        return [_plain(item, document, variables) for item in node.values]
    if isinstance(node, ObjectValueNode):
        names = [field.name.value for field in node.fields]
        if len(set(names)) < len(names):
            return None  # which of two equal fields the upstream reads is not known
        return {field.name.value: _plain(field.value, document, variables) for field in node.fields}
    # A default in the document applies only where the variable is absent: then the filter counts as open.
    return variables.get(node.name.value) if isinstance(node, VariableNode) else None


def _refuse(path: str, problem: str) -> InvalidInput:
    return InvalidInput([FieldProblem(f"body.{path}" if path else "body", problem)])
