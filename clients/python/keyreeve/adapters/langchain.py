"""LangChain and LangGraph: a list of tools for `create_agent`, a `ToolNode`, or `bind_tools`.

    agent = create_agent(model, tools=langchain.tools(handle))

An error is a `ToolMessage` with `status="error"` and JSON for the model as its text; a success has its `Outcome` as the
message's artifact. The end of the session or identity is raised, and ends the graph. With a sync handle the async side
runs on a thread; with an async handle (`atools`) it is async all the way, and there is no sync side.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.tools import BaseTool, ToolException

from keyreeve import AsyncIdentityHandle, IdentityHandle, Tool
from keyreeve.adapters import names, toolbox
from keyreeve.adapters.strict import rooted
from keyreeve.adapters.toolbox import Offer, Outcome, Toolbox


class KeyreeveTool(BaseTool):
    """One tool of a toolbox. The input goes to Keyreeve as the model gave it, which is where it is validated."""

    box: Any
    """The Toolbox."""
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True

    def _to_args_and_kwargs(self, tool_input: Any, tool_call_id: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # As one positional argument: a property named `config` or `self` must reach the tool like any other.
        return (tool_input, tool_call_id or f"call-{secrets.token_hex(8)}"), {}

    def _run(self, given: Any, call_id: str) -> tuple[Any, Outcome]:
        if isinstance(self.box.handle, AsyncIdentityHandle):
            raise NotImplementedError("this tool has an async handle: use ainvoke, or tools() with a sync one")
        return _told(toolbox.call(self.box, self.name, given, call_id))

    async def _arun(self, given: Any, call_id: str) -> tuple[Any, Outcome]:
        if isinstance(self.box.handle, AsyncIdentityHandle):
            return _told(await toolbox.acall(self.box, self.name, given, call_id))
        told: tuple[Any, Outcome] = await super()._arun(given, call_id)
        return told


def tools(handle: IdentityHandle, *, run_id: str | None = None, **options: Any) -> list[BaseTool]:
    """The identity's tools. `run_id` should be one per run of the agent where call ids of the model may repeat.
    Raises KeyreeveError where they cannot be listed."""
    listed = handle.list_scoped_tools()
    return _tools(Toolbox(handle, listed, rule=names.OPENAI, define=_define, run_id=run_id, **options))


async def atools(handle: AsyncIdentityHandle, *, run_id: str | None = None, **options: Any) -> list[BaseTool]:
    """`tools`, for an async handle."""
    listed = await handle.list_scoped_tools()
    return _tools(Toolbox(handle, listed, rule=names.OPENAI, define=_define, run_id=run_id, **options))


def _define(name: str, tool: Tool) -> Offer:
    return Offer(name, tool, {"name": name, "description": tool.description, "schema": rooted(tool.input_schema)})


def _tools(box: Toolbox[Any]) -> list[BaseTool]:
    return [
        KeyreeveTool(name=name, description=offer.tool.description, args_schema=offer.definition["schema"], box=box)
        for name, offer in box.offers.items()
    ]


def _told(outcome: Outcome) -> tuple[Any, Outcome]:
    if outcome.raise_if_ended().is_error:
        raise ToolException(outcome.text)
    if any(block["type"] == "image" for block in outcome.blocks):
        return [_content(block) for block in outcome.blocks], outcome
    return outcome.text, outcome


def _content(block: Mapping[str, Any]) -> dict[str, Any]:
    """A standard content block of LangChain 1."""
    if block["type"] == "text":
        return {"type": "text", "text": block["text"]}
    return {"type": "image", "base64": block["data"], "mime_type": block["mimeType"]}
