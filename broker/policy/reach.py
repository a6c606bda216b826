"""How far an identity's grants reach for one tool: what a listing may show. Pure.

A listing must not promise what `decide` would refuse for every request, nor hide what it would allow; where
it depends on the request (operation, zone), the tool is shown and `sentence` says how far it goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.domain import Access, Account, Connection, Grant, Resolved
from broker.policy.covers import must_be_named
from broker.policy.match import covers_operation, covers_tool, names_operation
from connectors.base import EFFECT_RANK, Operation


@dataclass(frozen=True, slots=True)
class Reach:
    """The widest access that any applicable grant gives for a tool, and in one sentence what it covers."""

    access: Access
    sentence: str


def reach_of_tool(
    resolved: Resolved,
    connection: Connection,
    account: Account | None,
    tool_name: str,
    operation: Operation | None,
    now: datetime,
) -> Reach | None:
    """How far the caller gets with the tool, or None where no grant covers it at all."""
    narrowed = resolved.caller.bearer.restrictions.access_at(connection.name)
    if narrowed is not None and operation is not None and EFFECT_RANK[narrowed] < EFFECT_RANK[operation.effect]:
        return None
    grants = [g for g in resolved.grants if _applies(g, connection, account, tool_name, operation, now)]
    if not grants:
        return None
    access = max((g.access for g in grants), key=EFFECT_RANK.__getitem__)
    if narrowed is not None:
        access = min(access, narrowed, key=EFFECT_RANK.__getitem__)
    return Reach(access, _sentence(access, grants))


def _applies(
    grant: Grant,
    connection: Connection,
    account: Account | None,
    tool_name: str,
    operation: Operation | None,
    now: datetime,
) -> bool:
    if grant.connection_id != connection.id or (grant.expires_at is not None and grant.expires_at <= now):
        return False
    if account is not None and (grant.account == "shared") != account.shared:
        return False
    if not covers_tool(grant.tools, tool_name) or grant.operations == () or _nowhere(grant):
        return False
    if operation is None:
        return True
    if must_be_named(operation) and not names_operation(grant.operations, operation):
        return False
    return EFFECT_RANK[grant.access] >= EFFECT_RANK[operation.effect] and covers_operation(grant.operations, operation)


def _nowhere(grant: Grant) -> bool:
    """Whether its lists of accounts and zones leave no request that it could cover."""
    lists = [ids for ids in (grant.accounts, grant.zones) if ids is not None]
    return bool(lists) and not any(lists)


def _sentence(access: Access, grants: Sequence[Grant]) -> str:
    named = sorted({op for g in grants for op in g.operations or ()})
    everything = any(g.operations is None for g in grants)
    what = {"read": "read", "write": "read and write", "destructive": "read, write and delete"}[access]
    if everything or not named:
        return f"You may {what}."
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return f"You may {what}, only: {', '.join(named[:6])}{more}."
