"""`keyreeve.adapters.pydantic_ai` with the real package and both of its model classes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from anthropic import AsyncAnthropic
from keyreeve import AsyncIdentityHandle, AsyncKeyreeve, errors
from keyreeve.adapters.pydantic_ai import KeyreeveToolset
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from bench.kit import TenantKit
from tests.e2e.model_api import ModelApi, Script, Turn, answers, calls, says

GOOD = ("cloudflare_call", {"operation": "GET /zones"})
BAD = ("cloudflare_call", {"operation": "GET /zones/{zone_id}", "path_params": {"zone_id": "0" * 32}})


@asynccontextmanager
async def _model(models: ModelApi, script: Script, provider: str = "anthropic") -> AsyncIterator[Model]:
    if provider == "anthropic":
        async with AsyncAnthropic(api_key=script.key, base_url=models.url) as client:
            yield AnthropicModel("claude-sonnet-5-5", provider=AnthropicProvider(anthropic_client=client))
    else:
        async with AsyncOpenAI(api_key=script.key, base_url=f"{models.url}/v1") as other:
            yield OpenAIResponsesModel("gpt-5.5", provider=OpenAIProvider(openai_client=other))


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
async def test_an_agent(
    models: ModelApi, async_handle: AsyncIdentityHandle, sent: Callable[[], list[str]], provider: str
) -> None:
    script = models.script(calls(GOOD, BAD), says("Two zones."))
    async with _model(models, script, provider) as model:
        done = await Agent(model, toolsets=[KeyreeveToolset(async_handle)]).run("What is there?")
    assert done.output == "Two zones."
    good, bad = script.results()
    assert {zone["name"] for zone in good["result"]} == {"example.com", "example.org"}
    assert "upstream_error" in str(bad)
    if provider == "anthropic":
        assert [answer["is_error"] for answer in answers(script.requests[1])] == [False, True]
    assert len(sent()) == 2


async def test_what_is_missing_is_part_of_the_instructions(models: ModelApi, tenant: TenantKit, agent_key: str) -> None:
    tenant.connection("other")
    who = tenant.identity()
    tenant.grant({"identifier": who}, connection="other")
    script = models.script(says("Connect it first."))
    async with (
        AsyncKeyreeve(tenant.stand.server.url, agent_key) as client,
        client.for_identity(who) as handle,
        _model(models, script) as model,
    ):
        await Agent(model, toolsets=[KeyreeveToolset(handle)]).run("What is there?")
    assert "other: not_connected" in str(script.requests[0]["system"])


async def test_the_end_of_the_session_ends_the_run(
    models: ModelApi, async_handle: AsyncIdentityHandle, tenant: TenantKit
) -> None:
    def gone(_: object) -> Turn:
        for item in tenant.admin.ok("GET", "/v1/sessions")["items"]:
            tenant.admin.ok("DELETE", f"/v1/sessions/{item['id']}")
        return calls(GOOD)

    script = models.script(gone, says("never asked"))
    async with _model(models, script) as model:
        agent = Agent(model, toolsets=[KeyreeveToolset(async_handle)])
        with pytest.raises(errors.ApiError):
            await agent.run("What is there?")
    assert script.left == 1
