"""Says beside an upstream's error what probably caused it, and learns from one that proves a missing
permission.
"""

import re
from typing import Final

from connectors.base import Answer, Json, Permissions, Permit, Prepared, Resources
from connectors.cloudflare.answer import error_codes
from connectors.cloudflare.permissions import named

MAX_HINT: Final = 800

AUTHENTICATION_ERROR: Final = 10000  # also what Cloudflare answers where a permission is missing
UNAUTHORIZED: Final = 9109
_ROUTE_ERRORS: Final = frozenset({7000, 7003})

_LEARNED = re.compile(r"(?P<what>.+?)(?: \((?P<kind>zone|account) (?P<id>[^()\s]{1,64})\))?")


def hint_for(prepared: Prepared, answer: Answer) -> str | None:
    """What to try, or None. Names the body's mismatches with the description, which are advice until here."""
    if answer.error is None:
        return None
    said: list[str] = []
    codes = error_codes(answer)
    if answer.status in (401, 403) and (AUTHENTICATION_ERROR in codes or UNAUTHORIZED in codes):
        if prepared.operation.permissions:
            needs = named(prepared.operation.permissions)
            said.append(f"{prepared.operation.ref} needs the permission {needs} on what it names")
        else:
            said.append("the credential may lack a permission on what this names")
    elif answer.status == 404 or not _ROUTE_ERRORS.isdisjoint(codes):
        said.append("check the ids in path_params")
    elif answer.status == 429:
        said.append("Cloudflare's own limit is reached; wait, then make fewer calls")
    if prepared.warnings and 400 <= answer.status < 500:
        said.append(f"against the description: {'; '.join(prepared.warnings)}")
    return ". ".join(said)[:MAX_HINT] or None


def learn(prepared: Prepared, answer: Answer) -> str | None:
    """The permission that a 403 proves missing, with the zone or account it is missing for; else None.

    Only code 10000 (or 9109 "Unauthorized …") to an operation whose permission is known proves it. What
    the proof holds for is part of the text ("DNS Write (zone 023e…)"), since the same permission may be
    held elsewhere.
    """
    if answer.status != 403 or not prepared.operation.permissions:
        return None
    codes = error_codes(answer)
    if AUTHENTICATION_ERROR not in codes and not (UNAUTHORIZED in codes and "unauthorized" in _text(answer)):
        return None
    what = named(prepared.operation.permissions).replace("(", "").replace(")", "")
    for kind, ids in (("zone", prepared.resources.zones), ("account", prepared.resources.accounts)):
        if len(ids) == 1:
            return f"{what} ({kind} {ids[0]})"
        if ids:
            return None
    return what


def learned_denial(prepared: Prepared, permissions: Permissions) -> Permit | None:
    """Denied, where an earlier 403 proved this very operation refused for this very zone or account."""
    text = permissions.learned.get(prepared.operation.id)
    match = _LEARNED.fullmatch(text) if text is not None else None
    if match is None or not _same(match["kind"], match["id"], prepared.resources):
        return None
    return Permit("denied", match["what"], f"Cloudflare refused {prepared.operation.ref} to this credential before")


def _same(kind: str | None, identifier: str | None, resources: Resources) -> bool:
    if kind is None:
        return not resources.zones and not resources.accounts
    return (resources.zones if kind == "zone" else resources.accounts) == (identifier,)


def _text(answer: Answer) -> str:
    detail: Json = answer.error.get("detail") if answer.error else ""
    return str(detail).lower()
