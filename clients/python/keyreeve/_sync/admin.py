"""Administration: identities, connections, grants, keys, tenants.

Made from `_async` by unasync.py; edit that.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from keyreeve._sync.asker import KeyAsker, pages
from keyreeve.ask import get, patch, segment, send
from keyreeve.records import (
    Connection,
    Grant,
    Identity,
    KeyInfo,
    MadeKey,
    MadeTenant,
    Offboarded,
    Page,
    Revoked,
    RevokedBearer,
    SpecRefresh,
)


class _Resource:
    def __init__(self, asker: KeyAsker) -> None:
        self._asker = asker


class Identities(_Resource):
    """Users and service principals of the tenant."""

    def create(
        self,
        identifier: str,
        *,
        email: str | None = None,
        display_name: str | None = None,
        groups: Sequence[str] | None = None,
    ) -> Identity:
        """Makes an identity. It can do nothing until a grant says so."""
        body = {"identifier": identifier, "email": email, "display_name": display_name, "groups": groups}
        return self._asker.ask(send("POST", "/v1/identities", Identity, body))

    def list(self, *, group: str | None = None, status: str | None = None) -> Iterator[Identity]:
        """The tenant's identities, oldest first. `status`: `active`, `disabled`."""
        return pages(self._asker, "/v1/identities", Identity, {"group": group, "status": status})

    def get(self, identifier: str) -> Identity:
        """One identity."""
        return self._asker.ask(get(_identity(identifier), Identity))

    def change(self, identifier: str, changes: Mapping[str, Any], *, version: int | None = None) -> Identity:
        """Changes `email`, `display_name`, `groups` or `status`; None as a value empties it. `version` is the one it
        was read at. Raises VersionConflict."""
        return self._asker.ask(patch(_identity(identifier), Identity, changes, version))

    def offboard(self, identifier: str, reason: str, *, drain_seconds: float | None = None) -> Offboarded:
        """Ends everything done in an identity's name, in one act; the answer is the proof. `drain_seconds` (0 to 60,
        default 10): how long to wait for calls in flight."""
        body = {"reason": reason, "drain_seconds": drain_seconds}
        return self._asker.ask(send("POST", f"{_identity(identifier)}:offboard", Offboarded, body))


def _identity(identifier: str) -> str:
    return f"/v1/identities/{segment('identifier', identifier)}"


class Connections(_Resource):
    """The tenant's configurations of connectors."""

    def connectors(self) -> Sequence[dict[str, Any]]:
        """The catalogue: credential kinds, the permissions they need, budgets."""
        return (self._asker.ask(get("/v1/connectors", Page[dict[str, Any]]))).items

    def create(
        self, name: str, connector: str, config: Mapping[str, Any] | None = None, *, default_grant: str | None = None
    ) -> Connection:
        """Makes a connection. `default_grant="read"` also grants everyone read access."""
        body = {"name": name, "connector": connector, "config": config or {}, "default_grant": default_grant}
        return self._asker.ask(send("POST", "/v1/connections", Connection, body))

    def list(self) -> Iterator[Connection]:
        """The tenant's connections."""
        return pages(self._asker, "/v1/connections", Connection, {})

    def get(self, name: str) -> Connection:
        """One connection."""
        return self._asker.ask(get(_connection(name), Connection))

    def change(self, name: str, config: Mapping[str, Any], *, version: int | None = None) -> Connection:
        """Replaces the configuration, whole. Raises VersionConflict."""
        return self._asker.ask(send("PATCH", _connection(name), Connection, {"config": config, "version": version}))

    def delete(self, name: str, *, reason: str | None = None) -> Revoked:
        """Removes a connection and revokes its accounts."""
        return self._asker.ask(send("DELETE", _connection(name), Revoked, reason=reason))

    def refresh(self, name: str) -> SpecRefresh:
        """Fetches the description again and reports what changed."""
        return self._asker.ask(send("POST", f"{_connection(name)}:refresh", SpecRefresh))

    def accept(self, name: str, digest: str) -> Connection:
        """Pins the refreshed description that waits for acceptance."""
        return self._asker.ask(send("POST", f"{_connection(name)}:accept", Connection, {"digest": digest}))


def _connection(name: str) -> str:
    return f"/v1/connections/{segment('name', name)}"


class Grants(_Resource):
    """Stored authority."""

    def create(
        self,
        subject: Mapping[str, Any],
        connection_name: str,
        access: str,
        *,
        tools: Sequence[str] | None = None,
        operations: Sequence[str] | None = None,
        resources: Mapping[str, Sequence[str]] | None = None,
        account: str | None = None,
        expires_at: datetime | None = None,
    ) -> Grant:
        """Gives authority, from the very next call on. `subject`: `{"identifier": …}`, `{"group": …}` or
        `{"everyone": True}`; `access`: `read`, `write`, `destructive`. A list left out means all, an empty one none."""
        body = {
            "subject": subject,
            "connection_name": connection_name,
            "access": access,
            "tools": tools,
            "operations": operations,
            "resources": resources,
            "account": account,
            "expires_at": expires_at,
        }
        return self._asker.ask(send("POST", "/v1/grants", Grant, body))

    def list(
        self, *, connection_name: str | None = None, identifier: str | None = None, group: str | None = None
    ) -> Iterator[Grant]:
        """The tenant's grants, oldest first."""
        query = {"connection_name": connection_name, "identifier": identifier, "group": group}
        return pages(self._asker, "/v1/grants", Grant, query)

    def delete(self, grant_id: str) -> Revoked:
        """Takes authority away."""
        return self._asker.ask(send("DELETE", f"/v1/grants/{segment('grant_id', grant_id)}", Revoked))


class Keys(_Resource):
    """Operator and agent keys."""

    def create(
        self,
        kind: str,
        name: str,
        *,
        role: str | None = None,
        identifiers: Sequence[str] | None = None,
        tenants: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> MadeKey:
        """Mints a key, `operator` (with a `role`) or `agent` (with the `identifiers` it may act for, `["*"]` for all),
        within the authority and lifetime of the one that asks."""
        body = {
            "kind": kind,
            "name": name,
            "role": role,
            "identifiers": identifiers,
            "tenants": tenants,
            "expires_at": expires_at,
        }
        return self._asker.ask(send("POST", "/v1/keys", MadeKey, body))

    def list(self, *, kind: str | None = None) -> Iterator[KeyInfo]:
        """The tenant's keys, oldest first, the revoked ones too."""
        return pages(self._asker, "/v1/keys", KeyInfo, {"kind": kind})

    def revoke(self, key_id: str, *, keep_minted: bool = False) -> RevokedBearer:
        """Revokes a key and everything minted from it, unless `keep_minted`."""
        path = f"/v1/keys/{segment('key_id', key_id)}"
        return self._asker.ask(send("DELETE", path, RevokedBearer, keep_minted=keep_minted))


class Tenants(_Resource):
    """Tenants, for platform admins."""

    def create(self, name: str) -> MadeTenant:
        """Makes a tenant with its own encryption keys and its first admin's key."""
        return self._asker.ask(send("POST", "/v1/tenants", MadeTenant, {"name": name}))
