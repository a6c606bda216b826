"""What an agent is asked of Cloudflare, as programs: each answers as it did when it was written down.

`python -m tests.e2e.codemode_tasks.record` writes the outputs down anew; read the difference before keeping it.
"""

import pytest

from tests.e2e.codemode_tasks.tasks import GROUPS
from tests.e2e.codemode_tasks.world import DESCRIPTION, Task, World, expected

TASKS = [pytest.param(group, task, id=task.name) for group, tasks in GROUPS.items() for task in tasks]


def test_there_are_enough_tasks_and_each_has_its_outputs() -> None:
    assert len(TASKS) >= 40
    for group, tasks in GROUPS.items():
        assert sorted(expected(group)) == sorted(task.name for task in tasks)


@pytest.mark.parametrize(("group", "task"), TASKS)
def test_the_work(world: World, group: str, task: Task) -> None:
    answer = world.executed(task)
    assert answer == expected(group)[task.name]["execute"]
    assert ("error" in answer) is task.fails


@pytest.mark.parametrize(("group", "task"), TASKS)
def test_the_search(world: World, group: str, task: Task) -> None:
    if not world.published:
        pytest.skip(f"the published description is not at hand ({DESCRIPTION.name})")
    answer = world.searched(task)
    assert "error" not in answer
    assert answer == expected(group)[task.name]["search"]
