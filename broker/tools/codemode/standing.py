"""What a run stands on: fingerprints of the grants that may allow its requests. Pure.

What a program read is shown again (`previous`, replays) only while each of them counts for whoever asks. A grant that
was taken away is missing; one that was narrowed, in whatever way, has another fingerprint.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime

import orjson

from broker.domain import Account, Connection, Grant, Resolved
from broker.tools.codemode.visible import live_grants


def fingerprint(grant: Grant) -> str:
    """`id:digest` of everything that a grant says."""
    said = [
        grant.subject, str(grant.connection_id), grant.tools, grant.access, grant.operations, grant.accounts,
        grant.zones, grant.account, None if grant.expires_at is None else grant.expires_at.isoformat(),
    ]  # fmt: skip
    return f"{grant.id}:{hashlib.sha256(orjson.dumps(said)).hexdigest()[:32]}"


def stands_on(resolved: Resolved, connection: Connection, account: Account | None, now: datetime) -> set[str]:
    """The fingerprints of the grants that count now on this connection for this account (None: for any)."""
    return {fingerprint(grant) for grant in live_grants(resolved, connection, account, now)}


def still_stands(kept: Collection[str], now: Collection[str]) -> bool:
    """Whether every grant that a result was made under is among those of now. Earlier releases kept ids alone."""
    return {*kept} <= {*now, *(one.partition(":")[0] for one in now)}
