"""Every error this package raises. None carries a plaintext, a key, a nonce or sealed bytes.

VaultError
├── InvalidRequest              the caller broke a bound; nothing was sealed or opened
│   ├── InvalidBinding          a binding's field is malformed or out of range
│   ├── TooLarge                plaintext, blob or message above its limit
│   └── VersionTaken            that version of the account's credential, or a later one, exists
├── SealedDoesNotOpen           stored bytes and binding do not belong together, or were edited
│   └── UnknownFormat           magic, format or algorithm is not one this release writes
├── MacMismatch                 a message authentication code does not fit its data
├── KeyProblem                  a key cannot be used
│   ├── KeyUnavailable          root provider or key store out of reach; try again later; fail closed
│   ├── KeyMissing              there never was such a key
│   ├── KeyDestroyed            it was destroyed on purpose; what it sealed is gone
│   └── KeyFixed                the platform key is neither rotated nor destroyed
├── RootKeyRefused              root key file or value unfit: permissions, owner, format
└── HardeningFailed             the operating system refused a process protection
"""


class VaultError(Exception):
    """Root of the tree."""


class InvalidRequest(VaultError):
    """The caller broke a bound; nothing was sealed or opened."""


class InvalidBinding(InvalidRequest):
    """A binding's field is malformed or out of range. Names the field, never its value."""


class TooLarge(InvalidRequest):
    """A plaintext, blob or message is above its limit."""


class VersionTaken(InvalidRequest):
    """That version of the account's credential, or a later one, exists already."""


class SealedDoesNotOpen(VaultError):
    """Stored bytes and binding do not belong together, or the bytes were edited. Says which kind of
    binding.
    """


class UnknownFormat(SealedDoesNotOpen):
    """Magic, format or algorithm is not one this release writes."""


class MacMismatch(VaultError):
    """A message authentication code does not fit its data."""


class KeyProblem(VaultError):
    """A key cannot be used."""


class KeyUnavailable(KeyProblem):
    """Root provider or key store out of reach, or the key is not loaded: fail closed, try again later."""


class KeyMissing(KeyProblem):
    """There never was such a key."""


class KeyDestroyed(KeyProblem):
    """The key was destroyed on purpose; what it sealed cannot be had again from this database."""


class KeyFixed(KeyProblem):
    """The platform key is neither rotated nor destroyed: principals are named by it."""


class RootKeyRefused(VaultError):
    """A root key file or value is unfit: permissions, owner or format. Never quotes the content."""


class HardeningFailed(VaultError):
    """The operating system refused a process protection."""
