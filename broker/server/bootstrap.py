"""The first start: the platform key, tenant `default`, and an operator key to begin with. Every step is repeatable."""

from datetime import datetime
from pathlib import Path

import structlog

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.identity.tenants import Tenants
from broker.ids import NIL
from broker.server.files import write_private
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
