"""One image for all tests, and one sandbox for those that leave it as it was."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broker.tools.codemode.sandbox.images import Images
from tests.integration.sandbox.kit import Kit, kit, sources


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("sandbox") / "images"
    return Images(folder, sources=sources)


@pytest_asyncio.fixture(scope="session")
async def box(images: Images) -> AsyncIterator[Kit]:
    async with kit(images) as made:
        yield made
