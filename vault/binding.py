"""What sealed bytes belong to, as additional authenticated data (AAD).

Encoding, frozen as format 1 (changing a byte of it is a new format): each field is a big-endian u32 length
and the field's bytes, in the order given below; a list is its u32 count and then its items. Integers are u32.

    credential   "credential", tenant, account, credential, version, kind, [origins sorted, no duplicates]
    blob         "blob:<purpose>", tenant, object id

Length prefixes make the encoding injective: no two different bindings share their bytes.
"""

import re
import struct
from dataclasses import dataclass
from typing import ClassVar, Final, Literal
from uuid import UUID

from vault.errors import InvalidBinding

KeyPurpose = Literal["credentials", "evidence"]
"""The two key-encryption-key families of a tenant: they die at different times."""

KEY_PURPOSES: Final[tuple[KeyPurpose, ...]] = ("credentials", "evidence")
PLATFORM: Final = UUID(int=0)
"""The nil tenant, which holds the platform's own key."""

MAX_VERSION: Final = 2**31 - 1
MAX_ORIGINS: Final = 16
MAX_OBJECT_ID: Final = 512

_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PURPOSE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
# scheme://host[:port] in lower-case ASCII: an origin has no user, path, query or fragment (RFC 6454 § 4)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]{0,15}://[a-z0-9._:\[\]-]{1,262}")
_U32 = struct.Struct(">I")
_CREDENTIAL = struct.Struct(">I10sI16sI16sI16sIII")
_BLOB = struct.Struct(">I16s")


def lp(field: bytes) -> bytes:
    """`field` behind its u32 length."""
    return _U32.pack(len(field)) + field


def require_purpose(purpose: str) -> str:
    """`purpose` if it is a well-formed purpose name (lower-case, at most 64 characters).

    Raises:
        InvalidBinding: it is not.
    """
    if not _PURPOSE.fullmatch(purpose):
        raise InvalidBinding("purpose is not a lower-case name of at most 64 characters")
    return purpose


def _require_uuid(name: str, value: object) -> None:
    if not isinstance(value, UUID):
        raise InvalidBinding(f"{name} is not a UUID")


@dataclass(frozen=True, slots=True)
class CredentialBinding:
    """Which credential the bytes are, and where they may be sent.

    `version` is 1 to 2^31-1. `kind` matches `[a-z][a-z0-9_]{0,31}`. `origins` holds 1 to 16 origins
    `scheme://host[:port]` in lower-case ASCII; they are sorted and de-duplicated here, so order never
    matters.

    Raises:
        InvalidBinding: a field is malformed or out of range.
    """

    tenant_id: UUID
    account_id: UUID
    credential_id: UUID
    version: int
    kind: str
    origins: tuple[str, ...]

    key_purpose: ClassVar[KeyPurpose] = "credentials"
    label: ClassVar[str] = "credential"

    def __post_init__(self) -> None:
        _require_uuid("tenant_id", self.tenant_id)
        _require_uuid("account_id", self.account_id)
        _require_uuid("credential_id", self.credential_id)
        if type(self.version) is not int or not 1 <= self.version <= MAX_VERSION:
            raise InvalidBinding("version is not an integer from 1 to 2^31-1")
        if not _KIND.fullmatch(self.kind):
            raise InvalidBinding("kind is not a lower-case name of at most 32 characters")
        if type(self.origins) is not tuple or not 1 <= len(self.origins) <= MAX_ORIGINS:
            raise InvalidBinding(f"origins must be 1 to {MAX_ORIGINS} origins")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidBinding("an origin is not scheme://host[:port] in lower-case ASCII")
        object.__setattr__(self, "origins", tuple(sorted(set(self.origins))))

    def encode(self) -> bytes:
        """The AAD fields in format 1."""
        kind = self.kind.encode("ascii")
        fixed = _CREDENTIAL.pack(
            10,
            b"credential",
            16,
            self.tenant_id.bytes,
            16,
            self.account_id.bytes,
            16,
            self.credential_id.bytes,
            4,
            self.version,
            len(kind),
        )
        parts = [fixed, kind, _U32.pack(len(self.origins))]
        for origin in self.origins:
            parts += (_U32.pack(len(origin)), origin.encode("ascii"))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class BlobBinding:
    """Which kept object the bytes are.

    `purpose` matches `[a-z][a-z0-9_.-]{0,63}` and names the consumer (`result`, `sink`, `code`). `object_id`
    is 1 to 512 bytes of UTF-8, unique within tenant and purpose.

    Raises:
        InvalidBinding: a field is malformed or out of range.
    """

    tenant_id: UUID
    purpose: str
    object_id: str

    key_purpose: ClassVar[KeyPurpose] = "evidence"

    def __post_init__(self) -> None:
        _require_uuid("tenant_id", self.tenant_id)
        require_purpose(self.purpose)
        try:
            size = len(self.object_id.encode())
        except UnicodeEncodeError:
            raise InvalidBinding("object_id is not valid Unicode") from None
        if not 1 <= size <= MAX_OBJECT_ID:
            raise InvalidBinding(f"object_id is not 1 to {MAX_OBJECT_ID} bytes")

    @property
    def label(self) -> str:
        """How errors name this kind of binding."""
        return f"blob:{self.purpose}"

    def encode(self) -> bytes:
        """The AAD fields in format 1."""
        return lp(self.label.encode("ascii")) + _BLOB.pack(16, self.tenant_id.bytes) + lp(self.object_id.encode())


Binding = CredentialBinding | BlobBinding
