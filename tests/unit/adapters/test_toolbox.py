"""What a toolbox makes of a model's call and of Keyreeve's answer, without a server."""

import json
from typing import Any

import pytest
from keyreeve import IdentityHandle, Tool, ToolList, ToolResult, Unavailable, errors
from keyreeve.adapters import anthropic, names, openai, toolbox
from keyreeve.adapters.toolbox import Outcome, Toolbox

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}, "required": ["n"]}
TOOL = Tool(name="acme_count", connection_name="acme", input_schema=SCHEMA)


class Handle(IdentityHandle):
    """A handle that keeps what it is asked and answers what it is told to."""

    __slots__ = ("asked", "says")

    def __init__(self, says: Any = None) -> None:
        self.asked: list[tuple[str, Any, dict[str, Any]]] = []
        self.says = says

    def list_scoped_tools(self, connection_name: str | None = None) -> ToolList:
        missing = Unavailable(connection_name="other", reason="not_connected", hint="Connect it.", fix="user")
        return ToolList(tools=(TOOL,), unavailable=(missing,))

    def execute_tool(self, tool_name: str, tool_input: Any = None, **more: Any) -> ToolResult:  # type: ignore[override]
        self.asked.append((tool_name, tool_input, more))
        if isinstance(self.says, Exception):
            raise self.says
        result: ToolResult = self.says
        return result


def _result(text: str, **more: Any) -> ToolResult:
    return ToolResult(execution_id="e1", content=[{"type": "text", "text": text}], **more)


def test_integers_of_any_size_arrive_exactly() -> None:
    handle = Handle(_result("{}"))
    toolbox.call(openai.tools(handle), "acme_count", f'{{"n": {2**70 + 1}, "m": null}}', "c1")
    assert handle.asked[0][1] == {"n": 2**70 + 1}, "and a null of strict mode is not sent"


def test_a_call_has_its_run_and_its_key() -> None:
    handle = Handle(_result("{}"))
    box = anthropic.tools(handle, run_id="run-7")
    toolbox.call(box, "acme_count", {"n": 1}, "toolu_1", "to count")
    more = handle.asked[0][2]
    assert (more["idempotency_key"], more["run_id"], more["intent"]) == ("run-7:toolu_1", "run-7", "to count")
    assert anthropic.tools(handle).run_id != anthropic.tools(handle).run_id


@pytest.mark.parametrize("given", ["nonsense", "[1]", '{"n": NaN}', '{"n": Infinity}', "[" * 9_999, 5, [1], None])
def test_what_is_no_object_is_answered_and_not_sent(given: Any) -> None:
    handle = Handle()
    outcome = toolbox.call(anthropic.tools(handle), "acme_count", given, "c1")
    assert (outcome.is_error, outcome.code, outcome.fix, handle.asked) == (True, "invalid_input", "model", [])


def test_an_unknown_tool_is_told_the_nearest() -> None:
    outcome = toolbox.call(anthropic.tools(Handle()), "acme_cuont", {}, "c1")
    assert "acme_count" in json.loads(outcome.text)["error"]["hint"]


def test_a_long_result_is_cut_and_says_so() -> None:
    handle = Handle(_result("x" * 900))
    outcome = toolbox.call(anthropic.tools(handle, max_characters=100), "acme_count", {"n": 1}, "c1")
    assert outcome.text.startswith("x" * 100 + "\n[800 more characters")
    assert outcome.blocks[0]["text"] == outcome.text


def test_a_refusal_is_words_for_the_model() -> None:
    wrong = [errors.WrongField("tool_input.n", "must be an integer")]
    refused = errors.InvalidInput("invalid_input", 422, "n is wrong", hint="a number", fix="model", fields=wrong)
    outcome = toolbox.call(anthropic.tools(Handle(refused)), "acme_count", {"n": "1"}, "c1")
    told = json.loads(outcome.text)["error"]
    assert told["fields"] == [{"path": "tool_input.n", "problem": "must be an integer"}]
    assert (outcome.is_error, outcome.code, outcome.fix, told["hint"]) == (True, "invalid_input", "model", "a number")


@pytest.mark.parametrize(("sent", "word"), [(False, "nothing was done"), ("unknown", "may have been done")])
def test_a_lost_answer_says_whether_it_may_have_happened(sent: Any, word: str) -> None:
    lost = errors.ConnectionFailed("reset", sent=sent)
    outcome = toolbox.call(anthropic.tools(Handle(lost)), "acme_count", {"n": 1}, "c1")
    assert (outcome.is_error, word in outcome.text, outcome.execution_id) == (True, True, None)


def test_the_end_of_the_session_is_raised_and_a_mistake_of_the_program_too() -> None:
    ended = errors.Unauthenticated("unauthenticated", 401, "revoked", fix="user")
    outcome = toolbox.call(anthropic.tools(Handle(ended)), "acme_count", {"n": 1}, "c1")
    with pytest.raises(errors.Unauthenticated):
        outcome.raise_if_ended()
    with pytest.raises(errors.HandleClosed):
        toolbox.call(anthropic.tools(Handle(errors.HandleClosed("closed"))), "acme_count", {"n": 1}, "c1")


def test_names_that_a_provider_does_not_take_come_back() -> None:
    listed = ToolList(tools=(Tool(name="acme.count it", connection_name="acme"),))
    handle = Handle(_result("{}"))
    define = anthropic._define
    box: Toolbox[IdentityHandle] = Toolbox(handle, listed, rule=names.OPENAI, define=define)
    toolbox.call(box, box.definitions[0]["name"], {}, "c1")
    assert handle.asked[0][0] == "acme.count it"


def test_what_is_missing_is_told() -> None:
    assert "other: not_connected. Connect it." in anthropic.tools(Handle()).notice


def test_images_stand_beside_the_text() -> None:
    image = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    outcome = anthropic.tools(Handle()).outcome(ToolResult(execution_id="e", content=[image]))
    assert outcome.blocks == (image,)
    assert anthropic.tool_result("t", outcome)["content"][0]["source"]["media_type"] == "image/png"
    assert openai.call_output("t", outcome)["output"][0]["image_url"] == "data:image/png;base64,aGk="
    assert Outcome(is_error=False, text="x").code is None
