"""From words on a command line to values. Pure, but for reading the files that a word names.

`key=value` arguments build a tool's input: `operation="GET /zones" query.name=example.com body=@record.json`. A dot in
the key nests. A value is JSON where it reads as JSON that nobody means as text (objects, lists, quoted text, true,
false, null, plain numbers), else it is the text itself; `@FILE` is a file's content, `@-` standard input's.
"""

import ipaddress
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from broker.cli.errors import Usage

MAX_DEPTH: Final = 8
MAX_FILE: Final = 25 * 1024 * 1024

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def value_of(text: str) -> Any:
    """One value. Raises Usage for a file that cannot be read.

    A number is only taken as one where writing it again gives the same text: ids of digits stay text.
    """
    if text.startswith("@") and len(text) > 1:
        return _content(read_file(text[1:]))
    if text[:1] in {"{", "[", '"'} or text in {"true", "false", "null"}:
        try:
            return json.loads(text)
        except ValueError:
            if text[:1] == '"':
                return text
            raise Usage(f"this is not valid JSON: {text[:80]}", "put the whole argument in single quotes") from None
    return json.loads(text) if _NUMBER.fullmatch(text) else text


def read_file(name: str) -> bytes:
    """The bytes of a file, or of standard input for `-`; at most 25 MiB. Raises Usage."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with Path(name).expanduser().open("rb") as file:
                data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise Usage(f"{name} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise Usage(f"{name} is larger than {MAX_FILE} bytes")
    return data


def _content(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return data.decode()
    except UnicodeDecodeError:
        import base64

        return {"$binary": {"base64": base64.b64encode(data).decode("ascii")}}


def pairs(words: Sequence[str]) -> dict[str, Any]:
    """The object that `key=value` words build. Raises Usage, naming the word."""
    built: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise Usage(f"{word[:80]!r} is not key=value", 'for example operation="GET /zones"')
        path = key.split(".")
        if not all(path) or len(path) > MAX_DEPTH:
            raise Usage(f"{key[:80]!r} is not a key: names joined by single dots, at most {MAX_DEPTH}")
        _put(built, path, value_of(text), key)
    return built


def _put(into: dict[str, Any], path: Sequence[str], value: Any, key: str) -> None:
    for name in path[:-1]:
        found = into.setdefault(name, {})
        if not isinstance(found, dict):
            raise Usage(f"{key} goes into {name}, which is a value already")
        into = found
    if path[-1] in into:
        raise Usage(f"{key} is given twice")
    into[path[-1]] = value


def host_port(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPv6]:PORT`, the host in lower case. Raises Usage."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        well_formed = _is_ipv6(host)
    else:
        well_formed = _HOST.fullmatch(host) is not None
    if not colon or not well_formed or not (port.isascii() and port.isdigit()) or not 1 <= int(port[:6]) <= 65535:
        raise Usage(f"{text[:80]!r} is not HOST:PORT", "for example 127.0.0.1:8080 or [::1]:8080")
    return host.lower(), int(port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there. A name other than localhost is not believed."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def public_url(text: str) -> str:
    """An absolute http(s) URL of a server, without a slash at its end. Raises Usage."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Usage(f"{text[:80]!r} is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise Usage(f"{text[:80]!r} is not a server's URL", "for example https://keyreeve.example.com")
    if parts.path not in {"", "/"}:
        raise Usage("a server's URL has no path", f"{parts.scheme}://{parts.netloc}")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise Usage("http is for loopback only: a key must not travel in the clear", "use https")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


def moment(text: str, now: datetime, *, ahead: bool) -> str:
    """An RFC 3339 time from one, or from a span such as `90m` or `7d` before (`ahead`: after) `now`. Raises Usage."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        distance = timedelta(**{_UNITS[span[2]]: int(span[1])})
        at = now + distance if ahead else now - distance
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise Usage(f"{text[:40]!r} is no time", "an RFC 3339 time, or a span such as 15m, 12h or 7d") from None
        if at.tzinfo is None:
            raise Usage(f"{text[:40]!r} has no time zone", "end it with Z for UTC")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seg(text: str) -> str:
    """`text` as one segment of a URL's path."""
    return quote(text, safe="@")
