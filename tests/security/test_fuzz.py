"""Generated requests against every route, in short. The long form: `python -m bench.fuzz_api --cases 5000`."""

import copy
from collections.abc import Iterator

import pytest

from bench.fuzz_api import Target, fuzz
from bench.harness import Stand


@pytest.fixture(scope="module")
def target(running_server: Stand) -> Iterator[Target]:
    kit = running_server.tenant()
    made = Target(running_server, kit)
    yield made
    made.close()
    kit.close()


@pytest.mark.slow
def test_no_answer_of_500_and_none_undocumented(running_server: Stand, target: Target) -> None:
    described = running_server.admin.ok("GET", "/openapi.json")
    report = fuzz(target, described, cases=1200, seed_=20261121, seconds=60)
    routes = sum(len(item) for item in described["paths"].values())
    assert report.violations == []
    assert report.statuses[500] == 0
    assert len(report.operations) == routes, "every route is tried"
    assert report.cases > 500
    assert report.statuses[200] > 50, "some requests get all the way"
    assert running_server.admin.send("GET", "/readyz").status_code == 200
    assert target.engineer.api.call("GET /zones").status_code == 200


def test_the_checks_bite(running_server: Stand, target: Target) -> None:
    """Against a description that says less than the server does, there are violations."""
    described = copy.deepcopy(running_server.admin.ok("GET", "/openapi.json"))
    described["paths"] = {"/v1/identities": {"get": described["paths"]["/v1/identities"]["get"]}}
    del described["paths"]["/v1/identities"]["get"]["responses"]["401"]
    report = fuzz(target, described, cases=40, seed_=1)
    assert any("401" in violation for violation in report.violations)
