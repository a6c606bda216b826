"""Every way a connector can fail, by whose fault it is.

ConnectorError
├── CallerFault                     the caller can mend it
│   ├── InvalidInput                fields that do not fit the operation or tool
│   ├── UnknownOperation            no such operation in the pinned description
│   └── PayloadTooLarge             a request body over its bound
├── ConfigFault                     an admin can mend it
│   ├── InvalidConfig               a connection's configuration does not hold together
│   ├── EgressRefused               host, scheme, port or path is not one we may talk to
│   └── SpecError                   a description that cannot be used
└── UpstreamFault                   what is at the other end
    ├── UpstreamUnreachable         nothing usable came back (`sent` says whether anything left)
    ├── UpstreamTimeout             the deadline passed while waiting
    ├── ResponseTooLarge            the answer is over its bound; it was cut off and dropped
    └── CredentialRejected          the upstream does not accept this credential
"""

from dataclasses import dataclass
from typing import Literal

Sent = Literal[True, False, "unknown"]


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with one field. `path` is dotted from the tool input's root; `problem` says what to do.
    `unknown`: there is no such field, rather than a wrong value in it.
    """

    path: str
    problem: str
    unknown: bool = False


class ConnectorError(Exception):
    """Root of the tree. `str()` is safe to show: it never holds a secret."""


class CallerFault(ConnectorError):
    """The caller sent something that cannot be used; nothing left this machine."""


class InvalidInput(CallerFault):
    """One or more fields are wrong.

    `fields` names each; `hint` may add what would be right.
    """

    def __init__(self, fields: list[FieldProblem], hint: str | None = None) -> None:
        self.fields = fields
        self.hint = hint
        super().__init__("; ".join(f"{f.path}: {f.problem}" for f in fields))


class UnknownOperation(CallerFault):
    """The pinned description has no such operation. `asked` is the reference as given, cut to 200 characters."""

    def __init__(self, asked: str) -> None:
        self.asked = asked[:200]
        super().__init__(f"unknown operation {self.asked!r}")


class PayloadTooLarge(CallerFault):
    """The request body exceeds `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the request body is larger than {limit} bytes")


class ConfigFault(ConnectorError):
    """Something an admin configured cannot be used."""


class InvalidConfig(ConfigFault):
    """A connection's `config` is wrong; `fields` names what, dotted from `config`."""

    def __init__(self, fields: list[FieldProblem]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{f.path}: {f.problem}" for f in fields))


class EgressRefused(ConfigFault):
    """The one egress rule refused a destination. `reason` is a sentence, `rule` a stable word for metrics."""

    def __init__(self, rule: str, reason: str) -> None:
        self.rule = rule
        self.reason = reason
        super().__init__(reason)


class SpecError(ConfigFault):
    """An OpenAPI description cannot be used: too large, malformed, a remote reference, or out of bounds."""


class UpstreamFault(ConnectorError):
    """The upstream, or the way to it, failed. `sent` says whether a request may have reached it."""

    def __init__(self, message: str, *, sent: Sent) -> None:
        self.sent = sent
        super().__init__(message)


class UpstreamUnreachable(UpstreamFault):
    """No usable answer: name resolution, connection, TLS, a reset, or an unreadable answer."""


class UpstreamTimeout(UpstreamFault):
    """The deadline passed before the whole answer had arrived."""


class ResponseTooLarge(UpstreamFault):
    """The answer exceeds `limit` bytes and was dropped."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the upstream's answer is larger than {limit} bytes", sent=True)


class CredentialRejected(UpstreamFault):
    """The upstream refused the credential itself at verification.

    `hint` tells the person who deposits it what to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message, sent=True)
