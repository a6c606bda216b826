"""Engineers that are closed when their test is over."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.kit import Engineer, TenantKit

Engineers = Callable[..., Engineer]


@pytest.fixture
def engineers() -> Iterator[Engineers]:
    """`engineers(kit, …)`: as `TenantKit.engineer`."""
    made: list[Engineer] = []

    def make(kit: TenantKit, **more: Any) -> Engineer:
        made.append(kit.engineer(**more))
        return made[-1]

    yield make
    for engineer in made:
        engineer.close()


@pytest.fixture
def engineer(tenant: TenantKit, engineers: Engineers) -> Engineer:
    """One who may do everything on a connection to the simulator."""
    tenant.connection()
    return engineers(tenant)
