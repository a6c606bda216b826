"""The sandbox of one server process: started in the background, kept ready, closed with the process."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from broker.accounts.specs import Specs
from broker.accounts.views import Views
from broker.errors import Problem
from broker.ids import NIL
from broker.settings import Settings
from broker.tools.codemode.sandbox.errors import SandboxUnavailable
from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.limits import SEARCH
from broker.tools.codemode.sandbox.pool import Sandbox
from broker.tools.codemode.sandbox.program import ImageRef, Program
from broker.tools.codemode.spec.prepare import PREPARE, Order, order
from connectors import catalog
from connectors.base import Operation, Programmable
from connectors.openapi.index import SpecIndex
from connectors.openapi.model import OperationRow

_log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 15.0
"""After the sandbox could not start, so long nobody tries again."""
START_SECONDS: Final = 40.0
"""A first call waits so long for the sandbox, or for the image of its description."""
WARMED: Final = 2
"""Of so many descriptions the image is made ready at the start."""
ORDERS_KEPT: Final = 16


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Described:
    """A description that programs can search: its digest, and the connector that knows its operations."""

    digest: str
    spec: SpecIndex
    connector: Programmable


class ReadySandbox:
    """Starts at once, in the background, and never fails a start of the server: where no sandbox can run, its tools say
    so."""

    def __init__(self, settings: Settings, specs: Specs, views: Views, *, folder: Path | None = None) -> None:
        self._settings = settings
        self._specs = specs
        self._views = views
        self._images = Images(folder or settings.images_dir)
        self._starting: asyncio.Task[Sandbox] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._failed: tuple[float, str] | None = None
        self._new: list[str] = []
        self._digests: OrderedDict[str, str] = OrderedDict()

    async def __aenter__(self) -> "ReadySandbox":
        self._specs.on_stored = self._stored
        self._warming = asyncio.create_task(self._warm(stored=True))
        return self

    def _stored(self, digest: str) -> None:
        """A description is new here: its image is made ready before somebody searches it."""
        self._new.append(digest)
        if self._warming is None or self._warming.done():
            self._warming = asyncio.create_task(self._warm())

    async def __aexit__(self, *_: object) -> None:
        self._specs.on_stored = None
        for task in (self._warming, self._starting):
            if task is not None and not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, SandboxUnavailable):
                    await task
        if self._starting is not None and not self._starting.cancelled() and self._starting.exception() is None:
            await self._starting.result().__aexit__(None, None, None)

    async def sandbox(self) -> Sandbox:
        """The running sandbox; waits for its start. Raises Problem `unavailable`."""
        started = self._starting
        if started is not None and started.done() and not started.cancelled() and started.exception() is None:
            return started.result()
        return await self._in_time(self._started())

    async def execute_image(self) -> ImageRef:
        """The image for programs that make requests. Raises Problem `unavailable`."""
        return await self._in_time(self._images.execute_image())

    async def search_image(self, described: Described) -> ImageRef:
        """The image for programs that search this description; made where it is not there yet, which takes seconds.
        Raises Problem `unavailable`."""
        return await self._in_time(self._search_image(described))

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(START_SECONDS):
                return await work
        except TimeoutError:
            raise _unavailable("it is still being made ready") from None
        except SandboxUnavailable as error:
            _log.exception("sandbox_unavailable")
            raise _unavailable(str(error)) from None

    async def _started(self) -> Sandbox:
        if self._failed is not None and time.monotonic() - self._failed[0] < AGAIN_SECONDS:
            raise SandboxUnavailable(self._failed[1])
        if self._starting is None or (self._starting.done() and self._starting.exception() is not None):
            self._starting = asyncio.create_task(self._start())
        try:
            return await asyncio.shield(self._starting)
        except SandboxUnavailable as error:
            self._failed = time.monotonic(), str(error)
            raise

    async def _start(self) -> Sandbox:
        settings, limits = self._settings, self._settings.limits
        sandbox = Sandbox(
            self._images,
            workers=settings.sandbox_workers,
            runs_per_worker=limits.code_runs_per_worker,
            runs_per_tenant=limits.code_runs_per_tenant,
            isolate=settings.sandbox_isolate,
            require_hardening=not settings.allow_unhardened_sandbox,
        )
        return await sandbox.__aenter__()

    async def _search_image(self, described: Described) -> ImageRef:
        made: Order | None = None
        digest = self._digests.get(described.digest)
        if digest is None:
            made = await self._order(described)
            digest = self._digests[described.digest] = made.digest
            while len(self._digests) > ORDERS_KEPT:
                self._digests.popitem(last=False)

        async def load() -> Sequence[bytes]:
            return (made or await self._order(described)).parts

        return await self._images.search_image(digest, load, prepare=PREPARE)

    async def _order(self, described: Described) -> Order:
        document = await self._specs.document(described.digest)
        operations: Sequence[Operation] = described.connector.operations(described.spec)

        def facts(row: OperationRow) -> dict[str, Any]:
            operation = operations[row.number]
            return {
                "permissions": operation.permissions,
                "effect": operation.effect,
                "guarded": operation.guarded,
            }

        return await asyncio.to_thread(order, document, described.spec.rows, facts)

    async def _warm(self, *, stored: bool = False) -> None:
        """So that nobody's first call waits: what is new, and with `stored` the descriptions that were stored last.
        Whatever goes wrong here is told to the first caller instead."""
        try:
            sandbox = await self._started()
            if stored:
                self._new += await self._specs.newest(WARMED)
            while self._new:
                await self._warm_search(sandbox, self._new.pop(0))
        except SandboxUnavailable as error:
            _log.error("sandbox_unavailable", why=str(error))
        except Exception:  # noqa: BLE001 - a background task: nothing stands behind it that could be told
            _log.exception("sandbox_not_warmed")

    async def _warm_search(self, sandbox: Sandbox, digest: str) -> None:
        connector = catalog.get("cloudflare")
        if isinstance(connector, Programmable):
            image = await self._search_image(Described(digest, await self._views.spec(digest), connector))

            async def nobody(_name: str, _argument: bytes) -> bytes:
                return b"null"

            program = Program(image, "async () => 0", b'{"kind":"search","visible":null,"hidden":{},"whoami":{}}')
            await sandbox.run(program, nobody, tenant=NIL, limits=SEARCH)


def _unavailable(why: str) -> Problem:
    return Problem("unavailable", f"programs cannot be run now: {why}", hint="`keyreeve doctor` looks at the sandbox")
