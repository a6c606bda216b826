"""The byte formats once more, written from the README and sharing no code with the package but the
primitives.
"""

import hashlib
import hmac
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def binding_bytes(binding: dict[str, Any]) -> bytes:
    tenant = field(UUID(binding["tenant_id"]).bytes)
    if "purpose" in binding:
        return field(b"blob:" + binding["purpose"].encode()) + tenant + field(binding["object_id"].encode())
    origins = sorted(set(binding["origins"]))
    out = field(b"credential") + tenant
    out += field(UUID(binding["account_id"]).bytes) + field(UUID(binding["credential_id"]).bytes)
    out += field(number(binding["version"])) + field(binding["kind"].encode()) + number(len(origins))
    return out + b"".join(field(origin.encode()) for origin in origins)


def kek_id(tenant_id: str, purpose: str, version: int) -> bytes:
    return field(b"kek") + field(UUID(tenant_id).bytes) + field(purpose.encode()) + field(number(version))


def sealed(vector: dict[str, Any]) -> bytes:
    """The envelope of a vector's keys, nonces, binding and plaintext."""
    key, dek = bytes.fromhex(vector["kek"]), bytes.fromhex(vector["dek"])
    wrap_nonce, nonce = bytes.fromhex(vector["wrap_nonce"]), bytes.fromhex(vector["nonce"])
    body, version = binding_bytes(vector["binding"]), vector["kek_version"]
    purpose = "evidence" if "purpose" in vector["binding"] else "credentials"
    head = field(b"keyreeve/seal/1")
    wrap_aad = head + field(b"wrap") + b"\x01" + body + kek_id(vector["binding"]["tenant_id"], purpose, version)
    payload_aad = head + field(b"payload") + b"\x01" + body
    return (
        b"KRVE\x01\x01"
        + number(version)
        + wrap_nonce
        + AESGCM(key).encrypt(wrap_nonce, dek, wrap_aad)
        + nonce
        + AESGCM(dek).encrypt(nonce, bytes.fromhex(vector["plaintext"]), payload_aad)
    )


def subkey_mac(key: bytes, use: str, purpose: str, data: bytes) -> bytes:
    """HMAC under HKDF-SHA256(key, salt, info), RFC 5869 written out."""
    prk = hmac.digest(b"keyreeve/kek/1", key, hashlib.sha256)
    info = field(use.encode()) + field(purpose.encode())
    return hmac.digest(hmac.digest(prk, info + b"\x01", hashlib.sha256), data, hashlib.sha256)


def wrapped_kek(root: bytes, root_id: str, context: dict[str, str], nonce: bytes, key: bytes) -> bytes:
    aad = field(b"keyreeve/root/1") + field(root_id.encode())
    for name in sorted(context):
        aad += field(name.encode()) + field(context[name].encode())
    return b"\x01" + nonce + AESGCM(root).encrypt(nonce, key, aad)
