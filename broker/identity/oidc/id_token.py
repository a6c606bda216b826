"""Whether an ID token proves who somebody is (OpenID Connect Core 1.0 § 3.1.3.7). Pure."""

import base64
import binascii
import hmac
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError

from broker.identity.oidc.errors import BadToken
from broker.identity.oidc.keys import ALGORITHMS, SigningKey, choose

# RFC 9864 renames EdDSA; providers use the old name, with the one curve that we take.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

MAX_TOKEN: Final = 16 * 1024
MAX_SUBJECT: Final = 255
MAX_AUDIENCES: Final = 20
LEEWAY_SECONDS: Final = 60
_HEADERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""Headers that may be there. One that carries a key or points at one has no business in an ID token, an unknown one may
change what the token means, and `crit` says that it does."""


class _Registry(jws.JWSRegistry):
    """Bounds of an ID token. Which headers may be there is checked before."""

    max_header_length = 4096
    max_payload_length = MAX_TOKEN
    max_signature_length = 2048


_REGISTRY: Final = _Registry(algorithms=sorted(ALGORITHMS), strict_check_header=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token must be made for."""

    issuer: str
    client_id: str
    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """Who the provider says somebody is. `email` only where the provider also says that it verified it."""

    issuer: str
    subject: str
    email: str | None
    name: str | None


def read_id_token(token: str, keys: Sequence[SigningKey], expected: Expected, now: datetime) -> Person:
    """Who it is, if everything holds. Raises BadToken, UnknownKey."""
    return person_of(verified(token, keys), expected, now)


def verified(token: str, keys: Sequence[SigningKey]) -> dict[str, Any]:
    """The claims, if one of these keys signed them. Raises BadToken, UnknownKey."""
    if len(token) > MAX_TOKEN or not token.isascii() or token.count(".") != 2:
        raise BadToken("it is not a signed token of a bearable size")
    header = _header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadToken("it is not signed with RS256, PS256, ES256 or EdDSA")
    if not header.keys() <= _HEADERS or (kid is not None and not isinstance(kid, str)):
        raise BadToken("its header holds what is not understood")
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise BadToken("it is a token of another type")  # RFC 8725 § 3.11
    key = choose(keys, algorithm, kid)
    try:
        claims = json.loads(jws.deserialize_compact(token, key, registry=_REGISTRY).payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise BadToken("its signature does not fit") from None
    if not isinstance(claims, dict):
        raise BadToken("it holds no claims")
    return claims


def person_of(claims: Mapping[str, Any], expected: Expected, now: datetime) -> Person:
    """Who the claims are about, if they are made for `expected` and in force. Raises BadToken."""
    if claims.get("iss") != expected.issuer:
        raise BadToken("another issuer made it")
    _check_audience(claims, expected.client_id)
    _check_times(claims, now.timestamp())
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode("utf-8", "replace"), expected.nonce.encode()):
        raise BadToken("it was made for another sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise BadToken("it names nobody")
    return Person(expected.issuer, subject, verified_email(claims), _name(claims))


def verified_email(claims: Mapping[str, Any]) -> str | None:
    """The e-mail address, in lower case, where the provider says that it is this person's; only plain ASCII ones, which
    nobody can mistake for another."""
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str):
        return None
    if not 3 <= len(email) <= 254 or not email.isascii() or not email.isprintable() or " " in email:
        return None
    local, at, domain = email.partition("@")
    return email.lower() if local and at and domain and "@" not in domain else None


def _name(claims: Mapping[str, Any]) -> str | None:
    name = claims.get("name")
    if not isinstance(name, str):
        return None
    shown = "".join(c for c in name if c.isprintable())[:200].strip()
    return shown or None


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    given = claims.get("aud")
    audience = [given] if isinstance(given, str) else given
    if not isinstance(audience, list) or not 1 <= len(audience) <= MAX_AUDIENCES or client_id not in audience:
        raise BadToken("it was made for another client")
    party = claims.get("azp")
    if (len(audience) > 1 or party is not None) and party != client_id:
        raise BadToken("it was made for several clients, and not asked for by this one")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    if _time(claims, "exp") <= now - LEEWAY_SECONDS:
        raise BadToken("it has expired")
    if _time(claims, "iat") > now + LEEWAY_SECONDS:
        raise BadToken("it was made in the future: the clocks differ by more than a minute")
    if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY_SECONDS:
        raise BadToken("it is not in force yet")


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e12 or math.isnan(value):
        raise BadToken(f"it lacks {name}")
    return float(value)


def _header(token: str) -> dict[str, Any]:
    try:
        header = json.loads(_decoded(token.partition(".")[0]))
    except (ValueError, RecursionError):
        raise BadToken("its header cannot be read") from None
    if not isinstance(header, dict):
        raise BadToken("its header cannot be read")
    return header


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None
