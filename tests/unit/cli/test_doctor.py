"""`doctor`'s looks at files; the database's and the server's are in the end-to-end tests."""

import os
from pathlib import Path

import pytest

from broker.cli import doctor
from vault.rootfile import FileRootKey


def found(data_dir: Path, age_hours: float = 0) -> dict[str, doctor.Finding]:
    at = data_dir.stat().st_mtime if data_dir.exists() else 0.0
    return {f.what: f for f in doctor.files(data_dir, {}, at + age_hours * 3600)}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    FileRootKey.create(made / "root.key")
    (made / "admin.key").write_text("krv_op_x")
    (made / "admin.key").chmod(0o600)
    return made


def test_a_sound_folder(data_dir: Path) -> None:
    assert {f.state for f in found(data_dir).values()} == {"ok"}


def test_another_user_may_pass_but_not_read(data_dir: Path) -> None:
    data_dir.chmod(0o711)
    assert found(data_dir)["data"].state == "ok"
    data_dir.chmod(0o755)
    assert found(data_dir)["data"].state == "warn"


def test_no_folder(tmp_path: Path) -> None:
    told = found(tmp_path / "none")
    assert told["data"].state == "fail"
    assert list(told) == ["data"]


def test_keys_that_others_may_read(data_dir: Path) -> None:
    os.chmod(data_dir / "root.key", 0o644)
    os.chmod(data_dir / "admin.key", 0o640)
    told = found(data_dir)
    assert (told["root key"].state, told["admin key"].state) == ("fail", "fail")
    assert all(f.fix for f in told.values() if f.state != "ok")


def test_a_root_key_that_is_gone(data_dir: Path) -> None:
    (data_dir / "root.key").unlink()
    assert found(data_dir)["root key"].state == "fail"


def test_a_bootstrap_key_that_stayed(data_dir: Path) -> None:
    assert found(data_dir, age_hours=25)["admin key"].state == "warn"
    (data_dir / "admin.key").unlink()
    assert found(data_dir, age_hours=25)["admin key"].state == "ok"


def test_no_line_holds_key_material(data_dir: Path) -> None:
    secret = (data_dir / "root.key").read_text().splitlines()[-1].partition(":")[2]
    assert secret
    assert all(secret not in f.line() for f in found(data_dir).values())
