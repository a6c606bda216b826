"""Pydantic AI: a toolset.

    agent = Agent(model, toolsets=[KeyreeveToolset(handle)])

The tools are listed once per run. An error is a failed tool result (`ToolFailed`) whose text is JSON for the model, and
uses up none of the agent's retries; bound a run by `UsageLimits`. What is not available, and what would change that, is
part of the instructions. The end of the session or identity is raised, and ends the run.
"""

import base64
import secrets
from typing import Any

from pydantic_ai import BinaryContent, RunContext, ToolFailed
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from keyreeve import AsyncIdentityHandle, Tool
from keyreeve.adapters import names, toolbox
from keyreeve.adapters.strict import rooted
from keyreeve.adapters.toolbox import Offer, Outcome, Toolbox

_ANY = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))
"""Keyreeve validates; a second opinion here would only differ from it."""


class KeyreeveToolset(AbstractToolset[Any]):
    """The tools of one identity. Options are those of `Toolbox`."""

    def __init__(self, handle: AsyncIdentityHandle, *, id: str = "keyreeve", **options: Any) -> None:
        self._handle, self._id, self._options = handle, id, options
        self._box: Toolbox[AsyncIdentityHandle] | None = None

    @property
    def id(self) -> str:
        """The name that Pydantic AI knows this toolset by."""
        return self._id

    async def for_run(self, ctx: RunContext[Any]) -> "KeyreeveToolset":
        """A toolset of the run's own, its tools listed now. Raises KeyreeveError where they cannot be."""
        own = KeyreeveToolset(self._handle, id=self._id, **self._options)
        await own._listed(ctx)
        return own

    async def _listed(self, ctx: RunContext[Any]) -> Toolbox[AsyncIdentityHandle]:
        if self._box is None:
            listed = await self._handle.list_scoped_tools()
            options: dict[str, Any] = {"run_id": ctx.run_id, **self._options}
            self._box = Toolbox(self._handle, listed, rule=names.OPENAI, define=_define, **options)
        return self._box

    async def get_instructions(self, ctx: RunContext[Any]) -> str | None:
        """What cannot be used now, and what would change that."""
        return (await self._listed(ctx)).notice or None

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """The tools as of the run's start."""
        box = await self._listed(ctx)
        return {
            name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=name,
                    description=offer.tool.description,
                    parameters_json_schema=offer.definition["schema"],
                    strict=False,
                ),
                max_retries=1,
                args_validator=_ANY,
            )
            for name, offer in box.offers.items()
        }

    async def call_tool(
        self,
        name: str,
        tool_args: dict[str, Any],
        ctx: RunContext[Any],
        tool: ToolsetTool[Any],  # noqa: ARG002 - the toolset's own signature
    ) -> Any:
        """Makes the call. Raises ToolFailed for an error, ApiError where the session or identity has ended."""
        call_id = ctx.tool_call_id or f"call-{secrets.token_hex(8)}"
        return _told(await toolbox.acall(await self._listed(ctx), name, tool_args, call_id))


def _define(name: str, tool: Tool) -> Offer:
    return Offer(name, tool, {"name": name, "schema": rooted(tool.input_schema)})


def _told(outcome: Outcome) -> Any:
    if outcome.raise_if_ended().is_error:
        raise ToolFailed(outcome.text)
    images = [block for block in outcome.blocks if block["type"] == "image"]
    if not images:
        return outcome.text
    shown = [BinaryContent(base64.b64decode(block["data"]), media_type=block["mimeType"]) for block in images]
    return [*(block["text"] for block in outcome.blocks if block["type"] == "text"), *shown]
