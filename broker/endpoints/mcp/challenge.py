"""What tells a client how to be let in: challenges (RFC 6750 § 3, RFC 9728 § 5.1) and protected-resource metadata
(RFC 9728 § 3). Pure. It says the same of a tenant whether or not there is one.
"""

from collections.abc import Sequence
from typing import Any, Final

from broker.domain import Caller
from broker.endpoints.mcp.place import WELL_KNOWN, Place
from broker.errors import Problem
from broker.identity.oauth.scopes import scope_of

SCOPES: Final = ("tools:read", "tools:write", "tools:destructive")
"""What a sign-in can be asked for: each holds the ones before it.

The first challenge names all of them, for a sign-in can be given no more than its client asked for, and few clients
ask again. VS Code does on a 403 (microsoft/vscode#269883); Claude Code says so and leaves it to the person
(anthropics/claude-code#44652, #68720); Codex reads no scope out of a challenge (openai/codex#15643); of Cursor nothing
is documented but that it asks for all of `scopes_supported`. Asked for reading alone, a person could choose nothing
else on the consent page, ever. What is given is chosen there, and that begins at reading whatever is asked; the token's
answer says what it came to (RFC 6749 § 5.1).
"""


class OutOfReach(Problem):
    """The bearer is good, and narrower than what is asked: a sign-in with `scopes` would help."""

    def __init__(self, code: str, detail: str, *, hint: str, scopes: Sequence[str] = SCOPES) -> None:
        super().__init__(code, detail, hint=hint, sent=False)
        self.scopes = tuple(scopes)


def check_width(problem: Problem, caller: Caller, *, narrowed: bool) -> None:
    """Raises OutOfReach where a call was refused only because its OAuth token's access is too low: a wider sign-in
    helps. Not where the URL `narrowed` it, nor for keys and sessions, which nobody signs in for."""
    if problem.reason != "restricted_access" or caller.bearer.audience is None or narrowed or problem.needs is None:
        return
    hint = f"sign in again and allow {problem.needs}"
    wider = OutOfReach(problem.code, problem.detail, hint=hint, scopes=scope_of(problem.needs).split())
    wider.execution_id, wider.recorded = problem.execution_id, problem.recorded
    raise wider from None


def metadata_url(base_url: str, place: Place) -> str:
    """Where the endpoint's metadata stands."""
    return f"{base_url}{WELL_KNOWN}{place.path}"


def metadata(base_url: str, place: Place) -> dict[str, Any]:
    """The endpoint's protected-resource metadata."""
    return {
        "resource": f"{base_url}{place.path}",
        "authorization_servers": [f"{base_url}/t/{place.issuer}"],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
        "resource_name": f"Keyreeve, {place.issuer}" + ("" if place.connection is None else f": {place.connection}"),
    }


def unauthorized(base_url: str, place: Place, *, given: bool) -> str:
    """The `WWW-Authenticate` of a 401. `given`: a bearer was there, and is not good."""
    error = 'error="invalid_token"' if given else None
    return _bearer(base_url, place, SCOPES, error)


def insufficient(base_url: str, place: Place, scopes: Sequence[str] = SCOPES) -> str:
    """The `WWW-Authenticate` of a 403 that a wider sign-in would mend; `scopes` are all that the request needs."""
    return _bearer(base_url, place, scopes, 'error="insufficient_scope"')


def _bearer(base_url: str, place: Place, scopes: Sequence[str], error: str | None) -> str:
    parts = [
        'realm="keyreeve"',
        *([error] if error else []),
        f'scope="{" ".join(scopes)}"',
        f'resource_metadata="{metadata_url(base_url, place)}"',
    ]
    return "Bearer " + ", ".join(parts)
