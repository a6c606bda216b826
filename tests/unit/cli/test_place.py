"""Which server, and as whom: a key found on this machine never leaves it."""

import json
from pathlib import Path

import pytest

from broker.cli.errors import NoKey, Unreachable, Usage
from broker.cli.place import Place, data_dir_of, find

KEY = "krv_op_" + "a" * 60


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:8700"}))
    (tmp_path / "admin.key").write_text(KEY + "\n")
    return tmp_path


def none(_: str) -> None:
    """No secret in the environment."""


def test_the_data_directory_says_where_and_who(data_dir: Path) -> None:
    place = find(data_dir, {}, none)
    assert place == Place("http://127.0.0.1:8700", KEY)
    assert KEY not in repr(place)


def test_the_environment_goes_first(data_dir: Path) -> None:
    place = find(data_dir, {"KEYREEVE_URL": "https://k.example"}, lambda _: " krv_st_x ")
    assert (place.url, place.key, place.needs_identifier) == ("https://k.example", "krv_st_x", False)


def test_a_key_alone_speaks_to_the_local_server(data_dir: Path) -> None:
    assert find(data_dir, {}, lambda _: "krv_ag_x").key == "krv_ag_x"


def test_the_local_key_is_never_sent_elsewhere(data_dir: Path) -> None:
    with pytest.raises(NoKey):
        find(data_dir, {"KEYREEVE_URL": "https://elsewhere.example"}, none)
    assert find(data_dir, {"KEYREEVE_URL": "http://127.0.0.1:8700/"}, none).key == KEY


def test_a_key_never_travels_in_the_clear(data_dir: Path) -> None:
    with pytest.raises(Usage, match="http is for loopback only"):
        find(data_dir, {"KEYREEVE_URL": "http://k.example"}, lambda _: KEY)


def test_no_server_and_no_key(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no server runs"):
        find(tmp_path, {}, none)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "server.json").write_text('{"url": "http://127.0.0.1:1"}')
    with pytest.raises(NoKey, match="no operator key"):
        find(tmp_path, {}, none)
    with pytest.raises(NoKey):
        find(tmp_path, {}, lambda _: "two\nlines")


def test_data_dir(tmp_path: Path) -> None:
    assert data_dir_of(tmp_path, {"KEYREEVE_DATA_DIR": "/x"}) == tmp_path
    assert data_dir_of(None, {"KEYREEVE_DATA_DIR": "/x"}) == Path("/x")
