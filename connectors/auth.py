"""Turns an opened secret into the headers that carry it. Outside the vault nothing else imports `vault.reveal`.

What is sealed, by credential kind: `api_token`, `account_token` and `bearer` the token's ASCII bytes; `global_key` the
JSON object {"email", "key"}; `header` {"name", "value"}; `oauth` {"access_token", "refresh_token", …}
(`mcp_upstream/oauth/tokens.py`), of which the access token alone goes with a call; `none` the word itself, and bytes by
which one account is told from another. Every value is checked again here, at the last moment, so that a secret can
never add a header.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from connectors.errors import CredentialRejected
from vault.reveal import reveal
from vault.secret import Secret

MAX_SECRET: Final = 4_096
MAX_OAUTH: Final = 8_000  # access tokens that carry claims are long; a header holds 8,192

_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")  # token68, RFC 9110 § 11.2
_EMAIL = re.compile(r"[!-?A-~]{1,200}@[!-?A-~]{1,200}")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class Authorisation:
    """The headers of one request, and the byte strings that must never appear in its answer."""

    headers: tuple[tuple[str, str], ...] = field(repr=False)
    needles: tuple[bytes, ...] = field(repr=False)


def bearer_headers(secret: Secret) -> Authorisation:
    """`Authorization: Bearer …` (RFC 6750 § 2.1).

    Raises:
        CredentialRejected: the sealed bytes are not a token.
    """
    token = reveal(secret)
    if len(token) > MAX_SECRET or _TOKEN.fullmatch(token) is None:
        raise _unusable()
    return Authorisation((("Authorization", f"Bearer {token.decode('ascii')}"),), (token,))


def global_key_headers(secret: Secret) -> Authorisation:
    """`X-Auth-Email` and `X-Auth-Key`, Cloudflare's Global API Key scheme.

    Raises:
        CredentialRejected: the sealed bytes are not {"email", "key"} of sendable text.
    """
    sealed = _object(secret)
    email, key = sealed.get("email"), sealed.get("key")
    if not isinstance(email, str) or not isinstance(key, str):
        raise _unusable()
    if _EMAIL.fullmatch(email) is None or len(key) > MAX_SECRET or not key.isascii():
        raise _unusable()
    if _TOKEN.fullmatch(key.encode()) is None:
        raise _unusable()
    return Authorisation((("X-Auth-Email", email), ("X-Auth-Key", key)), (key.encode(),))


def named_header(secret: Secret) -> Authorisation:
    """One header of the depositor's choice.

    Raises:
        CredentialRejected: the sealed bytes are not {"name", "value"} of sendable text.
    """
    sealed = _object(secret)
    name, value = sealed.get("name"), sealed.get("value")
    if not isinstance(name, str) or not isinstance(value, str) or len(value) > MAX_SECRET:
        raise _unusable()
    if _HEADER_NAME.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
        raise _unusable()
    # `Basic …` and `Token …`: what follows the scheme is as secret as the whole.
    last = value.rpartition(" ")[2]
    return Authorisation(((name, value),), tuple(dict.fromkeys((value.encode(), last.encode()))))


def oauth_fields(secret: Secret) -> dict[str, Any]:
    """What is sealed of a sign-in, for renewing or giving it back.

    Raises:
        CredentialRejected: the sealed bytes are no such thing.
    """
    sealed = _object(secret)
    if not isinstance(sealed.get("access_token"), str):
        raise _unusable()
    return sealed


def oauth_headers(secret: Secret) -> Authorisation:
    """The access token of a sign-in as bearer; none of its other secrets may be in an answer either.

    Raises:
        CredentialRejected: the sealed bytes are no sign-in, or its token cannot be sent.
    """
    sealed = oauth_fields(secret)
    token = sealed["access_token"]
    if len(token) > MAX_OAUTH or not token.isascii() or _TOKEN.fullmatch(token.encode()) is None:
        raise _unusable()
    others = [sealed[name] for name in ("refresh_token", "client_secret") if isinstance(sealed.get(name), str)]
    needles = tuple(value.encode() for value in (token, *others))
    return Authorisation((("Authorization", f"Bearer {token}"),), needles)


def headers_for(kind: str, secret: Secret) -> Authorisation:
    """By credential kind: `global_key`, `header`, `oauth`, `none`, or one of the bearer kinds.

    Raises:
        CredentialRejected: the kind carries no header scheme, or the sealed bytes do not fit it.
    """
    if kind == "global_key":
        return global_key_headers(secret)
    if kind == "header":
        return named_header(secret)
    if kind == "none":
        return Authorisation((), (reveal(secret),))
    if kind == "oauth":
        return oauth_headers(secret)
    if kind in ("api_token", "account_token", "bearer"):
        return bearer_headers(secret)
    raise CredentialRejected(f"credentials of kind {kind[:40]!r} cannot be sent", "Deposit it again.")


def _object(secret: Secret) -> dict[str, Any]:
    """The JSON object that is sealed. Raises CredentialRejected where it is none."""
    try:
        sealed = orjson.loads(reveal(secret))
    except orjson.JSONDecodeError:
        sealed = None
    if not isinstance(sealed, dict):
        raise _unusable()
    return sealed


def _unusable() -> CredentialRejected:
    return CredentialRejected("the sealed credential is not in a form that can be sent", "Deposit it again.")
