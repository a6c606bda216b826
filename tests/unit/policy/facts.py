"""Facts to decide on, with defaults: a test says only what it is about."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from broker.domain import Account, Bearer, Caller, Connection, Grant, Identity, Restrictions
from broker.policy.facts import AccessRequest
from connectors.base import Operation, Permit, Resources

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TENANT, CONNECTION, IDENTITY, ACCOUNT = (UUID(int=n) for n in range(1, 5))

LIST_ZONES = Operation("zones-get", "GET", "/zones", "read", annotated=True)
GET_ZONE = Operation("zones-0-get", "GET", "/zones/{zone_id}", "read", annotated=True)
DELETE_ZONE = Operation("zones-0-delete", "DELETE", "/zones/{zone_id}", "destructive", annotated=True)
LIST_DNS = Operation("dns-list", "GET", "/zones/{zone_id}/dns_records", "read", annotated=True)
CREATE_DNS = Operation("dns-create", "POST", "/zones/{zone_id}/dns_records", "write", annotated=True)
ODD_WRITE = Operation("odd", "POST", "/zones/{zone_id}/odd", "write")
ODD_READ = Operation("odd-read", "GET", "/zones/{zone_id}/odd", "read")
CREATE_TOKEN = Operation("token-create", "POST", "/user/tokens", "write", annotated=True, guarded=True)
READ_SECRET = Operation("secret-read", "GET", "/accounts/{account_id}/secret", "read", annotated=True, guarded=True)
WORKER = Operation("worker", "PUT", "/accounts/{account_id}/workers/scripts/{name}", "write", annotated=True)
OPERATIONS = (
    LIST_ZONES,
    GET_ZONE,
    DELETE_ZONE,
    LIST_DNS,
    CREATE_DNS,
    ODD_WRITE,
    ODD_READ,
    CREATE_TOKEN,
    READ_SECRET,
    WORKER,
)


def grant(n: int = 100, **changes: Any) -> Grant:
    """A grant of everything on the connection, but for `changes`."""
    whole = Grant(
        id=UUID(int=n),
        subject="identity:priya",
        connection_id=CONNECTION,
        tools=None,
        access="destructive",
        operations=None,
        accounts=None,
        zones=None,
        account="own",
        expires_at=None,
    )
    return replace(whole, **changes)


def caller(restrictions: Restrictions | None = None, **changes: Any) -> Caller:
    bearer = Bearer(
        id=UUID(int=7),
        tenant_id=TENANT,
        kind="session",
        root_id=UUID(int=7),
        name="",
        role=None,
        identifiers=None,
        tenants=None,
        identity_id=IDENTITY,
        restrictions=restrictions or Restrictions(),
        expires_at=None,
    )
    whole = Caller(
        tenant_id=TENANT,
        tenant_name="acme",
        policy_version=1,
        bearer=bearer,
        identity=Identity(IDENTITY, "priya", ("dns-team",), "active"),
        on_behalf_of=False,
        client=None,
        agent=None,
        run_id=None,
        now=NOW,
    )
    return replace(whole, **changes)


def account(*, shared: bool = False, **changes: Any) -> Account:
    whole = Account(
        id=ACCOUNT,
        connection_id=CONNECTION,
        identity_id=None if shared else IDENTITY,
        label=None,
        status="active",
        kind="api_token",
        version=1,
        permissions_version=1,
        upstream_account_id=None,
        expires_at=None,
    )
    return replace(whole, **changes)


def request(operation: Operation = GET_ZONE, *grants: Grant, **changes: Any) -> AccessRequest:
    whole = AccessRequest(
        caller=caller(),
        connection=Connection(CONNECTION, "cloudflare", "cloudflare", 1, "active"),
        account=account(),
        tool_name="cloudflare_call",
        operation=operation,
        resources=Resources(),
        grants=grants,
        permit=Permit("allowed"),
        permission_check="refuse",
        now=NOW,
    )
    return replace(whole, **changes)
