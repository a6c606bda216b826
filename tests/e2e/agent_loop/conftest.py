"""The loop of `examples/agent_loop.py` against a running installation and a stand-in for the model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from examples import agent_loop
from tests.architecture.repository import ROOT
from tests.e2e.model_api import ModelApi, Script, Step, models

__all__ = ["models"]

PURGE = "POST /zones/{zone_id}/purge_cache"


@dataclass(frozen=True)
class Ran:
    """How a run ended, what it said, and what the model was sent."""

    code: int
    out: str
    err: str
    events: list[dict[str, Any]]
    script: Script

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The transcript's lines of one kind."""
        return [event for event in self.events if event["event"] == kind]

    @property
    def ending(self) -> str:
        """The last line's."""
        return str(self.of("end")[0]["ending"])


class World:
    """An engineer with a connection, an agent key for them, and the short way to a run of the loop."""

    def __init__(self, stand: Stand, kit: TenantKit, models: ModelApi, folder: Path, engineer: Engineer | None) -> None:
        self.stand, self.kit, self.models, self.folder, self.engineer = stand, kit, models, folder, engineer
        self.identifier = engineer.identifier if engineer else "nobody@acme.example"
        self.key = kit.key("agent", identifiers=["*"])
        self.zone = stand.simulator.zones["example.com"]
        self._before = len(self._journal())

    def env(self, script: Script) -> dict[str, str]:
        """What the loop is configured by."""
        return {
            "KEYREEVE_URL": self.stand.url,
            "KEYREEVE_API_KEY": self.key["key"],
            "ANTHROPIC_API_KEY": script.key,
            "ANTHROPIC_BASE_URL": self.models.url,
            "OPENAI_API_KEY": script.key,
            "OPENAI_BASE_URL": f"{self.models.url}/v1",
        }

    def arguments(self, provider: str, transcript: Path, options: tuple[str, ...]) -> list[str]:
        """The command's arguments."""
        told = ["--provider", provider, "--identity", self.identifier, "--transcript", str(transcript)]
        return [*told, *options, "purge the cache of example.com"]

    def sent(self, method: str | None = None) -> list[dict[str, Any]]:
        """What reached the upstream as this engineer since their token was verified."""
        return [entry for entry in self._journal()[self._before :] if method is None or entry["method"] == method]

    def _journal(self) -> list[dict[str, Any]]:
        if self.engineer is None:
            return []
        return self.stand.simulator.journal(principal=self.engineer.principal)

    def purge(self) -> tuple[str, dict[str, Any]]:
        """The call that does the task."""
        given = {"operation": PURGE, "path_params": {"zone_id": self.zone}, "body": {"purge_everything": True}}
        return "cloudflare_call", given


def _events(path: Path, secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [name for name, value in secrets.items() if name.endswith("KEY") and value in text]
    assert "krv_st_" not in text
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def make_world(
    running_server: Stand, make_kit: Callable[[], TenantKit], models: ModelApi, tmp_path: Path
) -> Callable[..., World]:
    """Makes a tenant, a connection and an engineer. `connected=False`: granted, but without an account."""

    def make(*, connected: bool = True, **config: Any) -> World:
        kit = make_kit()
        kit.connection(**config)
        if connected:
            return World(running_server, kit, models, tmp_path, kit.engineer())
        world = World(running_server, kit, models, tmp_path, None)
        kit.identity(world.identifier)
        kit.grant({"identifier": world.identifier})
        return world

    return make


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the loop's own `main` in this process."""

    def run(world: World, provider: str, *turns: Step, options: tuple[str, ...] = ()) -> Ran:
        script = world.models.script(*turns)
        env, transcript = world.env(script), world.folder / "run.jsonl"
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        code = agent_loop.main(world.arguments(provider, transcript, options))
        shown = capsys.readouterr()
        return Ran(code, shown.out, shown.err, _events(transcript, env), script)

    return run


@pytest.fixture
def command() -> Callable[..., Ran]:
    """Runs the loop as people do: `python examples/agent_loop.py …`."""

    def run(world: World, provider: str, *turns: Step, options: tuple[str, ...] = ()) -> Ran:
        script = world.models.script(*turns)
        env, transcript = world.env(script), world.folder / "run.jsonl"
        file = str(ROOT / "examples" / "agent_loop.py")
        done = subprocess.run(
            [sys.executable, file, *world.arguments(provider, transcript, options)],
            env={**os.environ, **env},
            cwd=world.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr, _events(transcript, env), script)

    return run
