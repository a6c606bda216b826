"""Memory images on disk, and the machine code that runs them: built once per content, shared by every server process of
the installation, few enough to keep.

An image is a guest's memory: data, whatever it holds. The code is loaded unseen. So both are made on this machine, by
this user, in a folder nobody else can enter, and refused wherever that does not hold.
"""

import asyncio
import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import platform
import secrets
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from broker.tools.codemode.sandbox import binary, engine, machine_code
from broker.tools.codemode.sandbox.building import BUILD_SECONDS, build_image
from broker.tools.codemode.sandbox.errors import BuildFailed, SandboxUnavailable
from broker.tools.codemode.sandbox.program import ImageRef

_log = structlog.get_logger(__name__)

KEEP: Final = 8
"""How many images stay on disk; those used longest ago go first."""
_KEEP_CODES: Final = 2
_POLL_SECONDS: Final = 0.05
_HERE: Final = Path(__file__).parent
_BELIEVED_SECONDS: Final = 60.0
"""How long an image that was looked at is not looked at again, beyond being there."""
_CODE: Final = ("wasm.py", "functions.py", "inline.py", "seek.py", "shape.py", "machine_code.py", "engine.py")
_BUILDER: Final = (*_CODE, "build.py")

Load = Callable[[], Awaitable[Sequence[bytes]]]
Sources = Callable[[str], Sequence[tuple[str, str]]]


class Images:
    """The images in one folder. Methods raise SandboxUnavailable (BuildFailed where building failed)."""

    def __init__(self, folder: Path, *, sources: Sources | None = None, keep: int = KEEP) -> None:
        self._folder = folder
        self._sources = sources or _guest_sources
        self._keep = keep
        self._pending: dict[str, asyncio.Task[ImageRef]] = {}
        self._known: dict[tuple[str, str, str | None], tuple[ImageRef, float]] = {}

    async def execute_image(self) -> ImageRef:
        """The image for programs that make requests."""
        return await self._image("execute", "", None, None)

    async def search_image(self, digest: str, load: Load, *, prepare: str | None = None) -> ImageRef:
        """The image for programs that look through the description with this digest.

        `load` is asked only where the image is not there yet. Its parts are given to the prelude's `__load` one by one;
        where `prepare` names a function of `broker.tools.codemode` ("module:name"), that function makes chunks of them
        in the builder's process: `prepare(list[bytes]) -> Iterable[bytes]`.
        """
        return await self._image("search", digest, load, prepare)

    async def _image(self, kind: str, digest: str, load: Load | None, prepare: str | None) -> ImageRef:
        known = self._known.get((kind, digest, prepare))
        if known is not None and time.monotonic() - known[1] < _BELIEVED_SECONDS and _there(known[0]):
            return known[0]
        found = await self._find(kind, digest, load, prepare)
        self._known[kind, digest, prepare] = found, time.monotonic()
        if len(self._known) > 4 * self._keep:
            del self._known[next(iter(self._known))]
        return found

    async def _find(self, kind: str, digest: str, load: Load | None, prepare: str | None) -> ImageRef:
        sources = self._sources(kind)
        key = await asyncio.to_thread(_key, kind, digest, sources, prepare)
        ready = await asyncio.to_thread(self._ready, key)
        if ready is not None:
            return ready
        task = self._pending.get(key)
        if task is None:
            task = self._pending[key] = asyncio.create_task(self._made(key, sources, load, prepare))
            task.add_done_callback(lambda _: self._pending.pop(key, None))
        # One caller that gives up must not take the image from the others.
        return await asyncio.shield(task)

    async def _made(
        self, key: str, sources: Sequence[tuple[str, str]], load: Load | None, prepare: str | None
    ) -> ImageRef:
        lock = await asyncio.to_thread(self._open_lock, key)
        try:
            await _locked(lock)
            ready = await asyncio.to_thread(self._ready, key)
            if ready is not None:
                return ready
            # Names of this attempt's own: the builder of a process that was killed may be writing still.
            for old in self._folder.glob(f".{key}.*"):
                old.unlink(missing_ok=True)
            attempt = f".{key}.{secrets.token_hex(8)}"
            new, code = self._folder / f"{attempt}.new", self._folder / f"{attempt}.code.new"
            parts = None if load is None else await load()
            told = await build_image(new, self._code(), code, sources, parts, prepare)
            return await asyncio.to_thread(self._keep_new, key, new, code, told)
        finally:
            os.close(lock)

    def _ready(self, key: str) -> ImageRef | None:
        """The image if it is there and ours."""
        self._check_folder()
        path, code = self._folder / f"{key}.image", self._code()
        try:
            told = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            found = path.lstat(), code.lstat()
        except (OSError, ValueError):
            return None
        for file, status in zip((path, code), found, strict=True):
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise SandboxUnavailable(f"{file} is not a private file of this user: remove it")
        if found[0].st_size != told.get("size"):
            return None
        try:
            for file in (path, code):
                os.utime(file)
        except FileNotFoundError:  # another process has just forgotten it
            return None
        return ImageRef(key, path, code, told["memory_bytes"], told["max_bytes"], told["run"], told["deliver"])

    async def used_by(self, start: Awaitable[None]) -> None:
        """A worker's start. Where it fails, machine code that is not what was written is taken away, and compiled anew
        when an image is next asked for. Raises what `start` raises."""
        try:
            await start
        except SandboxUnavailable:
            await asyncio.to_thread(self._look_again)
            raise

    def _look_again(self) -> None:
        code = self._code()
        if code.exists():
            try:
                machine_code.read(code)
            except machine_code.Damaged as error:
                _log.error("sandbox_code_damaged", why=str(error))
                code.unlink(missing_ok=True)

    def _code(self) -> Path:
        """Where the machine code lies that all images of this version run on."""
        return self._folder / f"{_code_key()}.code"

    def _keep_new(self, key: str, new: Path, code: Path, told: dict[str, int]) -> ImageRef:
        if told.pop("compiled"):
            code.replace(self._code())
            self._forget_codes()
        notes = json.dumps(told | {"size": new.stat().st_size})
        written = self._folder / f".{key}.json.new"
        written.unlink(missing_ok=True)
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(notes)
        new.replace(self._folder / f"{key}.image")
        written.replace(self._folder / f"{key}.json")  # last: an image counts as there when this is
        ready = self._ready(key)
        if ready is None:
            raise BuildFailed("the sandbox's image vanished after it was built: is the disk full?")
        self._forget_oldest(key)
        return ready

    def _forget_oldest(self, key: str) -> None:
        """Workers that have an image mapped keep it; new ones ask for it again and get it built."""
        there = sorted(self._folder.glob("*.image"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in [path for path in there if path.stem != key][self._keep - 1 :]:
            for old in (path.with_suffix(".json"), path, path.with_suffix(".lock")):
                old.unlink(missing_ok=True)
            _log.info("sandbox_image_forgotten", image=path.stem[:12])

    def _forget_codes(self) -> None:
        """Of earlier versions; a server of one that still runs compiles anew when it next needs a worker."""
        there = sorted(self._folder.glob("*.code"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in there[_KEEP_CODES:]:
            path.unlink(missing_ok=True)

    def _check_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._folder.lstat()
        except OSError as error:
            raise SandboxUnavailable(
                f"the folder for sandbox images cannot be made: {self._folder} ({error.strerror})"
            ) from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise SandboxUnavailable(
                f"{self._folder} must be a folder of this user that nobody else can enter (mode 0700)"
            )

    def _open_lock(self, key: str) -> int:
        return os.open(self._folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


async def _locked(lock: int) -> None:
    """Waits until no other process builds the same image."""
    try:
        async with asyncio.timeout(2 * BUILD_SECONDS):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    return
    except TimeoutError:
        raise BuildFailed("another process has been building the sandbox's image for too long") from None


def _guest_sources(kind: str) -> Sequence[tuple[str, str]]:
    from broker.tools.codemode.guest import sources  # tests of the sandbox bring their own prelude

    return sources(kind)


def _key(kind: str, digest: str, sources: Sequence[tuple[str, str]], prepare: str | None) -> str:
    """Everything an image depends on; a change of any of it makes another image."""
    parts = [kind, digest, prepare or "", binary.SHA256]
    parts += [part for source in sources for part in source]
    parts += [(_HERE / name).read_text(encoding="utf-8") for name in _BUILDER]
    if prepare is not None:
        parts += [path.read_text(encoding="utf-8") for path in _code_of(prepare.partition(":")[0])]
    return _hashed(parts)


def _there(image: ImageRef) -> bool:
    return image.path.exists() and image.code.exists()


@functools.cache
def _code_key() -> str:
    """Everything that machine code depends on."""
    binaries = [binary.SHA256, binary.TYPESCRIPT_SHA256]
    parts = [*binaries, version("wasmtime"), engine.CONFIGURATION, platform.machine(), _processor()]
    return _hashed(parts + [(_HERE / name).read_text(encoding="utf-8") for name in _CODE])


def _hashed(parts: Sequence[str]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(len(data).to_bytes(8) + data)
    return whole.hexdigest()[:40]


def _code_of(module: str) -> list[Path]:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise BuildFailed(f"{module} is not there to prepare an image")
    return sorted(Path(found.origin).parent.glob("*.py"))


def _processor() -> str:
    """What this processor can do: compiled code is only good for that."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
