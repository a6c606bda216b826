"""Whether a logout token says that somebody's session at the provider ended (OpenID Connect Back-Channel Logout 1.0
§ 2.4, § 2.6). Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from broker.identity.oidc.errors import BadToken
from broker.identity.oidc.id_token import (
    MAX_SESSION,
    MAX_SUBJECT,
    check_made_for,
    check_times,
    claimed,
    text_of,
    verified,
)
from broker.identity.oidc.keys import SigningKey

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
MAX_JTI: Final = 1000
LONGEST: Final = timedelta(days=1)
"""A token that is good for longer is refused: it must be remembered for as long, so that it counts once."""
_TYPES: Final = frozenset({"JWT", "LOGOUT+JWT", "APPLICATION/LOGOUT+JWT"})


@dataclass(frozen=True, slots=True)
class Ended:
    """What a provider says has ended: its session `session`, or, without one, all of `subject`'s. At least one of them
    is there. `made` and `until`: the token's own times."""

    issuer: str
    jti: str = field(repr=False)
    subject: str | None
    session: str | None = field(repr=False)
    made: datetime
    until: datetime


def glance(token: str, now: datetime) -> Ended:
    """What a token says, whoever made it: to turn junk away before anything is looked up. Raises BadToken."""
    return _ended(claimed(token), now)


def read_logout_token(token: str, keys: Sequence[SigningKey], issuer: str, client_id: str, now: datetime) -> Ended:
    """What ended, if everything holds; whether it was said before is for the caller to see. Raises BadToken,
    UnknownKey."""
    claims = verified(token, keys, _TYPES)
    check_made_for(claims, issuer, client_id)
    return _ended(claims, now)


def digest_of(kind: str, issuer: str, name: str) -> bytes:
    """By which a `session`, `subject` or `jti` of an issuer's is remembered."""
    return hashlib.sha256("\n".join((kind, issuer, name)).encode("utf-8", "surrogatepass")).digest()


def _ended(claims: Mapping[str, Any], now: datetime) -> Ended:
    issuer = text_of(claims, "iss", MAX_SESSION)
    jti = text_of(claims, "jti", MAX_JTI)
    events = claims.get("events")
    if issuer is None or jti is None or not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise BadToken("it is no logout token")
    if "nonce" in claims:
        raise BadToken("it holds a nonce: an ID token is no logout token")  # § 2.4
    made, until = check_times(claims, now)
    if until - made > LONGEST:
        raise BadToken("it is good for more than a day")
    subject, session = text_of(claims, "sub", MAX_SUBJECT), text_of(claims, "sid", MAX_SESSION)
    if subject is None and session is None:
        raise BadToken("it names nobody")
    return Ended(issuer, jti, subject, session, made, until)
