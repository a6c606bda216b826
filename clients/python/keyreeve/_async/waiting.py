"""What waiting is, with an event loop."""

import asyncio
import weakref
from concurrent.futures import Future
from typing import Any, TypeVar

from keyreeve.errors import KeyreeveError

T = TypeVar("T")


async def pause(seconds: float) -> None:
    """Lets other tasks run for a while."""
    await asyncio.sleep(seconds)


async def settled(future: "Future[T]", seconds: float) -> T:
    """The future's result. Raises what it failed with, TimeoutError. Being cancelled does not cancel it."""
    return await asyncio.wait_for(asyncio.wrap_future(future), seconds)


def here() -> Any:
    """A weak reference to the running event loop."""
    return weakref.ref(asyncio.get_running_loop())


def run_there(coroutine: Any, loop: Any, seconds: float) -> Any:
    """Runs a coroutine on another thread's event loop and waits for it. Raises KeyreeveError where that loop is gone
    or does not get to it."""
    found = None if loop is None else loop()
    if found is None or found.is_closed():
        coroutine.close()
        raise KeyreeveError("the event loop that asked for a token is gone")
    running = asyncio.run_coroutine_threadsafe(coroutine, found)
    try:
        return running.result(seconds)
    except TimeoutError:
        running.cancel()
    raise KeyreeveError("the event loop was too busy to renew the session")
