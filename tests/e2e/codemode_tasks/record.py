"""`python -m tests.e2e.codemode_tasks.record [NAME…]`: runs the tasks and writes their outputs down as expected."""

import json
import sys

from bench.harness import Stand
from tests.e2e.codemode_tasks.tasks import GROUPS
from tests.e2e.codemode_tasks.world import EXPECTED, World, expected


def main() -> None:
    """Runs and writes."""
    wanted = set(sys.argv[1:])
    with Stand() as stand:
        world = World(stand)
        if not world.published:
            sys.exit("the published description is not at hand: searches cannot be written down")
        for group, tasks in GROUPS.items():
            kept = expected(group) if wanted else {}
            for task in tasks:
                if wanted and task.name not in wanted:
                    continue
                kept[task.name] = {"search": world.searched(task), "execute": world.executed(task)}
                if ("error" in kept[task.name]["execute"]) is not task.fails or "error" in kept[task.name]["search"]:
                    print(f"{task.name}: {json.dumps(kept[task.name], ensure_ascii=False)[:2000]}")
            text = json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
            (EXPECTED / f"{group}.json").write_text(text)


if __name__ == "__main__":
    main()
