"""The nouns. Each docstring is the definition used everywhere else (code, API, audit, docs).

Everything here is a frozen value read from the database at one moment; nothing here reads or writes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from connectors.frozen import quick

CONNECTION_NAME = re.compile(r"[a-z][a-z0-9-]{0,23}\Z")
"""What a connection may be called: it begins every tool's name, before the first `_`."""

Access = Literal["read", "write", "destructive"]
Role = Literal["platform_admin", "admin", "auditor"]
BearerKind = Literal["operator", "agent", "session"]
AccountStatus = Literal["pending", "active", "needs_reauth", "revoked"]


@quick
@dataclass(frozen=True, slots=True)
class Restrictions:
    """What narrows a bearer below its identity's grants. None: no narrowing.

    `access_by` is the access on each of `connections`, where they differ; `access` is then the highest of them.
    """

    connections: tuple[str, ...] | None = None
    access: Access | None = None
    access_by: Mapping[str, Access] | None = field(default=None, hash=False)

    def access_at(self, connection_name: str) -> Access | None:
        """The most that the bearer may do on a connection that it reaches; None: no narrowing. One that `access_by`
        leaves out is none of `connections`: whoever asks of it nevertheless hears the least."""
        return self.access if self.access_by is None else self.access_by.get(connection_name, "read")


@quick
@dataclass(frozen=True, slots=True)
class Bearer:
    """A key or session token as stored: only its SHA-256 is kept.

    `tenant_id` is where the row lives; `root_id` the oldest ancestor, whose lock guards the whole family. `audience` is
    the one resource that it is good at: a token of our authorization server has one, other bearers have none.
    """

    id: UUID
    tenant_id: UUID
    kind: BearerKind
    root_id: UUID
    name: str
    role: Role | None
    identifiers: tuple[str, ...] | None
    tenants: tuple[str, ...] | None
    identity_id: UUID | None
    restrictions: Restrictions
    expires_at: datetime | None
    audience: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Identity:
    """A user or service principal of one tenant, named by the tenant's own `identifier`."""

    id: UUID
    identifier: str
    groups: tuple[str, ...]
    status: Literal["active", "disabled"]


@quick
@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated facts of one request. `tenant_id` is the tenant acted in.

    `identity` is whose grants and accounts count: the session's own, or the one an agent key or operator acts for
    (then `on_behalf_of` is true for operators and the audit says so).
    """

    tenant_id: UUID
    tenant_name: str
    policy_version: int
    bearer: Bearer
    identity: Identity | None
    on_behalf_of: bool
    client: str | None
    agent: str | None
    run_id: str | None
    now: datetime

    @property
    def actor(self) -> str:
        """Who acts, for the audit: `operator:<name>`, `agent:<name>` or `session:<identifier>`."""
        if self.bearer.kind == "session" and self.identity is not None:
            return f"session:{self.identity.identifier}"
        return f"{self.bearer.kind}:{self.bearer.name}"


@quick
@dataclass(frozen=True, slots=True)
class Grant:
    """Stored authority: subject × connection × tools × access × optional operations, resources, expiry.

    Only grants add authority. An absent (None) list means all, an empty one none. The subject is already matched:
    these are the grants that apply to the caller's identity.
    """

    id: UUID
    subject: str
    connection_id: UUID
    tools: tuple[str, ...] | None
    access: Access
    operations: tuple[str, ...] | None
    accounts: tuple[str, ...] | None
    zones: tuple[str, ...] | None
    account: Literal["own", "shared"]
    expires_at: datetime | None


@quick
@dataclass(frozen=True, slots=True)
class Connection:
    """A tenant's named configuration of a connector. Holds no user credential.

    `version` changes with every change, and keys every cache of what is derived from it. `spec_digest` is the pinned
    description's content hash, or None.
    """

    id: UUID
    name: str
    connector: str
    version: int
    status: Literal["active", "suspended", "deleted"]


@quick
@dataclass(frozen=True, slots=True)
class Account:
    """One identity, or the tenant itself (`shared`), bound to one connection.

    `permissions_version` keys the cache of what its credential may do upstream.
    """

    id: UUID
    connection_id: UUID
    identity_id: UUID | None
    label: str | None
    status: AccountStatus
    kind: str
    version: int
    permissions_version: int
    upstream_account_id: str | None
    expires_at: datetime | None

    @property
    def shared(self) -> bool:
        return self.identity_id is None


@quick
@dataclass(frozen=True, slots=True)
class Resolved:
    """What one look-up says of a request: the caller, and what could serve it.

    With a connection name: that connection's accounts (the identity's own and the shared) and applicable grants.
    Without: those of every connection.
    """

    caller: Caller
    connections: tuple[Connection, ...]
    accounts: tuple[Account, ...]
    grants: tuple[Grant, ...]


@quick
@dataclass(frozen=True, slots=True)
class Decision:
    """Policy's answer. `reason` is a stable word; `detail` and `hint` are for people and models."""

    allowed: bool
    reason: str
    grant_id: UUID | None = None
    code: str | None = None
    detail: str = ""
    hint: str | None = None
    would_grant: Mapping[str, Any] | None = None
