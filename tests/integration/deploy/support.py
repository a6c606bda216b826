"""PostgreSQL's own programs, as the runbook has an operator run them."""

import os
import subprocess
from pathlib import Path

from broker.db.embedded.binaries import find_binaries
from broker.db.embedded.connection import ConnectionInfo

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
OWNER, APP = "o" * 24, "a" * 24


def tool(info: ConnectionInfo, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `psql`, `pg_dump`, … as the superuser of `info`, with these variables in its environment."""
    superuser = info.connect_kwargs("superuser")
    place = {"PGHOST": superuser["host"], "PGPORT": str(superuser["port"]), "PGUSER": superuser["user"]}
    return subprocess.run(
        [str(find_binaries(None).bin / program), *arguments],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": superuser["password"], **place, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def make_roles(info: ConnectionInfo) -> None:
    """Runs `roles.sql` with fixed passwords."""
    script = str(DEPLOY / "roles.sql")
    given = {"KEYREEVE_OWNER_PASSWORD": OWNER, "KEYREEVE_APP_PASSWORD": APP}
    done = tool(info, "psql", "-X", "-d", "postgres", "-f", script, **given)
    assert done.returncode == 0, done.stderr


def migrate_url(info: ConnectionInfo) -> str:
    """Where migrations go, as the owner that `make_roles` made."""
    superuser = info.connect_kwargs("superuser")
    return f"postgresql+asyncpg://keyreeve_owner:{OWNER}@/keyreeve?host={superuser['host']}&port={superuser['port']}"
