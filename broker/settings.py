"""Settings: one frozen object, made once from the command line and the environment, then passed along.

Key material is never a setting but the *path* of a file or, for `KEYREEVE_ROOT_KEY`, a value handed on to the vault's
root-key provider and dropped from the environment.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one process takes on. Sizes in bytes, times in seconds.

    `requests_per_tenant` of a tenant (or of an address, before a bearer was accepted) are in hand at once, at work or
    in line, and while several tenants ask at the same time `requests_at_work` of them at work (broker/turns.py).

    Those of programs (Code Mode): `code_seconds` and `search_seconds` are CPU time of one run, `code_requests` the
    requests it may make, `code_runs_per_tenant` how many runs of one tenant go on at once.
    """

    request_bytes: int = 26 * 1024 * 1024
    admin_request_bytes: int = 256 * 1024
    response_bytes: int = 50 * 1024 * 1024
    request_seconds: float = 120.0
    call_seconds: float = 30.0
    call_seconds_max: float = 100.0
    max_wait_seconds: float = 30.0
    in_flight_per_tenant: int = 256
    in_flight_per_identity: int = 32
    requests_per_tenant: int = 256
    requests_at_work: int = 2
    egress_per_second: int = 200
    drain_seconds: float = 20.0
    audit_retention_days: int = 90
    code_seconds: float = 1.0
    search_seconds: float = 4.0
    code_heap_bytes: int = 64 * 1024 * 1024
    code_requests: int = 200
    code_requests_at_once: int = 8
    code_runs_per_tenant: int = 8
    code_runs_per_worker: int = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """How this installation runs. Every field's default is the safe one.

    `public_url` is the sole source of absolute URLs and of accepted Host names. `allow_upstream` holds (host, port)
    pairs that connections may reach although private or plain http. `database_url` None means the embedded server.
    `sandbox_workers` processes run programs, each of several at a time unless `sandbox_isolate`; none starts on a
    machine that cannot lock it in, unless `allow_unhardened_sandbox`.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8700
    public_url: str | None = None
    trusted_proxy: bool = False
    allow_upstream: frozenset[tuple[str, int]] = frozenset()
    database_url: str | None = field(default=None, repr=False)
    database_owner_url: str | None = field(default=None, repr=False)
    root_key_value: str | None = field(default=None, repr=False)
    root_key_file: Path | None = None
    workers: int = 1
    node: str = ""
    json_logs: bool = True
    sandbox_workers: int = 2
    sandbox_isolate: bool = False
    allow_unhardened_sandbox: bool = False
    limits: Limits = Limits()

    @property
    def root_key_path(self) -> Path:
        return self.root_key_file or self.data_dir / "root.key"

    @property
    def admin_key_path(self) -> Path:
        return self.data_dir / "admin.key"

    @property
    def images_dir(self) -> Path:
        """Where the sandbox keeps the memory images that it loads unseen: nobody else may enter."""
        return self.data_dir / "run" / "images"

    @property
    def clients_dir(self) -> Path:
        """Client-id metadata documents that are not fetched (`identity/oauth/server.py`)."""
        return self.data_dir / "clients"

    @property
    def spec_dir(self) -> Path:
        return self.data_dir / "specs"


def default_data_dir(environ: Mapping[str, str], uid: int) -> Path:
    """`/var/lib/keyreeve` as root, else `$XDG_DATA_HOME/keyreeve` or `~/.local/share/keyreeve`."""
    if uid == 0:
        return Path("/var/lib/keyreeve")
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "keyreeve"


def environment() -> dict[str, str]:
    """The process's environment, read here and nowhere else."""
    return dict(os.environ)  # noqa: TID251 - the one place that reads it


def take_secret(name: str) -> str | None:
    """The value of a variable that holds a secret; it is removed so that no child and no crash report inherits it."""
    return os.environ.pop(name, None)  # noqa: TID251 - the one place that reads it
