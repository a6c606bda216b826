"""Whose budget a call spends. Pure, given the keyed digest.

At a connector's official origins one upstream principal has one budget, whichever tenants connected it. At any other
origin tenant and origin are part of the key: a fake upstream can poison nobody's budget but its own tenant's.
"""

from collections.abc import Callable
from uuid import UUID

from connectors.base import Connector

Digest = Callable[[str, bytes], bytes]
"""`Vault.platform_digest`: the same 32 bytes on every node, and not to be guessed from outside."""


def principal_key(digest: Digest, connector: Connector, origin: str, tenant_id: UUID, principal: str) -> bytes:
    """The budget's key: 32 bytes. `principal` is the connector's own word (`user:<id>`), at most 500 characters."""
    scope = "" if origin in connector.official_origins else f"{tenant_id}|{origin}"
    parts = (connector.name, scope, principal)
    return digest("principal", b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts))


class Principals:
    """`principal_key` with its digest at hand."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest

    def key(self, connector: Connector, origin: str, tenant_id: UUID, principal: str) -> bytes:
        """As `principal_key`."""
        return principal_key(self._digest, connector, origin, tenant_id, principal)
