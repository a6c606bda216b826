"""How sessions are renewed: once at a time, before they end, and never after they were taken away."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from keyreeve import errors
from keyreeve.config import Key
from keyreeve.slot import Renewer, Slot, Token, Wanted

WANTED = Wanted("priya@acme.example")


class Mint:
    """Mints tokens of a set lifetime; counts, can be held up and can fail."""

    def __init__(self) -> None:
        self.made = 0
        self.at_once = 0
        self.most_at_once = 0
        self.lifetime = 900.0
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def __call__(self, wanted: Wanted, loop: Any) -> Token:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.go.wait(10)
            if self.error is not None:
                raise self.error
            self.made += 1
            return Token.lasting(str(self.made), Key(f"krv_st_{self.made}"), "", time.monotonic(), self.lifetime)
        finally:
            self.at_once -= 1


@pytest.fixture
def mint() -> Mint:
    return Mint()


@pytest.fixture
def renewer(mint: Mint) -> Iterator[Renewer]:
    made = Renewer(mint)
    yield made
    mint.go.set()
    made.close()


def now(slot: Slot) -> Token:
    found = slot.current()
    return found if isinstance(found, Token) else found.result(10)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_nothing_is_minted_before_it_is_needed(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    time.sleep(0.05)
    assert mint.made == 0
    assert now(slot).id == "1"
    assert now(slot).id == "1"
    assert mint.made == 1


def test_many_that_need_one_wait_for_the_same(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    mint.go.clear()
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(now, slot) for _ in range(20)]
        until(lambda: mint.at_once == 1)
        mint.go.set()
        assert {future.result().id for future in waiting} == {"1"}
    assert mint.made == mint.most_at_once == 1


def test_it_is_renewed_before_it_ends_while_the_old_one_serves(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    mint.lifetime = 0.6
    first = now(slot)
    mint.go.clear()
    mint.lifetime = 900
    time.sleep(0.5)  # past four fifths
    assert slot.current() is first
    until(lambda: mint.at_once == 1)
    assert slot.current() is first
    mint.go.set()
    until(lambda: mint.made == 2)
    until(lambda: now(slot).id == "2")


def test_an_ended_one_is_never_handed_out(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    mint.lifetime = 0.05
    first = now(slot)
    time.sleep(0.06)
    mint.lifetime = 900
    assert now(slot).id != first.id


def test_one_that_the_server_calls_expired_is_replaced_once(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    first = now(slot)
    slot.spoil(first)
    assert now(slot).id == "2"
    slot.spoil(first)  # a late answer of an earlier call
    assert now(slot).id == "2"


def test_a_failed_renewal_is_told_only_once_the_old_one_has_ended(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    mint.lifetime = 0.5
    first = now(slot)
    mint.error = errors.ConnectionFailed("down", sent=False)
    time.sleep(0.42)
    assert now(slot) is first
    time.sleep(0.1)
    with pytest.raises(errors.ConnectionFailed):
        now(slot)
    mint.error = None
    assert now(slot).id == "2"


@pytest.mark.parametrize("error", [errors.UnknownIdentity("unknown_identity", 404, "d"), ZeroDivisionError("secret")])
def test_what_minting_fails_with_is_told_and_leads_nowhere(mint: Mint, renewer: Renewer, error: Exception) -> None:
    slot = renewer.slot(WANTED)
    mint.error = error
    found = slot.current()
    assert isinstance(found, Future)
    told = found.exception(10)
    assert isinstance(told, errors.KeyreeveError)
    assert (told.__cause__, told.__context__) == (None, None)
    assert "secret" not in str(told)


def test_an_ended_slot_stays_ended_and_keeps_its_first_reason(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    first = now(slot)
    revoked = errors.Unauthenticated("unauthenticated", 401, "revoked")
    assert slot.end(revoked) == [first]
    assert slot.end(errors.HandleClosed) == []
    for _ in range(2):
        with pytest.raises(errors.Unauthenticated):
            slot.current()
    assert mint.made == 1


def test_a_token_that_comes_too_late_is_not_taken(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    mint.go.clear()
    waiting = slot.current()
    assert isinstance(waiting, Future)
    until(lambda: mint.at_once == 1)
    slot.end(errors.HandleClosed)
    with pytest.raises(errors.HandleClosed):
        waiting.result(10)
    mint.go.set()
    with pytest.raises(errors.HandleClosed):
        slot.current()


def test_each_identity_gets_its_own() -> None:
    def named(wanted: Wanted, loop: Any) -> Token:
        return Token.lasting(wanted.identifier, Key("krv_st_x"), "", time.monotonic(), 900)

    renewer = Renewer(named)
    slots = {name: renewer.slot(Wanted(name)) for name in ("a", "b", "c")}
    assert {name: now(slot).id for name, slot in slots.items()} == {name: name for name in slots}
    renewer.close()


def test_the_thread_lives_while_slots_do(mint: Mint, renewer: Renewer) -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread is renewer._thread]

    assert not threads()
    slot = renewer.slot(WANTED)
    now(slot)
    assert len(threads()) == 1
    del slot
    gc.collect()
    until(lambda: not threads())
    assert now(renewer.slot(WANTED)).id == "2"


def test_a_closed_client_ends_its_slots(mint: Mint, renewer: Renewer) -> None:
    slot = renewer.slot(WANTED)
    now(slot)
    renewer.close()
    with pytest.raises(errors.HandleClosed):
        slot.current()
    with pytest.raises(errors.HandleClosed):
        renewer.slot(WANTED)
