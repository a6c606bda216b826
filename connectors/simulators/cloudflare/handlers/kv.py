"""Workers KV: namespaces, keys and values. Codes 10009 and 10013 [I], 10014 [memory]."""

from typing import Any

import orjson

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import OCTETS, Answer, ok
from connectors.simulators.cloudflare.model import KvValue, Namespace
from connectors.simulators.cloudflare.multipart import parse
from connectors.simulators.cloudflare.routing import Call, page
from connectors.simulators.cloudflare.values import new_id

MAX_KEY = 512
MAX_VALUE = 25 * 2**20
MAX_NAMESPACES = 1000
MAX_KEYS = 100_000


def list_namespaces(call: Call) -> Answer:
    """An account's namespaces."""
    part, info = page(call, list(call.account.namespaces.values()), default=20, largest=1000)
    return ok([namespace.wire() for namespace in part], info)


def create_namespace(call: Call) -> Answer:
    """A new namespace; titles are unique in an account."""
    title = call.json().get("title")
    if not isinstance(title, str) or not 1 <= len(title) <= 512:
        raise answers.fail(400, 10019, "missing title")
    namespaces = call.account.namespaces
    if any(namespace.title == title for namespace in namespaces.values()):
        raise answers.fail(400, 10014, "a namespace with this account ID and title already exists")
    if len(namespaces) >= MAX_NAMESPACES:
        raise answers.fail(403, 10018, "too many namespaces in this account")
    namespace = Namespace(new_id(), title)
    namespaces[namespace.id] = namespace
    return ok(namespace.wire())


def _namespace(call: Call) -> Namespace:
    namespace = call.account.namespaces.get(call.params["namespace_id"])
    if namespace is None:
        raise answers.fail(404, 10013, "namespace not found")
    return namespace


def get_namespace(call: Call) -> Answer:
    """One namespace."""
    return ok(_namespace(call).wire())


def delete_namespace(call: Call) -> Answer:
    """Remove a namespace and all in it."""
    del call.account.namespaces[_namespace(call).id]
    return ok(None)


def list_keys(call: Call) -> Answer:
    """Keys in order, by `prefix`, `limit` (10 to 1,000) and `cursor`."""
    limit = call.number("limit", 1000, 10, 1000)
    prefix, after = call.query.get("prefix", ""), call.query.get("cursor", "")
    live = _live(call, _namespace(call))
    names = sorted(name for name in live if name.startswith(prefix) and name.encode().hex() > after)
    shown = names[:limit]
    keys: list[dict[str, Any]] = []
    for name in shown:
        key: dict[str, Any] = {"name": name}
        if live[name].expiration is not None:
            key["expiration"] = live[name].expiration
        if live[name].metadata is not None:
            key["metadata"] = live[name].metadata
        keys.append(key)
    cursor = shown[-1].encode().hex() if len(names) > limit else ""
    return ok(keys, {"count": len(shown), "cursor": cursor})


def _live(call: Call, namespace: Namespace) -> dict[str, KvValue]:
    now = call.state.wall()
    return {k: v for k, v in namespace.values.items() if v.expiration is None or v.expiration > now}


def _value(call: Call) -> KvValue:
    found = _namespace(call).values.get(call.params["key_name"])
    if found is None or (found.expiration is not None and found.expiration <= call.state.wall()):
        raise answers.fail(404, 10009, "get: 'key not found'")
    return found


def get_value(call: Call) -> Answer:
    """The value's bytes, outside any envelope."""
    found = _value(call)
    headers = () if found.expiration is None else ((b"expiration", b"%d" % found.expiration),)
    return Answer(found.value, media_type=OCTETS, headers=headers)


def get_metadata(call: Call) -> Answer:
    """The value's metadata."""
    return ok(_value(call).metadata)


def put_value(call: Call) -> Answer:
    """Store a raw body, or `value` and `metadata` of a multipart one. Expires at `expiration` or in
    `expiration_ttl`.
    """
    name, namespace = call.params["key_name"], _namespace(call)
    if not 1 <= len(name.encode("utf-8", "surrogateescape")) <= MAX_KEY or name in {".", ".."}:
        raise answers.fail(400, 10030, "invalid key name")
    value, metadata = call.body, None
    if call.content_type.lower().startswith("multipart/form-data"):
        value, metadata = _read_multipart(call)
    if len(value) > MAX_VALUE:
        raise answers.fail(413, 10024, "payload too large")
    if name not in namespace.values and len(namespace.values) >= MAX_KEYS:
        raise answers.fail(403, 10048, "too many keys")
    namespace.values[name] = KvValue(value, metadata, _expiration(call))
    return ok({})


def _expiration(call: Call) -> int | None:
    if "expiration_ttl" in call.query:
        return int(call.state.wall()) + call.number("expiration_ttl", 0, 60, 10**9 - 1)
    if "expiration" in call.query:
        text = call.query["expiration"]
        if not (text.isascii() and text.isdigit() and len(text) <= 12):
            raise answers.fail(400, 10035, "invalid expiration")
        return int(text)
    return None


def _read_multipart(call: Call) -> tuple[bytes, Any]:
    try:
        parts = {part.name: part.body for part in parse(call.content_type, call.body)}
        metadata = orjson.loads(parts["metadata"]) if parts.get("metadata") else None
    except ValueError as problem:  # orjson's JSONDecodeError is one too
        raise answers.fail(400, 10012, f"malformed value: {problem}") from None
    if "value" not in parts:
        raise answers.fail(400, 10012, "malformed value: the value part is missing")
    return parts["value"], metadata


def delete_value(call: Call) -> Answer:
    """Remove a key; one that isn't there is no error."""
    _namespace(call).values.pop(call.params["key_name"], None)
    return ok({})
