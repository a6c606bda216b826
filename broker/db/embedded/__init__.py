"""The embedded PostgreSQL: one private server per data directory, run from the binaries of a Python wheel.

Promises: nobody but this installation's roles can connect (a Unix socket in a private folder, SCRAM, no TCP); started
as root, PostgreSQL runs as a user that cannot read the root key; what was acknowledged survives `kill -9`; a server
left behind by a killed parent is found and stopped by the next start. `README.md` tells how.

The names here are loaded when they are first used: `up` asks for this folder's users before it has loaded anything.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker.db.embedded.connection import ConnectionInfo
    from broker.db.embedded.errors import EmbeddedError
    from broker.db.embedded.server import EmbeddedPostgres

__all__ = ["ConnectionInfo", "EmbeddedError", "EmbeddedPostgres"]


def __getattr__(name: str) -> Any:
    places = {"ConnectionInfo": "connection", "EmbeddedError": "errors", "EmbeddedPostgres": "server"}
    if name not in places:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{places[name]}"), name)
