"""The lowest parts of a process: what is needed to read and write sealed things, with a record of it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker.audit.trail import AuditTrail
from broker.clock import Clock, SystemClock
from broker.db.database import Database
from broker.db.server_checks import ExternalDatabase
from broker.gate.nodes import NodeInfo
from broker.ids import new_id
from broker.metrics import Metrics
from vault.keyring import Keyring
from vault.keys import EnvRootKey
from vault.keystore import SqlKeyStore
from vault.store import Vault


@dataclass(frozen=True, slots=True)
class Sealed:
    """The lowest parts: what is needed to read and write sealed things with a record of it."""

    db: Database
    vault_: Vault
    trail: AuditTrail
    metrics: Metrics
    clock: Clock
    node: NodeInfo


@asynccontextmanager
async def sealed_storage(
    database: ExternalDatabase, root_key: str, node: str, *, metrics: Metrics | None = None
) -> AsyncIterator[Sealed]:
    """Database, vault and audit trail, without a server around them. `node` empty: the host's name."""
    db = await Database.open(
        url=database.url(), connect=database.connect_kwargs(), engine_arguments=database.engine_arguments()
    )
    try:
        vault_ = Vault(Keyring(SqlKeyStore(db.tenant), EnvRootKey(root_key)))
        clock, counted = SystemClock(), metrics or Metrics()
        me = NodeInfo((node or socket.gethostname())[:100], new_id())
        trail = AuditTrail(vault_=vault_, db=db, node=me.node, boot=me.boot, clock=clock, metrics=counted)
        yield Sealed(db, vault_, trail, counted, clock, me)
    finally:
        await db.close()
