"""MCP servers to be connected to, in one process on a loopback port of its own.

/sdk/mcp      the SDK's server, both eras, behind the bearer `good-token`
/older/mcp    the same, but only the handshake era, with sessions
/asks/mcp     of the handshake era too; its tools ask the client while they run
/raw/NAME     answers as a test has told it to:
              POST /control/NAME {"tools": [...], "call": {...}, "calls": {tool: {...}}, "capabilities": {...},
                                  "answers": {method: result}}
/journal      the messages that /raw servers received, with their headers
/oauth/NAME   wants people to sign in: signing_in.py
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.e2e.mcp_upstream import everything, signing_in

TOKEN = "good-token"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def fixture_server() -> MCPServer:
    """Tools of every kind of content."""
    server = MCPServer("fixture")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True), structured_output=False)
    def echo(text: str) -> str:
        """Says it again."""
        return text

    @server.tool(structured_output=True)
    def add(a: int, b: int) -> dict[str, int]:
        """Adds two numbers."""
        return {"sum": a + b}

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def drop_all() -> str:
        """Deletes everything."""
        return "gone"

    @server.tool(structured_output=False)
    def picture() -> CallToolResult:
        """A picture and a word."""
        blocks = [ImageContent(type="image", data=PIXEL, mime_type="image/png"), TextContent(type="text", text="one")]
        return CallToolResult(content=blocks)

    @server.tool(structured_output=False)
    def fails() -> str:
        """Fails."""
        raise ValueError("no such thing")

    return server


class Name(BaseModel):
    """What a person is asked for."""

    name: str


def asking_server() -> MCPServer:
    """Tools that ask the client of the call: in the call's own stream, and in the session's."""
    server = MCPServer("asking")

    @server.tool(structured_output=False)
    async def greets(ctx: Context[Any, Any], times: int = 1) -> str:
        """Greets whoever is there."""
        names = [await ctx.elicit("What is your name?", Name) for _ in range(times)]
        told = [f"{found.action}:{found.data.name if found.action == 'accept' else ''}" for found in names]
        return " ".join(told)

    @server.tool(structured_output=False)
    async def greets_aside(ctx: Context[Any, Any]) -> str:
        """The same, outside of the call's stream."""
        found = await ctx.session.elicit_form("What is your name?", Name.model_json_schema())
        return f"{found.action}:{(found.content or {}).get('name', '')}"

    return server


class Guard:
    """Lets in who brings the bearer; `older` refuses the era without a handshake."""

    def __init__(self, app: ASGIApp, *, older: bool = False) -> None:
        self.app = app
        self.older = older

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {k.decode(): v.decode() for k, v in scope["headers"]}
            if headers.get("authorization") != f"Bearer {TOKEN}":
                await Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
            if self.older and headers.get("mcp-protocol-version") == "2026-07-28":
                await Response("Unsupported protocol version", 400)(scope, receive, send)
                return
        await self.app(scope, receive, send)


RAW: dict[str, dict[str, Any]] = {}
JOURNAL: list[dict[str, Any]] = []


async def control(request: Request) -> Response:
    RAW[request.path_params["name"]] = await request.json()
    return JSONResponse({})


async def journal(request: Request) -> Response:
    return JSONResponse(JOURNAL)


async def raw(request: Request) -> Response:
    name, told = request.path_params["name"], RAW[request.path_params["name"]]
    message = await request.json()
    JOURNAL.append({"server": name, "message": message, "headers": dict(request.headers)})
    method, id_ = message["method"], message.get("id")
    if method == "server/discover":
        found = {"supportedVersions": ["2026-07-28"], "capabilities": told.get("capabilities", {})}
        return result(id_, {**found, "resultType": "complete"})
    if method in told.get("answers", {}):
        return result(id_, told["answers"][method])
    if method == "tools/list":
        if told.get("endless"):
            return result(id_, {"tools": [], "nextCursor": f"c{len(JOURNAL)}"})
        return result(id_, {"tools": told.get("tools", []), "ttlMs": 0, "cacheScope": "private"})
    how = told.get("calls", {}).get(message["params"].get("name"), told.get("call", {}))
    return await called(how, id_, dict(request.headers))


async def called(how: dict[str, Any], id_: Any, headers: dict[str, str]) -> Response:
    """One `tools/call`, as told."""
    if "status" in how:
        return Response(how.get("body", ""), how["status"], headers=how.get("headers"))
    if how.get("hang"):
        await asyncio.sleep(60)
    if "drip" in how:
        return StreamingResponse(drip(), media_type="application/json")
    if "megabytes" in how:
        return StreamingResponse(megabytes(how["megabytes"]), media_type="application/json")
    if "events" in how:
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in how["events"]) * how.get("times", 1)
        return Response(text.replace('"ID"', json.dumps(id_)), media_type="text/event-stream")
    if how.get("echo_credential"):
        return result(id_, {"content": [{"type": "text", "text": f"you sent {headers.get('authorization')}"}]})
    if "error" in how:
        return JSONResponse({"jsonrpc": "2.0", "id": id_, "error": how["error"]})
    return result(how.get("id", id_), how.get("result", {"content": [{"type": "text", "text": "done"}]}))


def result(id_: Any, value: dict[str, Any]) -> Response:
    return JSONResponse({"jsonrpc": "2.0", "id": id_, "result": value})


async def drip() -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await asyncio.sleep(0.2)


async def megabytes(count: int) -> AsyncIterator[bytes]:
    yield b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"'
    for _ in range(count):
        yield b"a" * 1_000_000


def application() -> Starlette:
    newer, older, asking = fixture_server(), fixture_server(), asking_server()
    apps = [
        newer.streamable_http_app(json_response=True, stateless_http=True),
        older.streamable_http_app(),
        asking.streamable_http_app(),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for server in (newer, older, asking):
                await stack.enter_async_context(server.session_manager.run())
            yield

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/control/{name}", control, methods=["POST"]),
            Route("/journal", journal),
            *everything.ROUTES,
            Route("/raw/{name}", raw, methods=["POST"]),
            *signing_in.ROUTES,
            Mount("/sdk", Guard(apps[0])),
            Mount("/older", Guard(apps[1], older=True)),
            Mount("/asks", Guard(apps[2], older=True)),
        ],
    )


def main() -> None:
    port = int(sys.argv[1])
    print(json.dumps({"event": "ready", "url": f"http://127.0.0.1:{port}"}), flush=True)
    uvicorn.run(application(), host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
