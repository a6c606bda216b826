"""A server of 2026-07-28 with everything that the conformance suite's server scenarios name, written out by hand: it
answers exactly what the scenarios want, so that what reaches the suite through Keyreeve shows what Keyreeve does to it.

/everything/mcp   behind the bearer `good-token`
/everything/told  what became of its calls: started, finished, cancelled
"""

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TOKEN = "good-token"
VERSION = "2026-07-28"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
WAVE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

Json = dict[str, Any]
TOLD: list[Json] = []


class Failed(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None, status: int = 200) -> None:
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        self.status = status
        super().__init__(message)


def text(words: str) -> Json:
    """A text block."""
    return {"type": "text", "text": words}


def said(words: str) -> Json:
    """A tool's result of one text."""
    return {"content": [text(words)]}


def embedded(uri: str, media: str, words: str) -> Json:
    """An embedded resource."""
    return {"type": "resource", "resource": {"uri": uri, "mimeType": media, "text": words}}


IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": WAVE, "mimeType": "audio/wav"}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

SIMPLE: dict[str, Json] = {
    "test_simple_text": said("This is a simple text response for testing."),
    "test_image_content": {"content": [IMAGE]},
    "test_audio_content": {"content": [AUDIO]},
    "test_embedded_resource": {
        "content": [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
    },
    "test_multiple_content_types": {
        "content": [
            text("Multiple content types test:"),
            IMAGE,
            embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        ]
    },
    "test_linked_resource": {
        "content": [{"type": "resource_link", "uri": "test://static-text", "name": "static", "mimeType": "text/plain"}]
    },
    "test_error_handling": {**said("This tool intentionally returns an error for testing"), "isError": True},
    "test_logging_tool": said("logged"),
    "test_trigger_tool_change": said("changed"),
    "test_trigger_prompt_change": said("changed"),
    "json_schema_2020_12_tool": said("valid"),
}


def form(message: str, **properties: str) -> Json:
    """A question with one form."""
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sample(words: str) -> Json:
    """A question for the client's model."""
    messages = [{"role": "user", "content": text(words)}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 100}}


ROOTS: Json = {"method": "roots/list", "params": {}}
NAME = form("What is your name?", name="string")


def ask(state: str | None = None, **requests: Json) -> Json:
    """An input_required result."""
    found: Json = {"resultType": "input_required", "inputRequests": requests}
    return found if state is None else {**found, "requestState": signed(state)}


def signed(state: str) -> str:
    """A state that cannot be made up."""
    return f"{state}.{hmac.new(b'fixture', state.encode(), hashlib.sha256).hexdigest()}"


def opened(params: Json) -> str:
    """The state that comes back. Raises Failed where it is not one of ours."""
    state = str(params.get("requestState", "")).partition(".")[0]
    if params.get("requestState") != signed(state):
        raise Failed(-32602, "requestState fails its check")
    return state


def answer_to(params: Json, key: str, member: str) -> Any:
    """What the client answered, None where it did not."""
    found = params.get("inputResponses", {}).get(key)
    return found.get(member) if isinstance(found, dict) else None


def elicitation(params: Json) -> Json:
    content = answer_to(params, "user_name", "content")
    return ask(user_name=NAME) if not content else said(f"Hello, {content['name']}!")


def sampling(params: Json) -> Json:
    content = answer_to(params, "capital_question", "content")
    return ask(capital_question=sample("What is the capital of France?")) if not content else said(content["text"])


def list_roots(params: Json) -> Json:
    roots = answer_to(params, "client_roots", "roots")
    return ask(client_roots=ROOTS) if roots is None else said(f"roots: {[root['uri'] for root in roots]}")


def request_state(params: Json) -> Json:
    if "inputResponses" not in params:
        return ask("confirming", confirm=form("Please confirm", ok="boolean"))
    opened(params)
    return said("state-ok")


def multiple_inputs(params: Json) -> Json:
    if "inputResponses" not in params:
        return ask("three", user_name=NAME, greeting=sample("Generate a greeting"), client_roots=ROOTS)
    assert opened(params) == "three"
    return said(f"all of {sorted(params['inputResponses'])}")


def multi_round(params: Json) -> Json:
    if "inputResponses" not in params:
        return ask("round-1", step1=form("Step 1: What is your name?", name="string"))
    if opened(params) == "round-1":
        return ask("round-2", step2=form("Step 2: What is your favorite color?", color="string"))
    return said("done after three rounds")


def capabilities(params: Json) -> Json:
    declared = params["_meta"][CAPABILITIES]
    asked: Json = {}
    if "sampling" in declared:
        asked["capital_question"] = sample("What is the capital of France?")
    if "elicitation" in declared:
        asked["user_name"] = NAME
    return ask(**asked)


def missing_capability(params: Json) -> Json:
    if "sampling" not in params["_meta"][CAPABILITIES]:
        raise Failed(-32021, "sampling is needed", {"requiredCapabilities": {"sampling": {}}}, 400)
    return said("sampling is there")


def asks_for_a_password(_: Json) -> Json:
    return ask(login=form("Please log in", user="string", password="string"))


def opens_a_page(params: Json) -> Json:
    if "inputResponses" in params:
        return said("the page was opened")
    page = {"mode": "url", "message": "Open it", "url": str(params["arguments"]["url"])}
    return ask(page={"method": "elicitation/create", "params": page})


ROUNDS: dict[str, Callable[[Json], Json]] = {
    "test_input_required_result_elicitation": elicitation,
    "test_input_required_result_sampling": sampling,
    "test_input_required_result_list_roots": list_roots,
    "test_input_required_result_request_state": request_state,
    "test_input_required_result_tampered_state": request_state,
    "test_input_required_result_multiple_inputs": multiple_inputs,
    "test_input_required_result_multi_round": multi_round,
    "test_input_required_result_capabilities": capabilities,
    "test_streaming_elicitation": elicitation,
    "test_missing_capability": missing_capability,
    "asks_for_a_password": asks_for_a_password,
    "opens_a_page": opens_a_page,
}
STREAMED = ("test_tool_with_progress", "waits")
TOOLS = [
    {"name": name, "description": "A fixture.", "inputSchema": SCHEMA if "schema" in name else {"type": "object"}}
    for name in (*SIMPLE, *ROUNDS, *STREAMED)
]

ARGUMENTS = [
    {"name": "arg1", "description": "First test argument", "required": True},
    {"name": "arg2", "description": "Second test argument", "required": True},
]
PROMPTS: list[Json] = [
    {"name": "test_simple_prompt", "description": "Simple."},
    {"name": "test_prompt_with_arguments", "description": "With arguments.", "arguments": ARGUMENTS},
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "With a resource.",
        "arguments": [{"name": "resourceUri", "description": "Which", "required": True}],
    },
    {"name": "test_prompt_with_image", "description": "With an image."},
    {"name": "test_input_required_result_prompt", "description": "Asks first."},
]
RESOURCES: list[Json] = [
    {"uri": "test://static-text", "name": "static-text", "description": "A text.", "mimeType": "text/plain"},
    {"uri": "test://static-binary", "name": "static-binary", "description": "An image.", "mimeType": "image/png"},
    {"uri": "test://watched-resource", "name": "watched", "description": "Is watched.", "mimeType": "text/plain"},
]
TEMPLATES: list[Json] = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "Data by id.",
        "mimeType": "application/json",
    }
]


def prompt(params: Json) -> Json:
    """`prompts/get`."""
    name, given = params["name"], params.get("arguments", {})
    if name == "test_input_required_result_prompt":
        content = answer_to(params, "user_context", "content")
        if not content:
            return ask(user_context=form("What context should the prompt use?", context="string"))
        return {"messages": [{"role": "user", "content": text(f"Context: {content['context']}")}]}
    resource = embedded(str(given.get("resourceUri")), "text/plain", "Embedded resource content for testing.")
    blocks = {
        "test_simple_prompt": [text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments": [
            text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")
        ],
        "test_prompt_with_embedded_resource": [resource, text("Please process the embedded resource above.")],
        "test_prompt_with_image": [IMAGE, text("Please analyze the image above.")],
    }
    if name not in blocks:
        raise Failed(-32602, f"no prompt {name}")
    return {"messages": [{"role": "user", "content": block} for block in blocks[name]]}


def read(params: Json) -> Json:
    """`resources/read`."""
    uri = params["uri"]
    found = re.fullmatch(r"test://template/([^/]+)/data", uri)
    if found is not None:
        data = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}]}
    if uri == "test://static-binary":
        return {"contents": [{"uri": uri, "mimeType": "image/png", "blob": PIXEL}]}
    if uri in ("test://static-text", "test://watched-resource"):
        words = "This is the content of the static text resource."
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": words}]}
    raise Failed(-32602, "Resource not found", {"uri": uri})


def complete(params: Json) -> Json:
    """`completion/complete`."""
    words = [w for w in ("paris", "park", "party") if w.startswith(params["argument"]["value"])]
    return {"completion": {"values": words, "total": len(words), "hasMore": False}}


def called(params: Json) -> Json:
    """`tools/call` of whatever is answered at once."""
    name = params["name"]
    if name in SIMPLE:
        return SIMPLE[name]
    if name in ROUNDS:
        return ROUNDS[name](params)
    raise Failed(-32602, f"no tool {name}")


CACHED = {"ttlMs": 1000, "cacheScope": "private"}
DISCOVERED = {
    "supportedVersions": [VERSION],
    "capabilities": {"tools": {}, "prompts": {}, "resources": {}, "completions": {}},
}
METHODS: dict[str, Callable[[Json], Json]] = {
    "server/discover": lambda _: {**DISCOVERED, **CACHED},
    "tools/list": lambda _: {"tools": TOOLS, **CACHED},
    "prompts/list": lambda _: {"prompts": PROMPTS, **CACHED},
    "resources/list": lambda _: {"resources": RESOURCES, **CACHED},
    "resources/templates/list": lambda _: {"resourceTemplates": TEMPLATES, **CACHED},
    "prompts/get": prompt,
    "resources/read": lambda params: {**read(params), **CACHED},
    "completion/complete": complete,
    "tools/call": called,
}


async def streamed(message: Json) -> AsyncIterator[bytes]:
    """The tools that take their time; what became of them is told."""
    params, token = message["params"], message["params"]["_meta"].get("progressToken")
    entry: Json = {"name": params["name"], "token": token, "became": "started"}
    TOLD.append(entry)
    try:
        for progress in (0, 50, 100):
            if token is not None:
                told = {"progressToken": token, "progress": progress, "total": 100, "message": f"{progress} %"}
                yield event({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
            await asyncio.sleep(0.05)
        if params["name"] == "waits":
            await asyncio.sleep(60)
        result = {**said("done"), "resultType": "complete"}
        yield event({"jsonrpc": "2.0", "id": message["id"], "result": result})
        entry["became"] = "finished"
    finally:
        if entry["became"] == "started":
            entry["became"] = "cancelled"


def event(message: Json) -> bytes:
    """One event of a stream."""
    return f"event: message\ndata: {json.dumps(message)}\n\n".encode()


async def endpoint(request: Request) -> Response:
    """`POST /everything/mcp`."""
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
    message = await request.json()
    method, id_, params = message["method"], message.get("id"), message.get("params", {})
    if id_ is None:
        return Response(status_code=202)
    if method == "tools/call" and params["name"] in STREAMED:
        return StreamingResponse(streamed(message), media_type="text/event-stream")
    try:
        if method not in METHODS:
            raise Failed(-32601, f"no method {method}", status=404)
        result = {"resultType": "complete", **METHODS[method](params)}
    except Failed as failed:
        return JSONResponse({"jsonrpc": "2.0", "id": id_, "error": failed.error}, failed.status)
    return JSONResponse({"jsonrpc": "2.0", "id": id_, "result": result})


async def told(_: Request) -> Response:
    """`GET /everything/told`."""
    return JSONResponse(TOLD)


ROUTES = [Route("/everything/mcp", endpoint, methods=["POST"]), Route("/everything/told", told)]
