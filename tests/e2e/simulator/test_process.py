"""The simulator as a process of its own, driven over its control plane."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[3]
STATE = {
    "users": [{"email": "ana@acme.example"}],
    "accounts": [{"name": "acme", "members": ["ana@acme.example"], "buckets": ["logs-bucket"]}],
    "zones": [
        {
            "name": "example.net",
            "account": "acme",
            "records": [{"type": "A", "name": "@", "content": "203.0.113.1", "ttl": 1}],
        }
    ],
    "tokens": [
        {"user": "ana@acme.example", "permissions": ["Zone Read", "DNS Write"], "value": "cfut_" + "a" * 48},
    ],
    "limits": {"limit": 5, "window": 60},
    "control_token": "let-me-in",
}


@pytest.fixture
def process(tmp_path: Path) -> Iterator[dict[str, Any]]:
    file = tmp_path / "state.json"
    file.write_text(json.dumps(STATE))
    command = [sys.executable, "-m", "connectors.simulators.cloudflare", "--state", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield json.loads(child.stdout.readline())
        finally:
            child.terminate()
            child.wait(10)


def test_driven_from_outside(process: dict[str, Any]) -> None:
    assert process["event"] == "ready"
    control = httpx.Client(base_url=process["control_url"], headers={"x-sim-control": process["control_token"]})
    api = httpx.Client(base_url=process["base_url"], headers={"authorization": "Bearer cfut_" + "a" * 48})
    with control, api:
        assert httpx.get(f"{process['control_url']}/counters").status_code == 403
        assert control.get("/nope").status_code == 404
        assert control.post("/faults", json={"kind": "nope"}).status_code == 400

        assert api.get("/zones", params={"mark": "m1"}).json()["result"][0]["name"] == "example.net"
        items = control.get("/journal", params={"contains": "mark=m1"}).json()["items"]
        assert [item["status"] for item in items] == [200]
        principal = items[0]["principal"]

        fault = control.post("/faults", json={"match": {"method": "GET"}, "kind": "status", "params": {"status": 500}})
        assert fault.json()["left"] == 1
        assert [api.get("/zones").status_code for _ in range(2)] == [500, 200]

        control.post("/spend", json={"principal": principal, "count": 1})
        assert [api.get("/zones").status_code for _ in range(2)] == [200, 429]
        seen = control.get("/max_in_window", params={"principal": principal, "seconds": 60}).json()
        assert seen == {"max": 5}
        assert len(control.get("/arrivals", params={"principal": principal}).json()) == 5
        counters = control.get("/counters").json()
        assert counters["principals"][principal] == {"arrived": 5, "refused": 1}

        control.post("/reset", json={})
        made = control.post("/tokens", json={"user": "ana@acme.example", "permissions": ["Zone Read"]}).json()
        fresh = {"authorization": f"Bearer {made['value']}"}
        assert api.get("/zones", headers=fresh).status_code == 200
        control.patch("/tokens", json={"id": made["id"], "status": "disabled"})
        assert api.get("/zones", headers=fresh).status_code == 403
        control.delete("/tokens", params={"id": made["id"]})
        assert made["id"] not in {token["id"] for token in control.get("/credentials").json()["tokens"]}
