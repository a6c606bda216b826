"""Whose budget an account spends, by the connection's `config.budget.key`.

`user` (the default): the upstream principal, whoever's tokens it has. `token`: each token by itself. `account`: all
tokens of one upstream account together. Where the upstream did not say which token or account it is, the principal
stands in: a budget is rather shared too widely than not at all.
"""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.tables import accounts
from broker.gate.principals import Principals
from connectors.base import Connector

BudgetKey = Literal["user", "token", "account"]


def budget_key(config: Mapping[str, Any]) -> BudgetKey:
    """The `budget.key` of a connection's config, stored or checked."""
    key: BudgetKey = (config.get("budget") or {}).get("key", "user")
    return key


def budget_principal(key: BudgetKey, principal: str, token_id: str | None, account_id: str | None) -> str:
    """The principal whose budget is spent, in the connector's words. Pure."""
    if key == "token" and token_id is not None:
        return f"token:{token_id}"
    if key == "account" and account_id is not None:
        return f"account:{account_id}"
    return principal


async def move_budgets(
    conn: AsyncConnection,
    principals: Principals,
    connector: Connector,
    origin: str,
    tenant_id: UUID,
    connection_id: UUID,
    key: BudgetKey,
) -> int:
    """Gives the live accounts of a connection the budget that `key` means; how many. The next admission books there;
    calls in flight are settled where they were booked."""
    mine = (accounts.c.tenant_id == tenant_id, accounts.c.connection_id == connection_id)
    found = await conn.execute(
        select(accounts.c.id, accounts.c.principal, accounts.c.upstream_token_id, accounts.c.upstream_account_id).where(
            *mine, accounts.c.status.in_(("active", "needs_reauth")), accounts.c.principal.is_not(None)
        )
    )
    moved = [
        {
            "account": row.id,
            "key": principals.key(
                connector,
                origin,
                tenant_id,
                budget_principal(key, row.principal, row.upstream_token_id, row.upstream_account_id),
            ),
        }
        for row in found
    ]
    if moved:
        change = update(accounts).where(*mine, accounts.c.id == bindparam("account"))
        await conn.execute(change.values(principal_key=bindparam("key")), moved)
    return len(moved)
