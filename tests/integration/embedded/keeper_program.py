"""A program that runs a keeper: `python keeper_program.py DATA_DIR PLAN.json`. The plan says which children."""

import asyncio
import json
import sys
from pathlib import Path

from broker.db.embedded import keeper
from broker.db.embedded.errors import EmbeddedError

PLAN = json.loads(Path(sys.argv[2]).read_text())


def children(key: str) -> list[keeper.Child]:
    return [keeper.Child(name, argv, {"PATH": "/usr/bin:/bin"}) for name, argv in PLAN.get(key, {}).items()]


async def main() -> int:
    if "reach" in PLAN:
        keeper._REACH = PLAN["reach"]
        sys.executable = PLAN["python"]
    kept = keeper.Keeper(
        Path(sys.argv[1]),
        embedded=PLAN.get("embedded", True),
        extra=PLAN.get("extra"),
        drain_seconds=PLAN.get("drain", 10.0),
    )
    try:
        await kept.run(children("servers"), prepare=children("prepare"))
    except EmbeddedError as error:
        print(f"keyreeve: {error}", file=sys.stderr)
        return 3
    return 0


sys.exit(asyncio.run(main()))
