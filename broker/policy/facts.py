"""The facts a decision is made from, and the words it answers with. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from broker.domain import Account, Caller, Connection, Grant
from connectors.base import Operation, Permit, Resources

PermissionCheck = Literal["refuse", "advise"]


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Everything `decide` may look at.

    `grants` are those whose subject is the caller's identity, one of its groups or everyone, as read from the
    database; that they belong to this connection is checked again. `permit` is what the credential's own
    permissions say of this very request. `permission_check` "advise" lets a request through that they deny,
    to learn from the upstream's answer.
    """

    caller: Caller
    connection: Connection
    account: Account
    tool_name: str
    operation: Operation
    resources: Resources
    grants: Sequence[Grant]
    permit: Permit
    permission_check: PermissionCheck
    now: datetime


class Reason(StrEnum):
    """Why a request was allowed or refused: stable words, kept in the audit.

    The refusals stand in the order in which a request meets them: who asks, the bearer's own restrictions,
    the grants (from the connection to the resource), the credential's permissions upstream.
    """

    GRANTED = "granted"
    """A grant covers it and the credential's permissions allow it."""
    GRANTED_UNVERIFIED = "granted_unverified"
    """A grant covers it; what the credential may do upstream is not known, so the grant decides."""
    GRANTED_AGAINST_ADVICE = "granted_against_advice"
    """A grant covers it, the permissions as known deny it, and the connection only takes advice from them."""

    NO_IDENTITY = "no_identity"
    CONNECTION_INACTIVE = "connection_inactive"
    FOREIGN_ACCOUNT = "foreign_account"
    RESTRICTED_CONNECTION = "restricted_connection"
    RESTRICTED_ACCESS = "restricted_access"

    NO_GRANT = "no_grant"
    ACCOUNT_NOT_GRANTED = "account_not_granted"
    GRANT_EXPIRED = "grant_expired"
    TOOL_NOT_GRANTED = "tool_not_granted"
    ACCESS_NOT_GRANTED = "access_not_granted"
    OPERATION_NOT_GRANTED = "operation_not_granted"
    OPERATION_NOT_NAMED = "operation_not_named"
    RESOURCE_NOT_GRANTED = "resource_not_granted"
    RESOURCE_NOT_NAMED = "resource_not_named"

    NOT_PERMITTED_UPSTREAM = "not_permitted_upstream"


GRANT_STEPS: tuple[Reason, ...] = (
    Reason.NO_GRANT,
    Reason.ACCOUNT_NOT_GRANTED,
    Reason.GRANT_EXPIRED,
    Reason.TOOL_NOT_GRANTED,
    Reason.ACCESS_NOT_GRANTED,
    Reason.OPERATION_NOT_GRANTED,
    Reason.OPERATION_NOT_NAMED,
    Reason.RESOURCE_NOT_GRANTED,
    Reason.RESOURCE_NOT_NAMED,
)
"""What a grant is asked, in order. Of several grants the one that got furthest is the one a refusal speaks
of."""
