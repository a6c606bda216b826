"""`keyreeve.adapters.anthropic` with the real SDK."""

from collections.abc import Callable
from typing import Any

import anthropic as sdk
import pytest
from keyreeve import AsyncIdentityHandle, IdentityHandle, errors
from keyreeve.adapters import anthropic, toolbox

from bench.harness import Stand
from bench.kit import TenantKit
from tests.e2e.model_api import ModelApi, answers, calls, says

GOOD = ("cloudflare_call", {"operation": "GET /zones"})
BAD = ("cloudflare_call", {"operation": "GET /zones/{zone_id}", "path_params": {"zone_id": "0" * 32}})
ASKED: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 1000}


def test_a_turn_of_parallel_calls(models: ModelApi, handle: IdentityHandle, sent: Callable[[], list[str]]) -> None:
    script = models.script(calls(GOOD, BAD, ("cloudflare_nothing", {}), text="Let me look."), says("Two zones."))
    box = anthropic.tools(handle)
    messages: list[Any] = [{"role": "user", "content": "What is there?"}]
    with sdk.Anthropic(api_key=script.key, base_url=models.url) as client:
        message = client.messages.create(**ASKED, messages=messages, tools=box.definitions)  # type: ignore[arg-type]
        messages.append({"role": "assistant", "content": message.content})
        messages.append({"role": "user", "content": anthropic.tool_results(box, message)})
        last = client.messages.create(**ASKED, messages=messages, tools=box.definitions)  # type: ignore[arg-type]
    assert last.stop_reason == "end_turn"
    assert [answer["is_error"] for answer in answers(script.requests[1])] == [False, True, True]
    good, bad, unknown = script.results()
    assert {zone["name"] for zone in good["result"]} == {"example.com", "example.org"}
    assert bad["error"]["code"] == "upstream_error"
    assert unknown["error"]["code"] == "unknown_tool"
    assert sorted(sent()) == ["GET /client/v4/zones", f"GET /client/v4/zones/{'0' * 32}"]


async def test_the_same_without_blocking(
    models: ModelApi, async_handle: AsyncIdentityHandle, sent: Callable[[], list[str]]
) -> None:
    script = models.script(calls(GOOD, BAD))
    box = await anthropic.atools(async_handle)
    asked: list[Any] = [{"role": "user", "content": "What is there?"}]
    async with sdk.AsyncAnthropic(api_key=script.key, base_url=models.url) as client:
        message = await client.messages.create(**ASKED, messages=asked, tools=box.definitions)  # type: ignore[arg-type]
        results = await anthropic.atool_results(box, message)
        again = await anthropic.atool_results(box, message)
    assert [result.get("is_error", False) for result in results] == [False, True]
    assert again[0] == results[0]
    assert len(sent()) == 2, "the same calls again are the same executions"


def test_typed_tools_and_the_end_of_a_session(
    models: ModelApi, handle: IdentityHandle, tenant: TenantKit, running_server: Stand, sent: Callable[[], list[str]]
) -> None:
    box = anthropic.tools(handle)
    purge = next(name for name in box.offers if "purge" in name)
    zone = running_server.simulator.zones["example.com"]
    script = models.script(calls((purge, {"zone_id": zone, "body": {"purge_everything": True}})), calls(GOOD))
    with sdk.Anthropic(api_key=script.key, base_url=models.url) as client:
        asked: list[Any] = [{"role": "user", "content": "Purge."}]
        message = client.messages.create(**ASKED, messages=asked, tools=box.definitions)  # type: ignore[arg-type]
        assert "is_error" not in anthropic.tool_results(box, message)[0]
        for item in tenant.admin.ok("GET", "/v1/sessions")["items"]:
            tenant.admin.ok("DELETE", f"/v1/sessions/{item['id']}")
        message = client.messages.create(**ASKED, messages=asked, tools=box.definitions)  # type: ignore[arg-type]
        with pytest.raises(errors.ApiError) as caught:
            anthropic.tool_results(box, message)
    assert caught.value.code == "unauthenticated"
    assert sent() == [f"POST /client/v4/zones/{zone}/purge_cache"]


def test_an_image_is_an_image() -> None:
    block = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    outcome = toolbox.Outcome(is_error=False, text="[image]", blocks=(block,))
    result = anthropic.tool_result("toolu_1", outcome)
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert result["content"] == [{"type": "image", "source": source}]
