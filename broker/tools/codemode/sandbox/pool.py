"""The pool: keeps workers alive, hands runs to them fairly, and replaces the ones that die, misbehave or lack an image.

Workers are few and multiplex: a run that awaits the host is parked and costs a few megabytes, and one run per worker
computes at a time. New images reach workers by replacing them one after another; runs under way finish where they are.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import structlog

from broker.tools.codemode.sandbox import process as processes
from broker.tools.codemode.sandbox.conversation import Conversation
from broker.tools.codemode.sandbox.errors import SandboxBusy, SandboxUnavailable
from broker.tools.codemode.sandbox.frames import RunOrder
from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.limits import CODE_BYTES, CONTEXT_BYTES, PENDING_BYTES, SLEEPS, RunLimits
from broker.tools.codemode.sandbox.process import WorkerProcess
from broker.tools.codemode.sandbox.program import Host, ImageRef, Outcome, Program
from broker.tools.codemode.sandbox.scheduling import HEAVY_SECONDS, Place, Turns, Usage, choose

_log = structlog.get_logger(__name__)

IMAGES_PER_WORKER: Final = 6
WAITING_PER_TENANT: Final = 64
WAITING: Final = 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


@dataclass(eq=False, slots=True)
class _Waiting:
    """A run that has no worker yet, and then the one it has."""

    tenant: UUID
    image: ImageRef
    code: bytes
    context: bytes
    limits: RunLimits
    isolated: bool
    at_once: int
    conversation: Conversation
    placed: "asyncio.Future[WorkerProcess]"
    run: int = 0

    def kind(self) -> tuple[str, bool]:
        """What decides where it can run, beside its tenant."""
        return self.image.key, self.isolated

    def order(self, image: int) -> bytes:
        """What the worker is told."""
        limits = self.limits
        return RunOrder(
            image, limits.cpu_seconds, limits.heap_bytes, limits.host_calls, limits.message_bytes, limits.result_bytes,
            limits.log_bytes, PENDING_BYTES, SLEEPS, self.code, self.context,
        ).pack()  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stats:
    """The pool at a glance. `replaced` counts workers that died or were killed since the start; `slow` are those that
    give way to the rest of the machine."""

    pids: tuple[int, ...]
    running: int
    waiting: int
    replaced: int
    hardening: tuple[str, ...]
    slow: tuple[int, ...] = ()


class Sandbox:
    """Runs programs. An async context manager; entering it builds the execute image if need be and starts the workers.

    `workers` processes of `runs_per_worker` runs each; a tenant has at most `runs_per_tenant` of them at once. With
    `isolate`, or for runs asked to be `isolated`, a run gets a worker to itself, which is ended after it (at most
    `workers` of those at once, on top of the shared ones). `require_hardening=False` also accepts machines that cannot
    lock a worker in. Raises SandboxUnavailable.
    """

    def __init__(
        self,
        images: Images,
        *,
        workers: int = 2,
        runs_per_worker: int = 16,
        runs_per_tenant: int = 8,
        isolate: bool = False,
        require_hardening: bool = True,
        command: Sequence[str] = processes.COMMAND,
    ) -> None:
        if min(workers, runs_per_worker, runs_per_tenant) < 1:
            raise ValueError("workers, runs_per_worker and runs_per_tenant must be at least 1")
        self._images = images
        self._size = workers
        self._runs_per_worker = runs_per_worker
        self._runs_per_tenant = runs_per_tenant
        self._isolate = isolate
        self._require_hardening = require_hardening
        self._command = tuple(command)
        self._workers: list[WorkerProcess] = []
        self._cells: list[WorkerProcess] = []
        self._retired: set[WorkerProcess] = set()
        self._wanted: OrderedDict[str, ImageRef] = OrderedDict()
        self._turns: Turns[_Waiting] = Turns()
        self._active: dict[UUID, int] = {}
        self._usage = Usage()
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cells_starting = 0
        self._trouble: SandboxUnavailable | None = None
        self._replaced = 0
        self._closing = False

    async def __aenter__(self) -> Self:
        image = await self._images.execute_image()
        self._wanted[image.key] = image
        try:
            self._workers = list(await asyncio.gather(*(self._started() for _ in range(self._size))))
        except BaseException:
            self._closing = True
            await self._end_all()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for waiting in self._turns.items():
            self._refuse(waiting, SandboxUnavailable("the sandbox is closing"))
        await self._end_all()

    async def _end_all(self) -> None:
        tasks = [task for task in (self._keeper, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        everyone = [*self._workers, *self._cells, *self._retired]
        await asyncio.gather(*(worker.close() for worker in everyone))

    def stats(self) -> Stats:
        """The pool as it is now."""
        return Stats(
            pids=tuple(worker.pid for worker in self._workers),
            running=sum(worker.runs for worker in (*self._workers, *self._cells, *self._retired)),
            waiting=self._turns.count,
            replaced=self._replaced,
            hardening=self._workers[0].hardening if self._workers else (),
            slow=tuple(worker.pid for worker in self._workers if worker.gives_way),
        )

    async def run(
        self,
        program: Program,
        host: Host,
        *,
        tenant: UUID,
        limits: RunLimits | None = None,
        isolated: bool = False,
        at_once: int | None = None,
        within: float | None = None,
    ) -> Outcome:
        """Runs a program to its end. Whatever the program does is in the outcome. It waits while `at_once` runs of the
        tenant go on, or the pool's own `runs_per_tenant` where that is less. `within`: seconds that waiting and running
        may take together.

        `host` answers its calls, up to `host_calls_at_once` of them at the same time; what it raises other than
        HostError ends the run and is raised here. When this returns, no call of `host` is under way. Cancelled, it
        cancels them. Raises SandboxBusy where no worker was free in the run's wall time or too many wait,
        SandboxUnavailable where there are no workers, ValueError for a context too long.
        """
        limits = limits or RunLimits()
        code = program.code.encode("utf-8", "replace")
        if len(program.context) > CONTEXT_BYTES:
            raise ValueError(f"a context of {len(program.context)} bytes; at most {CONTEXT_BYTES}")
        if len(code) > CODE_BYTES:
            message = f"a program of {len(code):,} bytes; at most {CODE_BYTES:,} are allowed: make it shorter"
            error = {"kind": "limit", "limit": "code_bytes", "name": "CodeLimit", "message": message}
            return Outcome(ok=False, value=None, error=error, logs=(), cpu_ms=0.0, host_calls=0)
        waiting = _Waiting(
            tenant, program.image, code, program.context, limits, isolated or self._isolate,
            min(at_once or self._runs_per_tenant, self._runs_per_tenant),
            Conversation(host, limits), asyncio.get_running_loop().create_future(),
        )  # fmt: skip
        self._enqueue(waiting)
        return await self._see_through(waiting, within)

    def _enqueue(self, waiting: _Waiting) -> None:
        if self._closing:
            raise SandboxUnavailable("the sandbox is closed")
        if self._trouble is not None and not self._workers:
            raise self._trouble
        if self._turns.count >= WAITING or self._turns.waiting(waiting.tenant) >= WAITING_PER_TENANT:
            raise SandboxBusy("too many programs are waiting to run: try again in a few seconds")
        self._turns.add(waiting.tenant, waiting)
        self._dispatch()

    async def _see_through(self, waiting: _Waiting, within: float | None) -> Outcome:
        wall = waiting.limits.wall_seconds
        until = time.monotonic() + (2 * wall if within is None else within)
        try:
            try:
                async with asyncio.timeout(min(wall, until - time.monotonic())):
                    await asyncio.shield(waiting.placed)
            except TimeoutError:
                raise SandboxBusy("no place to run it became free in time: try again in a few seconds") from None
            outcome = await waiting.conversation.finish(min(wall, until - time.monotonic()))
            self._usage.add(waiting.tenant, _charge(outcome, waiting.limits), time.monotonic())
            return outcome
        finally:
            self._leave(waiting)

    def _leave(self, waiting: _Waiting) -> None:
        """Whatever happened, the run takes no place any more."""
        self._turns.remove(waiting.tenant, waiting)
        if waiting.placed.done() and not waiting.placed.cancelled() and waiting.placed.exception() is None:
            worker = waiting.placed.result()
            worker.end(waiting.run, waiting.tenant)
            self._active[waiting.tenant] -= 1
            if not self._active[waiting.tenant]:
                del self._active[waiting.tenant]
            if worker in self._cells:
                worker.kill("has done its run")
            elif worker.retiring and not worker.runs:
                self._later(worker.close())
        else:
            waiting.placed.cancel()
        self._dispatch()

    def _refuse(self, waiting: _Waiting, why: SandboxUnavailable) -> None:
        self._turns.remove(waiting.tenant, waiting)
        if not waiting.placed.done():
            waiting.placed.set_exception(why)

    def _dispatch(self) -> None:
        """Hands out what can be handed out."""
        while not self._closing and (found := self._turns.take(self._place, _Waiting.kind)) is not None:
            waiting, worker = found
            self._active[waiting.tenant] = self._active.get(waiting.tenant, 0) + 1
            order = waiting.order(worker.images[waiting.image.key])
            waiting.run = worker.begin(waiting.conversation, order, waiting.tenant)
            waiting.placed.set_result(worker)

    def _place(self, tenant: UUID, waiting: _Waiting) -> WorkerProcess | None:
        # Cells are few: no tenant takes all of them.
        most = min(waiting.at_once, max(1, self._size // 2)) if waiting.isolated else waiting.at_once
        if self._active.get(tenant, 0) >= most:
            return None
        return self._cell(waiting) if waiting.isolated else self._shared(tenant, waiting)

    def _shared(self, tenant: UUID, waiting: _Waiting) -> WorkerProcess | None:
        key = waiting.image.key
        if key not in self._wanted:
            self._want(waiting.image)
        else:
            self._wanted.move_to_end(key)
        if not any(key in worker.images for worker in self._workers):
            self._keep()
            return None
        now = time.monotonic()
        heavy = self._usage.heavy(tenant, now)
        places = [
            Place(
                runs=worker.runs,
                owed=worker.owed,
                room=worker.runs < self._runs_per_worker and key in worker.images,
                mine=tenant in worker.tenants,
                heavy=any(other != tenant and self._usage.heavy(other, now) for other in worker.tenants),
                slow=worker.gives_way,
            )
            for worker in self._workers
        ]
        index = choose(places, heavy=heavy)
        return None if index is None else self._workers[index]

    def _cell(self, waiting: _Waiting) -> WorkerProcess | None:
        """A worker nobody has used."""
        for worker in self._cells:
            if not worker.runs_begun and waiting.image.key in worker.images:
                return worker
        if len(self._cells) + self._cells_starting >= self._size:
            unused = next((worker for worker in self._cells if not worker.runs_begun), None)
            if unused is not None:  # it waits with another image: it makes room, and is given to nobody any more
                unused.kill("was not needed")
        if len(self._cells) + self._cells_starting < self._size:
            self._cells_starting += 1
            self._later(self._start_cell(waiting))
        return None

    async def _start_cell(self, waiting: _Waiting) -> None:
        worker = WorkerProcess(images=[waiting.image], gone=self._gone)
        try:
            await worker.start(command=self._command, runs=1, harden=self._require_hardening)
        except SandboxUnavailable as error:
            self._refuse(waiting, error)
        else:
            self._cells.append(worker)
        finally:
            self._cells_starting -= 1
        self._dispatch()

    def _want(self, image: ImageRef) -> None:
        self._wanted[image.key] = image
        while len(self._wanted) > IMAGES_PER_WORKER:
            self._wanted.popitem(last=False)

    async def _started(self) -> WorkerProcess:
        worker = WorkerProcess(images=list(self._wanted.values()), gone=self._gone, slow=self._computes_on)
        start = worker.start(command=self._command, runs=self._runs_per_worker, harden=self._require_hardening)
        await self._images.used_by(start)
        return worker

    def _computes_on(self, tenant: UUID | None) -> None:
        """A program has made its worker give way: its tenant counts as heavy from now on, not from its end."""
        if tenant is not None:
            self._usage.add(tenant, 2 * HEAVY_SECONDS, time.monotonic())
        self._keep()

    def _gone(self, worker: WorkerProcess) -> None:
        """A worker can run nothing any more."""
        ours = worker in self._workers
        if worker in self._cells:  # there is room for another; later, for this may be in the midst of handing out
            asyncio.get_running_loop().call_soon(self._dispatch)
        for some in (self._workers, self._cells):
            if worker in some:
                some.remove(worker)
        self._retired.discard(worker)
        self._later(worker.close())
        if ours and not self._closing:
            self._replaced += 1
            self._keep()

    def _later(self, work: Any) -> None:
        if self._closing:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _keep(self) -> None:
        """Sees to it that there are workers enough, and that they have the images wanted."""
        if not self._closing and (self._keeper is None or self._keeper.done()):
            self._keeper = asyncio.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        pause = _FIRST_PAUSE
        while (old := self._outdated()) is not None or len(self._workers) < self._size:
            try:
                worker = await self._started()
            except SandboxUnavailable as error:
                self._cannot(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._trouble = None
            self._workers.append(worker)
            if old is not None and len(self._workers) > self._size:
                self._retire(old)
            self._dispatch()

    def _outdated(self) -> WorkerProcess | None:
        """A worker to be replaced: one without an image that is wanted, or one of too many that give way, which is more
        than half of them: a worker never comes back from that."""
        lacking = next((worker for worker in self._workers if not self._wanted.keys() <= worker.images.keys()), None)
        slow = [worker for worker in self._workers if worker.gives_way]
        if lacking is not None or len(slow) <= self._size // 2 or len(self._retired) >= self._size:
            return lacking
        return min(slow, key=lambda worker: worker.runs)

    def _retire(self, worker: WorkerProcess) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            self._retired.add(worker)
            worker.retiring = True
            if not worker.runs:
                self._later(worker.close())

    def _cannot(self, error: SandboxUnavailable) -> None:
        """No worker starts: the image asked for last is given up, as it may be what is wrong."""
        _log.error("sandbox_worker_not_started", why=str(error))
        self._trouble = error
        given_up = None
        if len(self._wanted) > 1:
            given_up, _ = self._wanted.popitem()
        for waiting in self._turns.items():
            if not waiting.isolated and (not self._workers or waiting.image.key == given_up):
                self._refuse(waiting, error)


def _charge(outcome: Outcome, limits: RunLimits) -> float:
    """CPU seconds a run counts for; one whose worker was lost counts as having used all it might."""
    lost = outcome.error is not None and outcome.error.get("limit") == "worker"
    return limits.cpu_seconds if lost else outcome.cpu_ms / 1000
