"""Starts the builder's process, hands it its order, and reads its answer."""

import asyncio
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from broker.tools.codemode.sandbox.errors import BuildFailed

BUILD_SECONDS: Final = 120.0
_ANSWER_BYTES: Final = 64 * 1024
_MODULE: Final = "broker.tools.codemode.sandbox.build"
_KEYS: Final = ("run", "deliver", "memory_bytes", "max_bytes", "compiled")


async def build_image(
    out: Path,
    code: Path,
    code_out: Path,
    sources: Sequence[tuple[str, str]],
    parts: Sequence[bytes] | None,
    prepare: str | None,
) -> dict[str, int]:
    """Builds an image into the new file `out`; answers its handles and sizes, and `compiled`. Raises BuildFailed.

    `code` is where compiled code lies; where it does not, or is damaged, it is written to the new file `code_out`, and
    `compiled` is 1.

    `parts` are what `__load` is given, or, where `prepare` names a function ("module:name", of this package), what
    that function makes chunks of, in the builder's process. None: the image has the prelude only.
    """
    order = {
        "out": str(out),
        "code": str(code),
        "code_out": str(code_out),
        "sources": list(sources),
        "load": parts is not None,
        "parts": len(parts or ()),
        "prepare": prepare,
    }
    asked = b"".join(struct.pack(">I", len(part)) + part for part in (json.dumps(order).encode(), *(parts or ())))
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", _MODULE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise BuildFailed(f"the sandbox's builder cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(BUILD_SECONDS):
            answer, _ = await process.communicate(asked)
    except TimeoutError:
        raise BuildFailed(f"building the sandbox's image took longer than {BUILD_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _read(answer, process.returncode)


def _read(answer: bytes, code: int | None) -> dict[str, int]:
    try:
        told: Any = json.loads(answer[:_ANSWER_BYTES])
    except ValueError:
        raise BuildFailed(f"the sandbox's builder ended with {code} and said nothing") from None
    if code != 0 or "failed" in told:
        raise BuildFailed(f"the sandbox's image could not be built: {told.get('failed')}")
    return {key: int(told[key]) for key in _KEYS}
