"""A server's resources. Templates are definitions, and pinned; which resources there are is data of an account's.

So a list of resources is asked for with the caller's own account each time, never kept, and never shown to another. Its
texts are screened all the same: what reads like instructions to a model is left out. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors.base import Json
from connectors.errors import SpecError, UpstreamUnreachable
from connectors.mcp_upstream.blocks import MAX_BLOCKS
from connectors.mcp_upstream.prompts import digest_of
from connectors.mcp_upstream.screening import INSTRUCTIONS, screen

MAX_TEMPLATES: Final = 500
MAX_LISTED: Final = 1_000
"""Resources in one page of a server's."""
MAX_URI: Final = 2_000
MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 2_000
MAX_CURSOR: Final = 2_000

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,63}:[\x21-\x7e]*")
_TEMPLATE = re.compile(r"[\x21-\x7e]+")
_MEDIA = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(?:\s*;[ -~]{0,100})?"
)
_KEPT: Final = ("uriTemplate", "name", "title", "description", "mimeType")


@dataclass(frozen=True, slots=True)
class Template:
    """One resource template as pinned: `uri` is its RFC 6570 text."""

    uri: str
    digest: str
    name: str
    title: str
    description: str
    media_type: str | None
    found: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What it is called among everything that is pinned."""
        return f"template {self.uri}"

    @property
    def waits(self) -> bool:
        """Whether an admin must have seen it."""
        return INSTRUCTIONS in self.found


def usable_uri(uri: object) -> bool:
    """Whether it is a URI that goes on: RFC 3986 characters with a scheme, at most `MAX_URI` of them."""
    return isinstance(uri, str) and len(uri) <= MAX_URI and _URI.fullmatch(uri) is not None


def read_templates(items: Iterable[object]) -> tuple[tuple[Template, ...], tuple[str, ...]]:
    """The templates of a server's pages, in the order of their URIs, and what could not be taken.

    Raises:
        SpecError: more than `MAX_TEMPLATES`.
    """
    found: dict[str, Template] = {}
    dropped: list[str] = []
    for n, item in enumerate(items):
        if n >= MAX_TEMPLATES:
            raise SpecError(f"the server lists more than {MAX_TEMPLATES} resource templates")
        uri = item.get("uriTemplate") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(uri, str) or len(uri) > MAX_URI or not _TEMPLATE.fullmatch(uri):
            dropped.append(f"template {n + 1}: its uriTemplate is not 1 to {MAX_URI} printable ASCII characters")
        else:
            found.setdefault(uri, _template(uri, item))
    return tuple(sorted(found.values(), key=lambda t: t.uri)), tuple(dropped)


def _template(uri: str, item: Mapping[str, Any]) -> Template:
    name, title = _text(item, "name", MAX_TITLE), _text(item, "title", MAX_TITLE)
    description = _text(item, "description", MAX_DESCRIPTION)
    found = (*name.found, *title.found, *description.found)
    shown = name.text or "resource"
    return Template(
        uri, digest_of(item, _KEPT), shown, title.text, description.text, _media(item), tuple(dict.fromkeys(found))
    )


def _text(item: Mapping[str, Any], key: str, limit: int) -> Any:
    text = item.get(key)
    return screen(text if isinstance(text, str) else "", limit)


def _media(item: Mapping[str, Any]) -> str | None:
    media = item.get("mimeType")
    return media if isinstance(media, str) and _MEDIA.fullmatch(media) is not None else None


def read_listed(result: Mapping[str, Any]) -> dict[str, Json]:
    """One page of `resources/list`, screened: `{resources, nextCursor?}`. Raises UpstreamUnreachable."""
    items = result.get("resources")
    if not isinstance(items, list):
        raise UpstreamUnreachable("the server's list holds no resources", sent=True)
    kept: dict[str, Json] = {
        "resources": [_listed(i) for i in items[:MAX_LISTED] if isinstance(i, dict) and usable_uri(i.get("uri"))]
    }
    cursor = result.get("nextCursor")
    if isinstance(cursor, str) and 0 < len(cursor) <= MAX_CURSOR:
        kept["nextCursor"] = cursor
    return kept


def _listed(item: Mapping[str, Any]) -> dict[str, Json]:
    shown: dict[str, Json] = {"uri": item["uri"]}
    for key, limit in (("name", MAX_TITLE), ("title", MAX_TITLE), ("description", MAX_DESCRIPTION)):
        screened = _text(item, key, limit)
        if screened.text and INSTRUCTIONS not in screened.found:
            shown[key] = screened.text
    shown.setdefault("name", item["uri"][:MAX_TITLE])
    media, size = _media(item), item.get("size")
    if media is not None:
        shown["mimeType"] = media
    if type(size) is int and 0 <= size < 2**53:
        shown["size"] = size
    return shown


def read_contents(result: Mapping[str, Any]) -> dict[str, Json]:
    """What `resources/read` answered, its contents checked. Raises UpstreamUnreachable where it is no such thing."""
    contents = result.get("contents")
    if not isinstance(contents, list) or len(contents) > MAX_BLOCKS:
        raise UpstreamUnreachable("the server's answer holds no resource", sent=True)
    return {"contents": [_content(c) for c in contents if _is_content(c)]}


def _is_content(content: object) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("uri"), str)
        and (isinstance(content.get("text"), str) or isinstance(content.get("blob"), str))
    )


def _content(content: Mapping[str, Any]) -> dict[str, Json]:
    part = "text" if isinstance(content.get("text"), str) else "blob"
    shown: dict[str, Json] = {"uri": content["uri"][:MAX_URI], part: content[part]}
    media = _media(content)
    if media is not None:
        shown["mimeType"] = media
    return shown
