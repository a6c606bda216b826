"""`connect_url`: where a person connects the account that a call lacked. A stable address without a secret; it asks for
sign-in."""

from collections.abc import Callable
from typing import Final

from broker.errors import Problem

ConnectUrl = Callable[[str, str], str]
"""The address of a page, from a tenant's and a connection's name."""

CODES: Final = frozenset({"not_connected", "needs_reauth", "revoked"})
"""The refusals that connecting an account mends."""


def add_connect_url(problem: Problem, make: ConnectUrl | None, tenant: str, connection: str) -> None:
    """Gives a refusal its `connect_url` where it is one that the page mends."""
    if make is not None and problem.code in CODES:
        problem.extra.setdefault("connect_url", make(tenant, connection))
