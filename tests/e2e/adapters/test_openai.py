"""`keyreeve.adapters.openai` with the real SDK."""

from collections.abc import Callable
from typing import Any

import openai as sdk
from keyreeve import AsyncIdentityHandle, IdentityHandle
from keyreeve.adapters import openai

from bench.harness import Stand
from tests.e2e.model_api import ModelApi, calls, says

GOOD = ("cloudflare_call", {"operation": "GET /zones"})
BAD = ("cloudflare_call", "not json")


def test_a_turn_of_parallel_calls(
    models: ModelApi, handle: IdentityHandle, running_server: Stand, sent: Callable[[], list[str]]
) -> None:
    box = openai.tools(handle)
    strict = {name for name, offer in box.offers.items() if offer.definition["strict"]}
    listing = next(name for name in box.offers if name.endswith("zones-get"))
    assert listing in strict
    assert "cloudflare_call" not in strict, "free maps cannot be said in strict mode"
    # As under strict mode: every property is there, null where it does not matter.
    everything = dict.fromkeys(box.offers[listing].definition["parameters"]["properties"]) | {"name": "example.com"}
    script = models.script(calls(GOOD, BAD, (listing, everything)), says("Two zones."))
    items: list[Any] = [{"role": "user", "content": "What is there?"}]
    with sdk.OpenAI(api_key=script.key, base_url=f"{models.url}/v1") as client:
        asked: dict[str, Any] = {"model": "gpt-5.5", "tools": box.definitions}
        response = client.responses.create(**asked, input=items)
        items += [*(item.to_dict() for item in response.output), *openai.tool_results(box, response)]
        assert client.responses.create(**asked, input=items).output_text == "Two zones."
    good, bad, one = script.results()
    assert {zone["name"] for zone in good["result"]} == {"example.com", "example.org"}
    assert bad["error"]["code"] == "invalid_input"
    assert [zone["name"] for zone in one["result"]] == ["example.com"]
    assert len(sent()) == 2


async def test_the_same_without_blocking(
    models: ModelApi, async_handle: AsyncIdentityHandle, sent: Callable[[], list[str]]
) -> None:
    script = models.script(calls(GOOD, GOOD))
    box = await openai.atools(async_handle)
    async with sdk.AsyncOpenAI(api_key=script.key, base_url=f"{models.url}/v1") as client:
        asked: dict[str, Any] = {"model": "gpt-5.5", "tools": box.definitions}
        response = await client.responses.create(**asked, input="What is there?")
        results = await openai.atool_results(box, response)
    assert [result["type"] for result in results] == ["function_call_output"] * 2
    assert len(sent()) == 2
