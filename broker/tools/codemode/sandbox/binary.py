"""The WebAssembly binaries: QuickJS-ng, the guest, and oxc, which strips TypeScript, as the pinned package quickjs-rs
0.2.6 ships them.

Their interfaces are private to that package, so nothing but these very files is accepted.
"""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from broker.tools.codemode.sandbox.errors import SandboxUnavailable

SHA256: Final = "647ab11ae29cc6d39a6d17d3aa1e7a6a0b5fb9c44b4864475a18bc644f926050"
TYPESCRIPT_SHA256: Final = "c4710d5258585122a70f0b3ee3bc19d085742e6f94f48aa0b8057630ebaca745"
_FOLDER: Final = "quickjs_rs"


def guest_binary() -> bytes:
    """QuickJS-ng. Raises SandboxUnavailable where it is missing or is not the one this code was written for."""
    return _read("_guest.wasm", SHA256)


def typescript_binary() -> bytes:
    """oxc. Raises SandboxUnavailable where it is missing or is not the one this code was written for."""
    return _read("_transform.wasm", TYPESCRIPT_SHA256)


def _read(name: str, digest: str) -> bytes:
    try:
        path = Path(str(distribution("quickjs-rs").locate_file(f"{_FOLDER}/{name}")))
        data = path.read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise SandboxUnavailable(
            f"the sandbox's guest is not installed ({type(error).__name__}): install quickjs-rs 0.2.6"
        ) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise SandboxUnavailable(
            "the sandbox's guest is not the one this version was made for: install quickjs-rs 0.2.6"
        )
    return data
