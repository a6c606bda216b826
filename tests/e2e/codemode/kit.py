"""What tests of programs in trouble share."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness import Stand
from bench.kit import Engineer
from bench.processes import family

PATH = "/v1/tools/execute"
WAIT = 30.0
SLEEPING = """async () => {
  await cloudflare.request({path: '/zones'});
  await new Promise(r => setTimeout(r, %d));
  return 1;
}"""


def body(code: str, **more: Any) -> dict[str, Any]:
    """The request for a program."""
    return {"tool_name": "cloudflare_execute", "tool_input": {"code": code}, **more}


def until(what: Callable[[], Any], seconds: float = WAIT) -> Any:
    """What `what` gives once it gives anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def sandboxes(stand: Stand) -> set[int]:
    """The process ids of the sandbox's workers."""
    database = set(family(stand.server.postgres_pid()))
    return {pid for pid in family(stand.server.process.pid) if pid not in database and _is_worker(pid)}


def _is_worker(pid: int) -> bool:
    try:
        return b"codemode.sandbox.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False  # it ended meanwhile


@contextmanager
def running(engineer: Engineer, code: str, **more: Any) -> Iterator[list[dict[str, Any]]]:
    """The program runs in the background until the block is left; then its answer is in the list."""
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(engineer.api.ok("POST", PATH, body(code, **more))))
    thread.start()
    try:
        yield answers
    finally:
        thread.join()


def all_arrived(stand: Stand, engineers: Sequence[Engineer]) -> None:
    """Waits until the first request of each reached the upstream."""
    for one in engineers:
        until(partial(arrived, stand, one))


def arrived(stand: Stand, engineer: Engineer, contains: str = "/zones") -> int:
    """How many of the engineer's requests reached the upstream."""
    return len(stand.simulator.journal(principal=engineer.principal, contains=contains))


def oldest(pids: set[int], count: int) -> set[int]:
    """Those that were started first (proc(5), stat, `starttime`)."""
    started = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) for pid in pids}
    return set(sorted(pids, key=lambda pid: started[pid])[:count])


def assert_lost(answer: dict[str, Any]) -> None:
    """The run of an answer ended with its worker, and says so, with what it had done."""
    assert answer["is_error"], answer
    assert (answer["error"]["code"], answer["error"]["limit"]) == ("code_error", "worker")
    assert "the process that ran the program" in answer["error"]["detail"]
    assert [call["status"] for call in answer["calls"]] == [200]
