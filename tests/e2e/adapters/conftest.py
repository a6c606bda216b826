"""Each adapter with its own framework's real package, a stand-in for the model, and a running installation."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from keyreeve import AsyncIdentityHandle, AsyncKeyreeve, IdentityHandle, Keyreeve

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.e2e.model_api import models

__all__ = ["models"]

TYPED = ["GET /zones", "POST /zones/{zone_id}/dns_records", "POST /zones/{zone_id}/purge_cache"]


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    """An engineer with everything, on a connection with typed tools."""
    tenant.connection(tools=TYPED)
    return tenant.engineer()


@pytest.fixture
def agent_key(tenant: TenantKit) -> str:
    """An agent key for everybody of the tenant."""
    return str(tenant.key("agent", identifiers=["*"])["key"])


@pytest.fixture
def handle(running_server: Stand, engineer: Engineer, agent_key: str) -> Iterator[IdentityHandle]:
    """A sync handle for the engineer."""
    with Keyreeve(running_server.url, agent_key) as client, client.for_identity(engineer.identifier) as made:
        yield made


@pytest_asyncio.fixture
async def async_handle(running_server: Stand, engineer: Engineer, agent_key: str) -> AsyncIterator[AsyncIdentityHandle]:
    """An async handle for the engineer."""
    async with (
        AsyncKeyreeve(running_server.url, agent_key) as client,
        client.for_identity(engineer.identifier) as made,
    ):
        yield made


@pytest.fixture
def sent(running_server: Stand, engineer: Engineer) -> Callable[[], list[str]]:
    """`METHOD path` of what reached the upstream as the engineer since their token was verified."""

    def asked() -> list[str]:
        found = running_server.simulator.journal(principal=engineer.principal)
        return [f"{entry['method']} {entry['path']}" for entry in found]

    before = len(asked())
    return lambda: asked()[before:]
