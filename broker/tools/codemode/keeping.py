"""What programs leave behind, sealed: their text for as long as the audit keeps their execution, their results for
an hour."""

import asyncio
import hashlib
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson
import structlog
from sqlalchemy import text

from broker.audit.events import ExecutionDone
from broker.audit.query import Reach
from broker.audit.trail import AuditTrail
from broker.db import functions
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem
from connectors.base import EFFECT_RANK
from vault.binding import BlobBinding
from vault.errors import VaultError
from vault.store import Vault

_log = structlog.get_logger(__name__)

CODE_PURPOSE: Final = "program"
RESULT_PURPOSE: Final = "code-result"
RESULT_SECONDS: Final = 3600
RESULTS_MOST: Final = 32
"""Results an identity may have kept at once."""
RESULTS_BYTES: Final = 32 * 1024 * 1024
"""And how much they may take together, compressed and sealed."""
RESULT_BYTES: Final = 16 * 1024 * 1024
_PACKED_FROM: Final = 2_048
_OFF_THE_LOOP: Final = 65_536
_PLAIN, _ZIPPED = b"\0", b"\1"

_CODE: Final = text(
    "select at, digest, code from broker.programs where tenant_id = :tenant and execution_id = :execution"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a kept result is: the identity, the bearer's whole family, the connection and account it came through."""

    identity_id: UUID
    root_id: UUID
    connection_id: UUID
    account_id: UUID | None
    access: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """That an execution has begun: `facts` (`audit.rows.facts_of`) are what the sweeper writes of one whose process
    went; it is over in `seconds`, however it ends."""

    facts: Mapping[str, Any]
    seconds: float


class Keeping:
    """One per process."""

    def __init__(self, db: Database, vault_: Vault, trail: AuditTrail, reach: Reach) -> None:
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._reach = reach

    async def keep_code(
        self, tenant_id: UUID, execution_id: UUID, at: datetime, code: str, begun: Begun | None = None
    ) -> None:
        """Makes the program's text durable, and with `begun` that its execution is open until `finish`. Raises Problem
        `unavailable`."""
        try:
            sealed = await self._vault.seal_blob(_code(tenant_id, execution_id), code.encode())
            await self._db.pool.execute(
                functions.call("select broker.code_kept{v}($1, $2, $3, $4, $5, $6, $7, $8)"),
                tenant_id, execution_id, at, digest_of(code), sealed, self._trail.boot,
                0.0 if begun is None else begun.seconds,
                None if begun is None else orjson.dumps(begun.facts).decode(),
            )  # fmt: skip
        except (VaultError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise _unwritten() from error

    async def withdraw(self, tenant_id: UUID, execution_id: UUID) -> None:
        """Says that an execution kept as begun was refused before it did anything. Where that cannot be written, the
        sweeper ends it, without a write."""
        try:
            await self._db.pool.execute(
                functions.call("select broker.code_withdrawn{v}($1, $2)"), tenant_id, execution_id
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.warning("execution_not_withdrawn", execution_id=str(execution_id), error=type(error).__name__)

    async def finish(
        self,
        event: ExecutionDone,
        code: str | None,
        result: bytes | None,
        owner: Owner,
        grants: Collection[str] = (),
    ) -> None:
        """Writes the execution's event, with its program and result, in one transaction. `grants` are the fingerprints
        (`standing.py`) of what it stood on. Raises Problem `unavailable`."""
        tenant_id, execution_id = event.caller.tenant_id, event.execution_id
        try:
            row = await self._trail.row(event)
            sealed_code = None
            if code is not None:
                sealed_code = await self._vault.seal_blob(_code(tenant_id, execution_id), code.encode())
            sealed = await self._sealed(tenant_id, execution_id, result)
            await self._db.pool.execute(
                functions.call(
                    "select broker.code_done{v}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
                ),
                row.as_record(), None if code is None else digest_of(code), sealed_code,
                sealed, owner.identity_id, owner.root_id, owner.connection_id, owner.account_id, owner.access,
                RESULT_SECONDS, RESULTS_MOST, RESULTS_BYTES, sorted(grants),
            )  # fmt: skip
        except (VaultError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.exception("execution_not_written", execution_id=str(execution_id))
            raise _unwritten() from error

    async def _sealed(self, tenant_id: UUID, execution_id: UUID, result: bytes | None) -> bytes | None:
        if result is None or len(result) > RESULT_BYTES:
            return None
        packed = _PLAIN + result
        if len(result) >= _OFF_THE_LOOP:
            packed = _ZIPPED + await asyncio.to_thread(zlib.compress, result, 1)
        elif len(result) >= _PACKED_FROM:
            packed = _ZIPPED + zlib.compress(result, 1)
        return await self._vault.seal_blob(_result(tenant_id, execution_id), packed)

    async def previous(self, tenant_id: UUID, execution_id: UUID, owner: Owner, grants: Collection[str] = ()) -> bytes:
        """The whole result of an earlier execution of the same caller, as JSON. `grants`: what the caller stands on
        now. Raises Problem `not_found`, and `not_granted` where what it was made under does not count any more."""
        row = await self._db.pool.fetchrow(
            functions.call("select * from broker.code_previous{v}($1, $2, $3, $4, $5, $6, $7)"),
            tenant_id, execution_id, owner.identity_id, owner.root_id, owner.connection_id, owner.account_id,
            sorted(grants),
        )  # fmt: skip
        if row is None or row["result"] is None or _rank(row["access"]) > _rank(owner.access):
            raise Problem(
                "not_found",
                f"no result of an execution {execution_id} of yours is kept",
                hint="results are kept for an hour, for their maker; run the requests again",
            )
        if not row["stands"]:
            raise Problem(
                "not_granted",
                f"the result of {execution_id} was made under grants of which one has ended or was narrowed since",
                hint="run its requests again: what is granted now is answered",
                fix="model",
            )
        packed = await self._vault.open_blob(_result(tenant_id, execution_id), bytes(row["result"]))
        return await asyncio.to_thread(_unpacked, packed)

    async def code(self, caller: Caller, execution_id: UUID) -> dict[str, Any]:
        """The program of an execution, for a reviewer; that it was read is written down. Raises Problem `forbidden`,
        `not_found`."""
        self._reach(caller, "programs.read")
        async with self._db.tenant(caller.tenant_id) as conn:
            params = {"tenant": caller.tenant_id, "execution": execution_id}
            row = (await conn.execute(_CODE, params)).one_or_none()
            if row is None:
                raise Problem("not_found", "there is no program of such an execution")
            await self._trail.change(
                conn, caller, "program.read", details={"execution_id": str(execution_id), "digest": row.digest}
            )
        code = await self._vault.open_blob(_code(caller.tenant_id, execution_id), bytes(row.code))
        return {"execution_id": str(execution_id), "at": row.at, "code_digest": row.digest, "code": code.decode()}


def digest_of(code: str) -> str:
    """The SHA-256 of a program's text, in hex: anyone who has the text can compare."""
    return hashlib.sha256(code.encode()).hexdigest()


def _unpacked(packed: bytes) -> bytes:
    return packed[1:] if packed[:1] == _PLAIN else zlib.decompressobj().decompress(packed[1:], RESULT_BYTES)


def _rank(access: str | None) -> int:
    return len(EFFECT_RANK) if access is None else EFFECT_RANK[access]


def _code(tenant_id: UUID, execution_id: UUID) -> BlobBinding:
    return BlobBinding(tenant_id, CODE_PURPOSE, str(execution_id))


def _result(tenant_id: UUID, execution_id: UUID) -> BlobBinding:
    return BlobBinding(tenant_id, RESULT_PURPOSE, str(execution_id))


def _unwritten() -> Problem:
    return Problem("unavailable", "the execution could not be written to the audit", retry_after=2, fix="wait")
