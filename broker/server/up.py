"""`keyreeve up`: starts everything in order, keeps it running, and ends it in reverse order."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import orjson
import structlog

from broker.clock import SystemClock
from broker.db.schema import is_complete
from broker.server.children import Workers
from broker.server.errors import CannotStart
from broker.server.files import write_private
from broker.server.orders import Orders
from broker.server.privileges import Beginning, Serving
from broker.server.storage import Storage, open_storage
from broker.settings import Settings
from vault.errors import VaultError
from vault.harden import harden_process
from vault.keys import EnvRootKey
from vault.rootfile import FileRootKey, root_key_text

_log = structlog.get_logger(__name__)

ADDRESS_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What `up` announces once it serves."""

    url: str
    admin_key_file: Path

    def line(self) -> str:
        """The machine-readable ready line (API.md, Starting)."""
        body = {"event": "ready", "url": self.url, "admin_key_file": str(self.admin_key_file)}
        return orjson.dumps(body).decode()


async def up(settings: Settings, beginning: Beginning, *, json_ready: bool) -> int:
    """Runs until SIGTERM, SIGINT or SIGHUP; returns the exit code. Raises CannotStart with a sentence for people."""
    harden_process()
    stop = asyncio.Event()
    _stop_when_told(stop)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(beginning.abandon)
        serving, zygote = await beginning.settle()
        prepare_folder(settings.data_dir, serving)
        root_key = read_root_key(settings)
        listening = stack.enter_context(listen(settings.host, settings.port))
        settings = replace(settings, port=int(listening.getsockname()[1]))
        workers = Workers(serving, zygote, count=settings.workers, listening=listening)
        stack.push_async_callback(workers.stop)
        workers.spawn()
        storage = await stack.enter_async_context(open_storage(settings, serving))
        stack.push_async_callback(workers.stop)  # again: they end before the storage does
        await start_database(settings, storage, root_key)
        await workers.start(orders_for(settings, storage, root_key, serving))
        ready = Ready(public_url(settings), settings.admin_key_path)
        announce(settings, ready, json_ready=json_ready)
        stack.callback(forget, settings)
        return await _until(stop, workers, storage)


def _stop_when_told(stop: asyncio.Event) -> None:
    """Sets `stop` on the first SIGTERM, SIGINT or SIGHUP; the others change nothing any more.

    Not by the loop's own handlers: those end with the loop, and handlers of ours with the interpreter. A second SIGTERM
    in the process's last moments would then kill it, with another exit code than that of the clean end it had come to.
    """
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def told(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)

    for number in numbers:
        signal.signal(number, told)


async def _until(stop: asyncio.Event, workers: Workers, storage: Storage) -> int:
    """Waits for the signal, or for a part that cannot be kept running."""
    watched = [
        asyncio.ensure_future(stop.wait()),
        asyncio.ensure_future(workers.keep()),
        asyncio.ensure_future(storage.keep()),
    ]
    done, waiting = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    for task in done:
        if task is not watched[0]:
            _log.error("stopping", cause=str(task.exception() or "a part has ended"))
            return 1
    return 0


def prepare_folder(folder: Path, serving: Serving) -> None:
    """The data directory, for its owner alone; another user that serves may pass through it to `specs`, no more."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700 if serving.account is None else 0o711)
        (folder / "specs").mkdir(mode=0o755, exist_ok=True)
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        (folder / "run").chmod(0o700 if serving.account is None else 0o711)
    except OSError as error:
        what = f"the data directory {folder} cannot be used: {error.strerror}"
        raise CannotStart(what, "choose another with --data-dir") from None


def read_root_key(settings: Settings) -> str:
    """The root key as lines for a worker. Made on the first start, unless it is given by the environment."""
    try:
        if settings.root_key_value is not None:
            EnvRootKey(settings.root_key_value)
            return settings.root_key_value
        path = settings.root_key_path
        if not path.exists() and settings.root_key_file is None:
            FileRootKey.create(path)
            _log.info("root key made", file=str(path), advice="keep a copy away from the database's backups")
        return root_key_text(path)
    except VaultError as error:
        raise CannotStart(f"the root key cannot be used: {error}", "see `keyreeve doctor`") from None


def listen(host: str, port: int) -> socket.socket:
    """The listening socket, which the workers are given."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit it: without it Nagle's algorithm and delayed acknowledgements add 40 ms to an answer.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        _bind(sock, host, port)
    except OSError as error:
        sock.close()
        raise CannotStart(f"cannot listen on {host}:{port}: {error.strerror}", "choose another with --port") from None
    sock.listen(1024)
    sock.setblocking(False)  # noqa: FBT003 - its only parameter
    return sock


def _bind(sock: socket.socket, host: str, port: int) -> None:
    """Binds; waits a moment for an address that the processes of a killed server are just giving back."""
    until = time.monotonic() + ADDRESS_SECONDS
    while True:
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


async def start_database(settings: Settings, storage: Storage, root_key: str) -> None:
    """Migrates, and makes what the first start needs, where that has not been done."""
    if await is_complete(storage.app):
        return
    # Half of the program stands behind these; at most starts they are not needed.
    from broker.db.migrate import migrate
    from broker.sealed import sealed_storage
    from broker.server.bootstrap import prepare

    if storage.owner is not None:
        changed = await migrate(storage.owner.url(), storage.owner.engine_arguments())
        _log.info("schema ready", changed=changed)
    async with sealed_storage(storage.app, root_key, settings.node) as parts:
        await prepare(parts.db, parts.vault_, parts.trail, settings.admin_key_path, SystemClock().now())


def orders_for(settings: Settings, storage: Storage, root_key: str, serving: Serving) -> Orders:
    """What every worker is handed."""
    folder: Path | None = None
    if settings.workers > 1:
        from broker import metrics  # heavy, and needed here alone

        folder = settings.data_dir / "run" / "metrics"
        metrics.empty_folder(folder)
        serving.give(folder)
    give_images(settings.images_dir, serving)
    return Orders(
        settings=replace(settings, root_key_value=None, database_url=None, database_owner_url=None),
        database=storage.app,
        root_key=root_key,
        port=settings.port,
        metrics_folder=None if folder is None else str(folder),
        base_url=public_url(settings),
    )


def give_images(folder: Path, serving: Serving) -> None:
    """The folder of the sandbox's images, for the serving user alone. What is another user's in it is thrown away,
    never given: whoever served before could have linked a file of ours into it."""
    if folder.exists():
        owner = os.geteuid() if serving.account is None else serving.account.uid
        for file in folder.iterdir():
            if file.lstat().st_uid != owner:
                file.unlink(missing_ok=True)
    else:
        folder.mkdir(mode=0o700, parents=True)
    folder.chmod(0o700)
    serving.give(folder)


def public_url(settings: Settings) -> str:
    """Where clients reach this server."""
    if settings.public_url is not None:
        return settings.public_url
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def server_file(data_dir: Path) -> Path:
    """Where a running server says how commands on the same machine reach it."""
    return data_dir / "run" / "server.json"


def announce(settings: Settings, ready: Ready, *, json_ready: bool) -> None:
    """Says that it serves: to commands on this machine through a file, to whoever started it on standard output."""
    # Not the public URL: commands on this machine need no proxy, and the Host check takes loopback names.
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared, not bound
    here = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    write_private(server_file(settings.data_dir), orjson.dumps({"url": here}).decode())
    if json_ready:
        sys.stdout.write(ready.line() + "\n")
    else:
        sys.stdout.write(
            f"\nKeyreeve serves at {ready.url}\nOperator key: {ready.admin_key_file}\n\n"
            "Next, in another terminal:\n  keyreeve connect cloudflare\n"
        )
    sys.stdout.flush()


def forget(settings: Settings) -> None:
    """Takes the file back."""
    server_file(settings.data_dir).unlink(missing_ok=True)
