"""`explain`: by which grant and token permission something would be allowed or refused, grant by grant. Pure.

It answers `keyreeve why IDENTITY "DELETE /zones/{zone_id}"`, where the question is about an operation and not
about one request: no zone or account is named unless the question names it. A grant for listed zones then
counts as covering, and says for which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from broker.domain import Decision, Grant
from broker.policy.covers import shortfall
from broker.policy.decide import decide
from broker.policy.facts import AccessRequest, Reason
from connectors.base import Resources

_LACKS: Mapping[Reason, str] = {
    Reason.NO_GRANT: "is for another connection",
    Reason.ACCOUNT_NOT_GRANTED: "is for the other kind of account (own or shared)",
    Reason.GRANT_EXPIRED: "has expired",
    Reason.TOOL_NOT_GRANTED: "does not cover the tool",
    Reason.ACCESS_NOT_GRANTED: "gives less access than the operation's effect",
    Reason.OPERATION_NOT_GRANTED: "does not cover the operation",
    Reason.OPERATION_NOT_NAMED: "covers the operation but does not name it, and this one must be named",
    Reason.RESOURCE_NOT_GRANTED: "does not cover every account and zone named",
    Reason.RESOURCE_NOT_NAMED: "is for listed accounts or zones, and the request names none",
}


@dataclass(frozen=True, slots=True)
class GrantVerdict:
    """What one grant contributes: `reason` is `covers` or the first thing it lacks; `sentence` says it for
    people.

    `only` are the accounts and zones that it is limited to, None where it has no limit.
    """

    grant_id: UUID
    subject: str
    covers: bool
    reason: str
    sentence: str
    only: Mapping[str, Sequence[str]] | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and every grant's part in it."""

    decision: Decision
    grants: tuple[GrantVerdict, ...]
    permit: str
    missing: str | None

    def as_wire(self) -> dict[str, Any]:
        """JSON members, in the order people read them."""
        decision = self.decision
        return {
            "allowed": decision.allowed,
            "reason": decision.reason,
            "detail": decision.detail or None,
            "hint": decision.hint,
            "grant_id": None if decision.grant_id is None else str(decision.grant_id),
            "would_grant": decision.would_grant,
            "permitted_upstream": self.permit,
            "missing_permission": self.missing,
            "grants": [
                {
                    "id": str(g.grant_id),
                    "subject": g.subject,
                    "covers": g.covers,
                    "reason": g.reason,
                    "sentence": g.sentence,
                    "only": None if g.only is None else {kind: list(ids) for kind, ids in g.only.items()},
                }
                for g in self.grants
            ],
        }


def explain(request: AccessRequest) -> Explanation:
    """Why `request` would be allowed or refused. With no account and zone named, grants for listed ones
    count."""
    whole = not request.resources.accounts and not request.resources.zones
    judged = replace(request, grants=[_unlimited(g) for g in request.grants]) if whole else request
    verdicts = tuple(_verdict(g, j, judged) for g, j in zip(request.grants, judged.grants, strict=True))
    return Explanation(decide(judged), verdicts, request.permit.verdict, request.permit.missing)


def why(request: AccessRequest) -> Explanation:
    """`explain` for an operation as such, whatever account and zone a request would name."""
    return explain(replace(request, resources=Resources()))


def _unlimited(grant: Grant) -> Grant:
    """The grant without its lists of accounts and zones; one whose list is empty covers nothing and stays as
    it is."""
    if grant.accounts == () or grant.zones == ():
        return grant
    return replace(grant, accounts=None, zones=None)


def _verdict(grant: Grant, judged: Grant, request: AccessRequest) -> GrantVerdict:
    lacking = shortfall(judged, request)
    only = {k: v for k, v in (("accounts", grant.accounts), ("zones", grant.zones)) if v is not None} or None
    if lacking is not None:
        sentence = _LACKS[lacking]
    elif only is None:
        sentence = "covers it"
    else:
        sentence = "covers it for " + " and ".join(f"{k} {', '.join(v[:5])}" for k, v in only.items())
    return GrantVerdict(
        grant.id,
        grant.subject,
        lacking is None,
        "covers" if lacking is None else lacking.value,
        f"the {grant.access} grant to {grant.subject} {sentence}",
        only,
    )
