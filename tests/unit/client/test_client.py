"""The client against a server of a few lines: what it sends, what it sends again, what it makes of answers."""

import json
import time
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from keyreeve import AsyncKeyreeve, Keyreeve, errors

from tests.unit.client.server import KEY, RESULT, URL, Server, problem

EXECUTE = "/v1/tools/execute"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def kr(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyreeve]:
    slept: list[float] = []
    monkeypatch.setattr("keyreeve._sync.waiting.pause", slept.append)
    with Keyreeve(URL, KEY, tenant="acme", client_name="ci", http_client=server.client()) as client:
        client.slept = slept  # type: ignore[attr-defined]
        yield client


def test_a_call_as_it_is_sent(server: Server, kr: Keyreeve) -> None:
    server.on(EXECUTE, RESULT)
    result = kr.execute_tool("c_call", {"n": 2**70}, identifier="a", intent="look", max_wait_seconds=3)
    assert result.data == {"id": 1}
    request = server.requests[0]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-keyreeve-tenant"] == "acme"
    assert request.headers["user-agent"].startswith("ci keyreeve-python/")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    body = server.body(EXECUTE)
    assert body["tool_input"] == {"n": 2**70}
    assert set(body) == {"tool_name", "tool_input", "identifier", "intent", "max_wait_seconds"}
    timeout: Any = request.extensions["timeout"]
    assert 0 < timeout["connect"] <= 5
    assert 120 < timeout["read"] < 180


def test_the_timeout_of_one_call_holds_for_an_answer_that_drips() -> None:
    class Dripping(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(600):
                time.sleep(0.05)
                yield b" "

    drip = httpx.MockTransport(lambda _: httpx.Response(200, stream=Dripping()))
    http = httpx.Client(transport=drip)
    with Keyreeve(URL, KEY, http_client=http, max_retries=0) as client, pytest.raises(errors.Timeout):
        client.execute_tool("c_call", timeout=0.3)


def test_the_timeout_of_one_call(server: Server, kr: Keyreeve) -> None:
    server.on(EXECUTE, RESULT)
    kr.execute_tool("c_call", timeout=1.5)
    kr.execute_tool("c_call", timeout=httpx.Timeout(9, connect=2))
    asked: Any = [request.extensions["timeout"] for request in server.requests]
    assert [(t["connect"], t["read"]) for t in asked] == [(1.5, 1.5), (2, 9)]


@pytest.mark.parametrize(
    ("lost", "kind", "sent"),
    [
        (httpx.ReadTimeout("x"), errors.Timeout, "unknown"),
        (httpx.ConnectTimeout("x"), errors.Timeout, False),
        (httpx.ConnectError("x"), errors.ConnectionFailed, False),
        (httpx.RemoteProtocolError("x"), errors.ConnectionFailed, "unknown"),
        (httpx.ReadError("x"), errors.ConnectionFailed, "unknown"),
        (httpx.WriteError("x"), errors.ConnectionFailed, "unknown"),
    ],
)
def test_a_lost_answer_says_whether_it_was_sent(
    server: Server, kr: Keyreeve, lost: Exception, kind: type[errors.TransportError], sent: Any
) -> None:
    server.on(EXECUTE, lost)
    with pytest.raises(kind) as caught:
        kr.execute_tool("c_call")
    assert caught.value.sent == sent
    assert len(server.requests) == (3 if sent is False else 1)
    with pytest.raises(kind) as caught:
        kr.execute_tool("c_call", idempotency_key="mine")
    assert caught.value.idempotency_key == "mine"


def test_with_a_key_a_lost_answer_is_asked_for_again_with_that_key(server: Server, kr: Keyreeve) -> None:
    running = problem(409, "idempotency_in_progress", fix="wait", retry_after=1)
    server.on(EXECUTE, httpx.ReadTimeout("x"), running, {**RESULT, "replayed": True})
    assert kr.execute_tool("c_call", idempotency_key="mine").replayed
    assert len({request.content for request in server.requests}) == 1
    assert len(server.requests) == 3
    slept: list[float] = kr.slept  # type: ignore[attr-defined]
    assert 1 <= slept[1] <= 1.25


def test_an_idempotent_client_makes_a_key_for_each_call(server: Server) -> None:
    with Keyreeve(URL, KEY, http_client=server.client(), idempotent=True, max_retries=0) as kr:
        server.on(EXECUTE, RESULT)
        for handle in (kr, kr.for_identity("a")):
            handle.execute_tool("c_call")
            handle.execute_tool("c_call")
            handle.execute_tool("c_call", idempotency_key="mine")
            handle.execute_tool("c_call", dry_run=True)
    keys = [json.loads(request.content).get("idempotency_key") for request in server.sent(EXECUTE)]
    assert keys[2::4] == ["mine", "mine"]
    assert keys[3::4] == [None, None]
    assert len({*keys[0::4], *keys[1::4]}) == 4


def test_reads_are_repeated_and_give_up(server: Server, kr: Keyreeve) -> None:
    server.on("/v1/executions/e", httpx.ReadTimeout("x"), problem(503, "unavailable"), {"execution_id": "e"})
    assert kr.executions.get("e").execution_id == "e"
    server.on("/v1/executions/f", problem(503, "unavailable"))
    with pytest.raises(errors.ServerUnavailable):
        kr.executions.get("f")
    assert len(server.sent("/v1/executions/f")) == 3


def test_a_wait_that_is_too_long_is_the_callers(server: Server, kr: Keyreeve) -> None:
    server.on(EXECUTE, problem(429, "budget_exhausted", fix="wait", sent=False, retry_after=250))
    with pytest.raises(errors.BudgetExhausted) as caught:
        kr.execute_tool("c_call")
    assert caught.value.wait == 250
    assert len(server.requests) == 1


def test_redirects_are_not_followed(server: Server, kr: Keyreeve) -> None:
    server.on(EXECUTE, httpx.Response(307, headers={"location": "https://thief.example/"}))
    with pytest.raises(errors.ApiError) as caught:
        kr.execute_tool("c_call")
    assert caught.value.code == "http_307"
    assert len(server.requests) == 1


def test_a_client_that_follows_redirects_is_not_let(server: Server) -> None:
    http = httpx.Client(transport=httpx.MockTransport(server), follow_redirects=True, auth=("user", "password"))
    server.on(EXECUTE, httpx.Response(307, headers={"location": "https://thief.example/"}))
    with Keyreeve(URL, KEY, http_client=http) as kr, pytest.raises(errors.ApiError):
        kr.execute_tool("c_call")
    assert [request.url.host for request in server.requests] == ["127.0.0.1"]
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert not http.is_closed
    http.close()


def test_answers_are_bounded(server: Server) -> None:
    server.on(EXECUTE, {"execution_id": "e", "data": "x" * 5000})
    with (
        Keyreeve(URL, KEY, http_client=server.client(), max_answer_bytes=4000) as kr,
        pytest.raises(errors.UnexpectedAnswer, match="4000 bytes"),
    ):
        kr.execute_tool("c_call")


def test_compressed_answers_are_not_unpacked(server: Server, kr: Keyreeve) -> None:
    server.on("/v1/executions/e", httpx.Response(200, headers={"content-encoding": "br"}, content=b""))
    with pytest.raises(errors.UnexpectedAnswer, match="compressed"):
        kr.executions.get("e")


def test_lists_go_on_to_the_last_page(server: Server, kr: Keyreeve) -> None:
    first = {"items": [{"id": "1", "name": "a"}, {"id": "2"}], "next_page_token": "t/2"}
    server.on("/v1/keys", first, {"items": [], "next_page_token": "t3"}, {"items": [{"id": "3"}]})
    assert [key.id for key in kr.keys.list(kind="agent")] == ["1", "2", "3"]
    asked = [dict(request.url.params) for request in server.requests]
    assert [query.get("page_token") for query in asked] == [None, "t/2", "t3"]
    assert {query["kind"] for query in asked} == {"agent"}


def test_names_in_paths_are_quoted(server: Server, kr: Keyreeve) -> None:
    with pytest.raises(errors.NotFound):
        kr.identities.get("a/b?c#d%2f@acme.example")
    assert server.requests[0].url.raw_path == b"/v1/identities/a%2Fb%3Fc%23d%252f@acme.example"
    with pytest.raises(errors.InvalidInput):
        kr.identities.get("..")


def test_changes_can_empty_a_member(server: Server, kr: Keyreeve) -> None:
    server.on("/v1/identities/a", {"id": "1", "identifier": "a"})
    kr.identities.change("a", {"email": None, "groups": ["x"]}, version=3)
    assert server.body("/v1/identities/a") == {"email": None, "groups": ["x"], "version": 3}


def test_trace_context_goes_with_each_request(server: Server) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    server.on(EXECUTE, RESULT)
    with Keyreeve(URL, KEY, http_client=server.client(), trace_context=lambda: {"traceparent": parent}) as kr:
        kr.for_identity("a").execute_tool("c_call")
    assert server.sent(EXECUTE)[0].headers["traceparent"] == parent


def test_an_export_that_was_cut_off_says_so(server: Server, kr: Keyreeve) -> None:
    server.on("/v1/audit/export", httpx.Response(200, content=b'{"id":"1"}\n{"id":"2"}\n'))
    export = kr.audit.export()
    seen = []
    with pytest.raises(errors.Interrupted):  # noqa: PT012 - what came before it counts
        for line in export:
            seen.append(line.item()["id"])
    assert seen == ["1", "2"]
    assert export.cursor is None
    whole = b'{"id":"1"}\n{"kind":"end","items":1,"cursor":"803"}\n'
    server.on("/v1/audit/export", httpx.Response(200, content=whole))
    export = kr.audit.export(cursor="5")
    assert [line.raw for line in export] == [b'{"id":"1"}']
    assert (export.items, export.cursor) == (1, "803")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("x"),
        httpx.ConnectError("x"),
        problem(403, "not_granted"),
        httpx.Response(500, content=b"<html>"),
        httpx.Response(200, content=b"not json"),
    ],
)
def test_no_error_leads_to_the_key(server: Server, kr: Keyreeve, answer: Any) -> None:
    server.on(EXECUTE, answer)
    with pytest.raises(errors.KeyreeveError) as caught:
        kr.execute_tool("c_call")
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert KEY not in told


def test_a_closed_client_says_so(server: Server) -> None:
    kr = Keyreeve(URL, KEY)
    kr.close()
    with pytest.raises(errors.HandleClosed):
        kr.execute_tool("c_call")


async def test_the_async_twin(server: Server) -> None:
    server.on(EXECUTE, RESULT)
    server.on("/v1/keys", {"items": [{"id": "1"}], "next_page_token": "t"}, {"items": [{"id": "2"}]})
    async with AsyncKeyreeve(URL, KEY, http_client=server.async_client()) as kr:
        assert (await kr.execute_tool("c_call", identifier="a")).data == {"id": 1}
        assert [key.id async for key in kr.keys.list()] == ["1", "2"]
        server.on(EXECUTE, httpx.ReadError("x"))
        with pytest.raises(errors.ConnectionFailed) as caught:
            await kr.execute_tool("c_call")
    assert caught.value.__context__ is None
