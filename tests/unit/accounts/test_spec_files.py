"""Reading descriptions: from the operator's folder only what lies in it, and never more than the bound; from elsewhere
only over https.
"""

import gzip
import os
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.accounts.specs import RAW_LIMIT, Specs
from broker.errors import Problem
from connectors.cloudflare.config import SPEC_SOURCE, check_config
from connectors.errors import InvalidConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "specs"
    made.mkdir()
    (tmp_path / "outside.json").write_text('{"secret": true}')
    return made


def _read(folder: Path, name: str) -> bytes:
    return Specs(None, None, folder)._read(name)  # type: ignore[arg-type]


def _refused(folder: Path, name: str) -> Problem:
    with pytest.raises(Problem) as caught:
        _read(folder, name)
    assert caught.value.code == "invalid_input"
    assert caught.value.fields[0].path == "config.spec.source"
    return caught.value


def test_a_plain_and_a_packed_file_are_read(folder: Path) -> None:
    (folder / "a.json").write_bytes(b'{"openapi": "3.0.0"}')
    (folder / "b.json.gz").write_bytes(gzip.compress(b'{"openapi": "3.1.0"}'))
    assert _read(folder, "a.json") == b'{"openapi": "3.0.0"}'
    assert _read(folder, "b.json.gz") == b'{"openapi": "3.1.0"}'


@pytest.mark.parametrize(
    "name",
    [
        "../outside.json",
        "..",
        ".hidden.json",
        "/etc/passwd",
        "a/b.json",
        "a\\b.json",
        "a.json\n",
        "a.json\0",
        "a.yaml",
        "",
        "x" * 120 + ".json",
        "%2e%2e%2foutside.json",
    ],
)
def test_a_name_that_is_no_plain_file_name_is_refused(folder: Path, name: str) -> None:
    _refused(folder, name)


def test_a_missing_file_says_where_to_put_it(folder: Path) -> None:
    assert "specs" in (_refused(folder, "a.json").hint or "")


def test_a_link_is_not_followed(folder: Path) -> None:
    (folder / "link.json").symlink_to(folder.parent / "outside.json")
    _refused(folder, "link.json")
    (folder / "inside.json").write_text("{}")
    (folder / "near.json").symlink_to(folder / "inside.json")
    _refused(folder, "near.json")


def test_what_is_no_regular_file_is_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe.json")
    _refused(folder, "pipe.json")
    (folder / "dir.json").mkdir()
    _refused(folder, "dir.json")


def test_a_file_beyond_the_bound_is_refused(folder: Path) -> None:
    with (folder / "big.json").open("wb") as file:
        file.truncate(RAW_LIMIT + 1)
    assert "larger" in _refused(folder, "big.json").detail


def test_a_bomb_is_refused_within_bounded_memory(folder: Path) -> None:
    with gzip.open(folder / "bomb.json.gz", "wb", compresslevel=9) as file:
        for _ in range(300):
            file.write(b"\0" * 1024 * 1024)
    assert (folder / "bomb.json.gz").stat().st_size < 1024 * 1024
    tracemalloc.start()
    try:
        assert "larger" in _refused(folder, "bomb.json.gz").detail
        assert tracemalloc.get_traced_memory()[1] < 3 * RAW_LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [b"not gzip", gzip.compress(b"{}" * 1000)[:-9], b"\x1f\x8b\x08\0"])
def test_what_is_no_whole_gzip_file_is_refused(folder: Path, packed: bytes) -> None:
    (folder / "bad.json.gz").write_bytes(packed)
    _refused(folder, "bad.json.gz")


class _Http:
    """Remembers what was asked; never answers."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def send(self, **asked: Any) -> Any:
        self.asked.append(asked)
        raise AssertionError("nothing may be fetched")


@pytest.mark.parametrize("url", ["http://example.com/openapi.json", "file:///etc/passwd", "gopher://a/b"])
async def test_only_https_is_fetched(folder: Path, url: str) -> None:
    http = _Http()
    with pytest.raises(Problem) as caught:
        await Specs(None, http, folder).pin(url, None, NOW)  # type: ignore[arg-type]
    assert caught.value.code == "egress_refused"
    assert http.asked == []


@pytest.mark.parametrize(
    "source",
    [
        "https://evil.example/openapi.json",
        "https://raw.githubusercontent.com/someone/else/main/openapi.json",
        SPEC_SOURCE + "?x=1",
        SPEC_SOURCE + "#x",
        SPEC_SOURCE.replace("https", "http"),
        SPEC_SOURCE.replace("raw.", "user@raw."),
        SPEC_SOURCE.upper(),
        " " + SPEC_SOURCE,
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "../../etc/passwd",
        "a/b.json",
        "a..b.json",
        "",
        7,
        None,
        ["x"],
    ],
)
def test_a_config_names_the_official_description_or_a_file(source: Any) -> None:
    with pytest.raises(InvalidConfig) as caught:
        check_config({"spec": {"source": source}})
    assert [f.path for f in caught.value.fields] == ["spec.source"]


def test_the_official_description_is_the_default() -> None:
    assert check_config({})["spec"] == {"source": SPEC_SOURCE}
    assert check_config({"spec": {"source": SPEC_SOURCE}})["spec"] == {"source": SPEC_SOURCE}
    assert check_config({"spec": {"source": "simulator.json"}})["spec"] == {"source": "simulator.json"}
