"""Processes under test: started with their output in files, waited for until they say that they serve, ended by pid."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 90.0
STOP_SECONDS = 60.0


class DidNotStart(RuntimeError):
    """A process ended or stayed silent instead of saying that it serves; the message ends with its last output."""


class Process:
    """A command whose output goes to files and whose first JSON line with `event: ready` is waited for."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.command = list(command)
        self.out = folder / f"{name}.stdout"
        self.err = folder / f"{name}.stderr"
        self._popen: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Starts it and returns its ready line. Raises DidNotStart."""
        with self.out.open("ab") as out, self.err.open("ab") as err:
            begin = out.tell()
            self._popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment() | dict(env or {}),
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            for line in self.out.read_bytes()[begin:].splitlines(keepends=True):
                if line.startswith(b"{") and line.endswith(b"\n") and b'"ready"' in line:
                    self.ready = json.loads(line)
                    return self.ready
            if self._popen.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()
        raise DidNotStart(f"{self.name} did not start: …{self.err.read_text(errors='replace')[-3000:]}")

    def stop(self) -> int:
        """SIGTERM, then SIGKILL after a minute; the exit code."""
        if self._popen is None:
            return 0
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()


def environment() -> dict[str, str]:
    """What a started process inherits: nothing of Keyreeve's own settings."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
    found = {name: value for name in kept if (value := os.environ.get(name)) is not None}
    # The code beside this file is the code under test, wherever the interpreter's environment was installed from.
    return found | {"PYTHONPATH": str(ROOT)}


def children(pid: int) -> list[int]:
    """The direct children of a process, from /proc (Linux)."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile, as PostgreSQL's workers do
    return found


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for child in children(pid):
        found += family(child)
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes, without children that have ended (proc(5), stat)."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def send_signal(pid: int, number: signal.Signals) -> None:
    """A signal to one process."""
    os.kill(pid, number)
