"""Routes and the compiled tree that finds one.

A path is split before it is decoded, so an encoded slash stays inside its segment, as in KV key names.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.access import Actor
from connectors.simulators.cloudflare.answers import Answer
from connectors.simulators.cloudflare.groups import GROUPS, Group
from connectors.simulators.cloudflare.model import Account, Zone
from connectors.simulators.cloudflare.policy import Target
from connectors.simulators.cloudflare.state import CloudflareState
from connectors.simulators.cloudflare.values import is_id

On = Literal["zone", "account", "bucket", "user", "handler"]
MAX_QUERY_FIELDS = 100


@dataclass(slots=True)
class Call:
    """One authenticated request on its way to a handler."""

    state: CloudflareState
    actor: Actor
    method: str
    path: str
    params: dict[str, str]
    raw_query: bytes
    content_type: str
    body: bytes
    _query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The query's fields, the last one of a name winning. Raises ApiError for too many."""
        if self._query is None:
            try:
                pairs = parse_qsl(
                    self.raw_query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS
                )
            except ValueError:
                raise answers.fail(400, 1001, "Too many query parameters") from None
            self._query = dict(pairs)
        return self._query

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ApiError where it isn't one."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise answers.bad_json() from None
        if not isinstance(value, dict):
            raise answers.bad_json()
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A query parameter as an integer. Raises ApiError (1001 [memory]) outside `low`..`high`."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise answers.fail(400, 1001, f"Invalid value for parameter {name}: expected {low} to {high}")
        return int(text)

    @property
    def account(self) -> Account:
        """The account in the path. Raises ApiError where there is none (seen only by who may see any)."""
        found = self.state.accounts.get(self.params["account_id"])
        if found is None:
            raise answers.not_permitted()
        return found

    @property
    def zone(self) -> Zone:
        """The zone in the path. Raises ApiError where there is none."""
        found = self.state.zones.get(self.params["zone_id"])
        if found is None:
            raise answers.not_permitted()
        return found


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One operation. `groups`: any one suffices, on the resource `on` names; `handler` means the handler
    judges.

    `lenient` routes answer a missing permission with 9109 instead of 10000.
    """

    id: str
    method: str
    template: str
    handler: Handler
    on: On
    groups: tuple[Group, ...] = ()
    lenient: bool = False
    meter: Literal["rest", "graphql"] = "rest"

    def target(self, call: Call) -> Target:
        """What the request touches. Raises ApiError for an identifier that can't be one (7003)."""
        params, kind = call.params, self.on
        if kind == "user":
            return Target(user=call.actor.user.id if call.actor.user else "")
        if kind == "zone":
            ident = params["zone_id"]
            if not is_id(ident):
                raise answers.unroutable(call.path)
            zone = call.state.zones.get(ident)
            return Target(account=zone.account.id if zone else "", zone=ident)
        ident = params["account_id"]
        if not is_id(ident):
            raise answers.unroutable(call.path)
        if kind == "bucket":
            return Target(account=ident, bucket=f"{ident}_default_{params['bucket_name']}")
        return Target(account=ident)


def route(
    ident: str,
    line: str,
    handler: Handler,
    on: On,
    *groups: str,
    lenient: bool = False,
    meter: Literal["rest", "graphql"] = "rest",
) -> Route:
    """A route written as `route("zones-get", "GET /zones", list_zones, "handler", "Zone Read")`."""
    method, _, template = line.partition(" ")
    return Route(ident, method, template, handler, on, tuple(GROUPS[name] for name in groups), lenient, meter)


@dataclass(slots=True)
class _Node:
    literal: dict[bytes, "_Node"] = field(default_factory=dict)
    any: "_Node | None" = None
    rest: "_Node | None" = None
    methods: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class Router:
    """Finds a raw path's route in one walk. `{name+}` at a template's end takes all remaining segments."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for item in routes:
            self._insert(item)

    def _insert(self, item: Route) -> None:
        node, names = self._root, []
        for segment in item.template.strip("/").split("/"):
            if segment.endswith("+}"):
                names.append(segment[1:-2])
                node.rest = node.rest or _Node()
                node = node.rest
            elif segment.startswith("{"):
                names.append(segment[1:-1])
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.literal.setdefault(segment.encode(), _Node())
        if item.method in node.methods:
            raise ValueError(f"two routes for {item.method} {item.template}")
        node.methods[item.method] = (item, tuple(names))

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route and its decoded parameters; `raw_path` is below /client/v4.

        Raises ApiError: no such path (7003), no such method on it (7001).
        """
        node, values = self._root, []
        segments = raw_path.strip(b"/").split(b"/")
        for depth, segment in enumerate(segments):
            below = node.literal.get(segment)
            if below is None and node.any is not None and segment:
                below = node.any
                values.append(segment)
            if below is None and node.rest is not None and segment:
                node = node.rest
                values.append(b"/".join(segments[depth:]))
                break
            if below is None:
                raise answers.unroutable(raw_path.decode("latin-1")[:200])
            node = below
        if not node.methods:
            raise answers.unroutable(raw_path.decode("latin-1")[:200])
        found = node.methods.get(method)
        if found is None:
            raise answers.wrong_method(method)
        item, names = found
        return item, {name: _decode(value) for name, value in zip(names, values, strict=True)}


def _decode(segment: bytes) -> str:
    if b"%" in segment:
        segment = unquote_to_bytes(segment)
    return segment.decode("utf-8", "surrogateescape")


def page(
    call: Call, items: list[Any], *, default: int, largest: int, smallest: int = 5
) -> tuple[list[Any], dict[str, int]]:
    """One page of `items` by `page`/`per_page`, and its `result_info`."""
    per_page = call.number("per_page", default, smallest, largest)
    number = call.number("page", 1, 1, 1_000_000)
    start = (number - 1) * per_page
    shown = items[start : start + per_page]
    info = {
        "page": number,
        "per_page": per_page,
        "count": len(shown),
        "total_count": len(items),
        "total_pages": -(-len(items) // per_page),
    }
    return shown, info
