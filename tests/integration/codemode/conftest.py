"""The gate's world, as its own tests have it."""

from tests.integration.gate.conftest import behind, make_world, node, upstream, vault_, world

__all__ = ["behind", "make_world", "node", "upstream", "vault_", "world"]
