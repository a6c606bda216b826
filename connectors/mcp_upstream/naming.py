"""What an upstream tool is called here. Pure, and the same in every process and release.

A name that needs no change is kept after the connection's; any other (foreign characters, too long, one of ours) is cut
and gets the hash of the whole, so that no two tools of one server meet by accident.
"""

import hashlib
import re
from typing import Final

MAX_NAME: Final = 60
PROMPTS, RESOURCES, COMPLETIONS = "prompts", "resources", "completions"
"""The tools under which what is no tool runs (passing.py)."""
EXTRAS: Final = frozenset({PROMPTS, RESOURCES, COMPLETIONS})
RESERVED: Final = EXTRAS | {"connect"}
"""Tools that Keyreeve itself adds to a connection."""

_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
_UPSTREAM = re.compile(r"[\x21-\x7e]{1,128}")


def usable(name: object) -> bool:
    """Whether a server's name for a tool is one at all (2026-07-28, server/tools: 1 to 128 characters; ASCII here)."""
    return isinstance(name, str) and _UPSTREAM.fullmatch(name) is not None


def tool_name(connection_name: str, name: str) -> str:
    """`NAME_tool`, at most 60 characters."""
    slug = _OTHER.sub("-", name).strip("-") or "tool"
    room = MAX_NAME - len(connection_name) - 1
    if slug != name or len(slug) > room or slug in RESERVED:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        slug = f"{slug[: room - 9].rstrip('-_')}-{digest}"
    return f"{connection_name}_{slug}"
