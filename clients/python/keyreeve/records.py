"""What administration answers: metadata alone. Nothing here holds an upstream credential; those that hold a bearer of
Keyreeve's own (`MadeKey`, `MadeSession`, `MadeTenant`, `ConnectLink`) keep it out of their repr.

Members a server does not send are None or empty; those it sends and this version does not know are passed over.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class _Record(Struct, frozen=True, kw_only=True):
    """A record. Members named in `_hidden` are not shown."""

    _hidden: ClassVar[frozenset[str]] = frozenset()

    def __rich_repr__(self) -> Any:
        yield from self._shown()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._shown())})"

    def _shown(self) -> list[tuple[str, Any]]:
        names = type(self).__struct_fields__
        return [(name, "…" if name in self._hidden else getattr(self, name)) for name in names]


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list as it travels."""

    items: list[T] = []
    next_page_token: str | None = None


class Nothing(Struct, frozen=True):
    """An answer that is not looked at."""


class Session(_Record, frozen=True, kw_only=True):
    """A session's metadata."""

    id: str
    identifier: str = ""
    connections: tuple[str, ...] | None = None
    access: str | None = None
    client: str | None = None
    minted_by: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class MadeSession(_Record, frozen=True, kw_only=True):
    """A new session with its `token`, shown this once. `ttl_seconds`: how long it lives from now; `mcp_url`: where an
    MCP client uses it."""

    _hidden = frozenset({"token"})

    id: str
    token: str
    expires_at: datetime
    ttl_seconds: float | None = None
    mcp_url: str = ""
    identifier: str = ""
    connections: tuple[str, ...] | None = None
    access: str | None = None


class RevokedBearer(_Record, frozen=True, kw_only=True):
    """When it took effect, the executions open then, and the keys and sessions that ended with it."""

    revoked_at: datetime
    in_flight: tuple[str, ...] = ()
    also_revoked: tuple[str, ...] = ()


class ConnectLink(_Record, frozen=True, kw_only=True):
    """A page for one person, once: whoever has the link deposits a credential for that identity."""

    _hidden = frozenset({"url"})

    url: str
    expires_at: datetime | None = None


class ExecutionCall(_Record, frozen=True, kw_only=True):
    """One upstream request of an execution. `outcome`: `ok`, `upstream_error`, `timeout`, `cancelled`, `not_sent`,
    `unknown`, or `open` while in flight."""

    n: int
    at: datetime | None = None
    operation: str | None = None
    method: str | None = None
    path: str | None = None
    effect: str | None = None
    outcome: str = "unknown"
    sent: bool | str = "unknown"
    status: int | None = None
    latency_ms: float | None = None


class Refusal(_Record, frozen=True, kw_only=True):
    """Why an execution was refused."""

    code: str | None = None
    reason: str | None = None
    detail: str | None = None


class Execution(_Record, frozen=True, kw_only=True):
    """What became of an execution. `state`: `open`, `done`, `refused`. `sent`: True where a request surely left,
    `"unknown"` where one may have."""

    execution_id: str
    at: datetime | None = None
    state: str = "open"
    sent: bool | str = "unknown"
    identifier: str | None = None
    connection_name: str | None = None
    connected_account_id: str | None = None
    tool_name: str | None = None
    run_id: str | None = None
    calls: tuple[ExecutionCall, ...] = ()
    refusal: Refusal | None = None


class UpstreamAccount(_Record, frozen=True, kw_only=True):
    """Who a credential is at the upstream."""

    principal: str | None = None
    display: str | None = None
    account_id: str | None = None
    expires_at: datetime | None = None


class CredentialInfo(_Record, frozen=True, kw_only=True):
    """A credential's metadata; `fingerprint` tells equal credentials apart from different ones."""

    version: int | None = None
    fingerprint: str | None = None
    created_at: datetime | None = None


class ConnectedAccount(_Record, frozen=True, kw_only=True):
    """A connected account. `status`: `pending`, `active`, `needs_reauth`, `revoked`."""

    id: str
    connection_name: str = ""
    identifier: str | None = None
    shared: bool = False
    label: str | None = None
    status: str = ""
    kind: str = ""
    upstream: UpstreamAccount = UpstreamAccount()
    credential: CredentialInfo = CredentialInfo()
    version: int = 0
    created_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class RevokedAccount(_Record, frozen=True, kw_only=True):
    """`in_flight` names the executions that were open; `drained`: all had ended. `upstream`: `deleted`, `kept`,
    `pending`, `failed`."""

    revoked_at: datetime
    in_flight: tuple[str, ...] = ()
    drained: bool = False
    upstream: str = "kept"


class PrincipalBudget(_Record, frozen=True, kw_only=True):
    """One upstream principal's budget as this tenant may see it; `foreign` is everybody else's use, estimated."""

    connection_name: str = ""
    key: str = ""
    principal: str = ""
    meter: str = ""
    limit: int = 0
    window_seconds: int = 0
    used: int = 0
    foreign: int = 0
    remaining: int = 0
    blocked_until: datetime | None = None


class Identity(_Record, frozen=True, kw_only=True):
    """An identity. `status`: `active`, `disabled`."""

    id: str
    identifier: str
    email: str | None = None
    display_name: str | None = None
    groups: tuple[str, ...] = ()
    status: str = ""
    disabled_at: datetime | None = None
    version: int = 0
    created_at: datetime | None = None


class OffboardedAccount(_Record, frozen=True, kw_only=True):
    """A connected account that an offboarding revoked."""

    id: str
    connection_name: str = ""
    revoked_at: datetime | None = None
    in_flight: tuple[str, ...] = ()
    drained: bool = False
    upstream: str = "kept"


class Offboarded(_Record, frozen=True, kw_only=True):
    """The proof of an offboarding: what was taken, and what was still running. `report_id` is the audit event."""

    identifier: str
    at: datetime
    report_id: str
    sessions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    connected_accounts: tuple[OffboardedAccount, ...] = ()
    in_flight: tuple[str, ...] = ()
    drained: bool = False


class Grant(_Record, frozen=True, kw_only=True):
    """Stored authority. A list that is None has no limit, an empty one covers nothing."""

    id: str
    subject: dict[str, Any] = {}
    connection_name: str = ""
    tools: tuple[str, ...] | None = None
    access: str = "read"
    operations: tuple[str, ...] | None = None
    resources: dict[str, Sequence[str] | None] | None = None
    account: str = "own"
    expires_at: datetime | None = None
    created_by: str | None = None
    created_at: datetime | None = None


class Revoked(_Record, frozen=True, kw_only=True):
    """When it took effect, and the executions that were open then."""

    revoked_at: datetime
    in_flight: tuple[str, ...] = ()


class PinnedSpec(_Record, frozen=True, kw_only=True):
    """The description pinned for a connection."""

    digest: str = ""
    source: str = ""
    operations: int = 0
    fetched_at: datetime | None = None


class Connection(_Record, frozen=True, kw_only=True):
    """A connection. It holds no credential."""

    id: str
    name: str
    connector: str = ""
    config: dict[str, Any] = {}
    origins: tuple[str, ...] = ()
    spec: PinnedSpec | None = None
    pending_spec: dict[str, Any] | None = None
    status: str = ""
    version: int = 0
    created_at: datetime | None = None


class SpecRefresh(_Record, frozen=True, kw_only=True):
    """What a refreshed description would change, and whether it is pinned already or waits for acceptance."""

    digest: str = ""
    applied: bool = False
    pending: bool = False
    report: dict[str, Any] = {}


class KeyInfo(_Record, frozen=True, kw_only=True):
    """A key's metadata. `kind`: `operator`, `agent`."""

    id: str
    kind: str = ""
    name: str = ""
    role: str | None = None
    identifiers: tuple[str, ...] | None = None
    tenants: tuple[str, ...] | None = None
    minted_by: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class MadeKey(KeyInfo, frozen=True, kw_only=True):
    """A new key with its text in `key`, shown this once."""

    _hidden = frozenset({"key"})

    key: str


class Tenant(_Record, frozen=True, kw_only=True):
    """A tenant."""

    id: str
    name: str
    status: str = ""
    created_at: datetime | None = None


class MadeTenant(_Record, frozen=True, kw_only=True):
    """A new tenant and its first admin's operator key, shown this once."""

    _hidden = frozenset({"admin_key"})

    tenant: Tenant
    admin_key: str
    admin_key_id: str = ""


class AuditItem(_Record, frozen=True, kw_only=True):
    """One call, refusal or change. What an item has nothing to say of is None."""

    id: str
    at: datetime
    kind: str = ""
    outcome: str = ""
    actor: str = ""
    on_behalf_of: str | None = None
    identifier: str | None = None
    client: str | None = None
    agent: str | None = None
    intent: str | None = None
    key_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    execution_id: str | None = None
    n: int | None = None
    connection_name: str | None = None
    connected_account_id: str | None = None
    tool_name: str | None = None
    operation: str | None = None
    operation_ref: str | None = None
    method: str | None = None
    path: str | None = None
    effect: str | None = None
    decision: str | None = None
    reason: str | None = None
    code: str | None = None
    detail: str | None = None
    sent: bool | str | None = None
    grant_id: str | None = None
    upstream_status: int | None = None
    upstream_ray: str | None = None
    latency_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    args_digest: str | None = None
    summary: dict[str, Any] = {}


class AuditEnd(Struct, frozen=True, kw_only=True):
    """The last line of an export. `cursor` continues from here."""

    kind: str = ""
    items: int = 0
    cursor: str = ""
