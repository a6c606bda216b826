"""Puts a bearer into every request: for clients that cannot be told to send one. A connection carries one request."""

import asyncio
import threading
from typing import Self


class BearerProxy:
    """Listens on a loopback port of its own, in a thread of its own, in front of one server."""

    def __init__(self, upstream: str, bearer: str) -> None:
        """`upstream` is HOST:PORT."""
        self._upstream = upstream
        self._bearer = bearer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop)
        self._server = starting.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            for task in self._serving:
                task.cancel()
            # A task that had not begun closes nothing itself.
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await asyncio.sleep(0.05)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # one of the two hung up before anything was said
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host, port = self._upstream.split(":")
        away_reader, away = await asyncio.open_connection(host, int(port))
        away.write(self._head(head))
        sending = asyncio.ensure_future(_pump(reader, away))
        try:
            await _pump(away_reader, writer)
        finally:
            sending.cancel()
            away.transport.abort()

    def _head(self, head: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        kept = []
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() in ("connection", "authorization"):
                continue
            # Another Host than ours is the client's own idea, and the server's to judge.
            for mine in (f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
                if name.lower() in ("host", "origin") and value.strip() in (mine, f"http://{mine}"):
                    line = line.replace(mine, self._upstream)
            kept.append(line)
        added = [f"Authorization: Bearer {self._bearer}", "Connection: close"]
        return "\r\n".join([first, *kept, *added, "", ""]).encode("latin-1")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return  # one of the two hung up, which ends both
