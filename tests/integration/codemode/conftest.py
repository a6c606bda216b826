"""The gate's world, as its own tests have it."""

from tests.integration.gate.conftest import make_world, node, upstream, vault_, world

__all__ = ["make_world", "node", "upstream", "vault_", "world"]
