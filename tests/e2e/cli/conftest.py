"""The command `keyreeve` as people type it, against the running installation."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness import Stand
from bench.kit import TenantKit
from tests.e2e.cli.shell import Shell


@pytest.fixture
def shell(running_server: Stand, tenant: TenantKit) -> Shell:
    """The tenant's admin at a shell."""
    assert tenant.admin.key is not None
    return Shell({"KEYREEVE_URL": running_server.url, "KEYREEVE_API_KEY": tenant.admin.key})


@pytest.fixture
def platform(running_server: Stand, tenant: TenantKit) -> Callable[[], Shell]:
    """The platform admin at a shell in the tenant, by the data directory alone."""

    def make() -> Shell:
        return Shell({}, ["--data-dir", str(running_server.data_dir), "--tenant", tenant.name])

    return make


@pytest.fixture
def operator(running_server: Stand) -> Shell:
    """The operator on the data directory itself."""
    return Shell({}, ["--data-dir", str(running_server.data_dir)], own_process=True)


@pytest.fixture
def nowhere(tmp_path: Path) -> Shell:
    """Somebody on a machine without a server."""
    return Shell({}, ["--data-dir", str(tmp_path)], own_process=True)
