"""What waiting is, without an event loop."""

import time
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def pause(seconds: float) -> None:
    """Sleeps."""
    time.sleep(seconds)


def settled(future: "Future[T]", seconds: float) -> T:
    """The future's result. Raises what it failed with, TimeoutError."""
    return future.result(seconds)


def here() -> Any:
    """There is no event loop."""
    return None


def run_there(made: Any, loop: Any, seconds: float) -> Any:  # noqa: ARG001 - the async one's shape
    """What was made already."""
    return made
