"""The modules compiled for this machine, the guest's and the one that strips TypeScript, in a file that images share.

A file is the SHA-256 of what follows, then the length of the first and both, as wasmtime serializes them. It is machine
code that is run unseen: it lies in a folder that only this user can enter (`images` sees to that), and what is damaged
is compiled again.
"""

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import wasmtime as wt

from broker.tools.codemode.sandbox.binary import guest_binary, typescript_binary
from broker.tools.codemode.sandbox.engine import EXPORTS, MEMORY_BYTES
from broker.tools.codemode.sandbox.shape import shape

_DIGEST_BYTES: Final = 32
_LENGTH: Final = struct.Struct(">I")
MOST_BYTES: Final = 64 * 1024 * 1024


class Damaged(Exception):
    """The file is not there, or not what was written."""


@dataclass(frozen=True, slots=True)
class Modules:
    """Both."""

    guest: wt.Module
    typescript: wt.Module


def compiled(engine: wt.Engine) -> Modules:
    """The modules, compiled now: seconds of work for all processors. Raises SandboxUnavailable."""
    guest = shape(guest_binary(), max_bytes=MEMORY_BYTES, exports=EXPORTS)
    return Modules(wt.Module(engine, guest), wt.Module(engine, typescript_binary()))


def read(path: Path) -> bytes:
    """What was written to a file, still serialized. Raises Damaged."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as stream:
            digest, code = stream.read(_DIGEST_BYTES), stream.read(MOST_BYTES)
    except OSError as error:
        raise Damaged(f"{path.name}: {error.strerror}") from error
    if hashlib.sha256(code).digest() != digest:
        raise Damaged(f"{path.name} is not what was written")
    return code


def load(engine: wt.Engine, path: Path) -> Modules:
    """Those of a file. Raises Damaged."""
    code = read(path)
    (length,) = _LENGTH.unpack_from(code)
    start, end = _LENGTH.size, _LENGTH.size + length
    try:
        return Modules(wt.Module.deserialize(engine, code[start:end]), wt.Module.deserialize(engine, code[end:]))
    except wt.WasmtimeError as error:
        raise Damaged(f"{path.name} is of another engine") from error


def packed(modules: Modules) -> bytes:
    """As a file has them."""
    guest = bytes(modules.guest.serialize())
    code = _LENGTH.pack(len(guest)) + guest + bytes(modules.typescript.serialize())
    return hashlib.sha256(code).digest() + code
