"""Plain MCP: what any MCP client needs to reach Keyreeve's own endpoint as this identity.

    where = mcp.connection(handle)                    # url and headers, for a client that is configured once
    async with mcp.client(handle) as client:          # the `mcp` SDK's client; its token is always a live one
        await client.list_tools()

A session token is short-lived. `connection` gives the one of this moment: ask again before a new connection, and for
a long one use a client that asks for each request, as `client` does.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keyreeve import AsyncIdentityHandle, IdentityHandle

if TYPE_CHECKING:
    from mcp import Client

TIMEOUT_SECONDS = 120.0
"""Longer than the server lets one call take (100 s)."""


@dataclass(frozen=True)
class Connection:
    """Where a client connects to, and the headers it sends with every request."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


def connection(handle: IdentityHandle, *, connection_name: str | None = None) -> Connection:
    """To all the identity's connections, or one. Raises KeyreeveError where no session can be had."""
    return _of(handle.session(), connection_name)


async def aconnection(handle: AsyncIdentityHandle, *, connection_name: str | None = None) -> Connection:
    """`connection`, for an async handle."""
    return _of(await handle.session(), connection_name)


def _of(session: Any, connection_name: str | None) -> Connection:
    url = session.mcp_url if connection_name is None else f"{session.mcp_url}/{connection_name}"
    return Connection(url, {"Authorization": f"Bearer {session.key.reveal()}"})


@asynccontextmanager
async def client(
    handle: AsyncIdentityHandle, *, connection_name: str | None = None, **options: Any
) -> "AsyncGenerator[Client]":
    """The `mcp` SDK's client, connected. `options` are its own (`mode`, `elicitation_callback`…)."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    class Live(httpx2.Auth):
        """The handle's token of the moment, request by request. The SDK follows no redirect to another origin."""

        async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
            request.headers.update((await aconnection(handle)).headers)
            yield request

    url = (await aconnection(handle, connection_name=connection_name)).url
    async with (
        httpx2.AsyncClient(auth=Live(), timeout=TIMEOUT_SECONDS) as http,
        Client(streamable_http_client(url, http_client=http), **options) as connected,
    ):
        yield connected
