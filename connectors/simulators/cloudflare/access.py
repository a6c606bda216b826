"""Who is calling, and whether they may. Authentication by header, then a route's permission groups on its target."""

import ipaddress
from dataclasses import dataclass

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.groups import Group
from connectors.simulators.cloudflare.model import READ_ONLY, Account, Token, User
from connectors.simulators.cloudflare.policy import Target, permits
from connectors.simulators.cloudflare.state import MAX_CACHED_DECISIONS, CloudflareState
from connectors.simulators.cloudflare.values import fingerprint, well_formed


@dataclass(slots=True, eq=False)
class Actor:
    """An authenticated caller. `token` is None for a Global API Key, `user` None for an account token."""

    principal: str
    fingerprint: str
    user: User | None
    account: Account | None
    token: Token | None
    key: str

    @property
    def uses_key(self) -> bool:
        """Whether a Global API Key was presented: all of its user's powers."""
        return self.token is None


def credential_of(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes, bytes]:
    """The values of Authorization, X-Auth-Email and X-Auth-Key; empty where absent."""
    authorization = email = key = b""
    for name, value in headers:
        if name == b"authorization":
            authorization = value
        elif name == b"x-auth-email":
            email = value
        elif name == b"x-auth-key":
            key = value
    return authorization, email, key


def authenticate(state: CloudflareState, headers: list[tuple[bytes, bytes]], *, verifying: bool) -> Actor:
    """The caller behind a request's headers; a Bearer token wins over a key [memory].

    Raises ApiError as Cloudflare answers: nothing, malformed, unknown. `verifying` is set on the verify
    endpoints, where an unknown token gets 1000 and a disabled or expired one is let in to be told its status.
    """
    authorization, email, key = credential_of(headers)
    if authorization:
        scheme, _, value = authorization.partition(b" ")
        value = value.strip()
        if scheme.lower() != b"bearer" or not well_formed(value):
            raise answers.malformed_auth("Authorization")
        token = state.tokens_by_value.get(value)
        if token is None:
            raise answers.invalid_api_token() if verifying else answers.unknown_token()
        if not verifying and not token.usable(state.wall()):
            raise answers.unknown_token()
        return token_actor(state, token)
    if not email and not key:
        raise answers.missing_auth()
    if b"@" not in email:
        raise answers.malformed_auth("X-Auth-Email")
    if not well_formed(key):
        raise answers.malformed_auth("X-Auth-Key")
    user = state.user_by_email(email.decode("latin-1"))
    if user is None or user.global_key.encode() != key:
        raise answers.unknown_key()
    return Actor(f"user:{user.id}", fingerprint(key), user, None, None, key=user.id)


def token_actor(state: CloudflareState, token: Token) -> Actor:
    """The caller a token stands for."""
    owner = token.owner
    principal = state.principal_of(owner, token)
    user = owner if isinstance(owner, User) else None
    account = owner if isinstance(owner, Account) else None
    return Actor(principal, fingerprint(token.value.encode()), user, account, token, key=token.id)


def check_location(token: Token, address: str) -> None:
    """Apply a token's IP condition. Raises ApiError for a caller it refuses."""
    if not token.ip_in and not token.ip_not_in:
        return
    ip = ipaddress.ip_address(address)
    if token.ip_in and not any(ip in ipaddress.ip_network(net, strict=False) for net in token.ip_in):
        raise answers.wrong_location(address)
    if any(ip in ipaddress.ip_network(net, strict=False) for net in token.ip_not_in):
        raise answers.wrong_location(address)


def may(state: CloudflareState, actor: Actor, groups: tuple[Group, ...], target: Target) -> bool:
    """Whether the caller holds any of `groups` on `target`; remembered until state changes."""
    memo = (actor.key, groups, target)
    known = state.decisions.get(memo)
    if known is None:
        if len(state.decisions) >= MAX_CACHED_DECISIONS:
            state.decisions.clear()
        known = state.decisions[memo] = _decide(state, actor, groups, target)
    return known


def _decide(state: CloudflareState, actor: Actor, groups: tuple[Group, ...], target: Target) -> bool:
    """A user's role bounds their key and their tokens; an account token is bound to its account [D]."""
    effective = groups
    if actor.user is not None:
        if target.user and target.user != actor.user.id:
            return False
        if target.account:
            account = state.accounts.get(target.account)
            role = account.role_of(actor.user.id) if account else None
            if role is None:
                return False
            if role == READ_ONLY:
                effective = tuple(group for group in groups if group.reads_only)
    elif actor.account is not None and (target.user or target.account != actor.account.id):
        return False
    if actor.token is None:
        return bool(effective)
    return permits(actor.token.policies, effective, target)
