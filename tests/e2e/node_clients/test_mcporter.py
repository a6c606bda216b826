"""mcporter: lists and calls with a header, and signs in through a browser that it opens itself."""

import json
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.kit import Engineer, TenantKit
from tests.clients.node import PATIENCE, command, environment, run
from tests.e2e.oauth.person import Person


@pytest.fixture
def engineer(acme: TenantKit) -> Engineer:
    return acme.engineer()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


def target(kit: TenantKit) -> tuple[str, ...]:
    return ("--http-url", f"{kit.stand.url}/t/{kit.name}/mcp", "--allow-http", "--name", "keyreeve")


def test_it_lists_and_calls(acme: TenantKit, engineer: Engineer, home: Path) -> None:
    signed = (*target(acme), "--header", f"Authorization=Bearer {engineer.session}", "--no-oauth")
    listed = json.loads(run("mcporter", "list", *signed, "--json", home=home).out)
    assert {"cloudflare_call", "cloudflare_zone-purge"} <= {tool["name"] for tool in listed["tools"]}
    asked = ("--tool", "cloudflare_call", "--args", json.dumps({"operation": "GET /zones"}), "--output", "json")
    called = json.loads(run("mcporter", "call", *signed, *asked, home=home).out)
    assert called["success"] is True
    assert {zone["name"] for zone in called["result"]} == {"example.com", "example.org"}


def test_it_signs_in(acme: TenantKit, engineer: Engineer, home: Path, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    folder = tmp_path / "bin"
    folder.mkdir()
    browser = folder / "xdg-open"
    browser.write_text(f"#!/bin/sh\nprintf '%s' \"$1\" > '{opened}.part' && mv '{opened}.part' '{opened}'\n")
    browser.chmod(0o755)
    env = environment(home)
    env["PATH"] = f"{folder}:{env['PATH']}"
    url = target(acme)[1]
    words = command("mcporter", "auth", url, *target(acme))
    with subprocess.Popen(
        words, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as signing:
        killer = threading.Timer(PATIENCE, signing.kill)
        killer.start()
        while not opened.exists():
            assert signing.poll() is None, signing.stdout and signing.stdout.read()
            time.sleep(0.05)
        parts = urlsplit(opened.read_text())
        answer = Person(acme, engineer.identifier).consent(f"{parts.path}?{parts.query}").headers["location"]
        httpx.get(answer, trust_env=False, timeout=30)
        shown, _ = signing.communicate(timeout=PATIENCE)
        killer.cancel()
    assert signing.returncode == 0, shown
    print(shown)
    listed = json.loads(run("mcporter", "list", *target(acme), "--json", home=home).out)
    assert "cloudflare_call" in {tool["name"] for tool in listed["tools"]}
