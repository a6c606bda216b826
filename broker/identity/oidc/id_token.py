"""Whether an ID token proves who somebody is (OpenID Connect Core 1.0 § 3.1.3.7). Pure."""

import base64
import binascii
import hmac
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError

from broker.identity.oidc.errors import BadToken
from broker.identity.oidc.keys import ALGORITHMS, SigningKey, choose

# RFC 9864 renames EdDSA; providers use the old name, with the one curve that we take.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

MAX_TOKEN: Final = 16 * 1024
MAX_SUBJECT: Final = 255
MAX_SESSION: Final = 1000
MAX_AUDIENCES: Final = 20
LEEWAY_SECONDS: Final = 60
_TIMES_END: Final = 253_370_764_800
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
    """Who the provider says somebody is, and since `at`. `email` only where the provider also says that it verified it;
    `session` the provider's name of its session with them (`sid`), where it names one."""

    issuer: str
    subject: str
    email: str | None
    name: str | None
    session: str | None = field(repr=False)
    at: datetime


def read_id_token(token: str, keys: Sequence[SigningKey], expected: Expected, now: datetime) -> Person:
    """Who it is, if everything holds. Raises BadToken, UnknownKey."""
    return person_of(verified(token, keys), expected, now)


def verified(token: str, keys: Sequence[SigningKey], types: frozenset[str] = frozenset({"JWT"})) -> dict[str, Any]:
    """The claims, if one of these keys signed them. `types` are those that its header may name, in upper case. Raises
    BadToken, UnknownKey."""
    header = _object(token, 0)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadToken("it is not signed with RS256, PS256, ES256 or EdDSA")
    if not header.keys() <= _HEADERS or (kid is not None and not isinstance(kid, str)):
        raise BadToken("its header holds what is not understood")
    if str(header.get("typ", "JWT")).upper() not in types:
        raise BadToken("it is a token of another type")  # RFC 8725 § 3.11
    key = choose(keys, algorithm, kid)
    try:
        claims = json.loads(jws.deserialize_compact(token, key, registry=_REGISTRY).payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise BadToken("its signature does not fit") from None
    if not isinstance(claims, dict):
        raise BadToken("it holds no claims")
    return claims


def claimed(token: str) -> dict[str, Any]:
    """The claims, whoever made them: to turn a token away by, never to believe. Raises BadToken."""
    return _object(token, 1)


def person_of(claims: Mapping[str, Any], expected: Expected, now: datetime) -> Person:
    """Who the claims are about, if they are made for `expected` and in force. Raises BadToken."""
    check_made_for(claims, expected.issuer, expected.client_id)
    at, _ = check_times(claims, now)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode("utf-8", "replace"), expected.nonce.encode()):
        raise BadToken("it was made for another sign-in")
    subject = text_of(claims, "sub", MAX_SUBJECT)
    if subject is None:
        raise BadToken("it names nobody")
    session = text_of(claims, "sid", MAX_SESSION)
    return Person(expected.issuer, subject, verified_email(claims), _name(claims), session, at)


def text_of(claims: Mapping[str, Any], name: str, most: int) -> str | None:
    """A claim that is a text of 1 to `most` printable characters; None where it is not there. Raises BadToken."""
    value = claims.get(name)
    if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable()):
        raise BadToken(f"its {name} is not a short text")
    return value


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


def check_made_for(claims: Mapping[str, Any], issuer: str, client_id: str) -> None:
    """Returns if this issuer made the token for this client. Raises BadToken."""
    if claims.get("iss") != issuer:
        raise BadToken("another issuer made it")
    given = claims.get("aud")
    audience = [given] if isinstance(given, str) else given
    if not isinstance(audience, list) or not 1 <= len(audience) <= MAX_AUDIENCES or client_id not in audience:
        raise BadToken("it was made for another client")
    party = claims.get("azp")
    if (len(audience) > 1 or party is not None) and party != client_id:
        raise BadToken("it was made for several clients, and not asked for by this one")


def check_times(claims: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """When the token was made and until when it is good, if that is now. Raises BadToken."""
    made, until, at = _time(claims, "iat"), _time(claims, "exp"), now.timestamp()
    if until <= at - LEEWAY_SECONDS:
        raise BadToken("it has expired")
    if made > at + LEEWAY_SECONDS:
        raise BadToken("it was made in the future: the clocks differ by more than a minute")
    if "nbf" in claims and _time(claims, "nbf") > at + LEEWAY_SECONDS:
        raise BadToken("it is not in force yet")
    return datetime.fromtimestamp(made, UTC), datetime.fromtimestamp(until, UTC)


def _time(claims: Mapping[str, Any], name: str) -> float:
    """Seconds since 1970, before the year 9999."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _TIMES_END:
        raise BadToken(f"it lacks {name}")
    return float(value)


def _object(token: str, part: int) -> dict[str, Any]:
    """One part of a token, unverified. Raises BadToken."""
    if len(token) > MAX_TOKEN or not token.isascii() or token.count(".") != 2:
        raise BadToken("it is not a signed token of a bearable size")
    try:
        found = json.loads(_decoded(token.split(".")[part]))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadToken("it cannot be read")
    return found


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None
