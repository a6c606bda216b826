"""The root of trust: a provider that wraps and unwraps KEKs.

`RootKeyProvider` is shaped for a remote key service: asynchronous, an opaque blob, a named key, and a context
of plain strings that the service authenticates. `EnvRootKey` and `vault.rootfile.FileRootKey` keep the key in
process.

Text form of root keys, in the file one per line, in the variable separated by commas; the first is current
and wraps, the others only unwrap:

    ID:BASE64      ID matches [A-Za-z0-9][A-Za-z0-9_.-]{0,63}; BASE64 is 32 bytes, standard alphabet, padded
"""

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.binding import lp
from vault.errors import KeyMissing, RootKeyRefused, SealedDoesNotOpen, UnknownFormat
from vault.reveal import reveal
from vault.secret import Secret

ROOT_KEY_BYTES: Final = 32
MAX_ROOT_KEYS: Final = 16

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BLOB_FORMAT: Final = b"\x01"
_NONCE: Final = 12
_TAG: Final = 16


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key sealed by the root provider: which root key did it, and the provider's own bytes."""

    key_id: str
    blob: bytes = field(repr=False)


@runtime_checkable
class RootKeyProvider(Protocol):
    """Wraps and unwraps 32-byte KEKs. May be remote: callers set a deadline and treat any exception as
    outage.
    """

    @property
    def current_key_id(self) -> str:
        """The id that `wrap` uses now."""
        ...

    async def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> WrappedKey:
        """`plaintext` under the current root key, opened only with an equal `context`."""
        ...

    async def unwrap(self, key_id: str, blob: bytes, context: Mapping[str, str]) -> bytes:
        """The plaintext.

        Raises:
            KeyMissing: no root key of that id.
            SealedDoesNotOpen: blob, key and context do not belong together.
        """
        ...


class LocalRootKeys:
    """Root keys in this process. Blob: format byte 1, 12-byte nonce, AES-256-GCM ciphertext and tag.

    AAD = lp("keyreeve/root/1") + lp(key id) + for each context entry by sorted name lp(name) + lp(value).
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        self._keys = {key_id: AESGCM(raw) for key_id, raw in keys}
        self._current = keys[0][0]

    def __repr__(self) -> str:
        held = getattr(self, "_keys", ())  # a refused value leaves an object that tracebacks still print
        return f"{type(self).__name__}({', '.join(held)})"

    def __reduce__(self) -> str:
        raise TypeError("root keys cannot be copied or serialised")

    @property
    def current_key_id(self) -> str:
        return self._current

    @property
    def key_ids(self) -> tuple[str, ...]:
        """All ids held, current first."""
        return tuple(self._keys)

    async def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> WrappedKey:
        nonce = os.urandom(_NONCE)
        sealed = self._keys[self._current].encrypt(nonce, plaintext, _aad(self._current, context))
        return WrappedKey(self._current, _BLOB_FORMAT + nonce + sealed)

    async def unwrap(self, key_id: str, blob: bytes, context: Mapping[str, str]) -> bytes:
        key = self._keys.get(key_id)
        if key is None:
            raise KeyMissing("no root key of the id that wrapped this KEK is loaded")
        if len(blob) < 1 + _NONCE + _TAG or blob[:1] != _BLOB_FORMAT:
            raise UnknownFormat("a wrapped KEK has an unknown format")
        try:
            return key.decrypt(blob[1 : 1 + _NONCE], blob[1 + _NONCE :], _aad(key_id, context))
        except InvalidTag:
            raise SealedDoesNotOpen("wrapped KEK, root key and context do not belong together") from None


class EnvRootKey(LocalRootKeys):
    """Root keys from one text value, `ID:BASE64[,ID:BASE64…]`, read from the environment by the settings.

    Raises:
        RootKeyRefused: malformed, empty, repeated id or key, or more than 16 keys.
    """

    def __init__(self, value: str) -> None:
        keys = Secret(value.encode("utf-8", "replace").replace(b",", b"\n"))
        del value  # from here on no frame's locals show it
        super().__init__(parse_root_keys(keys))


def parse_root_keys(lines: Secret) -> list[tuple[str, bytes]]:
    """Ids and raw keys of `ID:BASE64` lines, in order; blank lines and lines that begin with `#` are skipped.

    Raises:
        RootKeyRefused: as `EnvRootKey`. The message gives an entry's position, never its text.
    """
    found = _parse(reveal(lines))
    if isinstance(found, str):  # raised here: the frame that has seen the text is gone, and its locals with it
        raise RootKeyRefused(found)
    return found


def root_key_lines(lines: bytes) -> list[bytes]:
    """The lines that are entries, stripped."""
    return [entry for line in lines.split(b"\n") if (entry := line.strip()) and not entry.startswith(b"#")]


def _parse(lines: bytes) -> list[tuple[str, bytes]] | str:
    entries = root_key_lines(lines)
    if not 1 <= len(entries) <= MAX_ROOT_KEYS:
        return f"there must be 1 to {MAX_ROOT_KEYS} root keys"
    keys: list[tuple[str, bytes]] = []
    for position, entry in enumerate(entries, 1):
        name, _, text = entry.partition(b":")
        key_id = name.decode("ascii", "replace")
        raw = _decode(text)
        if raw is None or not _ID.fullmatch(key_id):
            return f"root key {position} is not ID:BASE64 of 32 bytes"
        if any(key_id == other_id or raw == other for other_id, other in keys):
            return f"root key {position} repeats an earlier id or key"
        keys.append((key_id, raw))
    return keys


def _decode(text: bytes) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == ROOT_KEY_BYTES else None


def _aad(key_id: str, context: Mapping[str, str]) -> bytes:
    entries = [lp(name.encode()) + lp(context[name].encode()) for name in sorted(context)]
    return lp(b"keyreeve/root/1") + lp(key_id.encode()) + b"".join(entries)
