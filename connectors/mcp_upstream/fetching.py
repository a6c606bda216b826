"""Asks a server which era it speaks and what it has. Each request is a maintenance call of the gate."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from connectors.base import Answer, Json, Meter, Operation, Perform, Prepared
from connectors.errors import CredentialRejected, SpecError, UpstreamUnreachable
from connectors.mcp_upstream import wire
from connectors.mcp_upstream.config import Server
from connectors.mcp_upstream.definitions import MAX_TOOLS, Definitions, read
from connectors.mcp_upstream.prompts import MAX_PROMPTS, Prompt, read_prompts
from connectors.mcp_upstream.resources import MAX_TEMPLATES, Template, read_templates

MAX_PAGES: Final = 50
MAX_CURSOR: Final = 2_000

METER: Final = Meter("mcp", 30_000, 30)
"""One thousand calls a second: it bounds what runs wild, and is no limit of the server's."""


async def check(server: Server, perform: Perform) -> str:
    """The revision that the server speaks, where it takes the credential. Two requests.

    Raises:
        CredentialRejected: it does not take it. UpstreamUnreachable: it is no MCP server that can be used.
    """
    version = await _version(server, perform)
    _result(await perform(_prepared(server, version, "tools/list", {})))
    return version


async def fetch(server: Server, perform: Perform) -> Definitions:
    """Every tool, prompt and resource template of the server.

    Raises:
        SpecError: too many of them, or too many pages. CredentialRejected, UpstreamUnreachable as above.
    """
    version, capabilities = await _discovered(server, perform)
    tools = await _pages(_Asking(server, version, perform, "tools/list", "tools", MAX_TOOLS))
    assert tools is not None  # noqa: S101 - only an optional list is None
    found = read(version, tools)
    offers: list[str] = []
    prompts: tuple[Prompt, ...] = ()
    templates: tuple[Template, ...] = ()
    dropped = found.dropped
    if _may_have(capabilities, "prompts"):
        listed = await _pages(_Asking(server, version, perform, "prompts/list", "prompts", MAX_PROMPTS, optional=True))
        if listed is not None:
            offers.append("prompts")
            prompts, missed = read_prompts(listed)
            dropped += missed
    if _may_have(capabilities, "resources"):
        asking = _Asking(
            server, version, perform, "resources/templates/list", "resourceTemplates", MAX_TEMPLATES, optional=True
        )
        listed = await _pages(asking)
        if listed is not None or capabilities is not None:
            offers.append("resources")
        templates, missed = read_templates(listed or ())
        dropped += missed
    if offers and _may_have(capabilities, "completions"):
        offers.append("completions")
    return replace(found, prompts=prompts, templates=templates, offers=tuple(offers), dropped=dropped[:100])


@dataclass(frozen=True, slots=True)
class _Asking:
    """One list to be read to its end. `optional`: a server may have none."""

    server: Server
    version: str
    perform: Perform
    method: str
    member: str
    most: int
    optional: bool = False


async def _pages(asking: _Asking) -> list[Any] | None:
    """The items of all pages, or None where the server has no such list."""
    items: list[Any] = []
    params: dict[str, Json] = {}
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        answer = await asking.perform(_prepared(asking.server, asking.version, asking.method, params))
        if asking.optional and _unknown(answer):
            return None
        result = _result(answer)
        if asking.optional and not items and asking.member not in result:
            return None  # some servers answer every method, with nothing
        listed, cursor = result.get(asking.member), result.get("nextCursor")
        if not isinstance(listed, list):
            raise UpstreamUnreachable(f"the server's list holds no {asking.member}", sent=True)
        items.extend(listed)
        if len(items) > asking.most:
            raise SpecError(f"the server lists more than {asking.most} {asking.member}")
        if cursor is None:
            return items
        if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR or cursor in seen:
            raise SpecError("the server's pages do not come to an end")
        seen.add(cursor)
        params = {"cursor": cursor}
    raise SpecError(f"the server lists its {asking.member} on more than {MAX_PAGES} pages")


def _unknown(answer: Answer) -> bool:
    """Whether the server said, as JSON-RPC, that it does not do this."""
    errors = (answer.error or {}).get("errors")
    return answer.status < 500 and answer.status not in (401, 403, 429) and bool(errors)


def _may_have(capabilities: Mapping[str, Json] | None, name: str) -> bool:
    """Whether the server says so. An older one says it in its handshake, which is not seen here: it is asked."""
    return capabilities is None or isinstance(capabilities.get(name), dict)


async def _version(server: Server, perform: Perform) -> str:
    return (await _discovered(server, perform))[0]


async def _discovered(server: Server, perform: Perform) -> tuple[str, Mapping[str, Json] | None]:
    """2026-07-28 where the server says so, with its capabilities; else the era with a handshake, which agrees on the
    version."""
    answer = await perform(_prepared(server, wire.MODERN, "server/discover", {}))
    if wire.MODERN in (answer.error or {}).get("supported", ()):
        # It refused the very version that it then says it speaks: asked once more (2026-07-28, transports).
        answer = await perform(_prepared(server, wire.MODERN, "server/discover", {}))
    if answer.status in (401, 403):
        raise _rejected(answer)
    if answer.status >= 500 or answer.status == 429 or 300 <= answer.status < 400:
        raise UpstreamUnreachable(_said(answer), sent=True)
    found = answer.data if isinstance(answer.data, dict) else {}
    versions, capabilities = found.get("supportedVersions"), found.get("capabilities")
    if isinstance(versions, list) and wire.MODERN in versions:
        return wire.MODERN, capabilities if isinstance(capabilities, dict) else {}
    return wire.LEGACY[0], None


def _prepared(server: Server, version: str, method: str, params: Mapping[str, Json]) -> Prepared:
    headers, body = wire.request(version, method, params)
    return Prepared(
        operation=Operation(id=f"maintenance:{method}", method="POST", path=f"/{method}", effect="read"),
        method="POST",
        origin=server.origin,
        path=server.path,
        query=server.query,
        headers=headers,
        body=body,
        meters=(METER,),
        summary={"operation": method},
        idempotent=True,
    )


def _result(answer: Answer) -> Mapping[str, Any]:
    if answer.status in (401, 403):
        raise _rejected(answer)
    if answer.is_error or not isinstance(answer.data, dict):
        raise UpstreamUnreachable(_said(answer), sent=True)
    return answer.data


def _rejected(answer: Answer) -> CredentialRejected:
    return CredentialRejected(f"the server refused the credential: {_said(answer)}", "Check it and deposit it again.")


def _said(answer: Answer) -> str:
    return str((answer.error or {}).get("detail", f"the server answered {answer.status}"))[:300]
