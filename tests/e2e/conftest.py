"""One running installation for all end-to-end tests; see tests/running.py."""

from tests.running import make_kit, running_server, tenant

__all__ = ["make_kit", "running_server", "tenant"]
