"""The revisions of the protocol that are served, and the names that 2026-07-28 gave its per-request fields."""

from typing import Final

MODERN: Final = ("2026-07-28",)
"""Revisions without a handshake: every request carries its version and the client's capabilities."""

HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that begin with `initialize`, the oldest first."""

META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"
META_SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"


def agreed(wanted: object) -> str:
    """The handshake version to speak with a client that asked for `wanted`: that one, else the newest."""
    return wanted if isinstance(wanted, str) and wanted in HANDSHAKE else HANDSHAKE[-1]
