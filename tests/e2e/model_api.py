"""A stand-in for the model APIs: Anthropic's Messages and OpenAI's Responses over loopback HTTP, playing scripts.

Not a model: each script is a list of turns, taken in order by whoever comes with the script's API key. It is as
strict as the real thing about what it is sent, because that is what agents get wrong: every call answered once, right
after the turn that made it and before any text; no empty turns; names and schemas within the documented limits; ids
that were given out. A request it refuses is answered with 400, as by the real thing, and kept in `refused`."""

import asyncio
import itertools
import json
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Given: TypeAlias = "dict[str, Any] | str"


@dataclass(frozen=True)
class Turn:
    """What the model does next. `calls` are (tool, input); a text as input goes out as it is where the API sends text.
    `stop` is the API's own word (`refusal`, `max_tokens`, `incomplete:content_filter`…), the usual one where None."""

    text: str = ""
    calls: Sequence[tuple[str, Given]] = ()
    stop: str | None = None
    tokens: int = 10
    ids: Sequence[str] = ()
    status: int = 200


def says(text: str, **more: Any) -> Turn:
    """The model says something and is done."""
    return Turn(text, **more)


def calls(*wanted: tuple[str, Given], **more: Any) -> Turn:
    """The model calls tools."""
    return Turn(calls=wanted, **more)


Step: TypeAlias = "Turn | Callable[[dict[str, Any]], Turn]"


@dataclass
class Script:
    """One conversation's turns and what was sent to get them."""

    turns: list[Step]
    key: str = field(default_factory=lambda: f"model-{secrets.token_hex(8)}")
    requests: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)

    @property
    def left(self) -> int:
        """Turns nobody has asked for."""
        return len(self.turns)

    def results(self) -> list[Any]:
        """Everything that was handed back as a tool's result in the last request, in order: JSON where it is JSON."""
        return [_read(answer["content"]) for answer in answers(self.requests[-1])]


def answers(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tool results in a request of either API: `{id, content, is_error}`."""
    found = []
    for message in request.get("messages", ()):
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_result":
                error = block.get("is_error", False)
                found.append({"id": block["tool_use_id"], "content": block["content"], "is_error": error})
    for item in request["input"] if isinstance(request.get("input"), list) else ():
        if item.get("type") == "function_call_output":
            found.append({"id": item["call_id"], "content": item["output"], "is_error": None})
    return found


def _read(content: Any) -> Any:
    if isinstance(content, list) and len(content) == 1 and "text" in content[0]:
        content = content[0]["text"]
    try:
        return json.loads(content)
    except (TypeError, ValueError):
        return content


class Refused(Exception):
    """The request breaks a rule of the API."""


class ModelApi:
    """The stand-in. `script` gives a key; whoever calls with it plays that script."""

    def __init__(self) -> None:
        self.url = ""
        self._scripts: dict[str, Script] = {}
        self._ids = itertools.count(1)
        routes = [("/v1/messages", self._messages), ("/v1/responses", self._responses)]
        self.app = Starlette(routes=[Route(path, endpoint, methods=["POST"]) for path, endpoint in routes])

    def script(self, *turns: Step) -> Script:
        """A new script."""
        made = Script(list(turns))
        self._scripts[made.key] = made
        return made

    async def _messages(self, request: Request) -> Response:
        # The SDK sends its key as a bearer; `x-api-key` is the older way, and still taken.
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        return await self._play(request, key, check_messages, self._message)

    async def _responses(self, request: Request) -> Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        return await self._play(request, key, check_responses, self._response)

    async def _play(
        self,
        request: Request,
        key: str,
        check: Callable[[dict[str, Any], set[str]], None],
        say: Callable[[Script, Turn, dict[str, Any]], dict[str, Any]],
    ) -> Response:
        script = self._scripts.get(key)
        if script is None:
            return _error(401, "authentication_error", "no script has this key")
        body = json.loads(await request.body())
        script.requests.append(body)
        try:
            check(body, script.given)
            if not script.turns:
                raise Refused("the script is at its end")
            step = script.turns.pop(0)
            # A turn may wait for the test, and must not hold up other conversations.
            turn = step if isinstance(step, Turn) else await asyncio.to_thread(step, body)
        except Refused as refused:
            script.refused.append(str(refused))
            return _error(400, "invalid_request_error", str(refused))
        if turn.status >= 400:
            return _error(turn.status, "api_error", "the script says so")
        said = say(script, turn, body)
        return Response(_stream(said), media_type="text/event-stream") if body.get("stream") else JSONResponse(said)

    def _call_ids(self, script: Script, turn: Turn, prefix: str) -> list[str]:
        made = [*turn.ids, *(f"{prefix}_{next(self._ids):06d}" for _ in turn.calls[len(turn.ids) :])]
        script.given.update(made)
        return made

    def _message(self, script: Script, turn: Turn, body: dict[str, Any]) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
        for (name, given), call_id in zip(turn.calls, self._call_ids(script, turn, "toolu"), strict=True):
            content.append({"type": "tool_use", "id": call_id, "name": name, "input": given})
        stop = turn.stop or ("tool_use" if turn.calls else "end_turn")
        return {
            "id": f"msg_{next(self._ids)}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": stop,
            "stop_sequence": "STOP" if stop == "stop_sequence" else None,
            "usage": {"input_tokens": turn.tokens, "output_tokens": turn.tokens},
        }

    def _response(self, script: Script, turn: Turn, body: dict[str, Any]) -> dict[str, Any]:
        status, _, reason = (turn.stop or "completed").partition(":")
        output: list[dict[str, Any]] = []
        if turn.text:
            part: dict[str, Any] = {"type": "output_text", "text": turn.text, "annotations": []}
            if status == "refusal":
                part = {"type": "refusal", "refusal": turn.text}
            shown = {"type": "message", "id": f"msg_{next(self._ids)}", "role": "assistant", "content": [part]}
            output.append({**shown, "status": "completed"})
        for (name, given), call_id in zip(turn.calls, self._call_ids(script, turn, "call"), strict=True):
            arguments = given if isinstance(given, str) else json.dumps(given)
            made = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
            output.append({**made, "arguments": arguments, "status": "completed"})
        return {
            "id": f"resp_{next(self._ids)}",
            "object": "response",
            "created_at": 1_800_000_000,
            "model": body["model"],
            "status": "completed" if status == "refusal" else status,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "error": {"code": "server_error", "message": "the script says so"} if status == "failed" else None,
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": body.get("tools", []),
            "usage": {
                "input_tokens": turn.tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": turn.tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 2 * turn.tokens,
            },
        }


def _stream(message: dict[str, Any]) -> str:
    """A message as Anthropic streams it: each block whole, in one piece."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    ]
    for n, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            given = json.dumps(block["input"])
            empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": given}
        events.append({"type": "content_block_start", "index": n, "content_block": empty})
        events.append({"type": "content_block_delta", "index": n, "delta": delta})
        events.append({"type": "content_block_stop", "index": n})
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    events.append({"type": "message_delta", "delta": ended, "usage": message["usage"]})
    events.append({"type": "message_stop"})
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def _error(status: int, kind: str, text: str) -> JSONResponse:
    # `x-should-retry` is what both SDKs look at first.
    told = {"type": "error", "error": {"type": kind, "message": text}}
    return JSONResponse(told, status_code=status, headers={"x-should-retry": "false"})


def need(true: object, told: str) -> None:
    """Raises Refused, saying `told`, unless `true`."""
    if not true:
        raise Refused(told)


def check_messages(body: dict[str, Any], given: set[str]) -> None:
    """Anthropic's rules. Raises Refused."""
    need(isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0, "max_tokens is missing")
    names = [tool["name"] for tool in body.get("tools", ())]
    need(len(names) == len(set(names)), "tool names must be unique")
    for tool in body.get("tools", ()):
        need(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]), f"tool name {tool['name']!r}")
        need(tool["input_schema"].get("type") == "object", "input_schema.type must be object")
        need(not {"anyOf", "oneOf", "allOf"} & tool["input_schema"].keys(), "no combinators at a schema's root")
    messages = body.get("messages")
    need(messages, "messages: at least one message is required")
    need(messages[0]["role"] == "user", "the first message must be the user's")
    open_calls: list[str] = []
    for n, message in enumerate(messages):
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        need(blocks, f"messages.{n}: content is empty")
        need(n == 0 or message["role"] != messages[n - 1]["role"], f"messages.{n}: roles must alternate")
        open_calls = _check_blocks(n, message["role"], blocks, open_calls, given)
    need(not open_calls, f"tool_use without tool_result: {open_calls}")


def _check_blocks(n: int, role: str, blocks: list[dict[str, Any]], open_calls: list[str], given: set[str]) -> list[str]:
    """The calls that the next message must answer."""
    results = [block for block in blocks if block["type"] == "tool_result"]
    need(blocks[: len(results)] == results, f"messages.{n}: tool_result blocks must come first")
    answered = [block["tool_use_id"] for block in results]
    need(sorted(answered) == sorted(open_calls), f"messages.{n}: answers {answered}, open are {open_calls}")
    for block in results:
        need(block.get("content") or not block.get("is_error"), f"messages.{n}: an error without content")
    for block in blocks:
        need(block["type"] != "text" or block["text"].strip(), f"messages.{n}: text must not be empty")
    made = [block["id"] for block in blocks if block["type"] == "tool_use"]
    need(not made or role == "assistant", f"messages.{n}: tool_use of a user")
    need(set(made) <= given, f"messages.{n}: tool_use ids that were never given out: {made}")
    return made


def check_responses(body: dict[str, Any], given: set[str]) -> None:
    """OpenAI's rules. Raises Refused."""
    for tool in body.get("tools", ()):
        need(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]), f"tool name {tool['name']!r}")
        schema = tool["parameters"]
        need(schema.get("type") == "object", "parameters.type must be object")
        need(not {"anyOf", "oneOf", "allOf", "enum", "not"} & schema.keys(), "no combinators at a schema's root")
        if tool.get("strict"):
            check_strict(schema)
    items = body["input"]
    if isinstance(items, str):
        need(items.strip(), "input is empty")
        return
    need(items, "input is empty")
    open_calls: set[str] = set()
    answered: set[str] = set()
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call":
            need(item["call_id"] in given, f"a call that was never given out: {item['call_id']}")
            open_calls.add(item["call_id"])
        elif kind == "function_call_output":
            need(item["call_id"] in open_calls, f"no tool call found for {item['call_id']}")
            need(item["call_id"] not in answered, f"answered twice: {item['call_id']}")
            answered.add(item["call_id"])
        else:
            need(item.get("content"), "a message without content")
            need(open_calls == answered, f"no tool output found for {open_calls - answered}")
    need(open_calls == answered, f"no tool output found for {open_calls - answered}")


NUMBERS = {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"}
STRUCTURE = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs"}
NARROWING = {"enum", "const", "description", "title", "pattern", "format", "minItems", "maxItems"}
STRICT_KEYWORDS = NUMBERS | STRUCTURE | NARROWING
"""What strict mode takes (Structured Outputs, supported schemas)."""


def check_strict(schema: Any) -> None:
    """The subset of strict mode. Raises Refused."""
    need(isinstance(schema, dict) and not schema.keys() - STRICT_KEYWORDS, f"strict: not permitted in {schema}")
    need(schema.keys() & {"type", "anyOf", "$ref", "enum", "const"}, f"strict: a schema without a type: {schema}")
    kinds = schema.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
        need(schema.get("additionalProperties") is False, "strict: additionalProperties must be false")
        need(set(schema.get("required", ())) == set(schema["properties"]), "strict: all properties must be required")
    if kinds == "array" or (isinstance(kinds, list) and "array" in kinds):
        need("items" in schema, "strict: an array without items")
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("$defs", {}).values()]
    for part in [*inner, *([schema["items"]] if "items" in schema else [])]:
        check_strict(part)


@contextmanager
def serve(app: Any, lifespan: str = "off") -> Iterator[str]:
    """Serves an ASGI app on a loopback port from a thread of this process; its origin."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", lifespan=lifespan, ws="none")  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


@contextmanager
def model_api() -> Iterator[ModelApi]:
    """A stand-in that serves. Asserts at the end that it was sent nothing the real APIs would refuse."""
    api = ModelApi()
    with serve(api.app) as url:
        api.url = url
        yield api
    refused = [told for script in api._scripts.values() for told in script.refused]
    assert refused == [], refused


@pytest.fixture(scope="session")
def models() -> Iterator[ModelApi]:
    """One stand-in for a folder's tests; a conftest imports it."""
    with model_api() as api:
        yield api
