"""What tests of the sandbox share: a tiny prelude of their own, a host that echoes, and a sandbox on both."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.limits import RunLimits
from broker.tools.codemode.sandbox.pool import Sandbox
from broker.tools.codemode.sandbox.program import Host, ImageRef, Outcome, Program

PRELUDE = Path(__file__).with_name("prelude.js").read_text(encoding="utf-8")
TENANTS = [UUID(int=number) for number in range(1, 40)]
HERE, THERE = TENANTS[0], TENANTS[1]


def sources(_kind: str) -> Sequence[tuple[str, str]]:
    """The prelude, as the builder wants it."""
    return [("prelude.js", PRELUDE)]


async def echo(name: str, argument: bytes) -> bytes:
    """Answers what it is asked."""
    return b'{"name":%s,"argument":%s}' % (json.dumps(name).encode(), argument)


class Kit:
    """A running sandbox, with an image of the tiny prelude."""

    def __init__(self, sandbox: Sandbox, images: Images, image: ImageRef) -> None:
        self.sandbox = sandbox
        self.images = images
        self.image = image

    async def run(
        self,
        code: str,
        host: Host = echo,
        *,
        tenant: UUID = HERE,
        isolated: bool = False,
        at_once: int | None = None,
        **limits: Any,
    ) -> Outcome:
        """Runs a program; `limits` are fields of RunLimits."""
        program, held = Program(self.image, code), RunLimits(**limits)
        return await self.sandbox.run(program, host, tenant=tenant, limits=held, isolated=isolated, at_once=at_once)

    async def value(self, code: str, host: Host = echo, **others: Any) -> Any:
        """The parsed result of a program that must succeed."""
        outcome = await self.run(code, host, **others)
        assert outcome.ok, outcome.error
        assert outcome.value is not None
        return json.loads(outcome.value)

    async def quiet(self) -> None:
        """Waits until nothing runs and every worker is up."""
        async with asyncio.timeout(10):
            while self.sandbox.stats().running or not self.sandbox.stats().pids:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def kit(images: Images, **options: Any) -> AsyncIterator[Kit]:
    """A sandbox of its own for a test."""
    async with Sandbox(images, **options) as sandbox:
        yield Kit(sandbox, images, await images.execute_image())
