"""Where the embedded server listens and with which passwords; and how that reaches the processes that need it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO, Literal

from sqlalchemy import URL

Role = Literal["owner", "app", "superuser"]

HANDOFF_BYTES = 32 * 1024
"""Below a pipe's capacity (64 KiB), so that writing one before its reader exists never blocks."""


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One server's address and roles. A password that is `None` was withheld from this process."""

    socket_dir: str
    port: int = 5432
    database: str = "keyreeve"
    superuser: str = "postgres"
    owner_role: str = "keyreeve_owner"
    app_role: str = "keyreeve_app"
    superuser_password: str | None = field(default=None, repr=False)
    owner_password: str | None = field(default=None, repr=False)
    app_password: str | None = field(default=None, repr=False)

    def _login(self, role: Role) -> tuple[str, str]:
        user, password = {
            "owner": (self.owner_role, self.owner_password),
            "app": (self.app_role, self.app_password),
            "superuser": (self.superuser, self.superuser_password),
        }[role]
        if password is None:
            raise PermissionError(f"this process was not given the database role {user}")
        return user, password

    def connect_kwargs(self, role: Role) -> dict[str, Any]:
        """Arguments for `asyncpg.connect` or `create_pool`. Raises `PermissionError` for a withheld role."""
        user, password = self._login(role)
        return {
            "host": self.socket_dir,
            "port": self.port,
            "user": user,
            "password": password,
            "database": self.database,
        }

    def url(self, role: Role) -> str:
        """SQLAlchemy's spelling of the same (it holds the password). Raises `PermissionError` for a withheld role."""
        user, password = self._login(role)
        query = {"host": self.socket_dir, "port": str(self.port)}
        made = URL.create("postgresql+asyncpg", user, password, database=self.database, query=query)
        return made.render_as_string(hide_password=False)

    def for_serving(self) -> "ConnectionInfo":
        """The same address with the role `keyreeve_app` only: all that a serving process may hold."""
        return replace(self, superuser_password=None, owner_password=None)


@dataclass(frozen=True, slots=True)
class Handoff:
    """What the keeper tells a child, once, as one JSON document on the child's standard input.

    Standard input rather than the environment or the command line: nobody can read it from `/proc`, and it does not
    pass on to grandchildren. `database` is None where the database is not the embedded one; `extra` carries other
    secrets taken from the parent's environment.
    """

    database: ConnectionInfo | None
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    def encode(self) -> bytes:
        """The document. Raises `ValueError` above `HANDOFF_BYTES`."""
        database = None if self.database is None else asdict(self.database)
        document = json.dumps({"database": database, "extra": dict(self.extra)}).encode()
        if len(document) > HANDOFF_BYTES:
            raise ValueError(f"the hand-off is {len(document)} bytes; at most {HANDOFF_BYTES} fit")
        return document

    @classmethod
    def read(cls, stream: BinaryIO) -> "Handoff":
        """Reads the document up to its end (`sys.stdin.buffer` in a child). Raises `ValueError` when it is not one."""
        document = json.loads(stream.read(HANDOFF_BYTES + 1))
        if not isinstance(document, dict) or set(document) != {"database", "extra"}:
            raise ValueError("standard input holds no hand-off from the keeper")
        database = document["database"]
        return cls(None if database is None else ConnectionInfo(**database), document["extra"])
