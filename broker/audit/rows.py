"""From events to columns, and from columns to the bytes that are authenticated. Pure.

Canonical form of a row: a label, then every column but `xid`, `mac_key` and `mac` as a JSON array in table
order, with the body as JSON with sorted keys. `xid` is the database's own; `mac_key` names the key, so a
changed one fails anyway. Each part is length-prefixed: no two rows have the same bytes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from broker.audit.events import (
    Change,
    Event,
    ExecutionDone,
    ExecutionLost,
    Intent,
    Outcome,
    Refusal,
    on_behalf_of,
)
from broker.audit.plain import body_text, clean, maybe
from broker.domain import Caller
from broker.logs import redact
from connectors.base import Prepared

LABEL: Final = b"keyreeve audit row 1\n"


class EventRow(NamedTuple):
    """A row of `audit.events`, in the table's column order. `xid` is set by the database."""

    tenant_id: UUID
    at: datetime
    id: UUID
    kind: str
    call_id: UUID | None
    execution_id: UUID | None
    n: int | None
    actor: str
    on_behalf_of: str | None
    identifier: str | None
    bearer_id: UUID | None
    connection_name: str | None
    account_id: UUID | None
    tool_name: str | None
    operation: str | None
    outcome: str | None
    run_id: str | None
    body: str
    recorded_at: datetime
    node: str
    boot: UUID
    counter: int
    mac_key: int
    mac: bytes
    xid: None = None

    def as_record(self) -> tuple[Any, ...]:
        """The plain tuple asyncpg takes for a parameter of type `audit.events`."""
        return tuple(self)


COLUMNS: Final = EventRow._fields[:-1]
"""Every column that is written, in table order."""

_AUTHENTICATED: Final = len(COLUMNS) - 2
_BODY: Final = COLUMNS.index("body")


class Draft(NamedTuple):
    """The columns that an event itself decides: those from `call_id` to `body`."""

    kind: str
    tenant_id: UUID
    at: datetime
    columns: tuple[Any, ...]


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def canonical(columns: tuple[Any, ...]) -> bytes:
    """The bytes of a row's first columns, `tenant_id` to `counter`, with the body as text."""
    # The driver's own UUIDs are spelled by `str`, just as orjson spells the standard library's.
    rest = orjson.dumps([*columns[:_BODY], *columns[_BODY + 1 : _AUTHENTICATED]], default=str)
    return b"".join((LABEL, _framed(rest), _framed(columns[_BODY].encode())))


def stored_canonical(row: Mapping[str, Any]) -> bytes:
    """`canonical` of a row as read back: `body` is jsonb's own spelling or its decoded value."""
    body = row["body"]
    value = orjson.loads(body) if isinstance(body, str | bytes) else body
    columns = [row[name] for name in COLUMNS[:_AUTHENTICATED]]
    columns[_BODY] = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return canonical(tuple(c.astimezone(UTC) if isinstance(c, datetime) else c for c in columns))


def arguments(prepared: Prepared) -> bytes:
    """What the arguments' digest is made of: exactly what will be sent, but for the credential."""
    head = orjson.dumps([prepared.method, prepared.origin, prepared.path, prepared.query])
    return _framed(head) + _framed(prepared.body or b"")


def draft(event: Event, args_digest: str | None) -> Draft:
    """The columns of `event`. `args_digest` belongs to intents alone."""
    match event:
        case Intent():
            return _intent(event, args_digest)
        case Outcome():
            return _outcome(event)
        case Refusal():
            return _refusal(event)
        case Change():
            return _change(event)
        case ExecutionDone():
            return _execution(event)
        case ExecutionLost():
            return _lost(event)


def _who(caller: Caller) -> dict[str, Any]:
    return {
        "bearer_kind": caller.bearer.kind,
        "client": None if caller.client is None else clean(caller.client, 300),
        "agent": None if caller.agent is None else clean(caller.agent, 100),
    }


def _run(run_id: str | None) -> str | None:
    return None if run_id is None else redact(clean(run_id, 200))


def _intent(event: Intent, args_digest: str | None) -> Draft:
    f, p, d = event.facts, event.prepared, event.decision
    body = {
        **_who(event.caller),
        "method": p.method,
        "path": p.path,
        "operation_ref": p.operation.ref,
        "effect": p.effect,
        "decision": "allowed" if d.allowed else "denied",
        "reason": d.reason,
        "grant_id": None if d.grant_id is None else str(d.grant_id),
        "policy_version": event.caller.policy_version,
        "args_digest": args_digest,
        "summary": dict(p.summary),
        "body_bytes": None if p.body is None else len(p.body),
        "intent": event.sentence,
    }
    columns = (
        *(f.call_id, f.execution_id, f.n, clean(f.actor), maybe(f.on_behalf_of), maybe(f.identifier)),
        *(f.bearer_id, f.connection_name, f.account_id, maybe(f.tool_name), maybe(f.operation)),
        *(None, _run(f.run_id), body_text(body)),
    )
    return Draft("intent", f.tenant_id, f.at, columns)


def _outcome(event: Outcome) -> Draft:
    f = event.facts
    body = {
        "sent": event.sent,
        "upstream_status": event.upstream_status,
        "upstream_ray": event.upstream_ray,
        "latency_us": event.latency_us,
        "upstream_us": event.upstream_us,
        "wait_us": event.wait_us,
        "request_bytes": event.request_bytes,
        "response_bytes": event.response_bytes,
        "credential_id": None if event.credential_id is None else str(event.credential_id),
        "credential_version": event.credential_version,
        "error": event.error,
    }
    columns = (
        *(f.call_id, f.execution_id, f.n, clean(f.actor), maybe(f.on_behalf_of), maybe(f.identifier)),
        *(f.bearer_id, f.connection_name, f.account_id, maybe(f.tool_name), maybe(f.operation)),
        *(event.outcome, _run(f.run_id), body_text(body)),
    )
    return Draft("outcome", f.tenant_id, f.at, columns)


def _refusal(event: Refusal) -> Draft:
    caller, f = event.caller, event.facts
    one = event.suppressed == 0
    body: dict[str, Any] = {**_who(caller), "decision": "denied", "reason": f.reason, "code": f.code}
    if one:
        body |= {
            "method": f.method,
            "path": f.path,
            "effect": f.effect,
            "detail": f.detail,
            "summary": dict(f.summary),
        }
    else:
        body |= {
            "suppressed": event.suppressed,
            "since": None if event.since is None else event.since.isoformat(),
        }
    identifier = None if caller.identity is None else caller.identity.identifier
    columns = (
        *(None, f.execution_id if one else None, None, clean(caller.actor), maybe(on_behalf_of(caller))),
        *(maybe(identifier), caller.bearer.id, maybe(f.connection_name, 60), f.account_id if one else None),
        *(maybe(f.tool_name, 100) if one else None, maybe(f.operation) if one else None, "refused"),
        *(_run(caller.run_id), body_text(body)),
    )
    return Draft("refusal", caller.tenant_id, event.at, columns)


def _change(event: Change) -> Draft:
    caller = event.caller
    body: dict[str, Any] = {"decision": "allowed", "summary": dict(event.details)}
    if caller is not None:
        body |= _who(caller)
    columns = (
        *(None, None, None, clean(event.actor), None if caller is None else maybe(on_behalf_of(caller))),
        *(maybe(event.identifier), None if caller is None else caller.bearer.id, event.connection_name),
        *(event.account_id, None, clean(event.action), "done"),
        *(None if caller is None else _run(caller.run_id), body_text(body)),
    )
    return Draft("change", event.tenant_id, event.at, columns)


def _execution(event: ExecutionDone) -> Draft:
    caller = event.caller
    body = {
        **_who(caller),
        "decision": "allowed",
        "calls": event.calls,
        "intent": event.intent,
        "code_digest": event.code_digest,
        "summary": dict(event.summary),
    }
    identifier = None if caller.identity is None else caller.identity.identifier
    columns = (
        *(
            None,
            event.execution_id,
            None,
            clean(caller.actor),
            maybe(on_behalf_of(caller)),
            maybe(identifier),
        ),
        *(caller.bearer.id, event.connection_name, event.account_id, maybe(event.tool_name), None),
        *(event.outcome, _run(caller.run_id), body_text(body)),
    )
    return Draft("execution", caller.tenant_id, event.at, columns)


_DRAFTED: Final = COLUMNS[COLUMNS.index("call_id") : _BODY + 1]


def facts_of(event: ExecutionDone) -> dict[str, Any]:
    """What the audit says of an execution whichever way it ends, as JSON can keep it: for `ExecutionLost`."""
    drafted = draft(event, None)
    columns = dict(zip(_DRAFTED, drafted.columns, strict=True))
    kept = {name: str(value) if isinstance(value, UUID) else value for name, value in columns.items()}
    return {"at": drafted.at.isoformat(), **kept}


def _lost(event: ExecutionLost) -> Draft:
    facts = event.facts
    ids = ("execution_id", "bearer_id", "account_id")
    columns = {name: facts.get(name) for name in _DRAFTED}
    columns |= {name: UUID(facts[name]) for name in ids if facts.get(name) is not None}
    body = orjson.loads(facts["body"]) | {"calls": event.calls, "summary": dict(event.summary)}
    columns |= {"outcome": "unknown", "body": body_text(body)}
    at = datetime.fromisoformat(facts["at"])
    return Draft("execution", event.tenant_id, at, tuple(columns[name] for name in _DRAFTED))
