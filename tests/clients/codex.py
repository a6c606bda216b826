"""Codex without its model: its own program, a home of its own, and a model that plays a script.

Codex is not among the clients that npm installs for the tests: unpacked it has 400 MB. Where somebody has it,
`KEYREEVE_CODEX` names its program. Tried with 0.169.0.
"""

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.clients.node import PATIENCE, environment
from tests.e2e.model_api import serve

SERVER = "mcp__keyreeve"
"""The namespace in which its model sees the tools of the server `keyreeve`."""


def program() -> str:
    """Codex's program. Skips where nobody named one."""
    named = os.environ.get("KEYREEVE_CODEX")
    if not named:
        pytest.skip("KEYREEVE_CODEX names no Codex: npm install @openai/codex somewhere, and name its .bin/codex")
    return named


class Model:
    """OpenAI's Responses API as Codex uses it, as far as one item a turn: tools are in namespaces, answers streamed.
    Each turn is a call of a tool, after something has happened; when there are none, it is done."""

    def __init__(self) -> None:
        self.url = ""
        self.turns: list[tuple[str, dict[str, Any], Callable[[], object] | None]] = []
        self.requests: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/v1/responses", self._responses, methods=["POST"])])

    def results(self) -> list[str]:
        """What came of the calls, in order, as the model was told it."""
        return [json.dumps(i["output"]) for i in self.requests[-1]["input"] if i["type"] == "function_call_output"]

    def tools(self) -> set[str]:
        """The tools of ours that the model was offered last."""
        spaces = [tool for tool in self.requests[-1]["tools"] if tool.get("name") == SERVER]
        return {tool["name"] for space in spaces for tool in space["tools"]}

    async def _responses(self, request: Request) -> Response:
        self.requests.append(json.loads(await request.body()))
        number = len(self.requests)
        part = {"type": "output_text", "text": "done", "annotations": []}
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [part]}
        if self.turns:
            name, given, first = self.turns.pop(0)
            if first is not None:
                await asyncio.to_thread(first)
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name}
            item |= {"namespace": SERVER, "arguments": json.dumps(given)}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        whole = {"id": f"resp_{number}", "output": [item], "usage": usage}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {"id": whole["id"]}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole},
        ]
        body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Response(body, media_type="text/event-stream")


@contextmanager
def model() -> Iterator[Model]:
    """A model that serves."""
    made = Model()
    with serve(made.app) as url:
        made.url = url
        yield made


class Codex:
    """One person's Codex."""

    def __init__(self, home: Path, model: Model) -> None:
        self.home = home
        self.model = model
        self.config = home / ".codex" / "config.toml"
        self.config.parent.mkdir()
        self.config.write_text(
            'model = "scripted"\nmodel_provider = "script"\napproval_policy = "never"\nweb_search = "disabled"\n\n'
            f'[model_providers.script]\nname = "script"\nbase_url = "{model.url}/v1"\n'
            'wire_api = "responses"\nenv_key = "SCRIPT_KEY"\n'
        )

    def ok(self, *words: str) -> str:
        """One of its commands, which must succeed; what it shows."""
        done = subprocess.run(
            [program(), *words],
            cwd=self.home,
            env=environment(self.home, {"SCRIPT_KEY": "no-model"}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def go(
        self, *turns: tuple[str, dict[str, Any], Callable[[], object] | None], options: tuple[str, ...] = ()
    ) -> None:
        """`codex exec`, its model calling these tools one after the other."""
        self.model.requests.clear()
        self.model.turns[:] = turns
        self.ok("exec", "--skip-git-repo-check", "-c", "mcp_servers.keyreeve.required=true", *options, "go")
        assert self.model.turns == []

    def login(self, browser: Callable[[str], None]) -> str:
        """`codex mcp login`; `browser` is given the address that it prints. What it printed."""
        words = [program(), "mcp", "login", "keyreeve", "--oauth-client-registration", "dcr"]
        with subprocess.Popen(
            words,
            cwd=self.home,
            env=environment(self.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as signing:
            killer = threading.Timer(PATIENCE, signing.kill)
            killer.start()
            assert signing.stdout is not None
            shown = ""
            for line in signing.stdout:
                shown += line
                if line.startswith("http"):
                    browser(line.strip())
            killer.cancel()
        assert signing.returncode == 0, shown
        return shown
