"""A program that runs the embedded server until it is killed: `python parent.py DATA_DIR [loose]`.

With `loose` PostgreSQL is not tied to its parent's life, as on systems that know no such tie.
"""

import asyncio
import sys
from pathlib import Path

from broker.db.embedded import EmbeddedPostgres, process


async def main() -> None:
    if "loose" in sys.argv:
        process.tied_to_parent = lambda _: lambda: None
    embedded = EmbeddedPostgres(Path(sys.argv[1]))
    await embedded.start()
    print(embedded.pid, flush=True)
    await asyncio.sleep(600)


asyncio.run(main())
