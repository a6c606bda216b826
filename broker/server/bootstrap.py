"""The first start: the platform key, tenant `default`, and an operator key to begin with. Every step is repeatable."""

import os
from datetime import datetime
from pathlib import Path

import structlog

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.identity.tenants import Tenants
from broker.ids import NIL
from vault.store import Vault

_log = structlog.get_logger(__name__)


async def prepare(db: Database, vault_: Vault, trail: AuditTrail, admin_key_path: Path, now: datetime) -> bool:
    """Makes what a fresh installation needs; returns whether it was the first start.

    The operator key is written (0600) before the transaction that makes it valid commits: a crash between the two
    leaves a file that opens nothing, never a key that nobody holds.
    """
    async with db.platform() as conn:
        await vault_.keyring.ensure(conn, NIL, now)
    await vault_.load_platform_key()

    def keep(key: str) -> None:
        write_private(admin_key_path, key + "\n")

    first = await Tenants(db=db, keyring=vault_.keyring, trail=trail).bootstrap(now, keep)
    if first:
        _log.info("first start", admin_key_file=str(admin_key_path))
    return first


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
