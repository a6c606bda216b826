"""`keyreeve.adapters.langchain` with real LangChain and LangGraph; the chat model speaks to the stand-in."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import anthropic as sdk
import pytest
from keyreeve import AsyncIdentityHandle, IdentityHandle, errors
from keyreeve.adapters import langchain
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from bench.kit import TenantKit
from tests.e2e.model_api import ModelApi, Turn, answers, calls, says

try:
    from langchain.agents import create_agent
except (ImportError, TypeError) as error:  # parts of LangGraph that are ahead of each other
    create_agent, REASON = None, f"LangGraph does not import here: {error}"
else:
    REASON = ""
GRAPH = pytest.mark.skipif(create_agent is None, reason=REASON)
GOOD = ("cloudflare_call", {"operation": "GET /zones"})
BAD = ("cloudflare_call", {"operation": "GET /zones/{zone_id}", "path_params": {"zone_id": "0" * 32}})


class Chat(BaseChatModel):
    """LangChain's side of the Messages API: as much of it as a tool-calling agent needs."""

    key: str
    url: str
    offered: tuple[dict[str, Any], ...] = ()

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Any:
        shown = [convert_to_openai_tool(tool)["function"] for tool in tools]
        offered = tuple({"name": one["name"], "input_schema": one["parameters"]} for one in shown)
        return self.model_copy(update={"offered": offered})

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        with sdk.Anthropic(api_key=self.key, base_url=self.url) as client:
            sent: Any = [_wire(group) for group in _turns(messages)]
            made: Any = client.messages.create(model="m", max_tokens=100, messages=sent, tools=list(self.offered))  # type: ignore[arg-type]
        text = "".join(block.text for block in made.content if block.type == "text")
        uses = [block for block in made.content if block.type == "tool_use"]
        wanted = [{"name": use.name, "args": use.input, "id": use.id, "type": "tool_call"} for use in uses]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text, tool_calls=wanted))])


def _turns(messages: list[BaseMessage]) -> list[list[BaseMessage]]:
    """Messages by turn: results of tools stand together."""
    turns: list[list[BaseMessage]] = []
    for message in messages:
        if turns and isinstance(message, ToolMessage) and isinstance(turns[-1][0], ToolMessage):
            turns[-1].append(message)
        else:
            turns.append([message])
    return turns


def _wire(turn: list[BaseMessage]) -> dict[str, Any]:
    first = turn[0]
    if isinstance(first, AIMessage):
        said = [{"type": "text", "text": first.text}] if first.text else []
        uses = [{"type": "tool_use", "id": c["id"], "name": c["name"], "input": c["args"]} for c in first.tool_calls]
        return {"role": "assistant", "content": [*said, *uses]}
    if isinstance(first, HumanMessage):
        return {"role": "user", "content": first.content}
    results = [one for one in turn if isinstance(one, ToolMessage)]
    told = [
        {"tool_use_id": one.tool_call_id, "content": one.content, "is_error": one.status == "error"} for one in results
    ]
    return {"role": "user", "content": [{"type": "tool_result", **one} for one in told]}


ASKED: Any = {"messages": [{"role": "user", "content": "What is there?"}]}


@GRAPH
def test_an_agent_of_langchain(models: ModelApi, handle: IdentityHandle, sent: Callable[[], list[str]]) -> None:
    script = models.script(calls(GOOD, BAD), says("Two zones."))
    agent = create_agent(Chat(key=script.key, url=models.url), tools=langchain.tools(handle))
    done = agent.invoke(ASKED)
    assert done["messages"][-1].text == "Two zones."
    results = [message for message in done["messages"] if isinstance(message, ToolMessage)]
    assert [message.status for message in results] == ["success", "error"]
    assert results[0].artifact.execution_id
    assert json.loads(str(results[1].content))["error"]["code"] == "upstream_error"
    assert [answer["is_error"] for answer in answers(script.requests[1])] == [False, True]
    assert len(sent()) == 2


@GRAPH
async def test_an_async_agent_of_langchain(
    models: ModelApi, async_handle: AsyncIdentityHandle, sent: Callable[[], list[str]]
) -> None:
    script = models.script(calls(GOOD, BAD), says("Two zones."))
    offered = await langchain.atools(async_handle)
    agent = create_agent(Chat(key=script.key, url=models.url), tools=offered)
    done = await agent.ainvoke(ASKED)
    assert [m.status for m in done["messages"] if isinstance(m, ToolMessage)] == ["success", "error"]
    assert len(sent()) == 2
    with pytest.raises(NotImplementedError):
        offered[0].invoke({"operation": "GET /zones"})


async def test_a_sync_handle_serves_async_code_too(handle: IdentityHandle, sent: Callable[[], list[str]]) -> None:
    call = next(tool for tool in langchain.tools(handle) if tool.name == "cloudflare_call")
    told = await call.ainvoke({"operation": "GET /zones"})
    assert "example.com" in told
    assert len(sent()) == 1


def test_properties_with_awkward_names_reach_the_tool(handle: IdentityHandle) -> None:
    call = next(tool for tool in langchain.tools(handle) if tool.name == "cloudflare_call")
    awkward = {"operation": "GET /zones", "config": 1, "self": 2, "callbacks": 3, "run_manager": 4}
    message = call.invoke({"type": "tool_call", "id": "call_1", "name": "cloudflare_call", "args": awkward})
    assert message.status == "error"
    for name in ("config", "self", "callbacks", "run_manager"):
        assert name in message.content


@GRAPH
def test_the_end_of_the_session_ends_the_graph(models: ModelApi, handle: IdentityHandle, tenant: TenantKit) -> None:
    def gone(_: dict[str, Any]) -> Turn:
        for item in tenant.admin.ok("GET", "/v1/sessions")["items"]:
            tenant.admin.ok("DELETE", f"/v1/sessions/{item['id']}")
        return calls(GOOD)

    script = models.script(gone, says("never asked"))
    agent = create_agent(Chat(key=script.key, url=models.url), tools=langchain.tools(handle))
    with pytest.raises(errors.ApiError):
        agent.invoke(ASKED)
    assert script.left == 1
