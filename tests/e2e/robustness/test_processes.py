"""The processes of an installation: which holds what, and what becomes of the others when one is killed."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from bench.processes import family

AS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def kit(stand: Stand) -> Iterator[TenantKit]:
    made = stand.tenant()
    made.connection()
    yield made
    made.close()


@pytest.fixture(scope="module")
def engineer(kit: TenantKit) -> Iterator[Engineer]:
    made = kit.engineer()
    yield made
    made.close()


def until(what: Callable[[], object]) -> None:
    """Waits until it holds, or fails after 30 s."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def serves(engineer: Engineer) -> bool:
    """Whether a call is answered."""
    try:
        return engineer.api.call("GET /zones").status_code == 200
    except httpx.HTTPError:
        return False


def gone(pid: int) -> bool:
    """Whether it has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def memory(pid: int) -> bytes:
    """What a process could have written into its memory itself."""
    held = bytearray()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if rights.startswith("rw"):
                low, _, high = span.partition("-")
                file.seek(int(low, 16))
                with contextlib.suppress(OSError):  # a device's, or one that was given back meanwhile
                    held += file.read(int(high, 16) - int(low, 16)) or b""
    return bytes(held)


@pytest.mark.skipif(not AS_ROOT, reason="only root may look into a hardened process")
def test_the_zygote_never_held_a_secret(stand: Stand) -> None:
    """What workers are told is told to each of them: nothing of it is where all are forked from."""
    key = (stand.data_dir / "root.key").read_text().split()[-1].encode()
    password = str(stand.server.database()["password"]).encode()
    secrets = [key, stand.admin_key.encode(), password]
    assert key in memory(stand.server.workers()[0]), "where it is, it is found"
    held = memory(stand.server.zygote())
    assert b"broker.server.worker" in held
    assert [secret for secret in secrets if secret in held] == []


def test_a_killed_worker_comes_from_the_same_zygote(stand: Stand, engineer: Engineer) -> None:
    zygote, before = stand.server.zygote(), stand.server.workers()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(stand.server.workers()) == 2 and before[0] not in stand.server.workers())
    until(lambda: serves(engineer))
    assert stand.server.zygote() == zygote
    assert before[1] in stand.server.workers(), "the other one never noticed"


def test_a_killed_zygote_takes_its_workers_along_and_all_come_back(stand: Stand, engineer: Engineer) -> None:
    zygote, before = stand.server.zygote(), stand.server.workers()
    os.kill(zygote, signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in before))
    until(lambda: serves(engineer))
    until(lambda: len(stand.server.workers()) == 2)
    assert stand.server.zygote() != zygote


def test_nothing_outlives_a_killed_parent_but_what_a_start_clears_away(stand: Stand, engineer: Engineer) -> None:
    left = [pid for pid in family(stand.server.process.pid) if pid != stand.server.process.pid]
    stand.server.process.kill()
    until(lambda: all(gone(pid) for pid in left))
    stand.server.start()
    until(lambda: serves(engineer))


def test_what_stands_after_the_drain_is_done(stand: Stand, kit: TenantKit) -> None:
    """Refusals beyond the first 20 a minute are counted in memory: an orderly end writes the count down."""
    nobody = kit.identity()
    api = stand.server.api(kit.session(nobody)["token"])
    for _ in range(60):  # more than 20 for one of the two workers
        assert api.call("GET /zones").json()["code"] == "not_connected"
    api.close()
    workers = stand.server.workers()
    assert stand.server.stop() == 0
    assert all(gone(pid) for pid in workers)
    assert b'"worker killed"' not in stand.server.logs()
    stand.server.start()
    wanted = httpx.QueryParams({"identifier": nobody, "kind": "refusal", "page_size": "100"})
    found = kit.admin.ok("GET", f"/v1/audit/events?{wanted}")["items"]
    assert sum(item.get("suppressed") or 1 for item in found) == 60, found[:2]
