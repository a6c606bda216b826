"""The embedded server for tests and measurements: fast, not crash-safe."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from broker.db.embedded.connection import ConnectionInfo
from broker.db.embedded.server import EmbeddedPostgres


@asynccontextmanager
async def start_for_tests(data_dir: Path, *, durable: bool = False) -> AsyncIterator[ConnectionInfo]:
    """A server under `data_dir` for the length of the block; without `fsync` unless `durable`. Takes about 1 s."""
    embedded = EmbeddedPostgres(data_dir, durable=durable)
    info = await embedded.start()
    try:
        yield info
    finally:
        await embedded.stop()
