"""Getting an OpenAPI description: fetched over the one way out or read from the operator's folder, compiled in a
subprocess, stored by content hash. The bytes are hostile until the compiler has bounded them.
"""

import asyncio
import gzip
import hashlib
import io
import os
import re
import stat
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import structlog
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from broker.accounts.tables import spec_blobs
from broker.db import functions
from broker.db.database import Database
from broker.errors import Field, Problem
from connectors.base import HttpSender
from connectors.errors import EgressRefused, SpecError, UpstreamFault
from connectors.openapi.index import SpecIndex
from connectors.openapi.load import compile_in_subprocess

_log = structlog.get_logger(__name__)

RAW_LIMIT = 32 * 1024 * 1024
"""Bytes of a description, uncompressed."""

FETCH_SECONDS = 60.0

REUSE_SECONDS = 3600.0
"""So long a fetched description serves further connections without being fetched again."""

SOURCES_REMEMBERED = 8

_DOCUMENT_LEVEL = 6

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_FILE = "config.spec.source"


@dataclass(frozen=True, slots=True)
class PinnedSpec:
    """A description that is stored and compiled: `digest` is the SHA-256 of its bytes, in hex."""

    digest: str
    operations: int
    fetched_at: datetime


class Specs:
    """Brings descriptions in. One compile at a time per process: each may take 200 MB for seconds."""

    def __init__(self, db: Database, http: HttpSender, folder: Path) -> None:
        self._db = db
        self._http = http
        self._folder = folder
        self._compiling = asyncio.Lock()
        self._fetching = asyncio.Lock()
        self._fetched: dict[str, tuple[PinnedSpec, float]] = {}
        self.on_stored: Callable[[str], None] | None = None
        """Told the digest of each description that was stored, so that what is made of it can be made ready."""

    async def pin(self, source: str, expected: str | None, now: datetime, *, fresh: bool = False) -> PinnedSpec:
        """Reads `source` (an https URL that the connector allowed, or a file name in the operator's folder), compiles
        and stores it. `expected` is its SHA-256 or the beginning of it. What was fetched less than an hour ago is not
        fetched again unless `fresh`, or unless it is not what is expected.

        Raises Problem: `invalid_input` (no such file, wrong pin, unusable description), `egress_refused`,
        `upstream_unreachable`.
        """
        if "://" not in source:
            return await self._keep(await asyncio.to_thread(self._read, source), expected, source, now)
        async with self._fetching:
            known = self._fetched.get(source)
            recent = known is not None and monotonic() - known[1] < REUSE_SECONDS
            if known is not None and recent and not fresh and known[0].digest.startswith(expected or ""):
                return known[0]
            pinned = await self._keep(await self._fetch(source), expected, source, now)
            while len(self._fetched) >= SOURCES_REMEMBERED:
                del self._fetched[next(iter(self._fetched))]
            self._fetched[source] = (pinned, monotonic())
            return pinned

    async def _keep(self, raw: bytes, expected: str | None, source: str, now: datetime) -> PinnedSpec:
        digest = await asyncio.to_thread(_sha256, raw)
        if expected is not None and not digest.startswith(expected):
            told = f"the description at {source} has SHA-256 {digest}, not the pinned one"
            raise Problem("invalid_input", told, fields=[Field("config.spec.pin", told)])
        async with self._compiling:
            stored = await self._stored(digest)
            if stored is None:
                return await self._compile(raw, digest, source, now)
            await self._keep_document(raw, digest)
            return stored

    async def _stored(self, digest: str) -> PinnedSpec | None:
        statement = select(spec_blobs.c.operations, spec_blobs.c.fetched_at).where(spec_blobs.c.digest == digest)
        async with self._db.platform() as conn:
            row = (await conn.execute(statement)).one_or_none()
        return None if row is None else PinnedSpec(digest, row.operations, row.fetched_at)

    async def _keep_document(self, raw: bytes, digest: str) -> None:
        """Adds the bytes themselves where an earlier release kept what it compiled of them alone."""
        missing = select(spec_blobs.c.digest).where(spec_blobs.c.digest == digest, spec_blobs.c.document.is_(None))
        async with self._db.platform() as conn:
            if (await conn.execute(missing)).one_or_none() is not None:
                packed = await asyncio.to_thread(zlib.compress, raw, _DOCUMENT_LEVEL)
                await conn.execute(
                    text(functions.call("select broker.spec_document{v}(:digest, :document)")),
                    {"digest": digest, "document": packed},
                )

    async def document(self, digest: str) -> bytes:
        """A stored description itself, compressed (zlib). Raises Problem `unavailable` where it was not kept."""
        statement = select(spec_blobs.c.document).where(spec_blobs.c.digest == digest)
        async with self._db.platform() as conn:
            packed = (await conn.execute(statement)).scalar_one_or_none()
        if packed is None:
            raise Problem(
                "unavailable",
                "the connection's description was stored by an earlier release, without what a search needs",
                hint="an admin refreshes it once: POST /v1/connections/{name}:refresh",
                fix="admin",
            )
        return bytes(packed)

    async def newest(self, most: int) -> list[str]:
        """The digests of the descriptions stored last, at most `most`, of those that can be searched."""
        statement = (
            select(spec_blobs.c.digest)
            .where(spec_blobs.c.document.is_not(None))
            .order_by(spec_blobs.c.fetched_at.desc(), spec_blobs.c.digest)
            .limit(most)
        )
        async with self._db.platform() as conn:
            return [row.digest for row in await conn.execute(statement)]

    async def _compile(self, raw: bytes, digest: str, source: str, now: datetime) -> PinnedSpec:
        try:
            artifact = await compile_in_subprocess(raw)
            operations = len((await asyncio.to_thread(SpecIndex.load, artifact)).rows)
        except SpecError as error:
            raise Problem("invalid_input", str(error), fields=[Field(_FILE, str(error)[:300])]) from None
        values = {
            "digest": digest,
            "source": source[:500],
            "artifact": artifact,
            "raw_bytes": len(raw),
            "operations": operations,
            "fetched_at": now,
            "document": await asyncio.to_thread(zlib.compress, raw, _DOCUMENT_LEVEL),
        }
        async with self._db.platform() as conn:
            await conn.execute(insert(spec_blobs).values(values).on_conflict_do_nothing())
        _log.info("description stored", digest=digest, operations=operations, raw_bytes=len(raw))
        if self.on_stored is not None:
            self.on_stored(digest)
        return PinnedSpec(digest, operations, now)

    async def _fetch(self, url: str) -> bytes:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme != "https":
            raise Problem("egress_refused", "a description is fetched over https only")
        try:
            answer = await self._http.send(
                method="GET",
                origin=origin,
                path=parts.path,
                query=parts.query,
                headers=(("accept", "application/json"),),
                body=None,
                timeout_seconds=FETCH_SECONDS,
                max_response_bytes=RAW_LIMIT,
                allowed_origins=(origin,),
            )
        except EgressRefused as error:
            raise Problem("egress_refused", error.reason) from None
        except UpstreamFault as error:
            raise _unreachable(url, str(error)) from None
        if answer.status != 200:
            raise _unreachable(url, f"it answered {answer.status}")
        return answer.body

    def _read(self, name: str) -> bytes:
        """A file of the operator's folder: a plain name, a regular file, no link out of the folder."""
        if not _FILE_NAME.match(name) or not name.endswith((".json", ".json.gz")):
            told = "must be the official URL or the name of a .json or .json.gz file in the specs folder"
            raise Problem("invalid_input", f"{_FILE}: {told}", fields=[Field(_FILE, told)])
        try:
            handle = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError:
            told = f"the server may not read {name} in its specs folder"
            raise Problem("invalid_input", told, fields=[Field(_FILE, told)], fix="operator") from None
        except OSError:
            told = f"there is no file {name} in the server's specs folder"
            hint = "an operator puts descriptions into the `specs` folder of the server's data directory"
            raise Problem("invalid_input", told, fields=[Field(_FILE, told)], hint=hint) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            told = f"{name} is not a regular file"
            raise Problem("invalid_input", told, fields=[Field(_FILE, told)])
        with os.fdopen(handle, "rb") as file:
            raw = file.read(RAW_LIMIT + 1)
        return _unpacked(name, raw)


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _unpacked(name: str, raw: bytes) -> bytes:
    """`raw` without its compression, never more than the limit."""
    if name.endswith(".gz"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
                raw = packed.read(RAW_LIMIT + 1)
        except (OSError, EOFError, zlib.error):
            told = f"{name} is not a whole gzip file"
            raise Problem("invalid_input", told, fields=[Field(_FILE, told)]) from None
    if len(raw) > RAW_LIMIT:
        told = f"{name} is larger than {RAW_LIMIT} bytes"
        raise Problem("invalid_input", told, fields=[Field(_FILE, told)])
    return raw


def _unreachable(url: str, why: str) -> Problem:
    return Problem(
        "upstream_unreachable",
        f"the description at {url} could not be fetched: {why}",
        hint="without a way out, put the file into `specs` in the server's data directory and name it as spec.source",
        fix="operator",
    )
