"""What a search is given: the part of the description that its caller may use, and what is known of the caller."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker.accounts.views import View
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Account, Grant
from broker.errors import Problem
from broker.policy.reach import Reach
from broker.tools.codemode.asked import Job
from broker.tools.codemode.budget_left import budget_left
from broker.tools.codemode.ready import Described
from broker.tools.codemode.visible import Table, Visibility, Visible, compute, live_grants
from connectors.base import Operation, Permissions, Programmable
from connectors.openapi.index import SpecIndex

NAMED_MOST: Final = 500
"""Accounts and zones of the grants' lists that are named to a program."""
COLD_PATTERNS: Final = 2
"""With more patterns than this to be matched for the first time, the work is done off the event loop."""


@dataclass(frozen=True, slots=True)
class Found:
    """A search made ready: the description, the program's context as JSON, and what is kept back from it."""

    described: Described
    context: bytes
    hidden: Mapping[str, int]


class Searching:
    """Prepares searches. One per process."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._visibility = Visibility()

    async def prepare(
        self, job: Job, account: Account | None, permissions: Permissions, reach: Reach, *, whoami: bool
    ) -> Found:
        """What the program is given; `whoami`: it asks who it is. Raises Problem `unavailable`."""
        view = job.view
        connector = view.connector
        if not isinstance(connector, Programmable) or not isinstance(view.spec, SpecIndex) or view.spec_digest is None:
            raise Problem("unavailable", f"connection {view.name} has no description to search", fix="admin")
        visible = await self._visible(job, connector, view.spec, account, permissions)
        known = await self._whoami(job, account, permissions, reach) if whoami else {}
        context = {"kind": "search", "visible": visible.bitmap, "hidden": visible.hidden, "whoami": known}
        return Found(Described(view.spec_digest, view.spec, connector), orjson.dumps(context), visible.hidden)

    async def _visible(
        self, job: Job, connector: Any, spec: SpecIndex, account: Account | None, permissions: Permissions
    ) -> Visible:
        view, resolved = job.view, job.resolved
        grants = live_grants(resolved, job.connection, account, self._clock.now())
        access = resolved.caller.bearer.restrictions.access_at(job.connection.name)
        key = _key(job, account, grants, access)
        kept = self._visibility.peek(key)
        if kept is not None:
            return kept
        table = self._visibility.table(view.spec_digest or "", spec, connector)

        def work() -> Visible:
            return compute(
                table,
                grants,
                connection_name=view.name,
                typed=_typed(view, table),
                access=access,
                connector=connector,
                permissions=permissions,
                check=view.config.get("permission_check", "refuse"),
            )

        cold = sum(table.cold(grant.operations) for grant in grants)
        visible = await asyncio.to_thread(work) if cold > COLD_PATTERNS else work()
        self._visibility.keep(key, visible)
        return visible

    async def _whoami(
        self, job: Job, account: Account | None, permissions: Permissions, reach: Reach
    ) -> dict[str, Any]:
        caller, view = job.resolved.caller, job.view
        connector: Any = view.connector
        grants = live_grants(job.resolved, job.connection, account, self._clock.now())
        known: dict[str, Any] = {
            "identity": None if caller.identity is None else caller.identity.identifier,
            "connection": view.name,
            "access": reach.access,
            "may": reach.sentence,
            "accounts": _named(known_accounts(view, account, permissions), _limited_to(g.accounts for g in grants)),
            "zones": _named(connector.reachable_zones(permissions), _limited_to(g.zones for g in grants)),
        }
        if account is None:
            known["connected_account"] = "several: pass connected_account_id"
        else:
            known["connected_account"] = {"id": str(account.id), "label": account.label, "kind": account.kind}
            known["budget"] = await budget_left(self._db, caller.tenant_id, account.id, _reserve(view))
        return known


def known_accounts(view: View, account: Account | None, permissions: Permissions) -> tuple[str, ...] | None:
    """The upstream accounts that the credential may reach, None where that is not known."""
    if account is not None and account.upstream_account_id is not None:
        return (account.upstream_account_id,)
    connector = view.connector
    return connector.reachable_accounts(permissions) if isinstance(connector, Programmable) else None


def known_account(view: View, account: Account | None, permissions: Permissions) -> str | None:
    """The one upstream account that is meant, where there is only one."""
    known = known_accounts(view, account, permissions)
    return known[0] if known is not None and len(known) == 1 else None


def _limited_to(lists: Iterable[Sequence[str] | None]) -> set[str] | None:
    """The ids to which every one of some grants is limited, None where one is not."""
    listed: set[str] = set()
    for ids in lists:
        if ids is None:
            return None
        listed.update(ids)
    return listed


def hidden_sentence(hidden: Mapping[str, int]) -> str:
    """What is not shown, and why, in one sentence."""
    parts = []
    if hidden["not_granted"]:
        parts.append(f"{hidden['not_granted']:,} that no grant covers (an admin can grant them)")
    if hidden["not_permitted"]:
        parts.append(f"{hidden['not_permitted']:,} that the connected credential's permissions do not allow")
    return f"operations not shown: {' and '.join(parts)}"


def _named(known: Sequence[str] | None, granted: set[str] | None) -> list[str] | str:
    if known is None:
        return sorted(granted)[:NAMED_MOST] if granted else "not known: list them"
    return [one for one in known if granted is None or one in granted]


def _reserve(view: View) -> int:
    return int((view.config.get("budget") or {}).get("reserve", 0))


def _typed(view: View, table: Table) -> dict[str, int]:
    """The tools of one operation each, and the operation's number."""
    found: dict[str, int] = {}
    for tool in view.tools:
        operation: Operation | None = tool.operation
        if operation is not None and operation.id in table.numbers:
            found[tool.name] = table.numbers[operation.id]
    return found


def _key(job: Job, account: Account | None, grants: Sequence[Grant], access: str | None) -> tuple[object, ...]:
    """Everything that the answer depends on. Grants never change; they come and go."""
    of_account = None if account is None else (account.id, account.version, account.permissions_version)
    return (
        job.connection.id,
        job.connection.version,
        job.view.spec_digest,
        of_account,
        access,
        tuple(g.id for g in grants),
    )
