"""A world of its own for each test: an installation's services over a real database, and the simulator."""

from tests.integration.accounts.conftest import world

__all__ = ["world"]
