"""`keyreeve demo --once`: every act goes as it must, in time, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from broker.cli.demo.acts import ACTS

MAX_SECONDS = 60.0
"""Four times what it may take on a quiet machine: other tests share this one."""


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "broker.cli", "demo", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def running(folder: Path) -> list[int]:
    """Processes that work on something below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    began = time.monotonic()
    with start(tmp_path, "--once", "--json") as process:
        out, err = process.communicate(timeout=150)
    assert process.returncode == 0, (out.decode()[-2000:], err.decode()[-2000:])
    steps = [json.loads(line) for line in out.splitlines()]
    assert [s["title"] for s in steps] == [title for title, _ in ACTS]
    assert all(s["ok"] for s in steps)
    assert time.monotonic() - began < MAX_SECONDS
    assert list(tmp_path.glob("keyreeve-demo-*")) == []
    assert running(tmp_path) == []


def test_in_plain_words_and_killed_halfway(tmp_path: Path) -> None:
    """Without `--once` it stays up; even its being killed leaves no process behind."""
    tmp_path.chmod(0o711)
    with start(tmp_path) as process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line.decode())
            if "Ctrl-C ends it" in shown[-1]:
                break
        text = "".join(shown)
        assert "All 14 steps went as they must" in text, text[-2000:]
        assert "priya's demo agent changed A api.example.com" in text
        assert running(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    deadline = time.monotonic() + 60
    while running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running(tmp_path) == []
