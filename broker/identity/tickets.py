"""Tickets: what a person's browser holds instead of a bearer. A login's cookie, and the token of a one-time link.

`krv_<kind>_<base64url of the tenant's UUID and 32 random bytes>`; kind `lg` login, `cl` connect link, `si` sign-in
link, `ac` OAuth authorization code. The tenant only chooses the row-level-security scope of the look-up; the SHA-256
found there is the authority. A ticket is no bearer: `Authorization` takes none.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from broker.errors import Problem

TicketKind = Literal["login", "connect", "sign_in", "code"]

_PREFIX: Final[dict[TicketKind, str]] = {
    "login": "krv_lg_",
    "connect": "krv_cl_",
    "sign_in": "krv_si_",
    "code": "krv_ac_",
}
_SECRET: Final = 32
_LENGTH: Final = 7 + 64


@dataclass(frozen=True, slots=True)
class Ticket:
    """A well-formed ticket; nothing of it is authenticated until its digest is found.

    `csrf` is what a form made for it carries (OWASP's HMAC-based token): whoever has the one cannot tell the other.
    """

    kind: TicketKind
    tenant_id: UUID
    digest: bytes = field(repr=False)
    csrf: str = field(repr=False)


def mint(kind: TicketKind, tenant_id: UUID) -> tuple[str, Ticket]:
    """A new ticket's text, shown once, and what is kept of it."""
    body = base64.urlsafe_b64encode(tenant_id.bytes + secrets.token_bytes(_SECRET)).decode("ascii")
    text = _PREFIX[kind] + body
    return text, parse(kind, text)


def parse(kind: TicketKind, text: str) -> Ticket:
    """The ticket that `text` spells. Raises Problem `not_found` for anything else, without repeating it."""
    if len(text) != _LENGTH or not text.isascii() or not text.startswith(_PREFIX[kind]):
        raise _unknown()
    try:
        raw = base64.b64decode(text[7:], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _unknown() from None
    spelled = text.encode("ascii")
    csrf = hmac.new(spelled, b"keyreeve form", hashlib.sha256).hexdigest()
    return Ticket(kind, UUID(bytes=raw[:16]), hashlib.sha256(spelled).digest(), csrf)


def _unknown() -> Problem:
    told = "this is not a link that this server made"
    return Problem("not_found", told, hint="copy the whole link, or ask for a new one")


def check_csrf(expected: str, given: str) -> None:
    """Returns if a form was made for this very ticket. Raises Problem `forbidden`."""
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise Problem(
            "forbidden", "this form was not made for this browser's sign-in", hint="open the page again", fix="user"
        )
