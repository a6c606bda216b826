"""Rendering: one Jinja environment that escapes everything, and the few files the pages load."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

_HERE: Final = Path(__file__).resolve().parent
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MAX_SHOWN: Final = 2000


def plain(text: str) -> str:
    """Text from elsewhere as it may be shown: bounded, and every character that cannot be seen (controls, overrides of
    the writing direction, zero-width ones) replaced, so that a name can pass for no other (Unicode TR 36)."""
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in cut)


def _finalize(value: Any) -> Any:
    """Everything that a template puts out passes here, before it is escaped."""
    if value is None:
        return ""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def moment(value: datetime | None) -> Markup:
    """A time for people, and for machines beside it."""
    if value is None:
        return Markup("")
    told = f"{value:%-d %b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(timespec="seconds"), told)


def words(value: str) -> str:
    """A stable word as a person reads it: `needs_reauth` is "needs reauth"."""
    return value.replace("_", " ")


_LABELS: Final = {
    "account_id": "Account ID",
    "api_token": "API token",
    "email": "E-mail address",
    "global_key": "Global API key",
    "key": "Global API key",
}


def label(value: str) -> str:
    """A field's or kind's name as a person reads it."""
    return _LABELS.get(value, words(value).capitalize())


@cache
def environment() -> Environment:
    """The one environment."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(label=label, moment=moment, words=words)
    made.globals["asset"] = asset_path
    return made


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """One page. `login`, where given, is who is signed in; `way` the provider to sign in by."""
    values.setdefault("login", None)
    values.setdefault("way", None)
    body = environment().get_template(template).render(path=request.url.path, **values)
    return Response(body, status, dict(headers or {}), media_type="text/html; charset=utf-8")


@cache
def assets() -> dict[str, tuple[bytes, str]]:
    """The files that pages load, by name: content and media type. Nothing else is served."""
    found = {}
    for file in sorted((_HERE / "static").iterdir()):
        if file.suffix in _TYPES:
            found[file.name] = (file.read_bytes(), _TYPES[file.suffix])
    return found


@cache
def asset_path(name: str) -> str:
    """The address of a file, which changes with its content."""
    return f"/assets/{name}?v={hashlib.sha256(assets()[name][0]).hexdigest()[:12]}"
