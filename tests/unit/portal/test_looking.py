"""Whose questions are answered when: many of one tenant hold up nobody else's."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from broker.ids import new_id
from broker.tools.codemode.portal.looking import Looking


def _run(tenant_id: UUID) -> Any:
    return SimpleNamespace(resolved=SimpleNamespace(caller=SimpleNamespace(tenant_id=tenant_id)))


async def test_a_tenant_with_many_questions_has_one_in_line() -> None:
    nothing: Any = None
    looking = Looking(nothing, nothing, nothing)
    greedy, other = new_id(), new_id()
    done: list[str] = []
    go = threading.Event()

    def first() -> None:
        go.wait(30)
        done.append("greedy")

    tasks = [asyncio.create_task(looking._aside(_run(greedy), first))]
    for _ in range(60):
        tasks.append(asyncio.create_task(looking._aside(_run(greedy), lambda: done.append("greedy"))))
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(looking._aside(_run(other), lambda: done.append("other"))))
    for _ in range(3):
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*tasks)
    assert done.count("greedy") == 61
    assert done.index("other") <= 2
    assert not len(looking._lines), "nothing is kept of those who wait no more"
