"""OpenAI's Responses API.

    box = openai.tools(handle)
    response = client.responses.create(tools=box.definitions, input=items, …)
    items += [*response.output, *openai.tool_results(box, response)]

A tool whose schema can be said in strict mode is offered so, and its input is given its own form again before it is
sent (`keyreeve.adapters.strict`); any other is offered without. Call `tool_results` only where `status` is
`completed`: an incomplete response may hold half a call."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from keyreeve import AsyncIdentityHandle, IdentityHandle, Tool
from keyreeve.adapters import names, toolbox
from keyreeve.adapters.strict import restore, rooted, strict
from keyreeve.adapters.toolbox import Offer, Outcome, Toolbox

if TYPE_CHECKING:
    from openai.types.responses import Response, ResponseFunctionToolCall

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
    return Toolbox(handle, listed, rule=names.OPENAI, define=_define, run_id=run_id, **options)


def _define(name: str, tool: Tool) -> Offer:
    told = {"type": "function", "name": name, "description": tool.description}
    schema = strict(tool.input_schema)
    if schema is None:
        return Offer(name, tool, {**told, "parameters": rooted(tool.input_schema), "strict": False})
    return Offer(
        name, tool, {**told, "parameters": schema, "strict": True}, lambda given: restore(tool.input_schema, given)
    )


def calls(response: "Response") -> "list[ResponseFunctionToolCall]":
    """The calls a response asks for, in its order."""
    return [item for item in response.output if item.type == "function_call"]


def tool_results(box: Toolbox[IdentityHandle], response: "Response") -> list[dict[str, Any]]:
    """Makes all calls of `response` in parallel and answers each with a `function_call_output`; an error is its text,
    as the API has no field for it. Raises ApiError where the session or the identity has ended."""

    def one(item: "ResponseFunctionToolCall") -> Outcome:
        return toolbox.call(box, item.name, item.arguments, item.call_id)

    asked = calls(response)
    with ThreadPoolExecutor(max_workers=toolbox.PARALLEL, thread_name_prefix="keyreeve-tool") as pool:
        return _answers(asked, list(pool.map(one, asked)))


async def atool_results(box: Toolbox[AsyncIdentityHandle], response: "Response") -> list[dict[str, Any]]:
    """`tool_results`, for an async handle."""
    asked = calls(response)
    room = asyncio.Semaphore(toolbox.PARALLEL)

    async def one(item: "ResponseFunctionToolCall") -> Outcome:
        async with room:
            return await toolbox.acall(box, item.name, item.arguments, item.call_id)

    return _answers(asked, await asyncio.gather(*map(one, asked)))


def _answers(asked: "Sequence[ResponseFunctionToolCall]", outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [call_output(item.call_id, outcome.raise_if_ended()) for item, outcome in zip(asked, outcomes, strict=True)]


def call_output(call_id: str, outcome: Outcome) -> dict[str, Any]:
    """One `function_call_output` item."""
    output: Any = outcome.text
    if any(block["type"] == "image" for block in outcome.blocks):
        output = [_content(block) for block in outcome.blocks]
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _content(block: Mapping[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return {"type": "input_text", "text": block["text"]}
    return {"type": "input_image", "detail": "auto", "image_url": f"data:{block['mimeType']};base64,{block['data']}"}
