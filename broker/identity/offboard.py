"""Offboarding: one act after which nothing is done in an identity's name any more, and the proof of it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import invalid
from broker.identity import names
from broker.identity.identities import existing
from broker.identity.roles import require
from broker.identity.taking import Drain, GivingBack, Revocation, RevokedAccount, RevokedIdentity


class Offboarding:
    """Ends identities of the caller's tenant."""

    def __init__(
        self, *, db: Database, trail: AuditTrail, revocation: Revocation, drain: Drain, giving_back: GivingBack
    ) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation
        self._drain = drain
        self._giving_back = giving_back

    async def offboard(
        self,
        caller: Caller,
        identifier: str,
        *,
        reason: str,
        revoke_upstream: bool = False,
        drain_seconds: float = 10.0,
    ) -> dict[str, Any]:
        """Disables the identity; revokes its sessions, the agent keys that name it alone and its connected
        accounts; cancels its calls in flight and waits up to `drain_seconds` (0 to 60) for them to end.

        When this returns nothing new is admitted in its name on any node. `in_flight` names, for each
        account, the executions that were open at that moment, `drained` whether they have ended since.
        `revoke_upstream`: the tokens of sign-ins are then given back to their servers; `upstream` says of each account
        what is known of that after a few seconds. Repeating it is harmless and answers what was left to do.
        `report_id` is the audit event of this act.
        Raises Problem `forbidden`, `invalid_input`, `unknown_identity`.
        """
        require(caller, "identities.offboard")
        names.printable("reason", reason, 300)
        if not 0 <= drain_seconds <= 60:
            raise invalid("drain_seconds", "must be 0 to 60")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await existing(conn, caller, identifier)
            gone = await self._revocation.identity(conn, caller.tenant_id, row.id, reason, caller.now)
            report_id = await self._trail.change(
                conn, caller, "identity.offboarded", identifier=identifier, details=_report(gone, reason)
            )
            await self._revocation.cancel(conn, gone.open_calls)
        left = await self._drain.open(gone.open_calls, drain_seconds)
        given_back: Mapping[UUID, str] = {}
        if revoke_upstream:
            given_back = await self._giving_back.give_back(caller, [account.id for account in gone.accounts])
        accounts = [_account(account, gone, left, given_back) for account in gone.accounts]
        return {
            "identifier": identifier,
            "at": gone.at,
            "report_id": str(report_id),
            "sessions": [str(i) for i in gone.sessions],
            "keys": [str(i) for i in gone.keys],
            "connected_accounts": accounts,
            # Also those on shared accounts, which stay connected.
            "in_flight": [str(i) for i in gone.in_flight],
            "drained": not left,
        }


def _report(gone: RevokedIdentity, reason: str) -> dict[str, Any]:
    """What the audit keeps of it: every count, and the first ids of each kind."""
    return {
        "reason": reason,
        "sessions": [str(i) for i in gone.sessions[:30]],
        "session_count": len(gone.sessions),
        "keys": [str(i) for i in gone.keys[:30]],
        "key_count": len(gone.keys),
        "accounts": [str(a.id) for a in gone.accounts[:30]],
        "account_count": len(gone.accounts),
        "in_flight": [str(i) for i in gone.in_flight][:30],
    }


def _account(
    account: RevokedAccount, gone: RevokedIdentity, left: frozenset[UUID], given_back: Mapping[UUID, str]
) -> dict[str, Any]:
    calls = [call for call in gone.open_calls if call.account_id == account.id]
    return {
        "id": str(account.id),
        "connection_name": account.connection_name,
        "revoked_at": account.revoked_at,
        "in_flight": sorted({str(call.execution_id) for call in calls}),
        "drained": not any(call.call_id in left for call in calls),
        "upstream": given_back.get(account.id, "kept"),
    }
