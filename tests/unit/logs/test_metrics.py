"""Metrics: one process in memory, several through a folder, labels bounded."""

import subprocess
import sys
from pathlib import Path

from broker.metrics import Metrics, empty_folder, process_ended

CHILD = """
import sys
from pathlib import Path
from broker.metrics import Metrics
m = Metrics(folder=Path(sys.argv[1]))
for _ in range(3):
    m.call("ok", "read", total=0.01, upstream=0.004, admit=0.001, settle=0.001)
m.in_flight(2)
m.refused("not_granted")
m.swept(2)
import os
print(os.getpid())
"""


def _value(shown: bytes, name: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in shown.decode().splitlines() if line.startswith(name + " "))


def test_one_process() -> None:
    metrics = Metrics()
    metrics.call("ok", "write", total=0.02)
    metrics.call("timeout", "read", total=30, wait=2)
    metrics.refused("forbidden")
    metrics.auth_failed("unauthenticated")
    metrics.pool(8, 3)
    shown = metrics.render()
    assert _value(shown, 'keyreeve_calls_total{effect="write",outcome="ok"}') == 1
    assert _value(shown, "keyreeve_call_seconds_count") == 2
    assert _value(shown, "keyreeve_budget_wait_seconds_count") == 1
    assert _value(shown, "keyreeve_db_pool_connections") == 8
    assert Metrics().render() != shown


def test_several_processes_answer_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    empty_folder(folder)
    pids = [
        int(subprocess.run([sys.executable, "-c", CHILD, str(folder)], capture_output=True, check=True).stdout)
        for _ in range(2)
    ]
    mine = Metrics(folder=folder)
    mine.call("ok", "read", total=0.01)
    shown = mine.render()
    assert _value(shown, 'keyreeve_calls_total{effect="read",outcome="ok"}') == 7
    assert _value(shown, "keyreeve_upstream_seconds_count") == 6
    assert _value(shown, "keyreeve_swept_calls_total") == 4
    assert _value(shown, "keyreeve_calls_in_flight") == 4
    for pid in pids:
        process_ended(folder, pid)
    shown = mine.render()
    assert _value(shown, "keyreeve_calls_in_flight") == 0
    assert _value(shown, 'keyreeve_calls_total{effect="read",outcome="ok"}') == 7
    # A registry made afterwards is back in memory.
    assert b"keyreeve_swept_calls_total 0.0" in Metrics().render()
    mine.close()
    empty_folder(folder)
    assert list(folder.iterdir()) == []


def test_labels_are_bounded() -> None:
    metrics = Metrics()
    for i in range(1000):
        metrics.refused(f"code-{i}")
    shown = metrics.render().decode()
    assert shown.count("keyreeve_refusals_total{") <= 201
    assert 'code="other"' in shown
