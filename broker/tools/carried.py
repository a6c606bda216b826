"""What a client carries from one round of a call to the next: sealed, so that it can neither be read nor made up.

It holds no authority. Whoever brings it back is authenticated and judged like anybody; it only proves that this call,
of this caller, was told before what to do first, and gives back what was put into it then: nothing, or the state of a
server behind us, which may trust it for more than we do.
"""

import base64
import binascii
import hashlib
import secrets
import struct
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import invalid

LIFETIME: Final = timedelta(minutes=15)
PURPOSE: Final = "carried-state"
"""What the key is derived for (`Vault.platform_digest`)."""

MAX_CONTENT: Final = 48 * 1024
"""Bytes that one token may carry."""
MAX_LENGTH: Final = 66_000
_NONCE, _TAG = 12, 16
_EXPIRY = struct.Struct(">d")


class Carried:
    """Seals with AES-256-GCM (NIST SP 800-38D) under `key`, 32 bytes that are the same on every node."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, bound: bytes, now: datetime, content: bytes = b"") -> str:
        """A token that opens for `bound` alone, for `LIFETIME`, and gives `content` back. Raises ValueError where that
        is longer than `MAX_CONTENT`."""
        if len(content) > MAX_CONTENT:
            raise ValueError("too much to be carried")
        nonce = secrets.token_bytes(_NONCE)
        plain = _EXPIRY.pack((now + LIFETIME).timestamp()) + content
        sealed = nonce + self._cipher.encrypt(nonce, plain, _digest(bound))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, token: object, bound: bytes, now: datetime) -> bytes:
        """What was sealed for `bound`, if that has not expired. Raises Problem `invalid_input`, always the same."""
        refused = invalid("requestState", "is not one that was given for this call, or has expired")
        if not isinstance(token, str) or len(token) > MAX_LENGTH:
            raise refused
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if len(sealed) < _NONCE + _EXPIRY.size + _TAG:
                raise refused
            plain = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _digest(bound))
        except (binascii.Error, ValueError, InvalidTag):
            raise refused from None
        if _EXPIRY.unpack_from(plain)[0] <= now.timestamp():
            raise refused
        return plain[_EXPIRY.size :]


def _digest(bound: bytes) -> bytes:
    return hashlib.sha256(bound).digest()
