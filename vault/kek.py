"""One opened key-encryption key: wraps DEKs, and derives the subkeys that authenticate and digest.

The same 32 bytes are an AES-256-GCM key and the input of HKDF-SHA256; the two never meet (RFC 5869's extract
is HMAC under a fixed salt). Neither the bytes nor a derived key is kept as a Python object that prints them:
only the primitives' own objects are.
"""

from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from vault.binding import MAX_VERSION, KeyPurpose, lp, require_purpose
from vault.errors import InvalidRequest, TooLarge

KEK_BYTES: Final = 32
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_SUBKEYS: Final = 64
_SALT: Final = b"keyreeve/kek/1"


class Kek:
    """An opened KEK of one tenant, purpose and version (1 to 2^31-1).

    Raises:
        InvalidRequest: `raw` is not 32 bytes or the version is out of range.
    """

    __slots__ = ("_expand", "_subkeys", "aead", "key_id", "purpose", "tenant_id", "version")

    def __init__(self, tenant_id: UUID, purpose: KeyPurpose, version: int, raw: bytes) -> None:
        self.tenant_id = tenant_id
        self.purpose: KeyPurpose = purpose
        self.version = version
        if len(raw) != KEK_BYTES or not 1 <= version <= MAX_VERSION:
            del raw
            raise InvalidRequest("a KEK is 32 bytes and its version 1 to 2^31-1")
        self.key_id = lp(b"kek") + lp(tenant_id.bytes) + lp(purpose.encode()) + lp(version.to_bytes(4, "big"))
        self.aead = AESGCM(raw)
        extract = HMAC(_SALT, SHA256())
        extract.update(raw)
        self._expand = HMAC(extract.finalize(), SHA256())
        self._subkeys: dict[tuple[str, str], HMAC] = {}

    def __repr__(self) -> str:
        return f"Kek({self.purpose} v{self.version})"

    def __reduce__(self) -> str:
        raise TypeError("a Kek cannot be copied or serialised")

    def hmac(self, use: str, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 of `data` (at most 16 MiB) under the subkey of (`use`, `purpose`); 32 bytes.

        Subkey = HKDF-Expand-SHA256(PRK, lp(use) + lp(purpose), 32): one block, so HMAC(PRK, info + 0x01).

        Raises:
            InvalidBinding: `purpose` is not a purpose name.
            InvalidRequest: more than 64 purposes: they are constants of code, never data.
            TooLarge: `data` exceeds 16 MiB.
        """
        if len(data) > MAX_MESSAGE:
            raise TooLarge(f"a message to authenticate is at most {MAX_MESSAGE} bytes")
        subkey = self._subkeys.get((use, purpose))
        if subkey is None:
            subkey = self._derive(use, purpose)
        state = subkey.copy()
        state.update(data)
        return state.finalize()

    def _derive(self, use: str, purpose: str) -> HMAC:
        info = lp(use.encode("ascii")) + lp(require_purpose(purpose).encode("ascii"))
        if len(self._subkeys) >= MAX_SUBKEYS:
            raise InvalidRequest(f"more than {MAX_SUBKEYS} purposes under one key")
        block = self._expand.copy()
        block.update(info + b"\x01")
        subkey = HMAC(block.finalize(), SHA256())
        self._subkeys[(use, purpose)] = subkey
        return subkey
