"""The sandbox's images when the server starts as root and serves as somebody else."""

import os
from pathlib import Path

import pytest

from broker.db.embedded.users import Account
from broker.server.privileges import Serving
from broker.server.up import give_images

NOBODY = Account(uid=65534, gid=65534, name="nobody")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_gives_away_nothing_that_was_linked_into_the_folder(tmp_path: Path) -> None:
    """A serving user that was taken over must not be handed a file of root's at the next start."""
    ours = tmp_path / "root.key"
    ours.write_text("x")
    ours.chmod(0o600)
    folder = tmp_path / "images"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY.uid, NOBODY.gid)
    (folder / "planted.image").hardlink_to(ours)
    (folder / "soft.image").symlink_to(ours)
    kept = folder / "kept.image"
    kept.write_text("theirs")
    os.chown(kept, NOBODY.uid, NOBODY.gid)
    give_images(folder, Serving(NOBODY))
    assert ours.stat().st_uid == 0
    assert [file.name for file in folder.iterdir()] == ["kept.image"]
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (NOBODY.uid, 0o700)
