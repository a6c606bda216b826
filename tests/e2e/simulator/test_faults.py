"""Every fault does to a real client what it says."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from connectors.simulators.cloudflare import Demo


def spoil(demo: Demo, kind: str, **params: Any) -> None:
    demo.state.faults.add({}, kind, times=1, params=params)


async def test_latency(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "latency", seconds=0.2)
    start = time.perf_counter()
    answer = await priya.get("/zones")
    assert time.perf_counter() - start >= 0.2
    assert answer.json()["success"]
    assert not len(demo.state.faults)


async def test_reset_loses_the_request(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "reset")
    before = len(demo.com.records)
    body = {"type": "A", "name": "lost", "content": "203.0.113.5", "ttl": 1}
    with pytest.raises(httpx.TransportError):
        await priya.post(f"/zones/{demo.com.id}/dns_records", json=body)
    assert len(demo.com.records) == before
    assert [(e.fault, e.status) for e in demo.state.journal] == [("reset", None)]


async def test_reset_after_applying_loses_the_answer(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "reset", apply=True)
    body = {"type": "A", "name": "kept", "content": "203.0.113.5", "ttl": 1}
    with pytest.raises(httpx.TransportError):
        await priya.post(f"/zones/{demo.com.id}/dns_records", json=body)
    assert "kept.example.com" in {record["name"] for record in demo.com.records.values()}


async def test_hang(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "hang")
    with pytest.raises(httpx.ReadTimeout):
        await priya.get("/zones", timeout=0.2)


async def test_html_status(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "status", status=503, retry_after=7)
    answer = await priya.get("/zones")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.text.startswith("<!DOCTYPE html>")


async def test_garbage_and_truncated(priya: httpx.AsyncClient, demo: Demo) -> None:
    for kind in ("garbage", "truncated"):
        spoil(demo, kind)
        answer = await priya.get("/zones")
        assert answer.status_code == 200
        with pytest.raises(ValueError):
            answer.json()


async def test_wrong_length(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "wrong_length", delta=10)
    with pytest.raises(httpx.RemoteProtocolError):
        await priya.get("/zones")


async def test_huge(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "huge", megabytes=3)
    answer = await priya.get("/zones")
    assert len(answer.json()["result"]) == 3 * 2**20


async def test_bomb(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "bomb", megabytes=3)
    async with priya.stream("GET", "/zones") as answer:
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert len(packed) < 2**16


async def test_slow_drip(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "slow", chunk=400, seconds=0.02)
    start = time.perf_counter()
    answer = await priya.get("/zones")
    assert answer.json()["success"]
    assert time.perf_counter() - start >= 0.04


async def test_redirect(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "redirect", location="http://127.0.0.1:9/steal")
    answer = await priya.get("/zones")
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:9/steal")


async def test_echo(priya: httpx.AsyncClient, demo: Demo) -> None:
    token = demo.priya_token.value
    for where in ("message", "escaped"):
        spoil(demo, "echo", where=where)
        answer = await priya.get("/zones")
        assert token in answer.json()["errors"][0]["message"]
        assert (token in answer.text) is (where == "message")
    spoil(demo, "echo", where="header")
    assert token in (await priya.get("/zones")).headers["x-debug-authorization"]


async def test_permission_flip(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "permission_flip")
    answer = await priya.get(f"/zones/{demo.com.id}/dns_records")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, 10000)
    assert (await priya.get(f"/zones/{demo.com.id}/dns_records")).status_code == 200


async def test_rate_limit(priya: httpx.AsyncClient, demo: Demo) -> None:
    spoil(demo, "rate_limit", seconds=40)
    for _ in range(2):
        answer = await priya.get("/zones")
        assert answer.status_code == 429
        assert 38 <= int(answer.headers["retry-after"]) <= 40


async def test_a_marked_call_can_be_hit_among_many(priya: httpx.AsyncClient, demo: Demo) -> None:
    demo.state.faults.add({"contains": "mark=3"}, "status")
    answers = await asyncio.gather(*(priya.get("/zones", params={"mark": n}) for n in range(6)))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 502, 200, 200]
