"""Which bearer may do what: API.md's table (Authentication) as data, and the functions that ask it.

A capability is `noun.verb`, for everything of that noun in the tenant acted in. Its `_own` twin covers only
what belongs to the bearer itself (a session's own accounts, an agent key's own executions, the identities
that an agent key lists); the service that asks for it does the narrowing. A party that stands in neither set
may not do it at all.
"""

from collections.abc import Mapping
from typing import Final, Literal

from broker.domain import Caller, Role
from broker.errors import Problem

Party = Literal["platform_admin", "admin", "auditor", "agent", "session"]
Reach = Literal["any", "own"]

PARTIES: Final[tuple[Party, ...]] = ("platform_admin", "admin", "auditor", "agent", "session")

_PLATFORM: Final[frozenset[Party]] = frozenset({"platform_admin"})
_ADMINS: Final[frozenset[Party]] = frozenset({"platform_admin", "admin"})
_READERS: Final[frozenset[Party]] = frozenset({"platform_admin", "admin", "auditor"})
_AGENTS: Final[frozenset[Party]] = frozenset({"agent", "session"})
_SESSION: Final[frozenset[Party]] = frozenset({"session"})
_ALL: Final[frozenset[Party]] = frozenset(PARTIES)

CAPABILITIES: Final[Mapping[str, frozenset[Party]]] = {
    # tenants, platform settings, unofficial origins
    "tenants.create": _PLATFORM,
    "tenants.read": _PLATFORM,
    "tenants.write": _PLATFORM,
    "origins.unofficial": _PLATFORM,
    # identities, connections, grants, keys, revocation
    "identities.read": _ADMINS,
    "identities.write": _ADMINS,
    "identities.offboard": _ADMINS,
    "connections.read": _ADMINS,
    "connections.write": _ADMINS,
    "grants.read": _ADMINS,
    "grants.write": _ADMINS,
    "keys.read": _ADMINS,
    "keys.write": _ADMINS,
    "accounts.revoke": _ADMINS,
    "accounts.verify": _ADMINS,
    # sessions: any identity's; those an agent key lists; a narrower child of itself
    "sessions.mint": _ADMINS,
    "sessions.mint_own": _AGENTS,
    "sessions.read": _ADMINS,
    "sessions.read_own": _AGENTS,
    "sessions.revoke": _ADMINS,
    "sessions.revoke_own": _AGENTS,
    # tools: an operator on behalf of an identity, audited so, and only where the tenant lets it; an auditor
    # never
    "tools.use": _ADMINS,
    "tools.use_own": _AGENTS,
    # deposit a credential, and see what is known of the account
    "accounts.deposit": _ADMINS,
    "accounts.deposit_own": _SESSION,
    "accounts.read": _ADMINS,
    "accounts.read_own": _SESSION,
    # one-time links: to deposit a credential on a page, and to sign a person in
    "links.connect": _ADMINS,
    "links.connect_own": _AGENTS,
    "links.sign_in": _ADMINS,
    # the editors and other programs that people may sign in with
    "clients.read": _ADMINS,
    "clients.write": _ADMINS,
    # the tenant's OIDC provider, and who of it is which identity
    "sign_in.read": _ADMINS,
    "sign_in.write": _ADMINS,
    # audit, budgets, executions
    "audit.read": _READERS,
    "audit.read_own": _AGENTS,
    "audit.export": _READERS,
    "budgets.read": _READERS,
    "budgets.read_own": _SESSION,
    "executions.read": _READERS,
    "executions.read_own": _AGENTS,
    # the text of the programs that ran: for review
    "programs.read": _READERS,
    # the catalogue says nothing of any tenant
    "connectors.read": _ALL,
}

CALLS: Final[tuple[tuple[str, str, str], ...]] = (
    ("POST", "/v1/tenants", "tenants.create"),
    ("GET", "/v1/tenants/{tenant}", "tenants.read"),
    ("PATCH", "/v1/tenants/{tenant}", "tenants.write"),
    ("POST", "/v1/identities", "identities.write"),
    ("GET", "/v1/identities", "identities.read"),
    ("GET", "/v1/identities/{identifier}", "identities.read"),
    ("PATCH", "/v1/identities/{identifier}", "identities.write"),
    ("POST", "/v1/identities/{identifier}:offboard", "identities.offboard"),
    ("GET", "/v1/connectors", "connectors.read"),
    ("POST", "/v1/connections", "connections.write"),
    ("GET", "/v1/connections", "connections.read"),
    ("GET", "/v1/connections/{name}", "connections.read"),
    ("GET", "/v1/connections/{name}/definitions", "connections.read"),
    ("GET", "/v1/connections/{name}/oauth_client", "connections.write"),
    ("PUT", "/v1/connections/{name}/oauth_client", "connections.write"),
    ("DELETE", "/v1/connections/{name}/oauth_client", "connections.write"),
    ("PATCH", "/v1/connections/{name}", "connections.write"),
    ("DELETE", "/v1/connections/{name}", "connections.write"),
    ("POST", "/v1/connections/{name}:refresh", "connections.write"),
    ("POST", "/v1/connections/{name}:accept", "connections.write"),
    ("PUT", "/v1/connected_accounts", "accounts.deposit"),
    ("GET", "/v1/connected_accounts", "accounts.read"),
    ("GET", "/v1/connected_accounts/{id}", "accounts.read"),
    ("POST", "/v1/connected_accounts/{id}:revoke", "accounts.revoke"),
    ("POST", "/v1/connected_accounts/{id}:verify", "accounts.verify"),
    ("POST", "/v1/connect_links", "links.connect"),
    ("POST", "/v1/sign_in_links", "links.sign_in"),
    ("PUT", "/v1/sign_in_provider", "sign_in.write"),
    ("GET", "/v1/sign_in_provider", "sign_in.read"),
    ("DELETE", "/v1/sign_in_provider", "sign_in.write"),
    ("GET", "/v1/sign_ins", "sign_in.read"),
    ("PUT", "/v1/identities/{identifier}/sign_in", "sign_in.write"),
    ("DELETE", "/v1/identities/{identifier}/sign_in", "sign_in.write"),
    ("POST", "/v1/oauth_clients", "clients.write"),
    ("GET", "/v1/oauth_clients", "clients.read"),
    ("DELETE", "/v1/oauth_clients/{client_id}", "clients.write"),
    ("POST", "/v1/grants", "grants.write"),
    ("GET", "/v1/grants", "grants.read"),
    ("DELETE", "/v1/grants/{id}", "grants.write"),
    ("GET", "/v1/policy/explain", "grants.read"),
    ("POST", "/v1/keys", "keys.write"),
    ("GET", "/v1/keys", "keys.read"),
    ("DELETE", "/v1/keys/{id}", "keys.write"),
    ("POST", "/v1/sessions", "sessions.mint"),
    ("GET", "/v1/sessions", "sessions.read"),
    ("DELETE", "/v1/sessions/{id}", "sessions.revoke"),
    ("GET", "/v1/tools/scoped", "tools.use"),
    ("POST", "/v1/tools/execute", "tools.use"),
    ("GET", "/v1/budgets", "budgets.read"),
    ("GET", "/v1/audit/events", "audit.read"),
    ("GET", "/v1/audit/export", "audit.export"),
    ("GET", "/v1/executions/{id}", "executions.read"),
    ("GET", "/v1/executions/{id}/code", "programs.read"),
)
"""Every call of the API and the capability that it asks for. The matrix test goes through it cell by cell."""

_RANK: Final[Mapping[Role, int]] = {"auditor": 0, "admin": 1, "platform_admin": 2}


def party(caller: Caller) -> Party:
    """The column of the table that the caller stands in. Raises Problem `forbidden` for an operator without a
    role."""
    if caller.bearer.kind != "operator":
        return caller.bearer.kind
    if caller.bearer.role is None:
        raise Problem("forbidden", "this operator key has no role")
    return caller.bearer.role


def allows(caller: Caller, capability: str) -> bool:
    """Whether the caller has exactly this capability."""
    return party(caller) in CAPABILITIES[capability]


def require(caller: Caller, capability: str) -> None:
    """Returns if the caller has exactly this capability. Raises Problem `forbidden`."""
    if not allows(caller, capability):
        raise _forbidden(caller, capability)


def reach(caller: Caller, capability: str) -> Reach:
    """`any` with the capability, `own` with its `_own` twin alone. Raises Problem `forbidden` with
    neither."""
    found = cell(party(caller), capability)
    if found is None:
        raise _forbidden(caller, capability)
    return found


def cell(column: Party, capability: str) -> Reach | None:
    """One cell of the table. Pure; what the matrix test expects."""
    if column in CAPABILITIES[capability]:
        return "any"
    return "own" if column in CAPABILITIES.get(f"{capability}_own", frozenset()) else None


def may_mint(caller: Caller, role: Role) -> bool:
    """Whether the caller, an operator, may give an operator key this role: at most its own."""
    return caller.bearer.role is not None and _RANK[caller.bearer.role] >= _RANK[role]


def _forbidden(caller: Caller, capability: str) -> Problem:
    base = capability.removesuffix("_own")
    able = [f"`{p}`" for p in PARTIES if cell(p, base) is not None]
    named: Mapping[Party, str] = {
        "platform_admin": "a platform admin's key",
        "admin": "an admin's key",
        "auditor": "an auditor's key",
        "agent": "an agent key",
        "session": "a session token",
    }
    return Problem(
        "forbidden",
        f"{named[party(caller)]} may not do this ({base})",
        hint=f"it takes one of: {', '.join(able)}",
    )
