"""Asking an upstream whose credential it is: calls of our own, through the gate like any other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from broker.accounts.views import View
from broker.clock import Clock
from broker.domain import Caller, Connection
from broker.errors import Problem
from broker.gate.maintenance import Maintenance, Series
from connectors.base import UpstreamIdentity
from connectors.errors import CredentialRejected, EgressRefused, UpstreamFault, UpstreamTimeout

VERIFY_SECONDS = 20.0
"""Deadline of each verification call."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What the upstream said, and how many requests it took."""

    upstream: UpstreamIdentity
    requests: int


class Verification:
    """Verifies the credential that an account holds, be the account pending or in use."""

    def __init__(self, maintenance: Maintenance, clock: Clock) -> None:
        self._maintenance = maintenance
        self._clock = clock

    async def ask(
        self,
        caller: Caller,
        connection: Connection,
        view: View,
        account_id: UUID,
        kind: str,
        public: Mapping[str, Any],
        *,
        principal: str | None,
    ) -> Verified:
        """`public` are the credential's fields that are no secret, as far as they are known; `principal` as in
        `MaintenanceCall`.

        Raises CredentialRejected, and Problem `egress_refused`, `upstream_timeout`, `upstream_unreachable` and those of
        admission.
        """
        series = Series(
            self._maintenance, self._clock, caller, connection, view.connector, account_id, principal, VERIFY_SECONDS
        )
        told = "the credential could not be verified"
        try:
            return Verified(await view.connector.verify(view, kind, public, series.perform), series.made)
        except CredentialRejected:
            raise  # a kind of UpstreamFault, and the caller's to explain
        except EgressRefused as error:
            raise Problem("egress_refused", error.reason) from None
        except UpstreamTimeout as error:
            raise Problem("upstream_timeout", f"{told}: {error}", sent=error.sent) from None
        except UpstreamFault as error:
            raise Problem("upstream_unreachable", f"{told}: {error}", sent=error.sent) from None
