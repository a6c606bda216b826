"""A Keyreeve of a few lines behind httpx's mock transport: no socket is opened."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

URL = "http://127.0.0.1:8700"
KEY = "krv_ag_the-key-that-must-not-be-found"

Answer = httpx.Response | Exception


class Server:
    """Answers each path by what was queued for it (the last again and again), mints sessions, remembers requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.sessions = 0
        self.dead: dict[str, str] = {}
        """Tokens that are refused, and the code they are refused with."""
        self._queued: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()

    def on(self, path: str, *answers: Any) -> None:
        """Queues answers: bodies as JSON, or whole answers and errors."""
        self._queued[path] = [
            answer if isinstance(answer, httpx.Response | Exception) else httpx.Response(200, json=answer)
            for answer in answers
        ]

    def sent(self, path: str) -> list[httpx.Request]:
        """What was sent to a path."""
        return [request for request in self.requests if request.url.path == path]

    def body(self, path: str) -> Any:
        """The last body sent to a path."""
        return json.loads(self.sent(path)[-1].content)

    def _bearer(self, request: httpx.Request) -> str:
        return request.headers["authorization"].removeprefix("Bearer ")

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests.append(request)
            code = self.dead.get(self._bearer(request))
            if code is not None:
                return problem(401, code)
            if request.url.path == "/v1/sessions" and request.method == "POST":
                return self._mint()
            queued = self._queued.get(request.url.path, [problem(404, "not_found")])
            answer = queued.pop(0) if len(queued) > 1 else queued[0]
        if isinstance(answer, Exception):
            raise answer
        # A response is spent once it was read.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def _mint(self) -> httpx.Response:
        self.sessions += 1
        time.sleep(0.01)
        made = {"id": f"s{self.sessions}", "token": f"krv_st_{self.sessions}", "ttl_seconds": 900}
        return httpx.Response(201, json={**made, "expires_at": "2026-11-21T09:00:00Z", "mcp_url": f"{URL}/mcp"})

    async def _later(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return self(request)

    def client(self) -> httpx.Client:
        """A blocking client of it."""
        return httpx.Client(transport=httpx.MockTransport(self))

    def async_client(self) -> httpx.AsyncClient:
        """An async client of it."""
        later: Callable[[httpx.Request], Any] = self._later
        return httpx.AsyncClient(transport=httpx.MockTransport(later))


def problem(status: int, code: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """A refusal."""
    return httpx.Response(status, json={"code": code, "detail": "d", "fix": "model", **more}, headers=headers)


RESULT = {"execution_id": "e1", "is_error": False, "data": {"id": 1}}
