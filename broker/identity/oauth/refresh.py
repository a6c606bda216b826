"""Refresh tokens: `krv_rt_<base64url of tenant, sign-in, turn and their HMAC>`. Pure.

A sign-in's row holds which turn it is at; the token of each turn follows from it and the installation's key, so none is
stored, and the same answer can be given twice: a client whose answer was lost, or that asked twice at once, repeats
the turn before within `GRACE`. Any older one was stolen or copied, and ends the sign-in (RFC 9700 § 4.14.2).
"""

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

PURPOSE: Final = "oauth-refresh"
"""What the key is derived for (`Vault.platform_digest`)."""

GRACE: Final = timedelta(seconds=30)
AGAIN: Final = 5
"""How often the turn before is answered within the grace."""

IDLE: Final = timedelta(days=30)
PREFIX: Final = "krv_rt_"
_BODY: Final = struct.Struct(">16s16sI")
_LENGTH: Final = len(PREFIX) + 4 * ((_BODY.size + 32 + 2) // 3)


Verdict = Literal["next", "again", "reused", "old"]


class NoRefreshToken(ValueError):
    """Not one of our refresh tokens. Never holds any part of it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What an authentic refresh token says."""

    tenant_id: UUID
    sign_in: UUID
    number: int


def spell(key: bytes, turn: Turn) -> str:
    """The token of one turn."""
    body = _BODY.pack(turn.tenant_id.bytes, turn.sign_in.bytes, turn.number)
    return PREFIX + base64.urlsafe_b64encode(body + _mac(key, body)).decode("ascii")


def parse(key: bytes, text: str) -> Turn:
    """The turn that `text` was made for. Raises NoRefreshToken."""
    if len(text) != _LENGTH or not text.isascii() or not text.startswith(PREFIX):
        raise NoRefreshToken("not a refresh token")
    try:
        raw = base64.b64decode(text[len(PREFIX) :], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NoRefreshToken("not a refresh token") from None
    body, given = raw[: _BODY.size], raw[_BODY.size :]
    if not hmac.compare_digest(_mac(key, body), given):
        raise NoRefreshToken("not a refresh token")
    tenant, sign_in, number = _BODY.unpack(body)
    return Turn(UUID(bytes=tenant), UUID(bytes=sign_in), number)


def judge(number: int, at: int, turned_at: datetime, again: int, now: datetime) -> Verdict:
    """What a token of turn `number` means for a sign-in whose turn is `at` since `turned_at`, and whose turn before was
    answered `again` times: the next turn, the same answer once more, a copy, or one that lay too long. A turn that is
    still to come was made before a restore, and is as good as a copy."""
    if number == at:
        return "next" if now < turned_at + IDLE else "old"
    if number == at - 1 and now < turned_at + GRACE and again < AGAIN:
        return "again"
    return "reused"


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()
