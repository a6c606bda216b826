"""These tests kill and stop servers: each module has an installation of its own, never the shared one."""

from collections.abc import Iterator

import pytest

from bench.harness import Stand


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """An installation with two serving processes, to be mistreated."""
    with Stand(arguments=["--workers", "2"]) as made:
        yield made
