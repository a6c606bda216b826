"""Compiling a description without trusting it: in a child process (servers), or right here (the core)."""

import asyncio
import math
import sys
from pathlib import Path

from connectors.errors import SpecError
from connectors.openapi.bounds import MAX_ARTIFACT, MAX_RAW
from connectors.openapi.compile import compile_spec

__all__ = ["compile_in_subprocess", "compile_spec"]

_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = """
import sys
sys.path.append(sys.argv[1])
from connectors.openapi.child import main
main(int(sys.argv[2]))
"""


async def compile_in_subprocess(raw: bytes, *, timeout_seconds: float = 60) -> bytes:
    """The artifact of `raw` (JSON, at most 32 MiB), compiled by a child with no environment and bounded
    resources.

    The child is killed when the time is up or the caller is cancelled. What it prints about its own failure
    is never shown. Raises SpecError: the description's own fault, too slow, too large, or the death of the
    child.
    """
    if len(raw) > MAX_RAW:
        raise SpecError(f"the description is larger than {MAX_RAW // 1024 // 1024} MiB")
    seconds = str(max(1, math.ceil(timeout_seconds)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", _BOOT, _ROOT, seconds,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={}, cwd="/", start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_seconds):
            answer = await _converse(child, raw)
            await child.wait()
    except TimeoutError:
        raise SpecError(f"the description took longer than {timeout_seconds:g} s to compile") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if answer[:1] == b"K" and child.returncode == 0:
        return answer[1:]
    if answer[:1] == b"E" and child.returncode == 0:
        raise SpecError(answer[1:501].decode("utf-8", "replace"))
    raise SpecError("compiling the description failed: it needs more memory or time than is allowed")


async def _converse(child: asyncio.subprocess.Process, raw: bytes) -> bytes:
    reading = asyncio.ensure_future(_read(child))
    try:
        await _write(child, raw)
        return await reading
    finally:
        reading.cancel()


async def _write(child: asyncio.subprocess.Process, raw: bytes) -> None:
    assert child.stdin is not None  # noqa: S101 -- asked for above
    try:
        for start in range(0, len(raw), 1 << 16):
            child.stdin.write(raw[start : start + (1 << 16)])
            await child.stdin.drain()
        child.stdin.close()
        await child.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return  # the child died; its answer, or the lack of one, says so


async def _read(child: asyncio.subprocess.Process) -> bytes:
    assert child.stdout is not None  # noqa: S101 -- asked for above
    chunks: list[bytes] = []
    size = 0
    while chunk := await child.stdout.read(1 << 16):
        size += len(chunk)
        if size > MAX_ARTIFACT + 1:
            raise SpecError("the compiled description is too large")
        chunks.append(chunk)
    return b"".join(chunks)
