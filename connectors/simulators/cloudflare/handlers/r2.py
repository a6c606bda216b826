"""R2 buckets and objects, through the v4 API as wrangler uses it. Codes 10006 and 10007 [D]; names' rules [D]."""

import re
from typing import Any

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import OCTETS, Answer, ok
from connectors.simulators.cloudflare.clock import iso
from connectors.simulators.cloudflare.model import Bucket, R2Object
from connectors.simulators.cloudflare.routing import Call
from connectors.simulators.cloudflare.state import etag

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
MAX_BUCKETS = 1000
MAX_KEY = 1024
MAX_OBJECTS = 100_000


def list_buckets(call: Call) -> Answer:
    """An account's buckets by `name_contains`, in pages of `per_page` with a `cursor`."""
    wanted, after = call.query.get("name_contains", ""), call.query.get("cursor", "")
    limit = call.number("per_page", 20, 1, 1000)
    names = sorted(name for name in call.account.buckets if wanted in name and name > after)
    shown = names[:limit]
    info = {"per_page": limit, "cursor": shown[-1] if len(names) > limit else ""}
    return ok({"buckets": [call.account.buckets[name].wire() for name in shown]}, info)


def create_bucket(call: Call) -> Answer:
    """A new bucket."""
    name = call.json().get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise answers.fail(400, 10005, "The specified bucket name is not valid.")
    if name in call.account.buckets:
        raise answers.fail(409, 10004, "The bucket you tried to create already exists, and you own it.")
    if len(call.account.buckets) >= MAX_BUCKETS:
        raise answers.fail(400, 10009, "You have too many buckets.")
    return ok(call.state.add_bucket(call.account, name).wire())


def _bucket(call: Call) -> Bucket:
    bucket = call.account.buckets.get(call.params["bucket_name"])
    if bucket is None:
        raise answers.fail(404, 10006, "The specified bucket does not exist.")
    return bucket


def get_bucket(call: Call) -> Answer:
    """One bucket."""
    return ok(_bucket(call).wire())


def delete_bucket(call: Call) -> Answer:
    """Remove an empty bucket."""
    bucket = _bucket(call)
    if bucket.objects:
        raise answers.fail(409, 10008, "The bucket you tried to delete is not empty.")
    del call.account.buckets[bucket.name]
    return ok({})


def _shown(key: str, item: R2Object) -> dict[str, Any]:
    return {
        "key": key,
        "etag": item.etag,
        "size": len(item.body),
        "last_modified": iso(item.modified),
        "http_metadata": {"contentType": item.media_type},
        "storage_class": "Standard",
    }


def list_objects(call: Call) -> Answer:
    """Objects by `prefix`, in pages of `per_page` with a `cursor`."""
    prefix, after = call.query.get("prefix", ""), call.query.get("cursor", "")
    limit = call.number("per_page", 20, 1, 1000)
    objects = _bucket(call).objects
    names = sorted(key for key in objects if key.startswith(prefix) and key > after)
    shown = names[:limit]
    more = len(names) > limit
    info = {"per_page": limit, "cursor": shown[-1] if more else "", "is_truncated": more}
    return ok([_shown(key, objects[key]) for key in shown], info)


def _object(call: Call) -> R2Object:
    found = _bucket(call).objects.get(call.params["object_key"])
    if found is None:
        raise answers.fail(404, 10007, "The specified key does not exist.")
    return found


def get_object(call: Call) -> Answer:
    """The object's bytes, outside any envelope."""
    found = _object(call)
    return Answer(
        found.body,
        media_type=found.media_type.encode("latin-1"),
        headers=((b"etag", f'"{found.etag}"'.encode()),),
    )


def put_object(call: Call) -> Answer:
    """Store the raw body under the key."""
    bucket, key = _bucket(call), call.params["object_key"]
    if not 1 <= len(key.encode("utf-8", "surrogateescape")) <= MAX_KEY:
        raise answers.fail(400, 10029, "The specified object name is not valid.")
    if key not in bucket.objects and len(bucket.objects) >= MAX_OBJECTS:
        raise answers.fail(400, 10009, "Too many objects.")
    item = R2Object(call.body, call.content_type or OCTETS.decode(), etag(call.body), call.state.wall())
    bucket.objects[key] = item
    return ok(_shown(key, item))


def delete_object(call: Call) -> Answer:
    """Remove an object; one that isn't there is no error."""
    _bucket(call).objects.pop(call.params["object_key"], None)
    return ok({"key": call.params["object_key"]})
