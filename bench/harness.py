"""A whole installation under test: the Cloudflare simulator and `keyreeve up`, each a process of its own, on loopback.

Used by the end-to-end tests, the security batteries and the measurements. Everything is started by its public command
and driven over its public API; the database's superuser is used only to look at what was stored.
"""

import json
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import httpx

from bench.kit import EVERYTHING, SPEC_NAME, Api, TenantKit, Transcript
from bench.processes import Process, children
from broker.db.embedded.home import recorded

CONTROL_TOKEN = "harness-control"
PLENTY = 10_000_000


class Simulator:
    """The Cloudflare simulator in a process of its own, with one account, two zones and no limit to speak of."""

    def __init__(self, folder: Path, *, limits: Mapping[str, Any] | None = None) -> None:
        state = {
            "users": [{"email": "root@acme.example"}],
            "accounts": [{"name": "acme", "members": ["root@acme.example"]}],
            "zones": [
                {"name": name, "account": "acme", "records": [{"type": "A", "name": "@", "content": "203.0.113.1"}]}
                for name in ("example.com", "example.org")
            ],
            "limits": dict(limits or {"limit": PLENTY}),
            "control_token": CONTROL_TOKEN,
        }
        file = folder / "simulator.state.json"
        file.write_text(json.dumps(state))
        command = [sys.executable, "-m", "connectors.simulators.cloudflare", "--state", str(file)]
        self.process = Process("simulator", command, folder)
        ready = self.process.start()
        self.url: str = ready["url"]
        self.base_url: str = ready["base_url"]
        self.address = self.url.removeprefix("http://")
        self._control = httpx.Client(
            base_url=ready["control_url"], headers={"x-sim-control": CONTROL_TOKEN}, timeout=30, trust_env=False
        )
        known = self.control("GET", "/credentials")
        self.account_id: str = known["accounts"][0]["id"]
        self.zones: dict[str, str] = {zone["name"]: zone["id"] for zone in known["zones"]}

    def control(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One call of the control plane. Raises AssertionError with what it says where it refuses."""
        reply = self._control.request(method, path, json=body, params=query or None)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def description(self) -> bytes:
        """Its OpenAPI document."""
        return httpx.get(f"{self.url}/openapi.json", trust_env=False).content

    def token(
        self,
        email: str | None = None,
        *,
        permissions: Sequence[str] = EVERYTHING,
        zones: Sequence[str] = (),
    ) -> dict[str, Any]:
        """A user API token `{id, value, principal}`; of a new user where no e-mail address is given."""
        if email is None:
            email = f"{secrets.token_hex(6)}@acme.example"
            self.control("POST", "/users", {"email": email, "accounts": ["acme"]})
        wanted = {"user": email, "permissions": list(permissions), "zones": list(zones)}
        made: dict[str, Any] = self.control("POST", "/tokens", wanted)
        return made

    def journal(self, **query: Any) -> list[dict[str, Any]]:
        """What arrived; at most 100,000 entries unless `limit` says otherwise."""
        found: list[dict[str, Any]] = self.control("GET", "/journal", **({"limit": 100_000} | query))["items"]
        return found

    def fault(self, kind: str, *, times: int | None = 1, match: Mapping[str, Any] | None = None, **params: Any) -> int:
        """Puts a fault in force; its id."""
        body = {"kind": kind, "times": times, "match": dict(match or {}), "params": params}
        return int(self.control("POST", "/faults", body)["id"])

    def clear_faults(self) -> None:
        """Takes all faults out of force."""
        self.control("DELETE", "/faults")

    def stop(self) -> None:
        """Ends it."""
        self._control.close()
        self.process.stop()


class Installation:
    """`keyreeve up` over a data directory of its own, which outlives stops and kills until `remove`."""

    def __init__(
        self,
        folder: Path,
        *,
        upstreams: Sequence[str],
        specs: Mapping[str, bytes] | None = None,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        name: str = "keyreeve",
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        specs_dir = self.data_dir / "specs"
        specs_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        for spec, content in (specs or {}).items():
            (specs_dir / spec).write_bytes(content)
            (specs_dir / spec).chmod(0o644)
        self.transcript = Transcript(folder / "transcript")
        self._env = dict(env or {})
        self._port = free_port()
        allow = [part for upstream in upstreams for part in ("--allow-upstream", upstream)]
        self._command = [*keyreeve_command(), "up", "--json", "--data-dir", str(self.data_dir), *allow, *arguments]
        self.process = Process(name, self._command, folder)
        self.url = ""

    def start(self) -> float:
        """Starts it (again, on the same port); seconds until it said that it serves. Raises DidNotStart."""
        self.process.command = [*self._command, "--port", str(self._port)]
        began = time.perf_counter()
        self.url = self.process.start(self._env)["url"]
        self._port = int(self.url.rpartition(":")[2])
        return time.perf_counter() - began

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self.process.stop()

    @property
    def admin_key(self) -> str:
        """The platform admin's key of the first start."""
        return Path(self.process.ready["admin_key_file"]).read_text(encoding="ascii").strip()

    def api(self, key: str | None, *, tenant: str | None = None) -> Api:
        """A client for this key."""
        return Api(self.url, key, self.transcript, tenant=tenant)

    def database(self) -> dict[str, Any]:
        """asyncpg's arguments for the embedded server's superuser."""
        info = recorded(self.data_dir)
        assert info is not None, "there is no embedded database in this data directory"
        return info.connect_kwargs("superuser")

    def postgres_pid(self) -> int:
        """The postmaster's process id."""
        return int((self.data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

    def workers(self) -> list[int]:
        """The process ids of the serving processes: children of the zygote."""
        return children(self.zygote())

    def zygote(self) -> int:
        """The process id of what the serving processes are forked from: the child of `up` that is not PostgreSQL."""
        postmaster = self.postgres_pid()
        return next(pid for pid in children(self.process.pid) if pid != postmaster)

    def logs(self) -> bytes:
        """Everything it wrote to standard output and standard error."""
        return self.process.out.read_bytes() + self.process.err.read_bytes()


class Upstream(Protocol):
    """What a connection is made to: the simulator, or the lean upstream of the measurements (bench/upstream.py)."""

    process: Process
    url: str
    base_url: str
    address: str

    def description(self) -> bytes:
        """Its OpenAPI document."""

    def stop(self) -> None:
        """Ends it."""


U = TypeVar("U", bound=Upstream)


class Installed(Generic[U]):
    """An upstream, an installation that may reach it, and a platform admin's client. A context manager."""

    def __init__(
        self, upstream: Callable[[Path], U], *, arguments: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        # Other users must be able to pass: started as root, serving and PostgreSQL leave root.
        self.folder = Path(tempfile.mkdtemp(prefix="krv-e2e-"))
        self.folder.chmod(0o755)
        self._started: list[Any] = []
        self._clients: list[Api] = []
        try:
            self.upstream = upstream(self.folder)
            self._started.append(self.upstream)
            self.server = Installation(
                self.folder,
                upstreams=[self.upstream.address],
                specs={SPEC_NAME: self.upstream.description()},
                arguments=arguments,
                env=env,
            )
            self._started.append(self.server)
            self.first_start_seconds = self.server.start()
            self.admin = self.server.api(self.server.admin_key)
            self._clients = [self.admin]
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The server's origin."""
        return self.server.url

    @property
    def data_dir(self) -> Path:
        """The server's data directory."""
        return self.server.data_dir

    @property
    def admin_key(self) -> str:
        """The platform admin's key."""
        return self.server.admin_key

    def tenant(self, name: str | None = None) -> TenantKit:
        """A new tenant."""
        chosen = name or f"t{secrets.token_hex(6)}"
        made = self.admin.ok("POST", "/v1/tenants", {"name": chosen})
        return TenantKit(self, chosen, made["admin_key"])

    def default_tenant(self) -> TenantKit:
        """The tenant `default`, with the platform admin's key."""
        return TenantKit(self, "default", self.admin_key)

    def close(self) -> None:
        """Stops everything and removes the folder."""
        for client in self._clients:
            client.close()
        for part in reversed(self._started):
            part.stop()
        self._started.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stand(Installed[Simulator]):
    """An installation beside the simulator: what end-to-end tests run against."""

    def __init__(self, *, arguments: Sequence[str] = (), limits: Mapping[str, Any] | None = None) -> None:
        super().__init__(lambda folder: Simulator(folder, limits=limits), arguments=arguments)

    @property
    def simulator(self) -> Simulator:
        """The upstream."""
        return self.upstream


def free_port() -> int:
    """A loopback port that nobody listens on, outside the range that outgoing connections take theirs from.

    Inside it a client that keeps knocking at a dead server's port is, sooner or later, given that very port as its own,
    connects to itself, and the server cannot have it back.
    """
    while True:
        port = 15_000 + secrets.randbelow(15_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def keyreeve_command() -> list[str]:
    """The installed command, as people run it; the module where it is not installed beside this interpreter."""
    script = Path(sys.executable).with_name("keyreeve")
    return [str(script)] if script.exists() else [sys.executable, "-m", "broker.cli"]
