"""What a client of the older eras says in its handshake that it can be asked, carried by the client itself.

Nothing is kept here of a handshake. A client that can be asked something is given a session id that says what, and
repeats it with every request; it may as well lie in one as in the other, for it only says of itself what it can do.
Other clients are given none, and are served as ever.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

HEADER: Final = "mcp-session-id"

_FLAGS: Final[Mapping[str, tuple[str, str | None]]] = {
    "f": ("elicitation", "form"),
    "u": ("elicitation", "url"),
    "r": ("roots", None),
    "s": ("sampling", None),
}
_SESSION = re.compile(r"[A-Za-z0-9_-]{22}\.([frsu]{1,4})")


def session_id(capabilities: object) -> str | None:
    """The id of a session with a client of these capabilities; None where it can be asked nothing."""
    declared = capabilities if isinstance(capabilities, dict) else {}
    flags = "".join(flag for flag, (kind, mode) in _FLAGS.items() if _has(declared.get(kind), mode))
    return f"{secrets.token_urlsafe(16)}.{flags}" if flags else None


def capabilities_of(given: str | None) -> dict[str, Any]:
    """What the client of a session can be asked; nothing where the id is not one of ours."""
    session = _SESSION.fullmatch(given or "")
    found: dict[str, Any] = {}
    for flag in session[1] if session is not None else "":
        kind, mode = _FLAGS[flag]
        found.setdefault(kind, {}).update({} if mode is None else {mode: {}})
    return found


def _has(declared: object, mode: str | None) -> bool:
    if not isinstance(declared, dict):
        return False
    # One that names no mode means forms (2025-11-25, client/elicitation).
    return mode is None or mode in declared or (mode == "form" and "url" not in declared)
