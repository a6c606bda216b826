"""`decide`: may this caller do this, now? Pure: the same facts give the same Decision.

The order of the questions decides which refusal is told, never whether there is one:

1. is there an identity, an active connection, and an account that is the identity's own or shared;
2. do the bearer's own restrictions leave room (no grant could help);
3. does one grant cover the whole request (`covers.shortfall`; grants are never combined);
4. do the credential's own permissions upstream allow it. Denied is refused unless the connection only takes
   advice; where they are unknown, the grant decides.
"""

from collections.abc import Mapping
from typing import Any

from broker.domain import Decision, Grant
from broker.policy.covers import shortfall
from broker.policy.facts import GRANT_STEPS, AccessRequest, Reason
from connectors.base import EFFECT_RANK

__all__ = ["AccessRequest", "Reason", "decide"]

_STEP = {reason: step for step, reason in enumerate(GRANT_STEPS)}


def decide(request: AccessRequest) -> Decision:
    """Policy's answer. Never raises; whatever is not plainly allowed is refused.

    A refusal carries the problem `code`, a `detail` that names what is missing and, where a grant would help,
    `would_grant`: the narrowest body for `POST /v1/grants` under which the same request is covered.
    """
    refusal = _standing(request) or _restrictions(request)
    if refusal is not None:
        return refusal
    furthest, closest = -1, Reason.NO_GRANT
    for grant in request.grants:
        lacking = shortfall(grant, request)
        if lacking is None:
            return _permitted(request, grant)
        if _STEP[lacking] > furthest:
            furthest, closest = _STEP[lacking], lacking
    return _not_granted(request, closest)


def narrowest_grant(request: AccessRequest) -> Mapping[str, Any] | None:
    """The body of the narrowest grant that would cover the request: this identity, tool, access, operation,
    resources."""
    if request.caller.identity is None:
        return None
    body: dict[str, Any] = {
        "subject": {"identifier": request.caller.identity.identifier},
        "connection_name": request.connection.name,
        "tools": [request.tool_name],
        "access": request.operation.effect,
        "operations": [request.operation.ref],
    }
    named = {"accounts": request.resources.accounts, "zones": request.resources.zones}
    # `*` stands for more than the request names: only a grant without that list covers it.
    resources = {kind: sorted(set(ids)) for kind, ids in named.items() if ids and "*" not in ids}
    if resources:
        body["resources"] = resources
    if request.account.shared:
        body["account"] = "shared"
    return body


def _standing(request: AccessRequest) -> Decision | None:
    """Facts that the look-up and the choice of the account have seen to; held to here so that no path forgets
    them."""
    identity = request.caller.identity
    if identity is None:
        return _refuse(Reason.NO_IDENTITY, "forbidden", "no identity is named whose grants could allow this")
    if identity.status != "active":
        return _refuse(Reason.NO_IDENTITY, "identity_disabled", f"identity {identity.identifier!r} is disabled")
    if request.connection.status != "active":
        told = f"connection {request.connection.name} is {request.connection.status}"
        return _refuse(Reason.CONNECTION_INACTIVE, "forbidden", told)
    account = request.account
    if account.connection_id != request.connection.id or account.identity_id not in (None, identity.id):
        return _refuse(
            Reason.FOREIGN_ACCOUNT,
            "not_connected",
            "the account is not one of this identity's on this connection",
        )
    return None


def _restrictions(request: AccessRequest) -> Decision | None:
    kind, narrowed = request.caller.bearer.kind, request.caller.bearer.restrictions
    if narrowed.connections is not None and request.connection.name not in narrowed.connections:
        return _refuse(
            Reason.RESTRICTED_CONNECTION,
            "forbidden",
            f"this {kind} token is restricted to other connections than {request.connection.name}",
            "no grant changes that; use a session that includes the connection",
        )
    effect = request.operation.effect
    access = narrowed.access_at(request.connection.name)
    if access is not None and EFFECT_RANK[access] < EFFECT_RANK[effect]:
        return _refuse(
            Reason.RESTRICTED_ACCESS,
            "forbidden",
            f"{request.operation.ref} is {effect} and this {kind} token is restricted to {access}"
            + ("" if narrowed.access_by is None else f" on {request.connection.name}"),
            f"no grant changes that; use a session with access {effect}",
        )
    return None


def _permitted(request: AccessRequest, grant: Grant) -> Decision:
    permit = request.permit
    if permit.verdict == "allowed":
        return Decision(allowed=True, reason=Reason.GRANTED.value, grant_id=grant.id)
    if permit.verdict == "unknown":
        return Decision(allowed=True, reason=Reason.GRANTED_UNVERIFIED.value, grant_id=grant.id)
    if request.permission_check == "advise":
        return Decision(
            allowed=True,
            reason=Reason.GRANTED_AGAINST_ADVICE.value,
            grant_id=grant.id,
            detail=_lacks(request),
        )
    return Decision(
        allowed=False,
        reason=Reason.NOT_PERMITTED_UPSTREAM.value,
        grant_id=grant.id,
        code="not_permitted_upstream",
        detail=f"{_lacks(request)}; nothing was sent",
        hint=f"deposit a token that has {permit.missing}" if permit.missing else "deposit a token that may do this",
    )


def _lacks(request: AccessRequest) -> str:
    permit = request.permit
    what = f"lacks the permission {permit.missing}" if permit.missing else "does not allow this"
    because = f" ({permit.reason})" if permit.reason else ""
    return f"the connected credential {what}, which {request.operation.ref} needs{because}"


def _not_granted(request: AccessRequest, closest: Reason) -> Decision:
    would = narrowest_grant(request)
    return Decision(
        allowed=False,
        reason=closest.value,
        code="not_granted",
        detail=_missing(request, closest),
        hint=None if would is None else "the narrowest grant that would cover it is in `would_grant`",
        would_grant=would,
    )


def _missing(request: AccessRequest, closest: Reason) -> str:
    """What no grant gives, in one sentence; `closest` is the shortfall of the grant that came nearest."""
    operation, ref, name = request.operation, request.operation.ref, request.connection.name
    assert request.caller.identity is not None  # noqa: S101 - `_standing` has looked
    who = request.caller.identity.identifier
    zones, accounts = request.resources.zones, request.resources.accounts
    ids = [f"zone {z}" for z in zones[:5]] + [f"account {a}" for a in accounts[:5]]
    told = {
        Reason.NO_GRANT: f"{who} has no grant on connection {name}",
        Reason.ACCOUNT_NOT_GRANTED: (
            f"the account is shared, and no grant of {who} on {name} says account: shared"
            if request.account.shared
            else f"every grant of {who} on {name} is for the shared account, not for an own one"
        ),
        Reason.GRANT_EXPIRED: f"the grant of {who} that would have covered {ref} has expired",
        Reason.TOOL_NOT_GRANTED: f"no grant of {who} covers the tool {request.tool_name}",
        Reason.ACCESS_NOT_GRANTED: f"{ref} is {operation.effect}, and no grant of {who} gives that access",
        Reason.OPERATION_NOT_GRANTED: f"no grant of {who} covers the operation {ref}",
        Reason.OPERATION_NOT_NAMED: f"{ref} {_why_named(request)}, so a grant must name it, "
        f"without `**` and without `*` as method; none of {who}'s does",
        Reason.RESOURCE_NOT_GRANTED: f"no grant of {who} for {ref} covers {', '.join(ids)}",
        Reason.RESOURCE_NOT_NAMED: f"the grants of {who} for {ref} are for listed accounts or zones, "
        "and this request names none of such a kind, so it would reach beyond them",
    }
    return told[closest]


def _why_named(request: AccessRequest) -> str:
    if request.operation.guarded:
        return "creates, rolls or returns secrets or adds members"
    return f"is {request.operation.effect} and its description names no permission"


def _refuse(reason: Reason, code: str, detail: str, hint: str | None = None) -> Decision:
    return Decision(allowed=False, reason=reason.value, code=code, detail=detail, hint=hint)
