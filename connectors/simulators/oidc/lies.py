"""The lies, by name: what of the truth each changes. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Claims = dict[str, Any]

HOUR: Final = 3600
METADATA_SERVICE: Final = "http://169.254.169.254/latest/meta-data"


def _without(claims: Claims, *names: str) -> None:
    for name in names:
        claims.pop(name, None)


CLAIMS: Final[Mapping[str, Callable[[Claims], None]]] = {
    "another issuer": lambda c: c.update(iss="https://other.example"),
    "issuer with a slash": lambda c: c.update(iss=c["iss"] + "/"),
    "no issuer": lambda c: c.pop("iss", None),
    "another audience": lambda c: c.update(aud="somebody-else"),
    "no audience": lambda c: c.pop("aud", None),
    "audience among others": lambda c: c.update(aud=[c["aud"], "somebody-else"]),
    "another authorized party": lambda c: c.update(azp="somebody-else"),
    "another nonce": lambda c: c.update(nonce="x" * 43),
    "no nonce": lambda c: c.pop("nonce", None),
    "expired": lambda c: c.update(iat=c["iat"] - HOUR, exp=c["iat"] - 61),
    "no expiry": lambda c: c.pop("exp", None),
    "from the future": lambda c: c.update(iat=c["iat"] + 61 + 60, exp=c["iat"] + HOUR),
    "not in force yet": lambda c: c.update(nbf=c["iat"] + 61 + 60),
    "expiry is a text": lambda c: c.update(exp=str(c["exp"])),
    "no time of issue": lambda c: c.pop("iat", None),
    "no subject": lambda c: c.pop("sub", None),
    "subject is a number": lambda c: c.update(sub=7),
    "subject is huge": lambda c: c.update(sub="s" * 256),
}
"""What is wrong inside a token that is signed as it should be."""

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
LOGOUTS: Final[Mapping[str, Callable[[Claims], None]]] = {
    "logout with a nonce": lambda c: c.update(nonce="x" * 43),
    "logout without events": lambda c: c.pop("events", None),
    "logout of another event": lambda c: c.update(events={"http://schemas.openid.net/event/other": {}}),
    "logout event is a text": lambda c: c.update(events={EVENT: "yes"}),
    "logout events are a list": lambda c: c.update(events=[EVENT]),
    "logout without jti": lambda c: c.pop("jti", None),
    "logout jti is a number": lambda c: c.update(jti=7),
    "logout of nobody": lambda c: _without(c, "sub", "sid"),
    "logout session is a number": lambda c: c.update(sid=7),
    "logout for a month": lambda c: c.update(exp=c["iat"] + 30 * 24 * HOUR),
}
"""What is wrong inside a logout token that is signed as it should be; and most of `CLAIMS`."""

SIGNATURES: Final = (
    "unsigned",  # alg none, no signature
    "unsigned but signed",  # alg none over a good signature
    "signed with the public key",  # HS256, the published key as the shared secret
    "another key under the same id",
    "a key of its own in the header",
    "a key elsewhere",  # jku
    "unknown key id",
    "edited",  # claims changed after signing
    "cut short",
    "critical header",
    "another type",  # typ at+jwt
)
"""What is wrong around a token."""

DOCUMENTS: Final = (
    "description of another issuer",
    "description is huge",
    "description is not json",
    "description is a list",
    "description redirects",
    "description is slow",
    "description without code",
    "token endpoint at the metadata service",
    "keys at the metadata service",
    "keys are huge",
    "keys redirect",
    "no usable key",
    "token endpoint redirects",
    "token answer is huge",
    "token answer is not json",
    "no id token",
    "another issuer in the answer",
    "userinfo of somebody else",
)
"""What is wrong with everything else."""
