"""Importing less: libraries that are only looked for, and then loaded because somebody else needs them."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def absent(*names: str) -> Iterator[None]:
    """While it is open, importing one of these fails as if it were not installed; those already imported stay.

    structlog loads rich for tracebacks that we render without it, and fastapi loads email_validator for a type that we
    do not use: a tenth of a second of every start. Both do without where they are missing.
    """
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)
