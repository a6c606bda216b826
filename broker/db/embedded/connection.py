"""Where the embedded server listens and with which passwords."""

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["owner", "app", "superuser"]


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
        from sqlalchemy import URL  # heavy, and `up` comes by without it

        user, password = self._login(role)
        query = {"host": self.socket_dir, "port": str(self.port)}
        made = URL.create("postgresql+asyncpg", user, password, database=self.database, query=query)
        return made.render_as_string(hide_password=False)
