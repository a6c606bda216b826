"""What every connector promises, and the values that pass between connectors and the application.

Everything here is a frozen value or a protocol: no I/O. `Prepared` is the hinge of a call. It is complete (the exact
bytes that will be sent), and it holds no credential, so it can be judged, counted and audited before a secret is
opened.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from connectors.frozen import quick
from vault.secret import Secret

Effect = Literal["read", "write", "destructive"]
EFFECT_RANK: Mapping[str, int] = {"read": 0, "write": 1, "destructive": 2}

Verdict = Literal["allowed", "denied", "unknown"]
Json = Any  # a decoded JSON value; integers are exact, objects keep their order


@quick
@dataclass(frozen=True, slots=True)
class Operation:
    """One upstream endpoint of a pinned description.

    `ref` is what a person reads: "GET /zones/{zone_id}". `guarded` operations create, roll or return secrets or add
    members; `annotated` says whether the description names any permission. Either condition is a reason for policy to
    ask for a grant that *names* the operation.
    """

    id: str
    method: str
    path: str
    effect: Effect
    summary: str = ""
    permissions: tuple[str, ...] = ()
    annotated: bool = False
    guarded: bool = False

    @property
    def ref(self) -> str:
        return f"{self.method} {self.path}"


@quick
@dataclass(frozen=True, slots=True)
class Resources:
    """The upstream accounts and zones a request names, as their ids. Empty: it names none."""

    accounts: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Meter:
    """A claim on one upstream limit: `cost` requests of `limit` per `window_seconds`, per upstream principal."""

    name: str
    limit: int
    window_seconds: int
    cost: int = 1


@quick
@dataclass(frozen=True, slots=True)
class Prepared:
    """One upstream request, ready to be judged and sent. No credential is in it.

    `origin` is scheme://host[:port]; `path` and `query` are the canonical, percent-encoded bytes matched against
    policy and then sent unchanged. `warnings` go to the caller. `summary` is the allow-listed part of the arguments
    that the audit keeps. `redact` names JSON fields (dotted paths from the answer's root, `*` for any list item or
    key) whose values are secrets. `idempotent` requests may be retried by us.
    """

    operation: Operation
    method: str
    origin: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    resources: Resources = Resources()
    meters: tuple[Meter, ...] = ()
    warnings: tuple[str, ...] = ()
    summary: Mapping[str, Json] = field(default_factory=dict)
    redact: tuple[str, ...] = ()
    idempotent: bool = False
    binary_answer: bool = False

    @property
    def effect(self) -> Effect:
        return self.operation.effect


@quick
@dataclass(frozen=True, slots=True)
class RateHint:
    """What an answer's headers say of the budget.

    `limit`/`remaining`/`reset_seconds` from `Ratelimit` and `Ratelimit-Policy` (draft-ietf-httpapi-ratelimit-headers),
    None where absent; `retry_after_seconds` from `Retry-After` (RFC 9110 § 10.2.3), already bounded to 0..600.
    """

    limit: int | None = None
    remaining: int | None = None
    window_seconds: int | None = None
    reset_seconds: int | None = None
    retry_after_seconds: int | None = None


@quick
@dataclass(frozen=True, slots=True)
class Answer:
    """The upstream's answer after size cap, decoding and redaction.

    `data` is what the caller gets: the JSON body unchanged, or `{"$binary": …}`. `is_error` is the upstream's own word
    (status ≥ 400 or its envelope); then `error` carries `{detail, status, errors?, retry_after?, hint?}`.
    """

    status: int
    data: Json
    is_error: bool
    error: Mapping[str, Json] | None
    ray: str | None
    request_bytes: int
    response_bytes: int
    rate: RateHint
    media_type: str = "application/json"


@quick
@dataclass(frozen=True, slots=True)
class UpstreamIdentity:
    """Whose credential this is, as the upstream said.

    `principal` is `user:<id>`, `account-token:<account id>:<token id>` or the like: whose budget is spent.
    `permissions` is what the credential may do, `None` where the upstream does not say (then `declared` ones may stand
    in).
    """

    principal: str
    display: str
    account_id: str | None = None
    token_id: str | None = None
    expires_at: datetime | None = None
    permissions: "Permissions | None" = None
    accounts: tuple[Mapping[str, str], ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Permissions:
    """A credential's own permissions upstream: `source` says how we know them.

    `policies` are the upstream's, JSON as read (`policies`), or one made from declared group names (`declared`).
    `learned` are operation ids that a 403 has proved missing, with the permission named then.
    """

    source: Literal["policies", "declared", "unknown", "all"]
    policies: tuple[Mapping[str, Json], ...] = ()
    learned: Mapping[str, str] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Permit:
    """What the credential's permissions say of one request; `missing` names the permission that would allow it."""

    verdict: Verdict
    missing: str | None = None
    reason: str = ""


@quick
@dataclass(frozen=True, slots=True)
class Tool:
    """One callable of a connection as an agent sees it. `input_schema` is JSON Schema 2020-12.

    `kind` says how it runs: `call` is one upstream request that `prepare` makes of its input; `search` and `execute`
    run a program over the description, or one that makes requests (`Programmable`). `held` says why it is not offered,
    where an admin must accept its definition first. `output_schema` is true of the structured content that MCP clients
    get (`broker/endpoints/mcp/structured.py`), None where nothing is known of it.
    """

    name: str
    description: str
    input_schema: Mapping[str, Json]
    effect: Effect
    annotations: Mapping[str, Json]
    schema_hash: str
    operation: Operation | None = None
    kind: Literal["call", "search", "execute"] = "call"
    held: str | None = None
    output_schema: Mapping[str, Json] | None = None


@quick
@dataclass(frozen=True, slots=True)
class CredentialKind:
    """A kind of credential a connector takes: its fields, which of them are secret, and how to obtain one."""

    name: str
    fields: Mapping[str, str]
    secret_fields: tuple[str, ...]
    help: str


Perform = Callable[[Prepared], Awaitable[Answer]]
"""Sends one maintenance request through the gate with the credential being verified."""


class ConnectionView(Protocol):
    """What a connector may see of a connection: its name, checked config and the description pinned for it."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Json]: ...
    @property
    def spec(self) -> Any: ...


class HttpSender(Protocol):
    """The one way out (connectors/http.py). Applies the egress rule, size caps, deadlines; follows no redirect."""

    async def send(
        self,
        *,
        method: str,
        origin: str,
        path: str,
        query: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeout_seconds: float,
        max_response_bytes: int,
        allowed_origins: Sequence[str],
        watch: "Watch | None" = None,
    ) -> "RawAnswer": ...


class Watch(Protocol):
    """Reads an answer's body as it comes and says when it has seen enough: the rest is not waited for."""

    def begins(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether this answer is to be watched; else it is read whole."""

    def feed(self, piece: bytes) -> bool:
        """Whether that is enough. What was fed is not in the `RawAnswer`'s body. Raises UpstreamFault."""


@quick
@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Status, headers (lower-case names, first value wins) and whole body of one HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connector(Protocol):
    """One upstream kind. All methods but `send` and `verify` are pure."""

    name: str
    title: str
    official_origins: tuple[str, ...]
    kinds: tuple[CredentialKind, ...]
    meters: tuple[Meter, ...]
    needs_spec: bool
    config_help: Mapping[str, str]
    permissions_help: str

    def check_config(self, config: Mapping[str, Json]) -> Mapping[str, Json]:
        """The config with defaults filled in. Raises InvalidConfig naming every wrong field."""

    def origins(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        """The origins a credential of this connection may ever be sent to; sealed with it."""

    def check_credential(self, credential: Mapping[str, Json]) -> tuple[str, bytes, tuple[str, ...]]:
        """(kind, plaintext bytes to seal, declared permissions).

        Raises InvalidInput, its fields dotted from the credential's root; error texts hold no value.
        """

    async def verify(
        self, connection: ConnectionView, kind: str, credential: Mapping[str, Json], perform: Perform
    ) -> UpstreamIdentity:
        """Asks the upstream whose credential it is.

        `credential` holds its fields but the secret ones (an account token's `account_id`, declared `permissions`).
        Raises CredentialRejected, UpstreamFault; InvalidInput where a field it needs is missing.
        """

    def tools(self, connection: ConnectionView) -> Sequence[Tool]:
        """Every tool of the connection, in a fixed order, whoever asks."""

    def missing_tools(self, connection: ConnectionView) -> tuple[str, ...]:
        """The entries of the config's `tools` that name no operation of the pinned description."""

    def prepare(self, connection: ConnectionView, tool_name: str, tool_input: Mapping[str, Json]) -> Prepared:
        """The request one tool call means. Raises InvalidInput, UnknownOperation, PayloadTooLarge, EgressRefused."""

    def operation(self, connection: ConnectionView, ref: str) -> Operation:
        """The operation called `ref` (operation id or "METHOD /template"). Raises UnknownOperation."""

    def nearest(self, connection: ConnectionView, asked: str, allow: Callable[[Operation], bool]) -> Sequence[str]:
        """At most 5 references like `asked`, among the operations that `allow` lets through."""

    def permit(self, prepared: Prepared, permissions: Permissions) -> Permit:
        """Whether the credential's own permissions allow the request, as far as can be known."""

    def lacks(self, operation: Operation, permissions: Permissions) -> str | None:
        """The permission without which the operation is denied whatever it is asked for, or None."""

    async def send(
        self,
        http: HttpSender,
        prepared: Prepared,
        kind: str,
        secret: Secret,
        *,
        allowed_origins: Sequence[str],
        timeout_seconds: float,
    ) -> Answer:
        """Sends it, once. Raises UpstreamFault and EgressRefused; an upstream's own error answer is an Answer."""

    def learn(self, prepared: Prepared, answer: Answer) -> str | None:
        """The permission a 403 answer proves missing, or None."""


@runtime_checkable
class Programmable(Protocol):
    """What a connector adds whose connections can be programmed (Code Mode). Pure."""

    def prepare_request(self, connection: ConnectionView, given: Mapping[str, Json]) -> Prepared:
        """The request that a program asks for by concrete path: `{method, path, query?, headers?, contentType?}` and at
        most one of `body` (JSON), `bodyText`, `bodyBase64`. It is matched to the description and judged like any call.

        Raises InvalidInput (fields as the program names them), UnknownOperation, PayloadTooLarge, EgressRefused.
        """

    def operations(self, spec: Any) -> Sequence[Operation]:
        """Every operation of an opened description, in the order of its rows."""

    def names(self, operation: Operation) -> tuple[frozenset[str], frozenset[str]]:
        """Of `accounts` and `zones`: what every request for the operation names, and what some request for it may name
        so that a grant's list can hold it."""

    def reachable_accounts(self, permissions: Permissions) -> tuple[str, ...] | None:
        """The ids of the upstream accounts that the credential's permissions name, None where they may be any."""

    def reachable_zones(self, permissions: Permissions) -> tuple[str, ...] | None:
        """The same of zones."""
