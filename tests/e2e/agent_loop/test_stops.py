"""Every reason a model stops for, by both providers, and what the loop makes of it."""

from collections.abc import Callable

import pytest

from tests.e2e.agent_loop.conftest import Ran, World
from tests.e2e.model_api import Turn, answers, calls, says

BOTH = pytest.mark.parametrize("provider", ["anthropic", "openai"])
CUT = {"anthropic": "max_tokens", "openai": "incomplete:max_output_tokens"}
REFUSED = {"anthropic": "refusal", "openai": "refusal"}


@BOTH
def test_the_task_is_done_and_every_execution_is_named(
    make_world: Callable[..., World], command: Callable[..., Ran], provider: str
) -> None:
    world = make_world()
    look = ("cloudflare_call", {"operation": "GET /zones", "query": {"name": "example.com"}})
    ran = command(world, provider, calls(look), calls(world.purge()), says("The cache is purged."))
    assert (ran.code, ran.out.strip()) == (0, "The cache is purged."), ran.err
    assert [entry["method"] for entry in world.sent()] == ["GET", "POST"]
    assert ran.script.results()[0]["result"][0]["id"] == world.zone
    executions = ran.of("end")[0]["executions"]
    assert len(executions) == 2
    for execution in executions:
        assert world.kit.admin.ok("GET", f"/v1/executions/{execution}")["execution_id"] == execution
    seen = world.kit.admin.ok("GET", "/v1/audit/events", params={"identifier": world.identifier, "page_size": 100})
    runs = {item["run_id"] for item in seen["items"] if item["kind"] == "call" and item.get("tool_name")}
    assert runs == {ran.of("start")[0]["run_id"]}


@BOTH
def test_a_turn_that_was_cut_off_is_asked_again_with_more_room(
    make_world: Callable[..., World], loop: Callable[..., Ran], provider: str
) -> None:
    """Not one of its calls is made: the last may be half of what the model meant."""
    world = make_world()
    ran = loop(world, provider, calls(world.purge(), stop=CUT[provider]), says("Done."))
    assert (ran.ending, world.sent()) == ("done", [])
    field = "max_tokens" if provider == "anthropic" else "max_output_tokens"
    assert [request[field] for request in ran.script.requests] == [4096, 8192]
    ever = loop(world, provider, *[Turn("and so", stop=CUT[provider])] * 3)
    assert (ever.ending, ever.code, ever.out.strip()) == ("cut", 4, "and so")


@BOTH
def test_a_refusal_ends_the_run_and_its_calls_are_not_made(
    make_world: Callable[..., World], loop: Callable[..., Ran], provider: str
) -> None:
    world = make_world()
    ran = loop(world, provider, calls(world.purge(), text="I will not.", stop=REFUSED[provider]), says("never asked"))
    assert (ran.ending, ran.code, ran.script.left, world.sent()) == ("refused", 3, 1, [])


def test_a_pause_goes_on_with_the_same_turn(make_world: Callable[..., World], loop: Callable[..., Ran]) -> None:
    world = make_world()
    paused, again = Turn("Let me think.", stop="pause_turn"), Turn(stop="pause_turn")
    ran = loop(world, "anthropic", paused, again, calls(world.purge(), text="So."), says("Done."))
    assert (ran.ending, len(world.sent())) == ("done", 1)
    assert [message["role"] for message in ran.script.requests[-1]["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in ran.script.requests[-1]["messages"][1]["content"]] == [
        "text",
        "text",
        "tool_use",
    ]


@pytest.mark.parametrize(
    ("stop", "ending", "code"),
    [
        ("stop_sequence", "done", 0),
        ("model_context_window_exceeded", "full", 4),
        ("a_reason_of_next_year", "failed", 1),
    ],
)
def test_the_other_reasons_of_anthropic(
    make_world: Callable[..., World], loop: Callable[..., Ran], stop: str, ending: str, code: int
) -> None:
    world = make_world()
    ran = loop(world, "anthropic", calls(world.purge(), text="Well.", stop=stop))
    assert (ran.ending, ran.code, world.sent()) == (ending, code, [])


@pytest.mark.parametrize(
    ("stop", "ending", "code"),
    [
        ("incomplete:content_filter", "refused", 3),
        ("incomplete:steered", "failed", 1),
        ("failed", "failed", 1),
        ("cancelled", "failed", 1),
    ],
)
def test_the_other_reasons_of_openai(
    make_world: Callable[..., World], loop: Callable[..., Ran], stop: str, ending: str, code: int
) -> None:
    world = make_world()
    ran = loop(world, "openai", calls(world.purge(), text="Well.", stop=stop))
    assert (ran.ending, ran.code, world.sent()) == (ending, code, [])


@BOTH
def test_a_stop_for_calls_without_any_is_a_failure(
    make_world: Callable[..., World], loop: Callable[..., Ran], provider: str
) -> None:
    ran = loop(make_world(), provider, says("Hm.", stop="tool_use" if provider == "anthropic" else "queued"))
    assert (ran.ending, ran.code) == ("failed", 1)


@BOTH
@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_of_the_model_api_ends_the_run_with_its_transcript(
    make_world: Callable[..., World], loop: Callable[..., Ran], provider: str, status: int
) -> None:
    world = make_world()
    ran = loop(world, provider, calls(world.purge()), Turn(status=status))
    assert (ran.ending, ran.code) == ("failed", 1)
    assert len(ran.of("end")[0]["executions"]) == 1


@BOTH
def test_calls_of_one_turn_are_all_answered_in_order(
    make_world: Callable[..., World], loop: Callable[..., Ran], provider: str
) -> None:
    world = make_world()
    wanted = [("cloudflare_call", {"operation": "GET /zones", "query": {"page": n}}) for n in (1, 2, 3)]
    wanted.insert(1, ("cloudflare_call", {"operation": "GET /zones/{zone_id}", "path_params": {"zone_id": "0" * 32}}))
    ran = loop(world, provider, calls(*wanted), says("Done."))
    results = ran.script.results()
    assert [result.get("result_info", {}).get("page") for result in results] == [1, None, 2, 3]
    assert results[1]["error"]["code"] == "upstream_error"
    flags = [answer["is_error"] for answer in answers(ran.script.requests[-1])]
    assert flags == ([False, True, False, False] if provider == "anthropic" else [None] * 4)
