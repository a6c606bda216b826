"""The main job on a PostgreSQL of the operator's own: every supported one at hand, over TLS where it speaks it."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.harness import Installed, Simulator, keyreeve_command
from bench.processes import environment
from tests.e2e.external.place import Place, Program, certificates, programs

PROGRAMS = programs()
LIST = "dns-records-for-a-zone-list-dns-records"


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda p: f"postgresql-{p.major}{'-tls' if p.tls else ''}")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    program: Program = request.param
    folder = Path(tempfile.mkdtemp(prefix="krv-pg-"))
    folder.chmod(0o755)
    made = Place(program, folder)
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def keyreeve(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*keyreeve_command(), *arguments],
        env=environment() | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_main_job(place: Place) -> None:
    owner = {"KEYREEVE_DATABASE_OWNER_URL": place.url("owner")}
    unclear = keyreeve("migrate", **owner)
    assert unclear.returncode != 0
    assert "set both" in unclear.stderr + unclear.stdout
    done = keyreeve("migrate", KEYREEVE_DATABASE_URL=place.url("app"), **owner)
    assert done.returncode == 0, done.stderr
    with Installed(Simulator, env={"KEYREEVE_DATABASE_URL": place.url("app")}, arguments=("--workers", "2")) as stand:
        kit = stand.tenant()
        kit.connection()
        priya = kit.engineer()
        zone = stand.upstream.zones["example.com"]
        listing: dict[str, Any] = {
            "operation": "dns-records-for-a-zone-list-dns-records",
            "path_params": {"zone_id": zone},
        }
        for _ in range(3):
            read = priya.api.call(**listing)
            assert read.status_code == 200, read.text
        kit.admin.ok("POST", f"/v1/connected_accounts/{priya.account_id}:revoke", {"reason": "left"})
        refused = priya.api.call(**listing)
        assert refused.json()["code"] in ("revoked", "not_connected"), refused.text
        events = kit.admin.ok("GET", "/v1/audit/events", params={"identifier": priya.identifier})["items"]
        assert [e["outcome"] for e in events if e.get("tool_name") == "cloudflare_call"][-3:] == ["ok"] * 3
        priya.close()
        kit.close()
    if place.program.tls:
        spoken = place.psql("-Atc", "select setting from pg_settings where name = 'ssl'")
        assert spoken.stdout.strip() == "on"


def test_what_cannot_be_verified_is_not_served_from(place: Place, tmp_path: Path) -> None:
    if not place.program.tls:
        pytest.skip(f"PostgreSQL {place.program.major} here is built without TLS")
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(certificates("somebody-else")[0])
    wrong = {
        "another authority": (place.url("app", ca=stranger), "CERTIFICATE_VERIFY_FAILED"),
        "another name": (place.url("app", host="localhost"), "CERTIFICATE_VERIFY_FAILED"),
        "no TLS": (place.url("app", mode="disable"), "no encryption"),
    }
    for what, (url, told) in wrong.items():
        done = keyreeve("up", "--data-dir", str(tmp_path / "data"), KEYREEVE_DATABASE_URL=url)
        assert done.returncode != 0, what
        assert told.lower() in (done.stderr + done.stdout).lower(), f"{what}: {done.stderr}"
        assert "a" * 24 not in done.stderr + done.stdout, "the password"
