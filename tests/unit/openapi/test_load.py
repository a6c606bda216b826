"""The child process: same artifact, bounded, killed in time, silent about itself."""

import asyncio
import time

import pytest

from connectors.errors import SpecError
from connectors.openapi import load
from connectors.openapi.compile import compile_spec
from tests.unit.openapi.support import document


async def test_the_child_makes_the_same_artifact() -> None:
    raw = document({"/a/{id}": {"get": {"operationId": "x"}}})
    assert await load.compile_in_subprocess(raw) == compile_spec(raw)


async def test_the_child_tells_what_is_wrong() -> None:
    with pytest.raises(SpecError, match="Swagger 2"):
        await load.compile_in_subprocess(b'{"swagger": "2.0"}')


async def test_a_slow_child_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_BOOT", "import time; time.sleep(60)")
    started = time.perf_counter()
    with pytest.raises(SpecError, match="longer than"):
        await load.compile_in_subprocess(document({}), timeout_seconds=0.5)
    assert time.perf_counter() - started < 5


async def test_cancelling_kills_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def started(*args: object, **kwargs: object) -> asyncio.subprocess.Process:
        children.append(await start(*args, **kwargs))  # type: ignore[arg-type]
        return children[-1]

    monkeypatch.setattr(load, "_BOOT", "import time; time.sleep(60)")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    task = asyncio.ensure_future(load.compile_in_subprocess(document({})))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children[0].returncode is not None


@pytest.mark.parametrize(
    "boot",
    [
        "import sys; sys.stderr.write('secret path'); sys.exit(3)",
        "import os; os.abort()",
        "import sys; sys.stdin.buffer.read(); sys.stdout.write('Kgarbage'); sys.stdout.flush(); sys.exit(1)",
        "import sys; sys.stdin.buffer.read(); sys.stdout.write('')",
    ],
)
async def test_a_dying_child_says_nothing_of_itself(monkeypatch: pytest.MonkeyPatch, boot: str) -> None:
    monkeypatch.setattr(load, "_BOOT", boot)
    with pytest.raises(SpecError) as caught:
        await load.compile_in_subprocess(document({}))
    assert str(caught.value) == "compiling the description failed: it needs more memory or time than is allowed"


async def test_the_child_sees_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "krv-canary")
    probe = "import os,sys; sys.stdin.buffer.read(); sys.stdout.write('E' + repr(sorted(os.environ)))"
    monkeypatch.setattr(load, "_BOOT", probe)
    with pytest.raises(SpecError) as caught:
        await load.compile_in_subprocess(document({}))
    assert "CANARY" not in str(caught.value)


async def test_many_values_end_only_the_child() -> None:
    raw = b'{"openapi":"3.0.0","x":[' + b"[]," * 9_000_000 + b"[]]}"
    with pytest.raises(SpecError):
        await load.compile_in_subprocess(raw, timeout_seconds=30)
