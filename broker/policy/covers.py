"""Whether one grant covers one request, and if not, the first thing it lacks. Pure."""

from broker.domain import Grant
from broker.policy.facts import AccessRequest, Reason
from broker.policy.match import covers_operation, covers_tool, names_operation
from connectors.base import EFFECT_RANK, Operation, Resources


def must_be_named(operation: Operation) -> bool:
    """Whether only a grant that names the operation covers it.

    So are the guarded ones (they create, roll or return secrets, or add members), and every write of which
    the description says no permission: nothing but the grant stands between it and the upstream.
    """
    return operation.guarded or (not operation.annotated and operation.effect != "read")


def shortfall(grant: Grant, request: AccessRequest) -> Reason | None:
    """The first of `GRANT_STEPS` that the grant fails for this request; None when it covers it."""
    operation = request.operation
    if grant.connection_id != request.connection.id:
        return Reason.NO_GRANT
    if (grant.account == "shared") != request.account.shared:
        return Reason.ACCOUNT_NOT_GRANTED
    if grant.expires_at is not None and grant.expires_at <= request.now:
        return Reason.GRANT_EXPIRED
    if not covers_tool(grant.tools, request.tool_name):
        return Reason.TOOL_NOT_GRANTED
    if EFFECT_RANK[grant.access] < EFFECT_RANK[operation.effect]:
        return Reason.ACCESS_NOT_GRANTED
    if not covers_operation(grant.operations, operation):
        return Reason.OPERATION_NOT_GRANTED
    if must_be_named(operation) and not names_operation(grant.operations, operation):
        return Reason.OPERATION_NOT_NAMED
    return resource_shortfall(grant, request.resources)


def resource_shortfall(grant: Grant, resources: Resources) -> Reason | None:
    """What the grant lacks for the accounts and zones that a request names.

    A grant without lists reaches everything. With lists, every id that the request names must be in its
    kind's list, and the request must name at least one id of a kind that has a list: a request that names
    none (all zones at once, the user's own tokens) would reach beyond the list, and that an unnamed account
    owns the named zone is not known here. So a grant for zones alone covers no account-wide operation, and
    the reverse.
    """
    limits = ((grant.accounts, resources.accounts), (grant.zones, resources.zones))
    if grant.accounts is None and grant.zones is None:
        return None
    confined = False
    for allowed, named in limits:
        if allowed is None:
            continue
        if not set(named) <= set(allowed):
            return Reason.RESOURCE_NOT_GRANTED
        confined = confined or bool(named)
    return None if confined else Reason.RESOURCE_NOT_NAMED
