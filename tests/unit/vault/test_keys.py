"""Root keys: what they wrap, and the files and values that are refused."""

import base64
import copy
import os
import pickle
import stat
import traceback
from pathlib import Path

import pytest

from vault.errors import KeyMissing, RootKeyRefused, SealedDoesNotOpen, UnknownFormat
from vault.keys import EnvRootKey, RootKeyProvider
from vault.rootfile import FileRootKey
from vault.testing import random_root

KEY = b"0123456789abcdefCANARY-ROOT-KEY!"
B64 = base64.b64encode(KEY).decode()
OTHER = base64.b64encode(bytes(32)).decode()
CONTEXT = {"tenant": "t", "purpose": "credentials", "version": "1"}


async def test_wraps_and_unwraps() -> None:
    provider = random_root("k1")
    assert isinstance(provider, RootKeyProvider)
    wrapped = await provider.wrap(KEY, CONTEXT)
    assert wrapped.key_id == provider.current_key_id == "k1"
    assert KEY not in wrapped.blob
    assert await provider.unwrap("k1", wrapped.blob, dict(reversed(CONTEXT.items()))) == KEY


@pytest.mark.parametrize(
    "context",
    [
        {},
        {**CONTEXT, "tenant": "u"},
        {**CONTEXT, "purpose": "evidence"},
        {**CONTEXT, "version": "2"},
        {**CONTEXT, "more": ""},
        {"tenant": "t", "purpose": "credentials", "version1": ""},
    ],
)
async def test_another_context_does_not_unwrap(context: dict[str, str]) -> None:
    provider = random_root()
    wrapped = await provider.wrap(KEY, CONTEXT)
    with pytest.raises(SealedDoesNotOpen):
        await provider.unwrap(wrapped.key_id, wrapped.blob, context)


async def test_every_flip_of_a_wrapped_key_is_noticed() -> None:
    provider = random_root()
    blob = (await provider.wrap(KEY, CONTEXT)).blob
    for position in range(len(blob)):
        edited = bytearray(blob)
        edited[position] ^= 1
        with pytest.raises(SealedDoesNotOpen):
            await provider.unwrap(provider.current_key_id, bytes(edited), CONTEXT)
    with pytest.raises(UnknownFormat):
        await provider.unwrap(provider.current_key_id, b"", CONTEXT)


async def test_previous_keys_unwrap_and_the_first_wraps() -> None:
    old = EnvRootKey(f"old:{B64}")
    wrapped = await old.wrap(b"k" * 32, CONTEXT)
    both = EnvRootKey(f"new:{OTHER}, old:{B64}")
    assert both.current_key_id == "new"
    assert both.key_ids == ("new", "old")
    assert await both.unwrap("old", wrapped.blob, CONTEXT) == b"k" * 32
    assert (await both.wrap(b"k" * 32, CONTEXT)).key_id == "new"
    with pytest.raises(KeyMissing):
        await old.unwrap("new", wrapped.blob, CONTEXT)
    with pytest.raises(SealedDoesNotOpen):  # the id is bound too
        await EnvRootKey(f"alias:{B64}").unwrap("alias", wrapped.blob, CONTEXT)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        B64,
        f":{B64}",
        f"k 1:{B64}",
        f"k1:{B64[:-4]}",
        f"k1:{B64}{B64}",
        f"k1:{B64[:-1]}",
        "k1:" + "!" * 44,
        f"k1:{B64},k1:{OTHER}",
        f"k1:{B64},k2:{B64}",
        f"k1:{B64},k2",
        f"ü:{B64}",
        f"k1:{B64}\udcff",
        ",".join(f"k{n}:{base64.b64encode(os.urandom(32)).decode()}" for n in range(17)),
    ],
)
def test_malformed_values_are_refused_without_quoting_them(value: str) -> None:
    with pytest.raises(RootKeyRefused) as caught:
        EnvRootKey(value)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    shown = str(caught.value) + "".join(str(frame.locals) for frame in frames if "/tests/" not in frame.filename)
    assert B64[:20] not in shown
    assert "CANARY-ROOT" not in shown


def test_providers_show_ids_only() -> None:
    provider = EnvRootKey(f"k1:{B64}")
    assert repr(provider) == "EnvRootKey(k1)"
    for use in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            use(provider)


# the file


async def test_create_read_rotate_forget(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    first = FileRootKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.key_ids == ("root-1",)
    wrapped = await first.wrap(KEY, CONTEXT)
    assert await FileRootKey(path).unwrap("root-1", wrapped.blob, CONTEXT) == KEY

    second = FileRootKey.rotate(path)
    assert second.key_ids == ("root-2", "root-1")
    assert await second.unwrap("root-1", wrapped.blob, CONTEXT) == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RootKeyRefused):
        FileRootKey.forget(path, "root-2")
    with pytest.raises(KeyMissing):
        FileRootKey.forget(path, "root-9")
    third = FileRootKey.forget(path, "root-1")
    assert third.key_ids == ("root-2",)
    assert FileRootKey.rotate(path).key_ids == ("root-3", "root-2")
    assert os.listdir(tmp_path) == ["root.key"]


def test_create_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    FileRootKey.create(path)
    before = path.read_bytes()
    with pytest.raises(RootKeyRefused):
        FileRootKey.create(path)
    assert path.read_bytes() == before
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RootKeyRefused):
        FileRootKey.create(dangling)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(RootKeyRefused):
        FileRootKey.create(tmp_path / "missing" / "root.key")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "root.key"]


def test_rotation_stops_at_sixteen_keys(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    FileRootKey.create(path)
    for _ in range(15):
        FileRootKey.rotate(path)
    before = path.read_bytes()
    with pytest.raises(RootKeyRefused):
        FileRootKey.rotate(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601, 0o666, 0o777])
def test_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    FileRootKey.create(path)
    path.chmod(mode)
    for use in (FileRootKey, FileRootKey.rotate):
        with pytest.raises(RootKeyRefused, match="group or others"):
            use(path)


def test_read_only_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    FileRootKey.create(path)
    path.chmod(0o400)
    assert FileRootKey(path).key_ids == ("root-1",)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_anothers_file_is_refused_and_rotation_keeps_the_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "root.key"
    FileRootKey.create(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(RootKeyRefused, match="owned"):
        FileRootKey(path)
    monkeypatch.setattr("vault.rootfile.os.geteuid", lambda: 65534)
    assert FileRootKey(path).key_ids == ("root-1",)


def test_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "root.key"
    FileRootKey.create(real)
    link = tmp_path / "link"
    link.symlink_to(real)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    for path in (link, fifo, folder, tmp_path / "missing"):
        with pytest.raises(RootKeyRefused):
            FileRootKey(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only a note\n",
        b"\xff\xfe",
        b"k1:" + B64.encode()[:-4],
        B64.encode(),
        b"#" * 70_000,
        b"\0" * 32,
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "root.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(RootKeyRefused) as caught:
        FileRootKey(path)
    assert B64[:20] not in str(caught.value)
