"""The caller's own user, their accounts, memberships and account members."""

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.model import ADMINISTRATOR, OWNER, READ_ONLY, Account, Member, Role
from connectors.simulators.cloudflare.policy import mentions_account
from connectors.simulators.cloudflare.routing import Call, page
from connectors.simulators.cloudflare.values import new_id

ROLES: dict[str, Role] = {role: role for role in (ADMINISTRATOR, READ_ONLY, OWNER)}
MAX_MEMBERS = 1000


def get_user(call: Call) -> Answer:
    """The caller's user."""
    if call.actor.user is None:
        raise answers.no_user()
    return ok(call.actor.user.wire())


def _visible(call: Call) -> list[Account]:
    """The accounts the credential reaches. An account token sees its own."""
    actor, state = call.actor, call.state
    if actor.account is not None:
        return [actor.account]
    mine = state.accounts_of(actor.user) if actor.user else []
    if actor.token is None:
        return mine
    policies = actor.token.policies
    return [a for a in mine if mentions_account(policies, a.id, (z.id for z in state.zones.values() if z.account is a))]


def list_accounts(call: Call) -> Answer:
    """Accounts the credential reaches; needs no permission group of its own [D: it names none]."""
    shown = _visible(call)
    wanted = call.query.get("name")
    if wanted is not None:
        shown = [account for account in shown if account.name == wanted]
    part, info = page(call, shown, default=20, largest=50)
    return ok([account.wire() for account in part], info)


def get_account(call: Call) -> Answer:
    """One account."""
    return ok(call.account.wire())


def list_memberships(call: Call) -> Answer:
    """The caller's places in accounts."""
    user = call.actor.user
    if user is None:
        raise answers.no_user()
    found = [
        {
            "id": member.id,
            "status": "accepted",
            "account": {"id": account.id, "name": account.name},
            "roles": [member.role],
            "api_access_enabled": True,
        }
        for account in call.state.accounts_of(user)
        for member in account.members.values()
        if member.user_id == user.id
    ]
    part, info = page(call, found, default=20, largest=50)
    return ok(part, info)


def list_members(call: Call) -> Answer:
    """An account's members."""
    part, info = page(call, list(call.account.members.values()), default=20, largest=50)
    return ok([member.wire() for member in part], info)


def add_member(call: Call) -> Answer:
    """Invite somebody; a person the simulator knows accepts at once when `status` is `accepted`."""
    body = call.json()
    email, roles = body.get("email"), body.get("roles")
    if not isinstance(email, str) or not 3 <= len(email) <= 90 or "@" not in email:
        raise answers.fail(400, 1001, "Invalid email address")
    if not isinstance(roles, list) or len(roles) != 1 or str(roles[0]) not in ROLES:
        raise answers.fail(400, 1001, "roles: expected one known role")
    account = call.account
    if any(member.email == email for member in account.members.values()):
        raise answers.fail(400, 1003, "User is already a member of this account")
    if len(account.members) >= MAX_MEMBERS:
        raise answers.fail(400, 1002, "Too many members")
    known = call.state.user_by_email(email) if body.get("status") == "accepted" else None
    member = Member(new_id(), email, ROLES[str(roles[0])], known.id if known else "")
    account.members[member.id] = member
    call.state.changed()
    return ok(member.wire())
