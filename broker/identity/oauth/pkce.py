"""Proof Key for Code Exchange, S256 alone (RFC 7636; OAuth 2.1 § 7.5). Pure."""

import base64
import hashlib
import hmac
import re
from typing import Final

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def is_challenge(text: str | None) -> bool:
    """Whether `text` can be an S256 challenge."""
    return text is not None and _CHALLENGE.fullmatch(text) is not None


def proves(verifier: str | None, challenge: str) -> bool:
    """Whether `verifier` is the one that `challenge` was made from."""
    if verifier is None or _VERIFIER.fullmatch(verifier) is None:
        return False
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return hmac.compare_digest(made, challenge.encode("ascii"))
