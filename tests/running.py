"""The running installation as fixtures. A conftest imports them; each such folder gets an installation of its own,
which ends after the last test that uses it (tests/conftest.py).

`running_server` is the whole thing as people run it: the bundled Cloudflare simulator and `keyreeve up`, each a process
of its own, plus the short way to tenants, engineers and grants (bench/kit.py). A test works in a tenant of its own
(`tenant`); one that kills or changes limits starts its own `bench.harness.Stand`.

When the run is over, everything that was ever secret in it is looked for in everything it left behind, and no request
may have met a fault of the server's own.
"""

from collections.abc import Callable, Iterator

import pytest

from bench.harness import Stand
from bench.kit import TenantKit
from tests.security.canary import search


@pytest.fixture(scope="session")
def running_server() -> Iterator[Stand]:
    with Stand() as stand:
        yield stand
        hits = search(stand)
        faults = [line for line in stand.server.logs().splitlines() if b'"unhandled"' in line]
    assert not faults, f"{len(faults)} requests met a fault of ours, the first: {faults[0][:1500]!r}"
    assert not hits, f"secrets in what the run left behind: {hits}"


@pytest.fixture
def make_kit(running_server: Stand) -> Iterator[Callable[[], TenantKit]]:
    """Makes tenants of the test's own."""
    made: list[TenantKit] = []

    def make() -> TenantKit:
        made.append(running_server.tenant())
        return made[-1]

    yield make
    for kit in made:
        kit.close()


@pytest.fixture
def tenant(make_kit: Callable[[], TenantKit]) -> TenantKit:
    """A tenant of the test's own."""
    return make_kit()
