"""Reading messages: held to the SDK's own classifier, and to what a server must refuse."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request, encode_header_value

from broker.endpoints.mcp.message import Message, client_name, read_headers, read_message
from broker.endpoints.mcp.rpc import Refused
from broker.endpoints.mcp.versions import HANDSHAKE, META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN

VERSION = MODERN[-1]


def call(**over: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The headers and the body of a good call; `over` replaces parts of the body."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "cf_call", "_meta": {META_VERSION: VERSION, META_CAPABILITIES: {}}},
        **over,
    }
    return {"mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": "cf_call"}, body


def refused(headers: dict[str, str], body: Any) -> Refused:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    with pytest.raises(Refused) as caught:
        read_message(headers, raw)
    return caught.value


def test_a_good_call_of_each_era() -> None:
    headers, body = call()
    body["params"]["_meta"][META_CLIENT] = {"name": "Claude\nCode", "version": "2"}
    message = read_message(headers, orjson.dumps(body))
    assert (message.modern, message.version, message.client) == (True, VERSION, "ClaudeCode/2")
    old = read_message({}, b'{"jsonrpc":"2.0","id":"a","method":"ping"}')
    assert (old.modern, old.version, old.id) == (False, HANDSHAKE[1], "a")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{", -32700),
        (b"[" * 3000, -32700),
        (b'{"a":NaN}', -32700),
        (b"\xff", -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b'"x"', -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602),
    ],
)
def test_what_is_no_request(raw: bytes, code: int) -> None:
    found = refused({}, raw)
    assert found.code == code
    assert found.status(modern=False) == 400


def test_headers_and_body_must_say_the_same() -> None:
    for change in ({"mcp-method": "tools/list"}, {"mcp-name": "other"}, {"mcp-protocol-version": "2099-01-01"}):
        headers, body = call()
        assert refused({**headers, **change}, body).code == -32020
    for missing in ("mcp-method", "mcp-name", "mcp-protocol-version"):
        headers, body = call()
        del headers[missing]
        assert refused(headers, body).code == -32020, missing


def test_an_unknown_version_names_those_that_are_served() -> None:
    headers, body = call()
    body["params"]["_meta"][META_VERSION] = headers["mcp-protocol-version"] = "2099-01-01"
    found = refused(headers, body)
    assert (found.code, found.data) == (-32022, {"supported": list(MODERN), "requested": "2099-01-01"})
    assert orjson.loads(found.body())["id"] == 1


def test_numbers_survive() -> None:
    headers, body = call()
    raw = orjson.dumps(body).replace(b'"cf_call",', b'"cf_call","arguments":{"n":123456789012345678901234567890},')
    assert read_message(headers, raw).params["arguments"]["n"] == 123456789012345678901234567890


def test_white_space_around_a_header_is_not_part_of_it() -> None:
    assert read_headers([(b"Mcp-Name", b" cf_call \t")]) == {"mcp-name": "cf_call"}


def test_a_header_that_counts_is_there_once() -> None:
    with pytest.raises(Refused):
        read_headers([(b"authorization", b"a"), (b"Authorization", b"b")])


def test_what_a_client_calls_itself_is_bounded() -> None:
    assert client_name({"name": "x" * 5000, "version": "\x1b[31m" * 50}) is not None
    assert len(client_name({"name": "x" * 5000, "version": "y" * 5000}) or "") <= 200
    assert client_name({"name": 1}) is None
    assert client_name("x") is None


_NAMES = st.sampled_from(
    ["cf_call", "other", "=?base64?Y2ZfY2FsbA==?=", "=?base64?Y2ZfY2FsbB==?=", "ü", "=?base64?/?="]
)
_METHODS = st.sampled_from(["tools/call", "tools/list", "prompts/get", "x"])
_VERSIONS = st.sampled_from([VERSION, "2099-01-01", ""])
_METAS = st.one_of(
    st.none(),
    st.just([]),
    st.fixed_dictionaries({}, optional={META_VERSION: _VERSIONS, META_CAPABILITIES: st.just({})}),
)


@settings(max_examples=400, deadline=None)
@given(
    method=_METHODS,
    said=st.one_of(st.none(), _METHODS),
    name=st.one_of(st.none(), _NAMES),
    named=st.one_of(st.none(), _NAMES),
    version=st.sampled_from([VERSION, "2099-01-01"]),
    meta=_METAS,
)
def test_the_sdk_judges_the_same(
    method: str, said: str | None, name: str | None, named: str | None, version: str, meta: Any
) -> None:
    """Every modern request is let through, or refused with the same code, as by the SDK's ladder."""
    params = {k: v for k, v in {"_meta": meta, "name": name}.items() if v is not None}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    found = {"mcp-protocol-version": version, "mcp-method": said, "mcp-name": named}
    headers = {k: v for k, v in found.items() if v is not None}
    theirs = classify_inbound_request(body, headers=headers)
    try:
        ours: Message | Refused = read_message(headers, orjson.dumps(body))
    except Refused as problem:
        ours = problem
    if isinstance(theirs, InboundModernRoute):
        assert isinstance(ours, Message)
        assert ours.modern
    else:
        assert isinstance(ours, Refused)
        assert ours.code == theirs.code


@given(st.text(max_size=60))
def test_a_name_that_the_sdk_encodes_is_understood(name: str) -> None:
    headers, body = call()
    body["params"]["name"] = name
    headers["mcp-name"] = encode_header_value(name)
    assert read_message(headers, orjson.dumps(body)).params["name"] == name


@pytest.mark.parametrize("header", [{}, *({"mcp-protocol-version": version} for version in HANDSHAKE)])
def test_an_answer_to_a_question_of_ours_is_one_in_every_older_era(header: dict[str, str]) -> None:
    answer = orjson.dumps({"jsonrpc": "2.0", "id": "q", "result": {"action": "decline"}})
    reply = read_message(header, answer).reply
    assert reply is not None
    assert (reply.id, reply.result) == ("q", {"action": "decline"})
    assert refused({"mcp-protocol-version": MODERN[0]}, orjson.loads(answer)).code == -32600
