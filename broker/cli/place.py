"""Which server a command talks to, and as whom.

`KEYREEVE_URL` and `KEYREEVE_API_KEY`, else the data directory: the URL that a running server wrote to
`DIR/run/server.json` and the operator key in `DIR/admin.key`. A key found on this machine is never sent to a server
that is not this machine's.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.cli.errors import NoKey, Unreachable
from broker.cli.parse import public_url
from broker.settings import default_data_dir


@dataclass(frozen=True, slots=True)
class Place:
    """A server's URL and a key for it."""

    url: str
    key: str = field(repr=False)

    @property
    def needs_identifier(self) -> bool:
        """Whether tools must be told for which identity: a session token is of one, a key is not."""
        return not self.key.startswith("krv_st_")


def data_dir_of(given: Path | None, environ: Mapping[str, str]) -> Path:
    """The data directory: as given, else `KEYREEVE_DATA_DIR`, else this user's default."""
    if given is not None:
        return given.expanduser()
    named = environ.get("KEYREEVE_DATA_DIR")
    return Path(named) if named else default_data_dir(environ, os.geteuid())


def find(data_dir: Path, environ: Mapping[str, str], take_secret: Callable[[str], str | None]) -> Place:
    """Where to ask. Raises Unreachable, NoKey, Usage."""
    named, key = environ.get("KEYREEVE_URL"), take_secret("KEYREEVE_API_KEY")
    url = local_url(data_dir) if named is None else public_url(named)
    if url is None:
        raise Unreachable(
            f"no server runs on {data_dir}",
            "start one with `keyreeve up`, name its folder with --data-dir, or set KEYREEVE_URL and KEYREEVE_API_KEY",
        )
    if key is None:
        if named is not None and url != local_url(data_dir):
            raise NoKey(
                "KEYREEVE_URL is set without KEYREEVE_API_KEY",
                "the local operator key is only sent to the local server",
            )
        key = _admin_key(data_dir)
    key = key.strip()
    if not key.isascii() or not key.isprintable() or not key or len(key) > 200:
        raise NoKey("the key is not one of Keyreeve's", "they begin with krv_")
    return Place(url, key)


def local_url(data_dir: Path) -> str | None:
    """The URL of the server that runs on `data_dir`, or None where none does. Raises NoKey if it may not be read."""
    path = data_dir / "run" / "server.json"
    try:
        found = json.loads(path.read_bytes()[:10_000])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise NoKey(
            f"{path} belongs to another user", "run as that user, or set KEYREEVE_URL and KEYREEVE_API_KEY"
        ) from None
    except ValueError:
        return None
    url = found.get("url") if isinstance(found, dict) else None
    return public_url(url) if isinstance(url, str) else None


def _admin_key(data_dir: Path) -> str:
    path = data_dir / "admin.key"
    try:
        return path.read_text(encoding="ascii")[:1000]
    except FileNotFoundError:
        raise NoKey(f"there is no operator key at {path}", "set KEYREEVE_API_KEY") from None
    except PermissionError:
        raise NoKey(f"{path} belongs to another user", "run as that user, or set KEYREEVE_API_KEY") from None
    except (OSError, UnicodeDecodeError):
        raise NoKey(f"{path} cannot be read", "set KEYREEVE_API_KEY") from None
