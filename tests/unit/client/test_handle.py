"""What holds a handle speaks for one identity, and finds no way to the key."""

import asyncio
import gc
import pickle
import threading
import types
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from keyreeve import AsyncKeyreeve, Keyreeve, errors

from tests.unit.client.server import KEY, RESULT, URL, Server, problem

EXECUTE = "/v1/tools/execute"


@pytest.fixture
def server() -> Server:
    made = Server()
    made.on(EXECUTE, RESULT)
    return made


@pytest.fixture
def kr(server: Server) -> Iterator[Keyreeve]:
    with Keyreeve(URL, KEY, http_client=server.client()) as client:
        yield client


def bearers(server: Server) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.sent(EXECUTE)]


def test_it_speaks_with_its_session_and_never_names_an_identity(server: Server, kr: Keyreeve) -> None:
    handle = kr.for_identity("priya", connections=["c"], access="read", ttl_seconds=300, run_id="r", agent="bot")
    handle.execute_tool("c_call")
    handle.execute_tool("c_call", run_id="other")
    minted = server.body("/v1/sessions")
    assert minted == {"identifier": "priya", "connections": ["c"], "access": "read", "ttl_seconds": 300}
    assert bearers(server) == ["krv_st_1", "krv_st_1"]
    assert server.sent("/v1/sessions")[0].headers["authorization"] == f"Bearer {KEY}"
    body = server.body(EXECUTE)
    assert "identifier" not in body
    assert (body["run_id"], body["agent"]) == ("other", "bot")


def test_many_threads_mint_one_session(server: Server, kr: Keyreeve) -> None:
    handle = kr.for_identity("priya")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: handle.execute_tool("c_call"), range(64)))
    assert server.sessions == 1
    assert set(bearers(server)) == {"krv_st_1"}


async def test_many_tasks_mint_one_session_and_one_that_is_cancelled_spoils_nothing(server: Server) -> None:
    async with AsyncKeyreeve(URL, KEY, http_client=server.async_client()) as kr:
        handle = kr.for_identity("priya")
        calls = [asyncio.ensure_future(handle.execute_tool("c_call")) for _ in range(32)]
        await asyncio.sleep(0)
        calls[0].cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert not [one for one in found[1:] if isinstance(one, BaseException)]
    assert server.sessions == 1


def test_a_session_that_expired_is_replaced_and_the_call_made(server: Server, kr: Keyreeve) -> None:
    handle = kr.for_identity("priya")
    handle.execute_tool("c_call")
    server.dead["krv_st_1"] = "session_expired"
    assert handle.execute_tool("c_call").data == {"id": 1}
    assert bearers(server) == ["krv_st_1", "krv_st_1", "krv_st_2"]
    server.dead |= {f"krv_st_{n}": "session_expired" for n in range(2, 9)}
    with pytest.raises(errors.SessionExpired):
        handle.execute_tool("c_call")
    assert server.sessions == 3


def test_a_session_that_was_revoked_ends_the_handle(server: Server, kr: Keyreeve) -> None:
    handle = kr.for_identity("priya")
    handle.execute_tool("c_call")
    server.dead["krv_st_1"] = "unauthenticated"
    for _ in range(3):
        with pytest.raises(errors.Unauthenticated):
            handle.execute_tool("c_call")
    assert server.sessions == 1
    assert len(server.sent(EXECUTE)) == 2


def test_closing_revokes_by_the_sessions_own_token(server: Server, kr: Keyreeve) -> None:
    server.on("/v1/sessions/s1", {"revoked_at": "2026-11-21T09:00:00Z"})
    with kr.for_identity("priya") as handle:
        handle.execute_tool("c_call")
    gone = server.sent("/v1/sessions/s1")
    assert [(r.method, r.headers["authorization"]) for r in gone] == [("DELETE", "Bearer krv_st_1")]
    handle.close()
    assert len(server.sent("/v1/sessions/s1")) == 1
    with pytest.raises(errors.HandleClosed):
        handle.tools()
    assert server.sessions == 1


def test_closing_an_unused_handle_sends_nothing(server: Server, kr: Keyreeve) -> None:
    with kr.for_identity("priya"):
        pass
    assert not server.requests


def test_what_went_wrong_inside_is_not_hidden_by_closing(server: Server, kr: Keyreeve) -> None:
    server.on("/v1/sessions/s1", httpx.ReadError("x"))
    with pytest.raises(ZeroDivisionError), kr.for_identity("priya") as handle:  # noqa: PT012 - both matter
        handle.execute_tool("c_call")
        raise ZeroDivisionError
    server.on("/v1/sessions/s2", httpx.ReadError("x"))
    with pytest.raises(errors.ConnectionFailed), kr.for_identity("priya") as handle:
        handle.execute_tool("c_call")


def test_a_handle_outlives_the_name_of_its_client(server: Server) -> None:
    handle = Keyreeve(URL, KEY, http_client=server.client()).for_identity("priya")
    gc.collect()
    assert handle.execute_tool("c_call").data == {"id": 1}
    server.dead["krv_st_1"] = "session_expired"
    gc.collect()
    assert handle.execute_tool("c_call").data == {"id": 1}
    handle.close()


def test_a_handle_shows_no_token_and_is_not_pickled(kr: Keyreeve) -> None:
    handle = kr.for_identity("priya")
    handle.execute_tool("c_call")
    session = handle.session()
    assert session.key.reveal() == "krv_st_1"
    assert session.mcp_url == f"{URL}/mcp"
    assert "krv_st_1" not in f"{handle!r} {session!r} {session}"
    with pytest.raises(TypeError):
        pickle.dumps(handle)


AMBIENT = (types.ModuleType, types.BuiltinFunctionType, type, asyncio.AbstractEventLoop, Server)
"""What every program can reach anyway: modules, classes, the event loop; and this test's own server, which saw the
key as a server does."""


def reachable(start: Any) -> Iterator[Any]:
    """All that attributes, containers, closures and bound methods lead to from `start`: the garbage collector's own
    view of references, but for modules' globals, which lead everywhere from anywhere."""
    seen: set[int] = set()
    left = [start]
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, AMBIENT):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, types.FunctionType):
            left += [cell.cell_contents for cell in found.__closure__ or ()] + [
                found.__defaults__,
                found.__kwdefaults__,
            ]
            continue
        if isinstance(found, weakref.ref):
            left.append(found())
        left += gc.get_referents(found)


def leads_to_the_key(start: Any) -> list[str]:
    kinds = []
    for found in reachable(start):
        text = found.decode("latin-1") if isinstance(found, bytes | bytearray) else found
        if isinstance(text, str) and KEY in text:
            kinds.append(text[:80])
        if isinstance(found, Keyreeve | AsyncKeyreeve):
            kinds.append(repr(found))
    return kinds


def test_the_search_finds_the_key_where_it_is(kr: Keyreeve) -> None:
    assert leads_to_the_key(kr)
    assert leads_to_the_key(kr._renewer)
    assert leads_to_the_key(lambda: kr)
    assert leads_to_the_key(kr.sessions.list)


def test_nothing_reachable_from_a_handle_is_the_key(server: Server, kr: Keyreeve) -> None:
    handle = kr.for_identity("priya")
    other = kr.for_identity("boss")
    assert not leads_to_the_key(handle)
    handle.execute_tool("c_call")
    other.execute_tool("c_call")
    assert not leads_to_the_key(handle)
    # Nor another's token, by which it could be somebody else.
    assert not [found for found in reachable(handle) if found == "krv_st_2" or found == "boss"]
    assert [found for found in reachable(handle) if found == "krv_st_1"]


def test_nothing_reachable_from_its_errors_is_the_key(server: Server, kr: Keyreeve) -> None:
    caught: list[BaseException] = []

    def refused(handle: Any) -> None:
        with pytest.raises(errors.KeyreeveError) as info:
            handle.execute_tool("c_call")
        error = info.value
        trace = error.__traceback__
        while trace is not None:
            # This test's own frames hold the client; those of the package are what an agent is shown.
            if "keyreeve" in trace.tb_frame.f_code.co_filename:
                assert not leads_to_the_key(dict(trace.tb_frame.f_locals)), trace.tb_frame.f_code
            trace = trace.tb_next
        caught.append(error)

    server.on(EXECUTE, problem(403, "not_granted"))
    refused(kr.for_identity("priya"))
    server.on(EXECUTE, httpx.ReadTimeout("x"))
    refused(kr.for_identity("priya"))
    server.dead[KEY] = "unauthenticated"
    refused(kr.for_identity("priya"))
    assert len(caught) == 3


async def test_nothing_reachable_from_an_async_handle_is_the_key(server: Server) -> None:
    async with AsyncKeyreeve(URL, KEY, http_client=server.async_client()) as kr:
        handle = kr.for_identity("priya")
        assert not leads_to_the_key(handle)
        await handle.execute_tool("c_call")
        assert not leads_to_the_key(handle)
        server.dead["krv_st_1"] = "session_expired"
        calls = [asyncio.ensure_future(handle.execute_tool("c_call")) for _ in range(4)]
        await asyncio.sleep(0.005)
        assert not leads_to_the_key(handle)
        await asyncio.gather(*calls)


def test_the_renewer_is_a_daemon(kr: Keyreeve) -> None:
    kr.for_identity("priya").execute_tool("c_call")
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "keyreeve-renewal")
