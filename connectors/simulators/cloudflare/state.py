"""Everything the simulated Cloudflare knows, and the builders that make it."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from connectors.simulators.cloudflare.clock import wall_seconds
from connectors.simulators.cloudflare.faults import Faults
from connectors.simulators.cloudflare.groups import GROUPS, GROUPS_BY_ID, Group
from connectors.simulators.cloudflare.journal import Journal
from connectors.simulators.cloudflare.limiter import Limiter
from connectors.simulators.cloudflare.model import (
    ADMINISTRATOR,
    Account,
    Bucket,
    Member,
    Role,
    Token,
    User,
    Zone,
)
from connectors.simulators.cloudflare.policy import (
    Policy,
    Target,
    account_resources,
    user_resources,
    zone_resources,
    zones_of_account,
)
from connectors.simulators.cloudflare.values import named_id, new_credential, new_id

MAX_CACHED_DECISIONS = 100_000


class CloudflareState:
    """One simulated Cloudflare.

    `clock` measures limits and stamps arrivals (seconds, never going back); `wall` gives times of day in
    seconds since the epoch. `limit` calls per `window` seconds and principal, then `block` seconds of 429;
    `graphql_limit` is the meter of its own that GraphQL has. `max_body` bounds a request's body in bytes.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = wall_seconds,
        limit: int = 1200,
        window: float = 300.0,
        block: float = 300.0,
        graphql_limit: int = 320,
        max_body: int = 32 * 2**20,
        journal_capacity: int = 100_000,
        control_token: str | None = None,
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.limiter = Limiter(limit, window, block)
        self.graphql_limiter = Limiter(graphql_limit, window, block)
        self.max_body = max_body
        self.journal = Journal(journal_capacity)
        self.faults = Faults()
        self.control_token = control_token or secrets.token_urlsafe(24)
        self.users: dict[str, User] = {}
        self.accounts: dict[str, Account] = {}
        self.zones: dict[str, Zone] = {}
        self.tokens: dict[str, Token] = {}
        self.tokens_by_value: dict[bytes, Token] = {}
        self.decisions: dict[tuple[str, Any, Target], bool] = {}

    def add_user(self, email: str, *, global_key: str | None = None) -> User:
        """A person with a Global API Key. Raises ValueError where the address is taken."""
        if any(user.email == email for user in self.users.values()):
            raise ValueError(f"user {email} exists")
        first, _, last = email.partition("@")[0].partition(".")
        user = User(
            id=named_id("user", email),
            email=email,
            first_name=first.title(),
            last_name=last.title(),
            global_key=global_key or new_credential("cfk_"),
            created=self.wall(),
        )
        self.users[user.id] = user
        return user

    def add_account(self, name: str, members: Iterable[User] = (), role: Role = ADMINISTRATOR) -> Account:
        """An account whose `members` all have `role`."""
        account = Account(named_id("account", name), name, self.wall())
        self.accounts[account.id] = account
        for user in members:
            self.add_member(account, user, role)
        return account

    def add_member(self, account: Account, user: User, role: Role = ADMINISTRATOR) -> Member:
        """Make `user` an accepted member of `account`."""
        member = Member(new_id(), user.email, role, user.id)
        account.members[member.id] = member
        self.changed()
        return member

    def add_zone(self, account: Account, name: str) -> Zone:
        """A domain of an account. Raises ValueError where the name is taken."""
        if any(zone.name == name for zone in self.zones.values()):
            raise ValueError(f"zone {name} exists")
        zone = Zone(named_id("zone", name), name, account, self.wall())
        self.zones[zone.id] = zone
        self.changed()
        return zone

    def add_bucket(self, account: Account, name: str) -> Bucket:
        """An empty R2 bucket."""
        bucket = account.buckets[name] = Bucket(name, self.wall())
        return bucket

    def add_token(
        self,
        owner: User | Account,
        *,
        name: str = "token",
        permissions: Sequence[str] = (),
        zones: Sequence[Zone] = (),
        accounts: Sequence[Account] = (),
        policies: Sequence[Policy] = (),
        expires_on: float | None = None,
        not_before: float | None = None,
        status: str = "active",
        request_ip: Mapping[str, Sequence[str]] | None = None,
        value: str | None = None,
    ) -> Token:
        """A token; its `.value` is what a client presents.

        `permissions` are group names, granted on the narrowest usual resources: user groups on the owner,
        account groups on `accounts` (all the owner's where empty), zone groups on `zones` (all of those
        accounts' where empty). `policies` are added as they are. Raises KeyError for an unknown group name.
        """
        prefix = "cfut_" if isinstance(owner, User) else "cfat_"
        now = self.wall()
        token = Token(
            id=new_id(),
            name=name,
            owner=owner,
            value=value or new_credential(prefix),  # type: ignore[arg-type]  # one of two literals
            policies=(*self._usual_policies(owner, permissions, zones, accounts), *policies),
            issued=now,
            modified=now,
            enabled=status != "disabled",
            not_before=not_before,
            expires=expires_on,
            ip_in=tuple((request_ip or {}).get("in", ())),
            ip_not_in=tuple((request_ip or {}).get("not_in", ())),
        )
        self.tokens[token.id] = token
        self.tokens_by_value[token.value.encode()] = token
        return token

    def policy(self, groups: Sequence[str], resources: Mapping[str, Any], effect: str = "allow") -> Policy:
        """A policy of named groups. Raises KeyError for an unknown group name."""
        for group in groups:
            GROUPS[group]
        return Policy(new_id(), "deny" if effect == "deny" else "allow", dict(resources), tuple(groups))

    def _usual_policies(
        self, owner: User | Account, names: Sequence[str], zones: Sequence[Zone], accounts: Sequence[Account]
    ) -> list[Policy]:
        chosen = [GROUPS[name] for name in names]
        wide = list(accounts) or ([owner] if isinstance(owner, Account) else self.accounts_of(owner))
        made: list[Policy] = []
        by_scope: dict[str, list[str]] = {}
        for group in chosen:
            by_scope.setdefault(group.scope, []).append(group.name)
        for scope, groups in by_scope.items():
            resources: dict[str, Any] = {}
            if scope == "user":
                resources = user_resources(owner.id)
            elif scope == "account":
                for account in wide:
                    resources |= account_resources(account.id)
            elif scope == "zone" and zones:
                resources = zone_resources(*(zone.id for zone in zones))
            elif scope == "zone":
                for account in wide:
                    resources |= zones_of_account(account.id)
            else:
                resources = {"com.cloudflare.edge.r2.bucket.*": "*"}
            made.append(self.policy(groups, resources))
        return made

    def accounts_of(self, user: User) -> list[Account]:
        """The accounts a person is an accepted member of."""
        return [account for account in self.accounts.values() if account.role_of(user.id) is not None]

    def tokens_of(self, owner: User | Account) -> list[Token]:
        """An owner's tokens, oldest first."""
        return [token for token in self.tokens.values() if token.owner is owner]

    def user_by_email(self, email: str) -> User | None:
        """The person with that address."""
        return next((user for user in self.users.values() if user.email == email), None)

    def roll(self, token: Token) -> str:
        """Give a token a new value; the old one stops at once [memory]."""
        del self.tokens_by_value[token.value.encode()]
        token.value = new_credential("cfut_" if isinstance(token.owner, User) else "cfat_")
        token.modified = self.wall()
        self.tokens_by_value[token.value.encode()] = token
        return token.value

    def delete_token(self, token: Token) -> None:
        """Remove a token; its value stops at once."""
        del self.tokens_by_value[token.value.encode()]
        del self.tokens[token.id]
        self.changed()

    def changed(self) -> None:
        """Forget remembered decisions: call after changing policies, members or zones."""
        self.decisions.clear()

    def group(self, group_id: str) -> Group | None:
        """The permission group with that id."""
        return GROUPS_BY_ID.get(group_id)

    def principal_of(self, owner: User | Account, token: Token | None) -> str:
        """Whose limit is spent: a user's tokens and key share one, an account token has its own [D, inferred]."""
        if isinstance(owner, User):
            return f"user:{owner.id}"
        return f"account-token:{owner.id}:{token.id if token else ''}"


def etag(body: bytes) -> str:
    """A content tag: 32 hex digits."""
    return hashlib.sha256(body).hexdigest()[:32]
