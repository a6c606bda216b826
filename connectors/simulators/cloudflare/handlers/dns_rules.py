"""What Cloudflare accepts as a DNS record. Pure.

Codes: 9005 and 9003 with their texts, 9021, 81053, 81057, 81058 and 1004 are seen in issues [I]; the rest
[memory]. Error chains under 1004 ended in October 2024: the root cause is now the error itself [D].
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any

from connectors.simulators.cloudflare.answers import ApiError, fail

STRUCTURED = frozenset(
    {"CAA", "CERT", "DNSKEY", "DS", "HTTPS", "LOC", "NAPTR", "SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "URI"}
)
TYPES = STRUCTURED | {"A", "AAAA", "CNAME", "MX", "NS", "OPENPGPKEY", "PTR", "TXT"}
PROXIABLE = frozenset({"A", "AAAA", "CNAME"})
_LABEL = re.compile(r"(\*|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)\Z", re.IGNORECASE)
FIELDS = frozenset({"type", "name", "content", "data", "ttl", "proxied", "priority", "comment", "tags", "settings"})


def full_name(name: Any, zone: str) -> str:
    """The record's whole name: `@` is the zone, a name outside it is taken as relative. Raises ApiError (9000)."""
    if not isinstance(name, str) or not name:
        raise fail(400, 9000, "DNS name is invalid.")
    whole = name.rstrip(".").encode("idna").decode().lower() if not name.isascii() else name.rstrip(".").lower()
    if whole in {"@", zone}:
        return zone
    if not whole.endswith(f".{zone}"):
        whole = f"{whole}.{zone}"
    if len(whole) > 253 or not all(_LABEL.match(label) for label in whole.split(".")):
        raise fail(400, 9000, "DNS name is invalid.")
    return whole


def _host(content: str) -> bool:
    return len(content) <= 253 and all(_LABEL.match(label) for label in content.rstrip(".").split("."))


def _address(version: int) -> Callable[[str], bool]:
    def check(content: str) -> bool:
        try:
            return ipaddress.ip_address(content).version == version
        except ValueError:
            return False

    return check


_CONTENT: dict[str, tuple[Callable[[str], bool], int, str]] = {
    "A": (_address(4), 9005, "Content for A record must be a valid IPv4 address."),
    "AAAA": (_address(6), 9006, "Content for AAAA record must be a valid IPv6 address."),
    "CNAME": (_host, 9007, "Content for CNAME record is invalid."),
    "NS": (_host, 9008, "Content for NS record is invalid."),
    "MX": (_host, 9009, "Content for MX record is invalid."),
}


def _content(body: dict[str, Any], kind: str) -> str:
    content = body.get("content")
    if content is None and kind in STRUCTURED and isinstance(body.get("data"), dict) and body["data"]:
        return " ".join(str(value) for value in body["data"].values())
    if not isinstance(content, str) or not content or len(content) > 8192:
        raise fail(400, 9020, "DNS record content is invalid.")
    check, code, text = _CONTENT.get(kind, (bool, 9020, "DNS record content is invalid."))
    if not check(content):
        raise fail(400, code, text)
    return content


def _ttl(body: dict[str, Any]) -> int:
    ttl = body.get("ttl", 1)
    if isinstance(ttl, float) and ttl.is_integer():
        ttl = int(ttl)
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not (ttl == 1 or 60 <= ttl <= 86400):
        raise fail(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
    return ttl


def _proxied(body: dict[str, Any], kind: str, content: str) -> bool:
    proxied = body.get("proxied", False)
    if proxied is None:
        proxied = False
    if not isinstance(proxied, bool):
        raise fail(400, 9207, "Request body is invalid.")
    if not proxied:
        return False
    if kind not in PROXIABLE:
        raise fail(400, 9004, "This record type cannot be proxied.")
    if kind in {"A", "AAAA"} and ipaddress.ip_address(content).is_private:
        raise fail(400, 9003, f"Target {content} is not allowed for a proxied record.")
    return True


def checked(body: dict[str, Any], zone: str) -> dict[str, Any]:
    """The record `body` describes, complete with defaults, in Cloudflare's field order.

    Raises ApiError for what Cloudflare refuses.
    """
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise fail(400, 9001, "DNS record type is invalid.")
    name = full_name(body.get("name"), zone)
    content = _content(body, kind)
    record: dict[str, Any] = {
        "name": name,
        "type": kind,
        "content": content,
        "proxiable": kind in PROXIABLE,
        "proxied": _proxied(body, kind, content),
        "ttl": _ttl(body),
        "settings": body.get("settings") or {},
        "meta": {},
        "comment": body.get("comment"),
        "tags": body.get("tags") or [],
    }
    if kind == "MX":
        priority = body.get("priority")
        if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 65535:
            raise fail(400, 9101, "priority is a required field.")
    if "priority" in body:
        record["priority"] = body["priority"]
    if "data" in body:
        record["data"] = body["data"]
    return record


_EXCLUSIVE = frozenset({"A", "AAAA", "CNAME"})


def conflict(record: dict[str, Any], others: Iterable[dict[str, Any]]) -> ApiError | None:
    """Why `record` can't stand beside `others` (all records of the zone but itself), if so."""
    for other in others:
        if other["name"] != record["name"]:
            continue
        if other["type"] == record["type"] and other["content"] == record["content"]:
            same = all(other.get(name) == record.get(name) for name in ("ttl", "proxied", "priority"))
            if same:
                return fail(400, 81058, "An identical record already exists.")
            return fail(400, 81057, "The record already exists.")
        pair = {other["type"], record["type"]}
        if "CNAME" in pair and pair <= _EXCLUSIVE:
            return fail(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
    return None
