"""The demo's processes: a simulator and a server in a folder of their own, and ways to talk to both."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from broker.cli.errors import CommandError
from broker.settings import environment

READY_SECONDS: Final = 110.0
STOP_SECONDS: Final = 45.0
SPEC_NAME: Final = "cloudflare-simulated.json"


@dataclass(frozen=True, slots=True)
class Simulator:
    """The simulated Cloudflare: where it is, and its control plane."""

    url: str
    base_url: str
    spec_url: str
    control_url: str
    control_token: str

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None, **params: Any) -> Any:
        """One call of the control plane, which sees and spoils what arrives."""
        headers = {"X-Sim-Control": self.control_token}
        answer = httpx.request(
            method, f"{self.control_url}/{path}", json=body, params=params, headers=headers, timeout=10, trust_env=False
        )
        answer.raise_for_status()
        return answer.json()

    def arrivals(self) -> int:
        """How many requests have reached it."""
        return int(self.control("GET", "counters")["requests"])

    def journal(self, since: int) -> list[dict[str, Any]]:
        """The requests numbered from `since`, oldest first."""
        return list(self.control("GET", "journal", since=since)["items"])


class Child:
    """A process whose first line on standard output is JSON and says that it is ready."""

    def __init__(self, name: str, argv: list[str], log: Path) -> None:
        self._name = name
        self._log = log
        # Tied to this process: not even its being killed leaves the demo's processes behind.
        from broker.db.embedded.users import tied_to_parent

        with log.open("wb") as file:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env=_clean_environment(),
                start_new_session=True,
                preexec_fn=tied_to_parent(signal.SIGTERM),  # noqa: PLW1509 - no other thread runs yet
            )

    def ready(self) -> dict[str, Any]:
        """Waits for the ready line. Raises CommandError with what the process said instead."""
        found: list[bytes] = []
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        stdout = self._process.stdout
        reader = threading.Thread(target=lambda: found.append(stdout.readline()), daemon=True)
        reader.start()
        reader.join(READY_SECONDS)
        try:
            line = json.loads(found[0]) if found else None
        except ValueError:
            line = None
        if not isinstance(line, dict) or line.get("event") != "ready":
            raise CommandError(f"the {self._name} did not start:\n{self.tail()}")
        return line

    def tail(self, size: int = 3000) -> str:
        """The end of what it logged."""
        return self._log.read_bytes()[-size:].decode("utf-8", "replace").strip() or "it said nothing"

    def stop(self) -> None:
        """Ends it: asked first, killed after a while."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def wait(self) -> int:
        """Waits until it ends by itself."""
        return self._process.wait()


def _clean_environment() -> dict[str, str]:
    """The environment without Keyreeve's own variables: the demo never touches a real installation."""
    return {name: value for name, value in environment().items() if not name.startswith("KEYREEVE_")}


class Stage:
    """A folder with a running simulator and server. Use it in a `with`: leaving it removes all of it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="keyreeve-demo-"))
        # Started as root, serving and PostgreSQL are other users, who must be able to pass.
        self.folder.chmod(0o711)
        self.data_dir = self.folder / "data"
        self._children: list[Child] = []
        self.simulator: Simulator
        self.url = ""
        self.admin_key = ""
        self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            child.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_simulator(self) -> None:
        """Starts the simulator with the demo's account, zones and engineers, and puts its description in place."""
        argv = [sys.executable, "-m", "connectors.simulators.cloudflare", "--port", "0", "--demo"]
        line = self._start("simulator", argv)
        self.simulator = Simulator(**{name: line[name] for name in Simulator.__slots__})
        specs = self.data_dir / "specs"
        specs.mkdir(mode=0o755, parents=True)
        self.data_dir.chmod(0o700)
        document = httpx.get(self.simulator.spec_url, timeout=10, trust_env=False)
        document.raise_for_status()
        (specs / SPEC_NAME).write_bytes(document.content)
        (specs / SPEC_NAME).chmod(0o644)

    def start_server(self) -> None:
        """Starts `keyreeve up` beside it. `seconds` then tells how long that took."""
        upstream = urlsplit(self.simulator.url).netloc
        argv = [sys.executable, "-m", "broker.cli", "up", "--json", "--port", "0"]
        argv += ["--data-dir", str(self.data_dir), "--allow-upstream", upstream]
        began = time.monotonic()
        line = self._start("server", argv)
        self.seconds = time.monotonic() - began
        self.url = line["url"]
        self.admin_key = Path(line["admin_key_file"]).read_text(encoding="ascii").strip()

    def _start(self, name: str, argv: list[str]) -> dict[str, Any]:
        child = Child(name, argv, self.folder / f"{name}.log")
        self._children.append(child)
        return child.ready()

    def logged(self, event: str) -> dict[str, Any] | None:
        """The server's newest log line of that name, or None."""
        found = None
        for line in (self.folder / "server.log").read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("event") == event:
                found = entry
        return found

    def server_log(self) -> str:
        """The end of the server's log."""
        return self._children[-1].tail()

    def wait(self) -> None:
        """Waits until the server ends, or Ctrl-C."""
        self._children[-1].wait()


def fingerprint_of(credential: str) -> str:
    """What the simulator's journal calls a credential: 16 hex digits of its SHA-256."""
    import hashlib

    return hashlib.sha256(credential.encode()).hexdigest()[:16]
