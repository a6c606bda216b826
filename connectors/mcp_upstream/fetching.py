"""Asks a server which era it speaks and which tools it has. Each request is a maintenance call of the gate."""

from collections.abc import Mapping
from typing import Any, Final

from connectors.base import Answer, Json, Meter, Operation, Perform, Prepared
from connectors.errors import CredentialRejected, SpecError, UpstreamUnreachable
from connectors.mcp_upstream import wire
from connectors.mcp_upstream.config import Server
from connectors.mcp_upstream.definitions import MAX_TOOLS, Definitions, read

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
    """Every tool of the server.

    Raises:
        SpecError: too many tools or pages. CredentialRejected, UpstreamUnreachable as above.
    """
    version = await _version(server, perform)
    items: list[Any] = []
    params: dict[str, Json] = {}
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        result = _result(await perform(_prepared(server, version, "tools/list", params)))
        tools, cursor = result.get("tools"), result.get("nextCursor")
        if not isinstance(tools, list):
            raise UpstreamUnreachable("the server's list holds no tools", sent=True)
        items.extend(tools)
        if len(items) > MAX_TOOLS:
            raise SpecError(f"the server lists more than {MAX_TOOLS} tools")
        if cursor is None:
            return read(version, items)
        if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR or cursor in seen:
            raise SpecError("the server's pages do not come to an end")
        seen.add(cursor)
        params = {"cursor": cursor}
    raise SpecError(f"the server lists its tools on more than {MAX_PAGES} pages")


async def _version(server: Server, perform: Perform) -> str:
    """2026-07-28 where the server says so, else the era with a handshake, in which the version is agreed upon."""
    answer = await perform(_prepared(server, wire.MODERN, "server/discover", {}))
    if answer.status in (401, 403):
        raise _rejected(answer)
    if answer.status >= 500 or answer.status == 429 or 300 <= answer.status < 400:
        raise UpstreamUnreachable(_said(answer), sent=True)
    versions = answer.data.get("supportedVersions") if isinstance(answer.data, dict) else None
    if isinstance(versions, list) and wire.MODERN in versions:
        return wire.MODERN
    return wire.LEGACY[0]


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
