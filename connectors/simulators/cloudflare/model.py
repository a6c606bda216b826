"""The things a Cloudflare account is made of, as plain records."""

from dataclasses import dataclass, field
from typing import Any, Literal

from connectors.simulators.cloudflare.clock import iso, iso_seconds
from connectors.simulators.cloudflare.policy import Policy, wire

Role = Literal["Administrator", "Administrator Read Only", "Super Administrator - All Privileges"]
ADMINISTRATOR: Role = "Administrator"
READ_ONLY: Role = "Administrator Read Only"
OWNER: Role = "Super Administrator - All Privileges"


@dataclass(slots=True, eq=False)
class User:
    """A person. `global_key` is their Global API Key: all of their own powers."""

    id: str
    email: str
    first_name: str
    last_name: str
    global_key: str = field(repr=False)
    created: float

    def wire(self) -> dict[str, Any]:
        """As `GET /user` shows them."""
        return {
            "id": self.id,
            "email": self.email,
            "username": self.email.split("@")[0],
            "first_name": self.first_name,
            "last_name": self.last_name,
            "telephone": None,
            "country": None,
            "zipcode": None,
            "two_factor_authentication_enabled": True,
            "two_factor_authentication_locked": False,
            "created_on": iso(self.created),
            "modified_on": iso(self.created),
            "organizations": [],
            "has_pro_zones": False,
            "has_business_zones": False,
            "has_enterprise_zones": False,
            "suspended": False,
        }


@dataclass(slots=True, eq=False)
class Member:
    """One person's place in an account. `user_id` is empty while an invitation is open."""

    id: str
    email: str
    role: Role
    user_id: str = ""

    def wire(self) -> dict[str, Any]:
        """As the members list shows it."""
        return {
            "id": self.id,
            "email": self.email,
            "user": {"id": self.user_id or None, "email": self.email, "first_name": None, "last_name": None},
            "status": "accepted" if self.user_id else "pending",
            "roles": [{"id": self.role, "name": self.role, "description": self.role, "permissions": {}}],
        }


@dataclass(slots=True, eq=False)
class Script:
    """An uploaded Worker: its main module's bytes, and what the upload said of it."""

    id: str
    content: bytes
    media_type: str
    etag: str
    metadata: dict[str, Any]
    modules: tuple[str, ...]
    created: float
    modified: float

    def wire(self) -> dict[str, Any]:
        """As the scripts list shows it."""
        return {
            "id": self.id,
            "etag": self.etag,
            "handlers": ["fetch"],
            "created_on": iso(self.created),
            "modified_on": iso(self.modified),
            "usage_model": "standard",
            "compatibility_date": self.metadata.get("compatibility_date"),
            "last_deployed_from": "api",
        }


@dataclass(slots=True, eq=False)
class KvValue:
    """One Workers KV entry. `expiration` is in seconds since the epoch."""

    value: bytes
    metadata: Any = None
    expiration: int | None = None


@dataclass(slots=True, eq=False)
class Namespace:
    """A Workers KV namespace; keys keep their order of insertion and are listed sorted."""

    id: str
    title: str
    values: dict[str, KvValue] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """As the namespaces list shows it."""
        return {"id": self.id, "title": self.title, "supports_url_encoding": True}


@dataclass(slots=True, eq=False)
class R2Object:
    """One stored object."""

    body: bytes
    media_type: str
    etag: str
    modified: float


@dataclass(slots=True, eq=False)
class Bucket:
    """An R2 bucket of the default jurisdiction."""

    name: str
    created: float
    objects: dict[str, R2Object] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """As the buckets list shows it."""
        return {
            "name": self.name,
            "creation_date": iso(self.created),
            "location": "WEUR",
            "storage_class": "Standard",
            "jurisdiction": "default",
        }


@dataclass(slots=True, eq=False)
class Account:
    """An account and what it owns beside zones. `shelves` holds the plainer things by kind (handlers/shelves.py)."""

    id: str
    name: str
    created: float
    members: dict[str, Member] = field(default_factory=dict)
    scripts: dict[str, Script] = field(default_factory=dict)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    shelves: dict[str, dict[str, Any]] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """As the accounts list shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "type": "standard",
            "settings": {"enforce_twofactor": False, "api_access_enabled": None},
            "created_on": iso(self.created),
        }

    def role_of(self, user_id: str) -> Role | None:
        """The role an accepted member has, or None."""
        for member in self.members.values():
            if user_id and member.user_id == user_id:
                return member.role
        return None


@dataclass(slots=True, eq=False)
class Zone:
    """A domain. `records` maps record ids to their wire form; `purges` are the cache purges asked for."""

    id: str
    name: str
    account: Account
    created: float
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    purges: list[Any] = field(default_factory=list)
    shelves: dict[str, dict[str, Any]] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """As the zones list shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "status": "active",
            "paused": False,
            "type": "full",
            "development_mode": 0,
            "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
            "original_name_servers": None,
            "original_registrar": None,
            "original_dnshost": None,
            "created_on": iso(self.created),
            "modified_on": iso(self.created),
            "activated_on": iso(self.created),
            "account": {"id": self.account.id, "name": self.account.name},
            "owner": {"id": None, "type": "user", "email": None},
            "permissions": ["#dns_records:read", "#zone:read"],
            "plan": {"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website", "price": 0},
        }


@dataclass(slots=True, eq=False)
class Token:
    """An API token of one user or one account. Times are seconds since the epoch; `value` is never shown again."""

    id: str
    name: str
    owner: User | Account
    value: str = field(repr=False)
    policies: tuple[Policy, ...]
    issued: float
    modified: float
    enabled: bool = True
    not_before: float | None = None
    expires: float | None = None
    ip_in: tuple[str, ...] = ()
    ip_not_in: tuple[str, ...] = ()

    def status(self, now: float) -> Literal["active", "disabled", "expired"]:
        """The state the verify endpoint names."""
        if not self.enabled:
            return "disabled"
        return "expired" if self.expires is not None and now >= self.expires else "active"

    def usable(self, now: float) -> bool:
        """Whether a request may use it at `now`."""
        return self.status(now) == "active" and (self.not_before is None or now >= self.not_before)

    def wire(self, now: float) -> dict[str, Any]:
        """As the tokens list shows it: without its value."""
        shown: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "status": self.status(now),
            "issued_on": iso_seconds(self.issued),
            "modified_on": iso_seconds(self.modified),
        }
        if self.not_before is not None:
            shown["not_before"] = iso_seconds(self.not_before)
        if self.expires is not None:
            shown["expires_on"] = iso_seconds(self.expires)
        shown["policies"] = [wire(policy) for policy in self.policies]
        if self.ip_in or self.ip_not_in:
            shown["condition"] = {"request_ip": {"in": list(self.ip_in), "not_in": list(self.ip_not_in)}}
        return shown
