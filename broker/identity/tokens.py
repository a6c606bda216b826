"""Bearer tokens: `krv_<kind>_<tenant><secret><check>`.

- kind: `op` operator key, `ag` agent key, `st` session token;
- tenant: the home tenant's UUID, 22 base62 digits. It only chooses the row-level-security scope of the look-up;
- secret: 32 base62 digits (190 bits) of the operating system's randomness;
- check: CRC-32 of everything before it, 6 base62 digits, so that a mistyped token costs no look-up and a secret
  scanner can tell a real one (the scheme GitHub published in 2021).

Only the SHA-256 of the whole token is stored. The secret is random, so a slow hash would protect nothing.
"""

import hashlib
import secrets
import zlib
from dataclasses import dataclass, field
from uuid import UUID

from broker.domain import BearerKind
from connectors.frozen import quick

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PREFIX: dict[BearerKind, str] = {"operator": "krv_op_", "agent": "krv_ag_", "session": "krv_st_"}
_KIND: dict[str, BearerKind] = {prefix: kind for kind, prefix in _PREFIX.items()}
_TENANT, _SECRET, _CHECK = 22, 32, 6
TOKEN_LENGTH = 7 + _TENANT + _SECRET + _CHECK


class MalformedToken(ValueError):
    """Not one of our tokens, or mistyped. The message never holds any part of it."""


@quick
@dataclass(frozen=True, slots=True)
class MintedToken:
    """A fresh token: `text` is shown once, `digest` is stored."""

    text: str = field(repr=False)
    digest: bytes


@quick
@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A well-formed token. Nothing about it is authenticated until its digest is found."""

    kind: BearerKind
    tenant_id: UUID
    digest: bytes


def _encode(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _decode(text: str) -> int:
    number = 0
    for digit in text:
        number = number * 62 + _VALUES[digit]
    return number


def _check(text: str) -> str:
    return _encode(zlib.crc32(text.encode("ascii")), _CHECK)


def mint(kind: BearerKind, tenant_id: UUID) -> MintedToken:
    """A new token of `kind` whose home is `tenant_id`."""
    body = _PREFIX[kind] + _encode(tenant_id.int, _TENANT) + "".join(secrets.choice(_DIGITS) for _ in range(_SECRET))
    text = body + _check(body)
    return MintedToken(text, hashlib.sha256(text.encode("ascii")).digest())


def parse(text: str) -> ParsedToken:
    """The parts of a token. Raises MalformedToken, without saying which part was wrong."""
    kind = _KIND.get(text[:7])
    if kind is None or len(text) != TOKEN_LENGTH or not text.isascii():
        raise MalformedToken("not a Keyreeve token")
    body, check = text[:-_CHECK], text[-_CHECK:]
    try:
        if _check(body) != check:
            raise MalformedToken("the token's check digits do not fit; it was cut or mistyped")
        tenant = _decode(body[7 : 7 + _TENANT])
    except KeyError:
        raise MalformedToken("not a Keyreeve token") from None
    if tenant >= 1 << 128 or not body[7:].isalnum():
        raise MalformedToken("not a Keyreeve token")
    return ParsedToken(kind, UUID(int=tenant), hashlib.sha256(text.encode("ascii")).digest())
