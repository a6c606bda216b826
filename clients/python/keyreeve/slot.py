"""How an identity handle gets its session tokens without being able to get anybody else's.

A handle holds a `Slot`: the current token, and a bell. The key, and the identity to mint for, are held by the client's
`Renewer`, on a thread of its own that waits for the bell. No reference leads from a slot to its renewer, so what holds
a handle can ask for the next token of that same identity and for nothing else. (Within one process Python itself hides
nothing from code that goes looking with `gc` or `sys._current_frames`; a model's own code belongs in another process,
with a session token and no key.)

One renewal runs at a time for each slot; whoever needs the token waits for that one. It begins a fifth of the
lifetime, at most two minutes, before the end, while the old token still serves.
"""

import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from keyreeve.config import Key
from keyreeve.errors import HandleClosed, KeyreeveError

if TYPE_CHECKING:
    from concurrent.futures import Future

PATIENCE = 45.0
"""Seconds that a call waits for a token at most: longer than minting one may take, retries included."""
_PAUSE = 5.0
"""Seconds between renewals that fail while the old token still serves."""
_MARGIN = 120.0


class Token(Struct, frozen=True):
    """A session token. `dead_at` and `renew_at` are times of `monotonic`."""

    id: str
    key: Key
    mcp_url: str
    renew_at: float
    dead_at: float

    @classmethod
    def lasting(cls, id: str, key: Key, mcp_url: str, asked_at: float, lifetime: float) -> "Token":
        """A token that was asked for at `asked_at` and lives `lifetime` seconds."""
        ends = asked_at + lifetime
        return cls(id, key, mcp_url, ends - min(lifetime / 5, _MARGIN), ends - min(lifetime / 20, 2.0))


class Wanted(Struct, frozen=True):
    """Whom to mint for, and how narrow. None: as wide as what mints it."""

    identifier: str
    connections: tuple[str, ...] | None = None
    access: str | None = None
    ttl_seconds: int = 900


class Slot:
    """One identity's current token. Safe for threads and tasks."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._old: list[Token] = []
        self._pending: Future[Token] | None = None
        self._not_before = 0.0
        self._ended: type[KeyreeveError] | KeyreeveError | None = None
        self.loop: Any = None
        """A weak reference to the event loop that asked last; None where none did."""

    def current(self) -> "Token | Future[Token]":
        """The token, or what to wait for. Raises what ended the slot."""
        now = monotonic()
        with self._lock:
            self._check()
            token = self._token
            if token is None or now >= token.dead_at:
                return self._want()
            if now >= max(token.renew_at, self._not_before) and self._pending is None:
                self._want()
            return token

    def spoil(self, token: Token) -> None:
        """The server says that `token` has expired: the next `current` waits for another."""
        with self._lock:
            if self._token is token:
                self._token = None

    def end(self, why: KeyreeveError | type[KeyreeveError]) -> list[Token]:
        """No more tokens; returns those that may still live. Ending twice keeps the first reason."""
        with self._lock:
            if self._ended is None:
                self._ended = why
            left = [*self._old, *([] if self._token is None else [self._token])]
            self._old, self._token = [], None
            pending, self._pending = self._pending, None
        if pending is not None:
            pending.set_exception(HandleClosed("the handle was closed"))
        now = monotonic()
        return [token for token in left if now < token.dead_at]

    def _check(self) -> None:
        if isinstance(self._ended, KeyreeveError):
            raise self._ended.with_traceback(None)
        if self._ended is not None:
            raise self._ended("the handle was closed")

    def _want(self) -> "Future[Token]":
        if self._pending is None:
            from concurrent.futures import Future

            self._pending = Future()
            # From here on a waiter that is cancelled cannot cancel it for the others.
            self._pending.set_running_or_notify_cancel()
            self._ring()
        return self._pending

    # What the renewer does.

    @property
    def wants(self) -> bool:
        """Whether a token is asked for."""
        return self._pending is not None

    def give(self, token: Token) -> bool:
        """Puts a new token in; False where the slot has ended meanwhile."""
        now = monotonic()
        with self._lock:
            if self._ended is not None:
                return False
            if self._token is not None:
                self._old = [old for old in (*self._old, self._token) if now < old.dead_at]
            self._token = token
            pending, self._pending = self._pending, None
        if pending is not None:
            pending.set_result(token)
        return True

    def fail(self, error: KeyreeveError) -> None:
        """No token now; whoever waits is told. A token that still serves goes on serving."""
        with self._lock:
            pending, self._pending = self._pending, None
            self._not_before = monotonic() + _PAUSE
        if pending is not None:
            # Its traceback would lead back to the renewer's frames, and so to the key.
            error.__cause__ = error.__context__ = None
            pending.set_exception(error.with_traceback(None))


Mint = Callable[[Wanted, Any], Token]
"""Mints one session, blocking; on the given event loop's client where there is one. Raises KeyreeveError."""


class Renewer:
    """Mints for the slots of one client. The thread lives while slots do."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint
        self._bell = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._served: list[tuple[weakref.ref[Slot], Wanted]] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    def slot(self, wanted: Wanted) -> Slot:
        """A slot for `wanted`. Raises HandleClosed after `close`."""
        made = Slot(self._bell.release)
        with self._lock:
            if self._closed:
                raise HandleClosed("the client was closed")
            self._served.append((weakref.ref(made), wanted))
            # After a fork the thread is the parent's alone; a new one starts here for the child's own handles.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="keyreeve-renewal", daemon=True)
                self._thread.start()
        weakref.finalize(made, self._bell.release)
        return made

    def close(self) -> None:
        """Ends the thread and every slot."""
        with self._lock:
            self._closed = True
            served = [slot() for slot, _ in self._served]
        for slot in served:
            if slot is not None:
                slot.end(HandleClosed)
        self._bell.release()

    def _run(self) -> None:
        while True:
            self._bell.acquire()
            with self._lock:
                self._served = [place for place in self._served if place[0]() is not None]
                if self._closed or not self._served:
                    self._thread = None
                    return
                served = list(self._served)
            for place, wanted in served:
                slot = place()
                if slot is not None and slot.wants:
                    self._renew(slot, wanted)
                del slot

    def _renew(self, slot: Slot, wanted: Wanted) -> None:
        try:
            slot.give(self._mint(wanted, slot.loop))
        except KeyreeveError as error:
            slot.fail(error)
        except Exception as error:  # noqa: BLE001 - the waiter must be told; the thread serves other handles too
            slot.fail(KeyreeveError(f"no session could be minted ({type(error).__name__})"))
