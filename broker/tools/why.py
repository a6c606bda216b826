"""`why`: by which grant and token permission an operation would be allowed or refused for an identity. Sends nothing.

The question is about the operation as such, with no zone or account named: a grant for listed zones counts, and says
for which. Answers `GET /v1/policy/explain` and `keyreeve why`.
"""

from typing import Any

from broker.accounts.views import Views
from broker.domain import Account, Connection, Resolved
from broker.errors import Problem
from broker.ids import NIL
from broker.policy.explain import why
from broker.policy.facts import AccessRequest
from broker.tools.choose import choose_account
from connectors.base import Operation, Permissions, Permit, Resources
from connectors.errors import SpecError, UnknownOperation


async def explain_operation(views: Views, resolved: Resolved, connection_name: str, ref: str) -> dict[str, Any]:
    """The explanation as JSON members. `resolved` is the look-up for the identity asked about, on that connection.

    Raises Problem `unknown_connection`, `unknown_operation`.
    """
    connection = next((c for c in resolved.connections if c.name == connection_name), None)
    if connection is None:
        raise Problem("unknown_connection", f"no connection {connection_name!r} in this tenant")
    tenant_id = resolved.caller.tenant_id
    view = await views.connection(tenant_id, connection)
    try:
        operation = view.connector.operation(view, ref)
    except UnknownOperation as error:
        near = view.connector.nearest(view, error.asked, lambda _: True)
        hint = "did you mean " + " or ".join(f"`{n}`" for n in near) + "?" if near else None
        told = f"the description of {connection_name} has no operation {ref!r}"
        raise Problem("unknown_operation", told, hint=hint) from None
    except SpecError as error:
        raise Problem("unavailable", str(error)) from None
    account, problem = _account(resolved, connection)
    permissions = Permissions("unknown") if problem else await views.permissions(tenant_id, account)
    lacks = None if problem else view.connector.lacks(operation, permissions)
    found = why(
        AccessRequest(
            caller=resolved.caller,
            connection=connection,
            account=account,
            tool_name=f"{connection_name}_call",
            operation=operation,
            resources=Resources(),
            grants=resolved.grants,
            permit=_permit(operation, permissions, lacks),
            permission_check=view.config.get("permission_check", "refuse"),
            now=resolved.caller.now,
        )
    ).as_wire()
    return _answer(resolved, connection, operation, account, problem, found)


def _account(resolved: Resolved, connection: Connection) -> tuple[Account, Problem | None]:
    """The account a call would use; where none can be used, why, beside a stand-in to judge the grants with."""
    try:
        return choose_account(connection, resolved.accounts, resolved.grants, None), None
    except Problem as problem:
        owner = None if resolved.caller.identity is None else resolved.caller.identity.id
        return Account(NIL, connection.id, owner, None, "pending", "", 1, 1, None, None), problem


def _permit(operation: Operation, permissions: Permissions, lacks: str | None) -> Permit:
    """What the credential's permissions say of the operation for at least some account or zone."""
    if lacks is not None:
        return Permit("denied", missing=lacks)
    known = permissions.source == "all" or (permissions.source != "unknown" and operation.annotated)
    return Permit("allowed" if known else "unknown")


def _answer(
    resolved: Resolved,
    connection: Connection,
    operation: Operation,
    account: Account,
    problem: Problem | None,
    found: dict[str, Any],
) -> dict[str, Any]:
    identity = resolved.caller.identity
    answer: dict[str, Any] = {
        "identifier": None if identity is None else identity.identifier,
        "connection_name": connection.name,
        "operation": {
            "id": operation.id,
            "ref": operation.ref,
            "effect": operation.effect,
            "permissions": list(operation.permissions),
            "guarded": operation.guarded,
        },
        "connected_account_id": None if problem else str(account.id),
        **found,
    }
    if problem is not None:
        # The grants are explained all the same; but without an account there is nothing to call with.
        answer |= {"account_problem": {"code": problem.code, "detail": problem.detail, "hint": problem.hint}}
        if answer["allowed"]:
            answer |= {"allowed": False, "reason": problem.code, "detail": problem.detail, "hint": problem.hint}
    return answer
