"""The guest's WebAssembly binary: QuickJS-ng as the pinned package quickjs-rs 0.2.6 ships it.

Its interface is private to that package, so nothing but this very file is accepted.
"""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from broker.tools.codemode.sandbox.errors import SandboxUnavailable

SHA256: Final = "647ab11ae29cc6d39a6d17d3aa1e7a6a0b5fb9c44b4864475a18bc644f926050"
_FILE: Final = "quickjs_rs/_guest.wasm"


def guest_binary() -> bytes:
    """The binary. Raises SandboxUnavailable where it is missing or is not the one this code was written for."""
    try:
        path = Path(str(distribution("quickjs-rs").locate_file(_FILE)))
        data = path.read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise SandboxUnavailable(
            f"the sandbox's guest is not installed ({type(error).__name__}): install quickjs-rs 0.2.6"
        ) from error
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SandboxUnavailable(
            "the sandbox's guest is not the one this version was made for: install quickjs-rs 0.2.6"
        )
    return data
