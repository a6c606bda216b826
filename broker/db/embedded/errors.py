"""What can go wrong with the embedded PostgreSQL. Every message names the folder or setting and the way out.

```
EmbeddedError
├── BinariesMissing      no PostgreSQL for this platform, or one that does not run
├── NoSafeUser           started as root and no other user can run PostgreSQL
├── DataDirInUse         another process serves this data directory
├── ForeignDataDir       the folder was made by another major version, or by something else
├── DiskFull             no room to start
└── StartFailed          PostgreSQL ended before it was ready; carries its last words
```
"""


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot do what was asked."""


class BinariesMissing(EmbeddedError):
    """No PostgreSQL for this platform is installed, or the one installed does not run."""


class NoSafeUser(EmbeddedError):
    """Started as root, and there is no other user that could run PostgreSQL."""


class DataDirInUse(EmbeddedError):
    """Another process holds this data directory, or its PostgreSQL does not end."""


class ForeignDataDir(EmbeddedError):
    """The cluster was made by another major version of PostgreSQL, or is not a cluster of ours."""


class DiskFull(EmbeddedError):
    """The file system has no room for the database."""


class StartFailed(EmbeddedError):
    """PostgreSQL ended before it accepted connections."""
