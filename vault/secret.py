"""A credential's plaintext in memory, from `Vault.open` to the upstream request."""

# ruff: noqa: PLE0303, PLE0304, PLE0308, PLE0309  (special methods that never return, on purpose)

from collections.abc import Callable
from typing import Final, Never

MASK: Final = "Secret(…)"


def _refuse(what: str) -> Never:
    raise TypeError(f"a Secret cannot be {what}; only vault.reveal.reveal opens it")


class Secret:
    """Holds bytes that must not spread.

    Printing it by any road gives a fixed mask. Comparing, hashing, measuring, iterating, copying and
    serialising raise `TypeError`. `vault.reveal.reveal` is the only door.

    Invariant: no attribute *is* the plaintext, so tools which walk attributes (debuggers, crash reporters,
    `inspect`) find a function. This guards against accidents. It is no defence against code that means to
    read memory.

    Raises:
        TypeError: the value is not exactly `bytes`.
    """

    __slots__ = ("_open",)

    _open: Callable[[], bytes]

    def __init__(self, value: bytes) -> None:
        if type(value) is not bytes:
            del value  # a traceback with locals must not show a str that someone passed by mistake
            raise TypeError("a Secret is made of bytes")
        object.__setattr__(self, "_open", lambda: value)

    def __init_subclass__(cls) -> None:
        raise TypeError("Secret has no subclasses: each would be a second door")

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError("a Secret is immutable")

    def __delattr__(self, name: str) -> Never:
        raise AttributeError("a Secret is immutable")

    def __eq__(self, other: object) -> Never:
        _refuse("compared")

    def __ne__(self, other: object) -> Never:
        _refuse("compared")

    def __hash__(self) -> Never:
        _refuse("hashed")

    def __len__(self) -> Never:
        _refuse("measured")

    def __bool__(self) -> Never:
        _refuse("tested for truth")

    def __iter__(self) -> Never:
        _refuse("iterated over")

    def __getitem__(self, index: object) -> Never:
        _refuse("indexed")

    def __contains__(self, item: object) -> Never:
        _refuse("searched")

    def __bytes__(self) -> Never:
        _refuse("turned into bytes")

    def __copy__(self) -> Never:
        _refuse("copied")

    def __deepcopy__(self, memo: object) -> Never:
        _refuse("copied")

    def __reduce__(self) -> Never:
        _refuse("serialised")

    def __reduce_ex__(self, protocol: object) -> Never:
        _refuse("serialised")

    def __getstate__(self) -> Never:
        _refuse("serialised")
