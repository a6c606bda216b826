"""The one wheel: what is in it, and what is not."""

import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from broker.db.functions import FILES
from tests.architecture.repository import PACKAGES, ROOT


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    built = [Path(made) for made in WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])]
    assert [path.name.split("-")[0] for path in built] == ["keyreeve"]
    with zipfile.ZipFile(built[0]) as wheel:
        return set(wheel.namelist())


def test_holds_all_that_runs(names: set[str]) -> None:
    """The SQL functions, the migrations and the simulator's description are no Python, and are easily forgotten."""
    needed = {f"broker/{file}" for file in FILES}
    for top in PACKAGES:
        needed |= {path.relative_to(ROOT).as_posix() for path in (ROOT / top).rglob("*.py")}
    revisions = (ROOT / "migrations/versions").glob("v*.py")
    needed |= {f"broker/_migrations/versions/{path.name}" for path in revisions} | {"broker/_migrations/env.py"}
    needed.add("connectors/simulators/cloudflare/openapi.json")
    assert needed - names == set()


def test_brings_no_other_name_into_site_packages(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
