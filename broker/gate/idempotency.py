"""Idempotency keys: a whole execution runs once within (tenant, identity, key or session's client, account, tool).

The result is kept sealed for 24 h. Whoever asks again with the same key and the same request gets it, after policy has
judged anew (the caller of `begin` sees to that). A run whose outcome is not known is never repeated by us.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import orjson
import structlog

from broker.db import functions
from broker.db.database import Database
from broker.domain import Account, Caller, Resolved
from broker.errors import Problem, invalid
from connectors.base import Prepared
from vault.binding import BlobBinding
from vault.store import Vault

_log = structlog.get_logger(__name__)

PURPOSE: Final = "idempotent-result"
RESULT_BYTES_MAX: Final = 1024 * 1024
"""A larger result is not kept: the replay says that it was done, without the data."""
KEY_LENGTH_MAX: Final = 200
_BINARY: Final = b'{"$binary":'
_SETTLING = timedelta(seconds=30)
"""After its deadline a run has this long to write its result down."""


class Run(Protocol):
    """What an execution is within which a key counts. A CallRequest is one."""

    @property
    def resolved(self) -> Resolved: ...
    @property
    def account(self) -> Account: ...
    @property
    def tool_name(self) -> str: ...
    @property
    def execution_id(self) -> UUID: ...
    @property
    def deadline(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """The key is ours: run, then call exactly one of `finish`, `failed`, `unknown`."""

    tenant_id: UUID
    scope: bytes
    execution_id: UUID


@dataclass(frozen=True, slots=True)
class Replay:
    """It ran before. `result` is what `finish` was given; its `data` is raw JSON (`orjson.Fragment`), byte for byte.

    `kept` False: the result was larger than 1 MiB, and `data` is None.
    """

    result: Mapping[str, Any]
    kept: bool = True


class Idempotency:
    """One per process."""

    def __init__(self, db: Database, vault_: Vault) -> None:
        self._db = db
        self._vault = vault_

    async def begin(self, run: "Run", request: Prepared | bytes, key: str) -> Claim | Replay:
        """Takes `key` (1..200 printable characters) for `request`: the one call, or the bytes that mean the same run
        whenever they are equal. Raises Problem `idempotency_conflict`, `idempotency_in_progress`,
        `outcome_unknown`, `invalid_input`."""
        if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isprintable():
            raise invalid("idempotency_key", f"must be 1 to {KEY_LENGTH_MAX} printable characters")
        caller = run.resolved.caller
        asked = request if isinstance(request, bytes) else _request(request)
        scope = self._vault.platform_digest("idempotency-scope", _scope(caller, run, key))
        digest = self._vault.platform_digest("idempotency-request", asked)
        row = await self._db.pool.fetchrow(
            functions.call("select * from broker.idem_begin{v}($1, $2, $3, $4, $5)"),
            caller.tenant_id,
            scope,
            digest,
            run.execution_id,
            run.deadline + _SETTLING,
        )
        state = row["state"]
        if state == "begun":
            return Claim(caller.tenant_id, scope, run.execution_id)
        if state == "done":
            return await self._replay(caller.tenant_id, scope, row["execution_id"], row["result"])
        raise _taken(state, row["execution_id"], row["retry_ms"])

    async def finish(self, claim: Claim, result: Mapping[str, Any]) -> None:
        """Keeps the result. A single call that met the upstream's 429 did nothing, so it frees the key instead."""
        error = result.get("error")
        if isinstance(error, Mapping) and error.get("status") == 429 and len(result.get("calls", ())) <= 1:
            await self._end(claim, None, None)
            return
        packed = _pack(result)
        if len(packed) > RESULT_BYTES_MAX:
            packed = _pack({**result, "data": None, "kept": False})
        sealed = await self._vault.seal_blob(_binding(claim.tenant_id, claim.scope, claim.execution_id), packed)
        await self._end(claim, "done", sealed)

    async def failed(self, claim: Claim, problem: Problem) -> None:
        """It ended without a result: what was never sent frees the key, anything else stays unknown."""
        await self._end(claim, "unknown" if problem.sent in (True, "unknown") else None, None)

    async def unknown(self, claim: Claim) -> None:
        """It was cut off: nobody knows how far it came."""
        await self._end(claim, "unknown", None)

    async def expire(self, tenant_id: UUID, limit: int = 1000) -> int:
        """Removes a tenant's keys that are older than 24 h, at most `limit`; how many."""
        statement = functions.call("select broker.idem_expire{v}($1, $2)")
        gone: int = await self._db.pool.fetchval(statement, tenant_id, limit)
        return gone

    async def _end(self, claim: Claim, state: str | None, sealed: bytes | None) -> None:
        ended = await self._db.pool.fetchval(
            functions.call("select broker.idem_end{v}($1, $2, $3, $4, $5)"),
            claim.tenant_id,
            claim.scope,
            claim.execution_id,
            state,
            sealed,
        )
        if not ended:
            _log.warning("idempotency_key_gone", execution_id=str(claim.execution_id))

    async def _replay(self, tenant_id: UUID, scope: bytes, execution_id: UUID, sealed: bytes) -> Replay:
        packed = await self._vault.open_blob(_binding(tenant_id, scope, execution_id), sealed)
        result = _unpack(packed)
        return Replay(result, kept=result.pop("kept", True))


def _taken(state: str, execution_id: UUID | None, retry_ms: int | None) -> Problem:
    named = None if execution_id is None else str(execution_id)
    if state == "conflict":
        return Problem(
            "idempotency_conflict",
            "this idempotency key was used for another request in the last 24 h",
            hint="use a fresh key for a new request",
            execution_id=named,
            sent=False,
        )
    if state == "running":
        return Problem(
            "idempotency_in_progress",
            "the same call is still running",
            hint="repeat it after retry_after: it answers with the first one's result",
            retry_after=max(1, min(-(-(retry_ms or 1000) // 1000), 5)),
            execution_id=named,
        )
    return Problem(
        "outcome_unknown",
        "the first call with this idempotency key was cut off; it may have been done, and is not repeated",
        hint="look at the upstream, then use a fresh key if it has to be done again",
        execution_id=named,
        sent="unknown",
    )


def _binding(tenant_id: UUID, scope: bytes, execution_id: UUID) -> BlobBinding:
    return BlobBinding(tenant_id, PURPOSE, f"{scope.hex()}:{execution_id}")


def _joined(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _scope(caller: Caller, run: "Run", key: str) -> bytes:
    # Sessions come and go every quarter of an hour: theirs is the client's name, a key's its own id.
    session = caller.bearer.kind == "session"
    holder = f"client:{caller.client or ''}" if session else f"bearer:{caller.bearer.id}"
    identity = b"" if caller.identity is None else caller.identity.id.bytes
    return _joined(
        caller.tenant_id.bytes, identity, holder.encode(), run.account.id.bytes, run.tool_name.encode(), key.encode()
    )


def _request(prepared: Prepared) -> bytes:
    headers = "\n".join(f"{name.lower()}:{value}" for name, value in prepared.headers)
    target = f"{prepared.method} {prepared.origin} {prepared.path}?{prepared.query}"
    return _joined(target.encode(), headers.encode(), hashlib.sha256(prepared.body or b"").digest())


def _pack(result: Mapping[str, Any]) -> bytes:
    """The data apart from the rest, as the very bytes that were answered."""
    data = result.get("data")
    rest = orjson.dumps({k: v for k, v in result.items() if k != "data"})
    return _joined(rest) + _encoded(data)


def _encoded(data: Any) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError:
        # Integers beyond 64 bits: the slow way is exact.
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _unpack(packed: bytes) -> dict[str, Any]:
    length = int.from_bytes(packed[:8], "big")
    rest: dict[str, Any] = orjson.loads(packed[8 : 8 + length])
    data = packed[8 + length :]
    # A binary's envelope is ours, and is looked into again on its way out; an upstream's body stays as it came.
    rest["data"] = orjson.loads(data) if data.startswith(_BINARY) else orjson.Fragment(data)
    return rest
