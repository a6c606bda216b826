"""Results on the wire: what a tool answered, what was refused, and the small results that never change. Pure."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import orjson

from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.structured import structured_of
from broker.endpoints.mcp.versions import META_SERVER, MODERN, agreed
from broker.endpoints.mcp.visit import problem_object
from broker.errors import Problem
from broker.logs import redact
from broker.tools.passed import is_passed, renamed, structured
from broker.tools.results import CONTENT_TEXT_LIMIT, Result, dumps

SERVER: Final[Mapping[str, str]] = {"name": "keyreeve", "title": "Keyreeve", "version": version("keyreeve")}

INSTRUCTIONS: Final = (
    "Tools of the accounts that are connected for you in Keyreeve. A tool's name begins with its connection's. Where "
    "NAME_connect is listed, NAME has no usable account: call it and show the person the link it answers with. "
    "An error's `fix` says who can mend it: model (change the call), user (show the link), "
    "wait (retry after retry_after seconds), admin or operator."
)

FRESH_MS: Final = 30_000
"""How long a client may keep a list; whoever listens is told of changes sooner."""

Json = dict[str, Any]


def complete(message: Message, result: Json) -> bytes:
    """A final result, with what 2026-07-28 wants in every one of them."""
    if message.modern:
        result["resultType"] = "complete"
        result["_meta"] = {**result.get("_meta", {}), META_SERVER: SERVER}
    return dumps(result)


def listing(message: Message, result: Json) -> bytes:
    """A list: it belongs to one caller, and may be kept that long."""
    if message.modern:
        result |= {"ttlMs": FRESH_MS, "cacheScope": "private"}
    return complete(message, result)


def initialized(message: Message) -> bytes:
    """The handshake's answer. No session: the next request is judged by itself. Changes are told to nobody in this
    era, for it needs a stream that outlives a request."""
    return dumps(
        {
            "protocolVersion": agreed(message.params.get("protocolVersion")),
            "capabilities": {"tools": {}, "prompts": {}, "resources": {}, "completions": {}},
            "serverInfo": SERVER,
            "instructions": INSTRUCTIONS,
        }
    )


def discovered(message: Message) -> bytes:
    """`server/discover`."""
    return listing(
        message,
        {
            "supportedVersions": list(MODERN),
            "capabilities": {
                "tools": {"listChanged": True},
                "prompts": {"listChanged": True},
                "resources": {"listChanged": True},
                "completions": {},
            },
            "instructions": INSTRUCTIONS,
        },
    )


def here(connection: str | None, uri: str) -> str:
    """What a server's resource is called where several connections are: `NAME+uri`, which is an address too."""
    return uri if connection is None else f"{connection}+{uri}"


def text_block(text: str) -> Json:
    """One text for the model."""
    return {"type": "text", "text": text}


def tool_result(result: Result, connection: str | None = None) -> Json:
    """What a tool answered. An error's object is structured content as well; notes follow the answer as a text.
    `connection` is named in the addresses of resources, where the URL does not name it."""
    content, cut = result.content()
    if connection is not None and is_passed(result.media_type, result.data):
        content = renamed(content, lambda uri: here(connection, uri))
    notes = [*result.warnings, *(_log_line(entry) for entry in result.logs)]
    noted = "\n".join(notes)[:20_000]
    if notes:
        content = [*content, text_block(noted)]
    meta: Json = {"keyreeve/execution_id": str(result.execution_id)}
    if result.truncated or cut:
        meta["keyreeve/truncated"] = True
    if result.replayed:
        meta["keyreeve/replayed"] = True
    if result.budget is not None:
        meta["keyreeve/budget"] = {
            "remaining": result.budget.remaining,
            "limit": result.budget.limit,
            "reset_seconds": result.budget.reset_seconds,
        }
    shown: Json = {"content": content, "isError": result.is_error, "_meta": meta}
    if is_passed(result.media_type, result.data):
        found = structured(result.data, CONTENT_TEXT_LIMIT)
        return shown if found is None else shown | {"structuredContent": found}
    error = result.error
    shown["structuredContent"] = structured_of(content, noted, cut=cut) if error is None else error
    return shown


def _log_line(entry: Any) -> str:
    """What a program printed, as one line for the model."""
    if isinstance(entry, Mapping):
        return f"{entry.get('level', 'log')}: {entry.get('text', '')}"
    return f"log: {entry}"


def refusal(problem: Problem) -> Json:
    """A refusal as a tool result: the error object for programs, and the same as a text for the model."""
    # A detail may repeat a name that was asked for, and models paste tokens where names belong.
    error = orjson.loads(redact(orjson.dumps(problem_object(problem)).decode()))
    meta = {"keyreeve/execution_id": error["execution_id"]} if "execution_id" in error else {}
    return {
        "content": [text_block(orjson.dumps({"error": error}).decode())],
        "isError": True,
        "structuredContent": error,
        "_meta": meta,
    }


def plain(blocks: Sequence[Json], *, structured: Json | None = None) -> Json:
    """A result of a tool of our own."""
    shown: Json = {"content": list(blocks), "isError": False}
    if structured is not None:
        shown["structuredContent"] = structured
    return shown
