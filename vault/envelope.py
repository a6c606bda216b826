"""The bytes of one sealed value. Pure but for randomness.

Format 1, algorithm 1 (AES-256-GCM for wrap and payload):

    offset  size  field
    0       4     magic "KRVE"
    4       1     format = 1
    5       1     algorithm = 1
    6       4     KEK version, big-endian u32
    10      12    wrap nonce
    22      48    wrapped DEK (32 bytes and a 16-byte tag)
    70      12    payload nonce
    82      n+16  payload and tag

    payload AAD = lp("keyreeve/seal/1") + lp("payload") + alg + binding
    wrap AAD    = lp("keyreeve/seal/1") + lp("wrap") + alg + binding + KEK id (tenant, purpose, version)

Invariants: a DEK is random and seals one payload, once. The payload does not bind the KEK, so a new KEK
re-wraps the DEK and leaves the payload's bytes as they are; the wrap does, so a DEK wrapped for one KEK
version never opens as another's. Nonces are random 96 bits: a KEK must stay below 2^32 wraps (NIST SP 800-38D
§ 8.3).
"""

import os
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.binding import MAX_VERSION, Binding, lp
from vault.errors import InvalidRequest, SealedDoesNotOpen, TooLarge, UnknownFormat
from vault.kek import Kek

MAGIC: Final = b"KRVE"
FORMAT: Final = 1
ALGORITHM: Final = 1

NONCE: Final = 12
DEK: Final = 32
TAG: Final = 16

MAX_CREDENTIAL: Final = 64 * 1024
MAX_BLOB: Final = 16 * 1024 * 1024

_HEADER = struct.Struct(">4sBBI")
_WRAP_AT: Final = _HEADER.size
_WRAPPED_AT: Final = _WRAP_AT + NONCE
_NONCE_AT: Final = _WRAPPED_AT + DEK + TAG
_PAYLOAD_AT: Final = _NONCE_AT + NONCE
OVERHEAD: Final = _PAYLOAD_AT + TAG

_PAYLOAD_AAD: Final = lp(b"keyreeve/seal/1") + lp(b"payload") + bytes([ALGORITHM])
_WRAP_AAD: Final = lp(b"keyreeve/seal/1") + lp(b"wrap") + bytes([ALGORITHM])

_ZEROS: Final = bytes(DEK)
_random = os.urandom


def seal(kek: Kek, binding: Binding, plaintext: bytes, *, limit: int = MAX_CREDENTIAL) -> bytes:
    """Seal `plaintext` (0 to `limit` bytes) for `binding` under `kek`. The answer is 98 bytes longer.

    Raises:
        TooLarge: plaintext above `limit`.
        InvalidRequest: the KEK is another tenant's or of the wrong purpose.
    """
    if len(plaintext) > limit:
        del plaintext
        raise TooLarge(f"a {binding.label} is at most {limit} bytes")
    if kek.tenant_id != binding.tenant_id or kek.purpose != binding.key_purpose:
        del plaintext
        raise InvalidRequest(f"the KEK is not the one that seals a {binding.label} of this tenant")
    body = binding.encode()
    dek = bytearray(_random(DEK))
    wrap_nonce = _random(NONCE)
    nonce = _random(NONCE)
    payload = AESGCM(dek).encrypt(nonce, plaintext, _PAYLOAD_AAD + body)
    wrapped = kek.aead.encrypt(wrap_nonce, dek, _WRAP_AAD + body + kek.key_id)
    dek[:] = _ZEROS
    header = _HEADER.pack(MAGIC, FORMAT, ALGORITHM, kek.version)
    return b"".join((header, wrap_nonce, wrapped, nonce, payload))


def kek_version_of(sealed: bytes) -> int:
    """The KEK version `sealed` claims, 1 to 2^31-1. A claim: only opening proves it.

    Raises:
        UnknownFormat: not sealed bytes of a format and algorithm this release knows.
    """
    if len(sealed) < OVERHEAD:
        raise UnknownFormat("sealed bytes are shorter than an empty envelope")
    magic, fmt, algorithm, version = _HEADER.unpack_from(sealed)
    if magic != MAGIC or fmt != FORMAT or algorithm != ALGORITHM or not 1 <= version <= MAX_VERSION:
        raise UnknownFormat("sealed bytes have an unknown magic, format, algorithm or key version")
    return int(version)


def _unwrap(kek: Kek, binding: Binding, body: bytes, sealed: bytes) -> bytearray:
    """The DEK in a buffer its user wipes."""
    version = kek_version_of(sealed)
    if kek.version != version or kek.tenant_id != binding.tenant_id or kek.purpose != binding.key_purpose:
        raise SealedDoesNotOpen(f"{binding.label}: sealed under another KEK")
    dek = bytearray(DEK)
    try:
        kek.aead.decrypt_into(
            sealed[_WRAP_AT:_WRAPPED_AT], sealed[_WRAPPED_AT:_NONCE_AT], _WRAP_AAD + body + kek.key_id, dek
        )
    except InvalidTag:
        raise SealedDoesNotOpen(f"{binding.label}: key wrap and binding do not belong together") from None
    return dek


def unseal(kek: Kek, binding: Binding, sealed: bytes) -> bytes:
    """The plaintext of `sealed`, if it was sealed for exactly `binding` under `kek`.

    Raises:
        UnknownFormat: not an envelope of this release.
        SealedDoesNotOpen: any other mismatch or edit.
    """
    body = binding.encode()
    dek = _unwrap(kek, binding, body, sealed)
    try:
        return AESGCM(dek).decrypt(sealed[_NONCE_AT:_PAYLOAD_AT], sealed[_PAYLOAD_AT:], _PAYLOAD_AAD + body)
    except InvalidTag:
        raise SealedDoesNotOpen(f"{binding.label}: payload and binding do not belong together") from None
    finally:
        dek[:] = _ZEROS


def rewrap(old: Kek, new: Kek, binding: Binding, sealed: bytes) -> bytes:
    """`sealed` with its DEK under `new` instead of `old`; the payload's bytes are unchanged and not
    decrypted.

    Raises:
        UnknownFormat, SealedDoesNotOpen: as `unseal`, for the wrap.
        InvalidRequest: `new` is another tenant's or of the wrong purpose.
    """
    if new.tenant_id != binding.tenant_id or new.purpose != binding.key_purpose:
        raise InvalidRequest(f"the new KEK is not one that seals a {binding.label} of this tenant")
    body = binding.encode()
    dek = _unwrap(old, binding, body, sealed)
    wrap_nonce = _random(NONCE)
    wrapped = new.aead.encrypt(wrap_nonce, dek, _WRAP_AAD + body + new.key_id)
    dek[:] = _ZEROS
    header = _HEADER.pack(MAGIC, FORMAT, ALGORITHM, new.version)
    return b"".join((header, wrap_nonce, wrapped, sealed[_NONCE_AT:]))
