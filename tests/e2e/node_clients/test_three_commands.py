"""From nothing to a tool call in Claude Code, by the three commands of README.md, timed.

Nothing stands in for Keyreeve: an empty data directory, the commands as people type them, on a terminal. Cloudflare is
the bundled simulator, which needs three options that people leave out, and its own description, which is shorter than
Cloudflare's and not downloaded. The seconds are printed, not judged.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness import Simulator, free_port
from bench.kit import SPEC_NAME
from bench.processes import environment
from tests.clients.claude import ClaudeCode, Talk
from tests.clients.node import PATIENCE, installed
from tests.e2e.cli.shell import Shell
from tests.e2e.model_api import ModelApi
from tests.security.canary import find

CALL = "mcp__keyreeve__cloudflare_call"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Started as root, the server becomes another user: everybody must be able to pass."""
    installed("claude")
    made = Path(tempfile.mkdtemp(prefix="krv-three-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def cloudflare(folder: Path) -> Iterator[Simulator]:
    made = Simulator(folder)
    yield made
    made.stop()


class Up:
    """`keyreeve up`, until it says what to type next."""

    def __init__(self, folder: Path, data: Path, *words: str) -> None:
        self.shown = folder / "up.out"
        command = [sys.executable, "-m", "broker.cli", "up", *words]
        with self.shown.open("wb") as out, (folder / "up.err").open("wb") as err:
            env = {**environment(), "KEYREEVE_DATA_DIR": str(data)}
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env)
        deadline = time.monotonic() + PATIENCE
        while "keyreeve connect cloudflare" not in self.shown.read_text():
            assert self.process.poll() is None, (folder / "up.err").read_text()[-3000:]
            assert time.monotonic() < deadline, self.shown.read_text()
            time.sleep(0.02)

    def stop(self) -> int:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


def test_three_commands(folder: Path, cloudflare: Simulator, models: ModelApi) -> None:
    home, data = folder / "home", folder / "data"
    home.mkdir(mode=0o700)
    (data / "specs").mkdir(parents=True)
    (data / "specs" / SPEC_NAME).write_bytes(cloudflare.description())
    data.chmod(0o700)
    token = cloudflare.token()
    shell = Shell({"HOME": str(home), "KEYREEVE_DATA_DIR": str(data)})
    seconds: dict[str, float] = {}
    began = last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        seconds[name], last = time.perf_counter() - last, time.perf_counter()

    up = Up(folder, data, "--port", str(free_port()), "--allow-upstream", cloudflare.address)
    try:
        lap("keyreeve up")
        there = ("--base-url", cloudflare.base_url, "--spec", SPEC_NAME)
        ran = shell.on_terminal(
            "connect", "cloudflare", *there, answers=[("Token (not shown)", token["value"]), ("Go on?", "y")]
        )
        assert ran.code == 0, ran.out
        lap("keyreeve connect cloudflare")
        ran = shell.on_terminal("mcp", "add", "claude-code")
        assert ran.code == 0, ran.out
        lap("keyreeve mcp add claude-code")
        claude, talk = ClaudeCode(home, models), Talk(models)
        claude.go(talk.finds(CALL).calls(CALL, {"operation": "GET /zones"}).says("two zones"))
        lap("claude -p")
        total = time.perf_counter() - began
        assert [not r["is_error"] and "example.org" in r["text"] for r in talk.results(CALL)] == [True]
        assert find(claude.files(), [token["value"]]) == []
    finally:
        code = up.stop()
    assert code == 0, (folder / "up.err").read_text()[-3000:]
    print(f"\nfrom nothing to a tool call in Claude Code: {total:.1f} s ({os.cpu_count()} cores)")
    for name, taken in seconds.items():
        print(f"  {taken:5.1f} s  {name}")
