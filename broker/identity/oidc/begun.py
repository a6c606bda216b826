"""A sign-in that was begun: all that is kept of it is in the cookie of the browser that began it. Pure.

The cookie is `base64url(tenant 16 | provider 16 | time 8 | seed 32 | HMAC-SHA256 32)`. State, nonce and PKCE verifier
follow from the seed, which never leaves the browser and this server: whoever sees the one in an address cannot tell
the others. An answer without the cookie it belongs to (login CSRF: RFC 6749 § 10.12, RFC 9700 § 4.7) opens nothing, nor
does one for another tenant's provider (mix-up: RFC 9700 § 4.4).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from broker.errors import Problem

LASTS: Final = timedelta(minutes=10)
SKEW: Final = timedelta(minutes=1)
"""How far the clock of the process that began it may be ahead of this one's."""
SEED_BYTES: Final = 32
_LENGTH: Final = 16 + 16 + 8 + SEED_BYTES + 32


@dataclass(frozen=True, slots=True)
class Begun:
    """One sign-in under way. `provider` is `digest_of` the provider it was begun with."""

    tenant_id: UUID
    provider: bytes
    at: datetime
    seed: bytes = field(repr=False)

    @property
    def state(self) -> str:
        """What the provider hands back."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """What the ID token must hold."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """PKCE's code verifier (RFC 7636 § 4.1)."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """PKCE's code challenge, S256."""
        return _text(hashlib.sha256(self.verifier.encode("ascii")).digest())

    @property
    def digest(self) -> bytes:
        """By which a finished sign-in is remembered."""
        return hashlib.sha256(self.state.encode("ascii")).digest()

    def cookie(self, key: bytes) -> str:
        """The cookie, sealed against changes with the installation's key."""
        body = self.tenant_id.bytes + self.provider + _seconds(self.at).to_bytes(8, "big") + self.seed
        return _text(body + _mac(key, body))

    def _derived(self, what: str) -> str:
        return _text(hmac.new(self.seed, b"keyreeve oidc " + what.encode("ascii"), hashlib.sha256).digest())


def digest_of(issuer: str, client_id: str, version: int) -> bytes:
    """16 bytes by which a provider as it was set is recognised."""
    return hashlib.sha256("\n".join((issuer, client_id, str(version))).encode()).digest()[:16]


def read_cookie(key: bytes, cookie: str | None, tenant_id: UUID, now: datetime) -> Begun:
    """The sign-in that this browser began with this tenant. Raises Problem `forbidden`."""
    raw = b"" if cookie is None else _bytes(cookie)
    body, mac = raw[:-32], raw[-32:]
    if len(raw) != _LENGTH or not hmac.compare_digest(mac, _mac(key, body)):
        raise not_begun_here()
    begun = Begun(
        tenant_id=UUID(bytes=body[:16]),
        provider=body[16:32],
        at=datetime.fromtimestamp(int.from_bytes(body[32:40], "big"), UTC),
        seed=body[40:],
    )
    if begun.tenant_id != tenant_id or not -SKEW <= now - begun.at < LASTS:
        raise not_begun_here()
    return begun


def check_state(begun: Begun, given: str | None) -> None:
    """Returns if the provider's answer belongs to this sign-in. Raises Problem `forbidden`."""
    if given is None or not hmac.compare_digest(given.encode("utf-8", "replace"), begun.state.encode("ascii")):
        raise not_begun_here()


def request_address(endpoint: str, begun: Begun, *, client_id: str, redirect_uri: str, scopes: Sequence[str]) -> str:
    """Where the browser is sent: the provider's authorization endpoint with the request (Core § 3.1.2.1)."""
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": begun.state,
        "nonce": begun.nonce,
        "code_challenge": begun.challenge,
        "code_challenge_method": "S256",
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"


def not_begun_here() -> Problem:
    """The refusal of an answer that this browser does not wait for."""
    told = "this sign-in was not begun in this browser in the last 10 minutes, or it is finished"
    return Problem("forbidden", told, hint="start again from the sign-in page", fix="user")


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    if len(text) > 200 or not text.isascii():
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
