"""mcp-remote, by which Claude Desktop reaches a server: started as the set-up has it started, and spoken to over its
pipes as Claude Desktop does."""

import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bench.kit import Engineer, TenantKit
from broker.endpoints.pages.setups import setups
from tests.clients.node import PATIENCE, command, environment, installed
from tests.e2e.node_clients.conftest import Expire
from tests.e2e.oauth.person import Person

ZONES = {"operation": "GET /zones"}


def listens(host: str | None, port: int | None) -> bool:
    """Whether anybody takes connections there."""
    try:
        socket.create_connection((host or "", port or 0), timeout=5).close()
    except OSError:
        return False
    return True


class Desktop:
    """What Claude Desktop starts, with what it says on both of its pipes."""

    def __init__(self, kit: TenantKit, home: Path) -> None:
        text = next(s.text for s in setups(f"{kit.stand.url}/t/{kit.name}/mcp") if s.editor == "Claude Desktop")
        started = json.loads(text)["mcpServers"]["keyreeve"]
        assert (started["command"], *started["args"][:2]) == ("npx", "-y", "mcp-remote"), started
        # What npx would fetch is what is installed already.
        self.process = subprocess.Popen(
            command("mcp-remote", *started["args"][2:]),
            cwd=home,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told: list[str] = []
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._asked: queue.Queue[str] = queue.Queue()
        self._last = 0
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(json.loads(line))

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told.append(line)
            if line.startswith("http") and "/oauth/authorize?" in line:
                self._asked.put(line.strip())

    def say(self, method: str, given: dict[str, Any] | None = None) -> int:
        """Sends a request; its id."""
        self._last += 1
        self._send({"id": self._last, "method": method, "params": given or {}})
        return self._last

    def notify(self, method: str) -> None:
        """Sends a notification."""
        self._send({"method": method})

    def answer(self, number: int) -> dict[str, Any]:
        """The answer to a request; what else comes meanwhile is passed over."""
        try:
            while True:
                got = self._answers.get(timeout=PATIENCE)
                if got.get("id") == number:
                    return got
        except queue.Empty:
            pytest.fail("".join(self.told[-40:]))

    def call(self, given: dict[str, Any]) -> dict[str, Any]:
        """`tools/call` of the connection's one tool, and its result."""
        result: dict[str, Any] = self.answer(self.say("tools/call", {"name": "cloudflare_call", "arguments": given}))[
            "result"
        ]
        return result

    def asked(self) -> str:
        """The address that it wants a browser to open, once it listens for who comes back from there: it may print the
        one before it does the other."""
        try:
            address = self._asked.get(timeout=PATIENCE)
        except queue.Empty:
            pytest.fail("".join(self.told[-40:]))
        back = urlsplit(parse_qs(urlsplit(address).query)["redirect_uri"][0])
        until = time.monotonic() + PATIENCE
        while not listens(back.hostname, back.port):
            assert time.monotonic() < until, "".join(self.told[-40:])
            time.sleep(0.05)
        return address

    def stop(self) -> None:
        """As Claude Desktop does when it is closed."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()


@pytest.fixture
def engineer(acme: TenantKit) -> Engineer:
    return acme.engineer()


@pytest.fixture
def desktop(acme: TenantKit, tmp_path: Path) -> Iterator[Desktop]:
    installed("mcp-remote")
    made = Desktop(acme, tmp_path)
    yield made
    made.stop()


def browse(desktop: Desktop, kit: TenantKit, engineer: Engineer, access: str) -> None:
    """The person's part of a sign-in, to the page of mcp-remote's that says it is done."""
    parts = urlsplit(desktop.asked())
    agreed = Person(kit, engineer.identifier).consent(f"{parts.path}?{parts.query}", access=access)
    assert agreed.status_code == 303, agreed.text
    assert httpx.get(agreed.headers["location"], trust_env=False, timeout=PATIENCE).status_code == 200


def test_claude_desktop_set_up(acme: TenantKit, engineer: Engineer, desktop: Desktop, expire: Expire) -> None:
    """It signs in, lists, calls, is given a new token at the end of one, and signs in again where more is needed."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "desktop", "version": "1"}}
    began = desktop.say("initialize", hello)
    browse(desktop, acme, engineer, "read")
    assert desktop.answer(began)["result"]["serverInfo"]["name"] == "keyreeve"
    desktop.notify("notifications/initialized")
    listed = desktop.answer(desktop.say("tools/list"))["result"]["tools"]
    assert "cloudflare_call" in {tool["name"] for tool in listed}
    assert "example.org" in json.dumps(desktop.call(ZONES))
    expire(acme, engineer)
    assert "example.org" in json.dumps(desktop.call(ZONES))
    zone = acme.stand.upstream.zones["example.com"]
    purge = {"operation": "POST /zones/{zone_id}/purge_cache", "path_params": {"zone_id": zone}}
    refused = desktop.say(
        "tools/call", {"name": "cloudflare_call", "arguments": {**purge, "body": {"purge_everything": True}}}
    )
    browse(desktop, acme, engineer, "write")
    answered = desktop.answer(refused)
    assert not answered["result"].get("isError"), answered
    heard = acme.stand.upstream.journal(principal=engineer.principal)
    assert [entry["path"] for entry in heard if entry["method"] == "POST"], heard
