"""What a tenant may know of the budgets its accounts spend: its own use, everybody else's as one number."""

import base64
import binascii
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select

from broker.accounts.principals import budget_key, budget_principal
from broker.accounts.tables import accounts, connections
from broker.db.database import Database
from broker.db.paging import Page
from broker.domain import Caller
from broker.errors import invalid
from broker.gate.usage import BudgetUse, budget_use
from broker.identity.roles import reach

ACCOUNTS_MAX: Final = 10_000
"""As many budgets as `budget_use` answers."""


class Budgets:
    """`GET /v1/budgets`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self, caller: Caller, *, page_size: int = 100, page_token: str | None = None
    ) -> Page[dict[str, Any]]:
        """One line per connection, budget and meter, in that order; a session sees its own accounts' only. `principal`
        is whose budget it is, in the sense of the connection's `budget.key`. Raises Problem `invalid_input`."""
        after = _read_token(page_token)
        rows = await self._accounts(caller)
        uses: dict[bytes, list[BudgetUse]] = defaultdict(list)
        for use in await budget_use(self._db, caller.tenant_id):
            uses[bytes(use.principal)].append(use)
        found = [_line(row, use) for row in rows for use in uses[bytes(row.principal_key)]]
        lines = {_place(line): line for line in found}
        places = sorted(place for place in lines if after is None or place > after)
        shown = [lines[place] for place in places[:page_size]]
        return Page(shown, _token(places[page_size - 1]) if len(places) > page_size else None)

    async def _accounts(self, caller: Caller) -> Sequence[Any]:
        statement = (
            select(
                connections.c.name,
                connections.c.config,
                accounts.c.principal,
                accounts.c.principal_key,
                accounts.c.upstream_token_id,
                accounts.c.upstream_account_id,
            )
            .join(
                connections,
                (connections.c.tenant_id == accounts.c.tenant_id) & (connections.c.id == accounts.c.connection_id),
            )
            .where(
                accounts.c.tenant_id == caller.tenant_id,
                accounts.c.principal_key.is_not(None),
                accounts.c.status != "revoked",
            )
            .order_by(accounts.c.created_at, accounts.c.id)
            .limit(ACCOUNTS_MAX)
        )
        if reach(caller, "budgets.read") == "own":
            assert caller.identity is not None  # noqa: S101 - a session has one
            statement = statement.where(accounts.c.identity_id == caller.identity.id)
        async with self._db.tenant(caller.tenant_id) as conn:
            return (await conn.execute(statement)).all()


def _line(row: Any, use: BudgetUse) -> dict[str, Any]:
    key = budget_key(row.config)
    return {
        "connection_name": row.name,
        "key": key,
        "principal": budget_principal(key, row.principal, row.upstream_token_id, row.upstream_account_id),
        "meter": use.meter,
        "limit": use.limit,
        "window_seconds": use.window_seconds,
        "used": use.used,
        "foreign": use.foreign,
        "remaining": max(0, use.limit - use.used - use.foreign),
        "blocked_until": use.blocked_until,
    }


def _place(line: dict[str, Any]) -> str:
    return "\n".join((line["connection_name"], line["principal"], line["meter"]))


def _token(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode("ascii").rstrip("=")


def _read_token(token: str | None) -> str | None:
    if token is None:
        return None
    try:
        place = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        place = ""
    if place.count("\n") < 2:
        raise invalid("page_token", "is not one that this server gave", hint="start again without it")
    return place
