"""Images: built once, kept private, shared, swapped, forgotten."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from broker.tools.codemode.sandbox.errors import BuildFailed, SandboxUnavailable
from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.pool import Sandbox
from broker.tools.codemode.sandbox.program import Program
from tests.integration.sandbox.kit import HERE, echo, sources

LOOK = "async () => spec"


def chunks(*values: object) -> "Loader":
    return Loader([json.dumps(value).encode() for value in values])


class Loader:
    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self.asked = 0

    async def __call__(self) -> Sequence[bytes]:
        self.asked += 1
        return self.parts


@pytest_asyncio.fixture
async def copied(images: Images, tmp_path: Path) -> Images:
    """The execute image in a folder of the test's own, not built again."""
    image = await images.execute_image()
    shutil.copytree(image.path.parent, tmp_path / "i")
    return Images(tmp_path / "i", sources=sources)


async def test_what_is_loaded_is_there_in_every_run(images: Images) -> None:
    load = chunks({"a": 1}, ["é"])
    async with Sandbox(images, workers=1) as sandbox:
        image = await images.search_image("d1", load)
        for _ in range(2):
            outcome = await sandbox.run(Program(image, LOOK), echo, tenant=HERE)
            assert json.loads(outcome.value or b"") == [{"a": 1}, ["é"]]
        assert await images.search_image("d1", load) == image
        assert load.asked == 1
        code = "async () => [typeof __load, typeof globalThis.__next, spec.push(1)]"
        outcome = await sandbox.run(Program(image, code), echo, tenant=HERE)
        assert json.loads(outcome.value or b"") == ["undefined", "undefined", 3]


async def test_new_images_do_not_pause_calls(images: Images) -> None:
    async with Sandbox(images, workers=2) as sandbox:
        plain = await images.execute_image()
        parked = asyncio.create_task(
            sandbox.run(Program(plain, "async () => { await sleep(700); return 'through it all'; }"), echo, tenant=HERE)
        )
        for number in range(2):
            image = await images.search_image(f"swap{number}", chunks(number))
            outcome = await sandbox.run(Program(image, LOOK), echo, tenant=HERE)
            assert json.loads(outcome.value or b"") == [number]
            assert (await sandbox.run(Program(plain, "async () => 1"), echo, tenant=HERE)).ok
        assert (await parked).value == b'"through it all"'
        assert sandbox.stats().replaced == 0


async def test_builders_share_one_build(tmp_path: Path) -> None:
    """Two server processes, here two objects: one builds, the other waits and finds it."""
    load = chunks(1)
    both = [Images(tmp_path / "i", sources=sources) for _ in range(2)]
    first, second = await asyncio.gather(*(images.search_image("d", load) for images in both for _ in range(1)))
    assert first == second
    assert load.asked == 1
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "i").iterdir()} == {0o600}
    assert (tmp_path / "i").stat().st_mode & 0o777 == 0o700


async def test_the_oldest_are_forgotten_and_made_again(tmp_path: Path) -> None:
    images = Images(tmp_path / "i", sources=sources, keep=1)
    refs = [await images.search_image(f"d{number}", chunks(number)) for number in range(2)]
    assert [ref.path.exists() for ref in refs] == [False, True]
    load = chunks(0)
    again = await images.search_image("d0", load)
    assert (again.path.exists(), load.asked) == (True, 1)


async def test_a_forgotten_image_is_a_clear_error(copied: Images) -> None:
    async with Sandbox(copied, workers=1) as sandbox:
        gone = await copied.search_image("gone", chunks(1))
        gone.path.unlink()
        with pytest.raises(SandboxUnavailable):
            await sandbox.run(Program(gone, LOOK), echo, tenant=HERE)
        assert (await sandbox.run(Program(await copied.execute_image(), "async () => 1"), echo, tenant=HERE)).ok


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
async def test_a_folder_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "i"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SandboxUnavailable, match="0700"):
        await Images(folder, sources=sources).execute_image()


async def test_a_link_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "i").symlink_to(tmp_path / "real")
    with pytest.raises(SandboxUnavailable):
        await Images(tmp_path / "i", sources=sources).execute_image()


async def test_an_image_others_could_write_is_refused(copied: Images, tmp_path: Path) -> None:
    image = await copied.execute_image()
    image.path.chmod(0o620)
    with pytest.raises(SandboxUnavailable, match="private"):
        await Images(tmp_path / "i", sources=sources).execute_image()


async def test_damaged_machine_code_is_never_run_and_is_compiled_again(copied: Images) -> None:
    image = await copied.execute_image()
    data = bytearray(image.code.read_bytes())
    data[len(data) // 2] ^= 1
    image.code.write_bytes(data)
    with pytest.raises(SandboxUnavailable, match="not what was written"):
        async with Sandbox(copied, workers=1):
            pytest.fail("it ran")
    async with Sandbox(copied, workers=1) as sandbox:
        outcome = await sandbox.run(Program(await copied.execute_image(), "async () => 1"), echo, tenant=HERE)
        assert outcome.value == b"1"


async def test_a_cut_image_is_built_again(copied: Images, tmp_path: Path) -> None:
    image = await copied.execute_image()
    size = image.path.stat().st_size
    with image.path.open("r+b") as file:
        file.truncate(1000)
    again = await Images(tmp_path / "i", sources=sources).execute_image()
    assert again.path.stat().st_size == size


@pytest.mark.parametrize("source", ["(", "(send) => { throw new Error('mine') }", "1"])
async def test_a_prelude_that_fails_is_told(tmp_path: Path, source: str) -> None:
    with pytest.raises(BuildFailed):
        await Images(tmp_path / "i", sources=lambda _: [("a.js", source)]).execute_image()
    assert list((tmp_path / "i").glob("*.image")) == []


async def test_only_this_package_prepares(tmp_path: Path) -> None:
    images = Images(tmp_path / "i", sources=sources)
    with pytest.raises(BuildFailed, match="may not prepare"):
        await images.search_image("d", chunks(1), prepare="json:loads")


async def test_what_a_killed_builder_left_is_in_nobodys_way(copied: Images, images: Images) -> None:
    image = await images.execute_image()
    folder = copied._folder
    (folder / f"{image.path.stem}.json").unlink()
    for name in (f".{image.path.stem}.new", f".{image.path.stem}.0123.code.new"):
        (folder / name).write_bytes(b"half")
    made = await copied.execute_image()
    assert made.path.stat().st_size == image.path.stat().st_size
    assert list(folder.glob(".*")) == []
