"""`examples/README.md`, followed to the letter: its blocks are run as they stand, in their order, by a newcomer's
shell."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from bench.harness import Stand
from bench.kit import TenantKit
from tests.architecture.repository import ROOT
from tests.e2e.model_api import ModelApi, calls, says

PAGE = ROOT / "examples" / "README.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"Save this as `~/(\S+)`")
MINUTES = 10


def _script(page: str) -> str:
    """The page as one script: its shell blocks, and its program saved where it says. Each step says when it is done."""
    saved = SAVED.search(page)
    assert saved is not None, "the page says where to save the program"
    steps = []
    for n, (language, text) in enumerate(BLOCK.findall(page)):
        save = f"cat > ~/{saved[1]} <<'PROGRAM'\n{text}PROGRAM\n"
        steps.append((save if language == "python" else text) + f"echo step {n} after $SECONDS s >&2\n")
    return "set -eu\n" + "".join(steps)


def _first(page: str) -> str:
    return page[: page.index("## The whole loop")]


def _shell(script: str, home: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "LANG", "SSL_"))}
    # The newcomer's Python: no environment of ours, no key of ours.
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    return subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**kept, "PATH": path, "HOME": str(home), **env},
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
        check=False,
    )


def test_ten_minutes_from_an_empty_environment(
    running_server: Stand,
    tenant: TenantKit,
    models: ModelApi,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tenant.connection()
    priya = tenant.engineer(identifier="priya@acme.example")
    zone = running_server.simulator.zones["example.com"]
    purge = {"operation": "POST /zones/{zone_id}/purge_cache", "path_params": {"zone_id": zone}}
    listing = ("cloudflare_call", {"operation": "GET /zones"})
    done = ("cloudflare_call", {**purge, "body": {"purge_everything": True}})
    script = models.script(
        calls(listing, done), says("Two zones, both active."), calls(listing), calls(done), says("Purged.")
    )
    before = len(running_server.simulator.journal(principal=priya.principal))
    env = {
        "KEYREEVE_URL": running_server.url,
        "KEYREEVE_API_KEY": str(tenant.admin.key),
        "ANTHROPIC_API_KEY": script.key,
        "ANTHROPIC_BASE_URL": models.url,
    }
    page = PAGE.read_text(encoding="utf-8")
    began = time.perf_counter()
    ran = _shell(_script(page), tmp_path, env)
    took = time.perf_counter() - began
    assert ran.returncode == 0, ran.stdout + ran.stderr
    steps = re.findall(r"step (\d+) after (\d+) s", ran.stderr)
    ten = int(steps[len(BLOCK.findall(_first(page))) - 1][1])
    with capsys.disabled():
        print(f"\nthe ten-minute path: {ten} s to the first agent's answer; the whole page {took:.0f} s")
    assert ran.stdout.splitlines() == ["end_turn Two zones, both active.", "Purged."]
    assert took < 60 * MINUTES
    sent = running_server.simulator.journal(principal=priya.principal)[before:]
    assert [entry["method"] for entry in sent] == ["GET", "GET", "POST"], "the first agent may only read"
    refused = script.requests[1]["messages"][-1]["content"][1]
    assert refused["is_error"]
    assert json.loads(refused["content"])["error"]["code"] == "forbidden"
    assert (tmp_path / "agent" / "run.jsonl").exists()


def test_the_program_is_about_twenty_lines() -> None:
    programs = [text for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if language == "python"]
    assert len(programs) == 1
    assert len(programs[0].splitlines()) <= 25


def test_the_table_of_frameworks_names_what_exists() -> None:
    """Every `module.function` of the table is there; frameworks themselves are not needed to look."""
    page = PAGE.read_text(encoding="utf-8")
    adapters = ROOT / "clients" / "python" / "keyreeve" / "adapters"
    table = page[page.index("## Other frameworks") :]
    named = re.findall(r"\b(anthropic|openai|langchain|mcp|toolbox)\.(\w+)\(", table)
    assert len(named) >= 8
    for module, function in named:
        assert re.search(rf"^(async )?def {function}\(", (adapters / f"{module}.py").read_text(), re.MULTILINE), (
            function
        )
