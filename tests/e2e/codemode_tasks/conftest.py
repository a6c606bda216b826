"""One world for all tasks."""

from collections.abc import Iterator

import pytest

from bench.harness import Stand
from tests.e2e.codemode_tasks.world import World


@pytest.fixture(scope="session")
def world(running_server: Stand) -> Iterator[World]:
    made = World(running_server)
    yield made
    made.kit.close()
