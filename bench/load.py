"""A lean load generator: HTTP/1.1 over asyncio, prepared bytes out, status and body back, latencies kept.

It costs some 30 µs a request, so that on a small machine it is the server that is measured. httpx would cost 500.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import orjson

PreparedRequest = bytes


class Broken(ConnectionError):
    """The connection ended before the answer was whole."""


class _Wire(asyncio.Protocol):
    """One keep-alive connection; one request at a time. Answers must have a Content-Length."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = bytearray()
        self._need = -1
        self._head = 0
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"\r\ncontent-length:")
            length = 0 if at < 0 else int(head[at + 17 :].split(b"\r\n", 1)[0])
            self._head, self._need = end + 4, end + 4 + length
        if len(self._buffer) >= self._need:
            status, body = int(self._buffer[9:12]), bytes(self._buffer[self._head : self._need])
            del self._buffer[: self._need]
            self._need = -1
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((status, body))

    async def ask(self, request: PreparedRequest) -> tuple[int, bytes]:
        """Status and body. Raises Broken."""
        if not self.open or self._transport is None:
            raise Broken("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.abort()


async def connect(host: str, port: int) -> _Wire:
    """A fresh connection. Raises OSError."""
    _, wire = await asyncio.get_running_loop().create_connection(_Wire, host, port)
    return wire


def prepare(
    method: str, path: str, *, host: str, bearer: str | None = None, body: Any = None, headers: Sequence[str] = ()
) -> PreparedRequest:
    """A request's bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if bearer is not None:
        lines.append(f"Authorization: Bearer {bearer}")
    content = b""
    if body is not None:
        content = orjson.dumps(body)
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass
class Sample:
    """What a run saw. `latencies` in seconds, of answered requests; `statuses` counts them, `broken` the others."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    seconds: float = 0.0
    odd: list[bytes] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """A latency in ms."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0


Seen = Callable[[int, int, bytes], None]
"""Told of each answer: the request's number, status and body."""


async def run(
    requests: Callable[[int], PreparedRequest],
    *,
    host: str,
    port: int,
    concurrency: int,
    seconds: float,
    seen: Seen | None = None,
    reconnect: bool = False,
) -> Sample:
    """`concurrency` connections, each asking again as soon as it is answered, for `seconds`.

    `requests(i)` gives the i-th request of the run. With `reconnect` a broken connection is counted and made again.
    """
    sample, numbers = Sample(), itertools.count()
    began = perf_counter()
    until = began + seconds

    async def one() -> None:
        wire: _Wire | None = None
        while perf_counter() < until:
            try:
                wire = wire if wire is not None and wire.open else await connect(host, port)
                number = next(numbers)
                sent = perf_counter()
                status, body = await wire.ask(requests(number))
            except OSError:
                sample.broken += 1
                wire = None
                if not reconnect:
                    raise
                await asyncio.sleep(0.02)
                continue
            sample.latencies.append(perf_counter() - sent)
            sample.statuses[status] += 1
            if status != 200 and len(sample.odd) < 5:
                sample.odd.append(body)
            if seen is not None:
                seen(number, status, body)
        if wire is not None:
            wire.close()

    await asyncio.gather(*(one() for _ in range(concurrency)))
    sample.seconds = perf_counter() - began
    return sample
