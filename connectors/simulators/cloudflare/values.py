"""The values Cloudflare hands out: identifiers and credentials in their real formats.

Credentials: a prefix (`cfk_` Global API Key, `cfut_` user token, `cfat_` account token), 40 characters, a
checksum [D]. The checksum's algorithm is not published; CRC-32 in eight hex digits stands in for it [memory].
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import Literal

Prefix = Literal["cfk_", "cfut_", "cfat_"]

_ALPHABET = string.ascii_letters + string.digits
_ID = re.compile(r"[0-9a-f]{32}\Z")
_CREDENTIAL = re.compile(rb"[A-Za-z0-9_-]{37,128}\Z")


def new_credential(prefix: Prefix) -> str:
    """A fresh credential value: prefix, 40 random characters, 8 of checksum."""
    body = prefix + "".join(secrets.choice(_ALPHABET) for _ in range(40))
    return f"{body}{zlib.crc32(body.encode()):08x}"


def well_formed(credential: bytes) -> bool:
    """Whether an Authorization header could carry this; old unprefixed 40-character tokens still may [D]."""
    return _CREDENTIAL.match(credential) is not None


def fingerprint(credential: bytes) -> str:
    """What logs may show of a credential: 16 hex digits of its SHA-256."""
    return hashlib.sha256(credential).hexdigest()[:16]


def new_id() -> str:
    """A random identifier: 32 hex digits, as most of Cloudflare's are."""
    return secrets.token_hex(16)


def named_id(kind: str, name: str) -> str:
    """An identifier that is the same in every run, for users, accounts, zones and permission groups."""
    return hashlib.sha256(f"{kind}:{name}".encode()).hexdigest()[:32]


def is_id(text: str) -> bool:
    """Whether `text` has an identifier's form."""
    return _ID.match(text) is not None
