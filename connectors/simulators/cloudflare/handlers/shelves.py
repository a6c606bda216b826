"""Things that are plain JSON objects with an id: Worker routes, Access applications, Gateway rules and lists.

One `Shelf` a kind. What a kind demands of a body is its required fields [D]; everything else is kept as given.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.clock import iso_seconds
from connectors.simulators.cloudflare.routing import Call, page
from connectors.simulators.cloudflare.values import new_id

MAX_KEPT = 5000
Method = Literal["list", "create", "get", "replace", "patch", "delete"]


@dataclass(frozen=True, slots=True)
class Shelf:
    """One kind of thing. `param` is the path parameter that names one; `required` maps a field to its JSON type.

    `unique` is the field no two may share; `code` what the kind answers for an id that is not there, `refused` for a
    body that will not do.
    """

    kind: str
    on: Literal["zone", "account"]
    param: str
    required: Mapping[str, type]
    unique: str | None = None
    code: int = 10006
    refused: int = 10004

    def handler(self, method: Method) -> Callable[[Call], Answer]:
        """The handler of one method."""
        return {
            "list": self._list,
            "create": self._create,
            "get": self._get,
            "replace": self._replace,
            "patch": self._patch,
            "delete": self._delete,
        }[method]

    def _kept(self, call: Call) -> dict[str, Any]:
        owner = call.zone if self.on == "zone" else call.account
        return owner.shelves.setdefault(self.kind, {})

    def _one(self, call: Call) -> dict[str, Any]:
        found: dict[str, Any] | None = self._kept(call).get(call.params[self.param])
        if found is None:
            raise answers.fail(404, self.code, f"{self.kind} not found")
        return found

    def _checked(self, call: Call, body: dict[str, Any], ident: str) -> dict[str, Any]:
        for name, kind in self.required.items():
            if not isinstance(body.get(name), kind):
                raise answers.fail(400, self.refused, f"{self.kind}: {name} is required and must be a {kind.__name__}")
        if self.unique is not None:
            same = (o for o in self._kept(call).values() if o["id"] != ident and o[self.unique] == body[self.unique])
            if next(same, None) is not None:
                raise answers.fail(409, 10020, f"a {self.kind} with the same {self.unique} already exists")
        return body

    def _list(self, call: Call) -> Answer:
        name = call.query.get("name")
        everything = [one for one in self._kept(call).values() if name is None or one.get("name") == name]
        part, info = page(call, everything, default=50, largest=1000, smallest=1)
        return ok(part, info)

    def _create(self, call: Call) -> Answer:
        kept = self._kept(call)
        if len(kept) >= MAX_KEPT:
            raise answers.fail(403, 10018, f"too many of {self.kind}")
        ident, now = new_id(), iso_seconds(call.state.wall())
        body = self._checked(call, call.json(), ident)
        kept[ident] = {**body, "id": ident, "created_at": now, "updated_at": now}
        return ok(kept[ident])

    def _get(self, call: Call) -> Answer:
        return ok(self._one(call))

    def _replace(self, call: Call) -> Answer:
        return self._put(call, {})

    def _patch(self, call: Call) -> Answer:
        return self._put(call, self._one(call))

    def _put(self, call: Call, base: dict[str, Any]) -> Answer:
        old = self._one(call)
        body = self._checked(call, {**base, **call.json()}, old["id"])
        now = iso_seconds(call.state.wall())
        new = {**body, "id": old["id"], "created_at": old["created_at"], "updated_at": now}
        self._kept(call)[old["id"]] = new
        return ok(new)

    def _delete(self, call: Call) -> Answer:
        ident = self._one(call)["id"]
        del self._kept(call)[ident]
        return ok({"id": ident})


ROUTES = Shelf("workers_route", "zone", "route_id", {"pattern": str}, unique="pattern", code=10007, refused=10016)
APPS = Shelf("access_app", "account", "app_id", {"type": str}, code=11021, refused=11001)
GATEWAY_RULES = Shelf("gateway_rule", "account", "rule_id", {"name": str, "action": str}, code=2010, refused=2000)
GATEWAY_LISTS = Shelf("gateway_list", "account", "list_id", {"name": str, "type": str}, code=2210, refused=2200)


def list_items(call: Call) -> Answer:
    """The items of a Gateway list."""
    found = call.account.shelves.get(GATEWAY_LISTS.kind, {}).get(call.params["list_id"])
    if found is None:
        raise answers.fail(404, GATEWAY_LISTS.code, "gateway_list not found")
    part, info = page(call, list(found.get("items", ())), default=50, largest=1000, smallest=1)
    return ok(part, info)
