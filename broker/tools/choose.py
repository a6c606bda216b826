"""Which account a call uses. Pure.

The named one; else the identity's only one on that connection; else `ambiguous_account`. A shared account stands in
only where the identity has none of its own and a grant says `account: "shared"`. A revoked own account never falls back
to anything: whoever was cut off must not go on through a colleague's door.
"""

from collections.abc import Sequence
from uuid import UUID

from broker.domain import Account, Connection, Grant
from broker.errors import Problem


def choose_account(
    connection: Connection,
    accounts: Sequence[Account],
    grants: Sequence[Grant],
    named: UUID | None,
) -> Account:
    """The account to use. Raises Problem: `not_connected`, `needs_reauth`, `revoked`, `ambiguous_account`."""
    mine = [a for a in accounts if a.connection_id == connection.id and not a.shared]
    shared = [a for a in accounts if a.connection_id == connection.id and a.shared]
    if named is not None:
        for account in (*mine, *shared):
            if account.id == named:
                return _usable(account, connection)
        raise Problem(
            "not_connected",
            f"the identity has no account {named} on {connection.name}",
            hint="leave connected_account_id out, or take one that list_scoped_tools names",
        )
    live = [a for a in mine if a.status != "revoked"]
    if live:
        return _only(live, connection)
    if mine:
        return _usable(mine[0], connection)
    if any(g.account == "shared" and g.connection_id == connection.id for g in grants):
        live = [a for a in shared if a.status != "revoked"]
        if live:
            return _only(live, connection)
    raise Problem(
        "not_connected",
        f"no account is connected on {connection.name} for this identity",
        hint="connect one: `keyreeve connect`, or ask an admin to deposit the credential",
    )


def _only(live: Sequence[Account], connection: Connection) -> Account:
    usable = [a for a in live if a.status == "active"] or list(live)
    if len(usable) == 1:
        return _usable(usable[0], connection)
    listed = [{"connected_account_id": str(a.id), "label": a.label, "shared": a.shared} for a in usable[:20]]
    raise Problem(
        "ambiguous_account",
        f"{len(usable)} accounts on {connection.name} fit",
        hint="name one as connected_account_id: " + ", ".join(f"{a.id} ({a.label or 'no label'})" for a in usable[:5]),
        extra={"accounts": listed},
    )


def _usable(account: Account, connection: Connection) -> Account:
    if account.status == "active":
        return account
    told = {
        "pending": ("not_connected", "is not verified yet"),
        "needs_reauth": ("needs_reauth", "must be connected again"),
        "revoked": ("revoked", "was revoked"),
    }
    code, what = told[account.status]
    raise Problem(
        code,
        f"the account on {connection.name} {what}",
        hint="deposit a credential again",
    )
