"""Anthropic's Messages API.

    box = anthropic.tools(handle)
    message = client.messages.create(tools=box.definitions, …)
    blocks = anthropic.tool_results(box, message)      # the next user message's content

Answer every `tool_use` of a message in one user message, results first: `tool_results` gives exactly those. Call it
only where `stop_reason` is `tool_use`: in a message cut off by `max_tokens`, or refused, a call may be incomplete or
unwanted."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from keyreeve import AsyncIdentityHandle, IdentityHandle, Tool
from keyreeve.adapters import names, toolbox
from keyreeve.adapters.strict import rooted
from keyreeve.adapters.toolbox import Offer, Outcome, Toolbox

if TYPE_CHECKING:
    from anthropic.types import Message, ToolUseBlock

H = TypeVar("H", bound=IdentityHandle | AsyncIdentityHandle)


def tools(handle: IdentityHandle, *, run_id: str | None = None, **options: Any) -> Toolbox[IdentityHandle]:
    """The identity's tools. Raises KeyreeveError where they cannot be listed."""
    return _box(handle, handle.list_scoped_tools(), run_id, options)


async def atools(
    handle: AsyncIdentityHandle, *, run_id: str | None = None, **options: Any
) -> Toolbox[AsyncIdentityHandle]:
    """`tools`, for an async handle."""
    return _box(handle, await handle.list_scoped_tools(), run_id, options)


def _box(handle: H, listed: Any, run_id: str | None, options: Mapping[str, Any]) -> Toolbox[H]:
    return Toolbox(handle, listed, rule=names.ANTHROPIC, define=_define, run_id=run_id, **options)


def _define(name: str, tool: Tool) -> Offer:
    schema = rooted(tool.input_schema)
    return Offer(name, tool, {"name": name, "description": tool.description, "input_schema": schema})


def uses(message: "Message") -> "list[ToolUseBlock]":
    """The calls a message asks for, in its order."""
    return [block for block in message.content if block.type == "tool_use"]


def tool_results(box: Toolbox[IdentityHandle], message: "Message") -> list[dict[str, Any]]:
    """Makes all calls of `message` in parallel and answers each, errors with `is_error`. Raises ApiError where the
    session or the identity has ended (`Outcome.raise_if_ended`)."""

    def one(use: "ToolUseBlock") -> Outcome:
        return toolbox.call(box, use.name, use.input, use.id)

    asked = uses(message)
    with ThreadPoolExecutor(max_workers=toolbox.PARALLEL, thread_name_prefix="keyreeve-tool") as pool:
        return _answers(asked, list(pool.map(one, asked)))


async def atool_results(box: Toolbox[AsyncIdentityHandle], message: "Message") -> list[dict[str, Any]]:
    """`tool_results`, for an async handle."""
    asked = uses(message)
    room = asyncio.Semaphore(toolbox.PARALLEL)

    async def one(use: "ToolUseBlock") -> Outcome:
        async with room:
            return await toolbox.acall(box, use.name, use.input, use.id)

    return _answers(asked, await asyncio.gather(*map(one, asked)))


def _answers(asked: "Sequence[ToolUseBlock]", outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [tool_result(use.id, outcome.raise_if_ended()) for use, outcome in zip(asked, outcomes, strict=True)]


def tool_result(use_id: str, outcome: Outcome) -> dict[str, Any]:
    """One `tool_result` block."""
    content: Any = outcome.text
    if any(block["type"] == "image" for block in outcome.blocks):
        content = [_content(block) for block in outcome.blocks]
    block = {"type": "tool_result", "tool_use_id": use_id, "content": content}
    return {**block, "is_error": True} if outcome.is_error else block


def _content(block: Mapping[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return {"type": "text", "text": block["text"]}
    source = {"type": "base64", "media_type": block["mimeType"], "data": block["data"]}
    return {"type": "image", "source": source}
