"""Every hostile program, over REST: it ends clearly in its limit, reaches nothing, is written down, harms nobody."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from bench.harness import Stand
from tests.security.codemode.attack import Attack
from tests.security.codemode.kit import Side, closed, side, total
from tests.security.codemode.programs import READERS, WRITER

WITHIN_SECONDS = 15.0
"""The longest a program may take: its 200 requests, or its second of computing, on a busy machine."""
SENT_HEADERS = {
    "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host", "user-agent",
    "if-match", "if-none-match",
}  # fmt: skip
NEIGHBOUR = "async () => (await cloudflare.request({path: '/zones'})).result.length"


@dataclass
class Ended:
    """How one program ended, and what the simulator saw and the audit kept of it."""

    answer: dict[str, Any]
    seconds: float
    seen: list[dict[str, Any]]
    audited: list[dict[str, Any]]


@dataclass
class Battery:
    ended: dict[str, Ended] = field(default_factory=dict)
    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)


def p95(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


class Watch:
    """A neighbour in another tenant at work, and a probe of the smallest answer, until told to stop."""

    def __init__(self, neighbour: Side, battery: Battery) -> None:
        self._stop = threading.Event()
        self._neighbour = neighbour
        self._battery = battery
        self._threads = [threading.Thread(target=work) for work in (self._work, self._probe)]

    def _work(self) -> None:
        while not self._stop.wait(0.03):
            started = time.perf_counter()
            answer = self._neighbour.run(NEIGHBOUR)
            self._battery.beside.append(time.perf_counter() - started)
            if answer.get("data") != 2:
                self._battery.wrong.append(answer)

    def _probe(self) -> None:
        with httpx.Client(base_url=self._neighbour.stand.url, trust_env=False) as client:
            while not self._stop.wait(0.02):
                started = time.perf_counter()
                client.get("/healthz")
                self._battery.health.append(time.perf_counter() - started)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def battery(running_server: Stand) -> Iterator[Battery]:
    made = Battery()
    writer, reader, neighbour = side(running_server), side(running_server, access="read"), side(running_server)
    for who in (writer, reader, neighbour):
        who.run(NEIGHBOUR)
    for _ in range(60):
        started = time.perf_counter()
        neighbour.run(NEIGHBOUR)
        made.quiet.append(time.perf_counter() - started)
    since = total(running_server)
    with Watch(neighbour, made):
        for who, attacks in ((writer, WRITER), (reader, READERS)):
            for attack in attacks:
                made.ended[attack.name] = _ended(who, attack)
    arrived = running_server.simulator.journal(since=since)
    known = {who.engineer.principal for who in (writer, reader, neighbour)}
    made.wrong += [entry for entry in arrived if not entry["path"].startswith("/client/v4/")]
    made.wrong += [entry for entry in arrived if entry["principal"] not in known]
    yield made
    for who in (writer, reader, neighbour):
        closed(who)


def _ended(who: Side, attack: Attack) -> Ended:
    since, started = total(who.stand), time.perf_counter()
    answer = who.run(attack.code)
    seconds = time.perf_counter() - started
    return Ended(answer, seconds, who.seen(since), who.audited(answer["execution_id"]))


ALL = [pytest.param(attack, id=attack.name) for attack in (*WRITER, *READERS)]


def test_there_are_enough_of_them() -> None:
    assert len(ALL) >= 60
    assert len({attack.name for attack in (*WRITER, *READERS)}) == len(ALL)


@pytest.mark.parametrize("attack", ALL)
def test_it_ends_clearly(battery: Battery, attack: Attack) -> None:
    ended = battery.ended[attack.name]
    error = ended.answer.get("error")
    code = error["code"] if error else "ok"
    assert bool(error) is ended.answer["is_error"]
    assert code in attack.ends, error or ended.answer["data"]
    assert ended.seconds < WITHIN_SECONDS
    if error:
        assert len(error["detail"]) >= 8
        assert error["fix"] in ("model", "admin", "user", "wait")
        assert attack.said in json.dumps(error)
    if attack.value is not None:
        assert ended.answer["data"] == attack.value


@pytest.mark.parametrize("attack", ALL)
def test_it_reaches_nothing_and_is_written_down(battery: Battery, attack: Attack) -> None:
    ended = battery.ended[attack.name]
    calls = ended.answer["calls"]
    sent = [call for call in calls if call["sent"] is not False]
    assert len(sent) <= attack.sent
    assert [call["n"] for call in calls] == sorted({call["n"] for call in calls})
    assert Counter((c["method"], c["path"]) for c in sent) == Counter((e["method"], e["path"]) for e in ended.seen)
    for entry in ended.seen:
        assert entry["path"].startswith("/client/v4/")
        assert set(entry["headers"]) <= SENT_HEADERS, entry["headers"]
        assert len(entry["headers"]) == len(set(entry["headers"]))
        assert "evil" not in entry["path"].lower()
    kinds = Counter(item["kind"] for item in ended.audited)
    assert kinds.pop("execution") == 1
    assert kinds.total() == len(calls)


def test_nobody_else_noticed(battery: Battery) -> None:
    assert not battery.wrong
    assert len(battery.beside) > 50
    told = {name: f"{p95(times) * 1000:.1f} ms" for name, times in vars(battery).items() if name in _TIMES}
    print(f"p95: {told}")
    # Two processors carry everything at once; what is looked for is a neighbour that waits for somebody's loop.
    assert p95(battery.beside) < max(0.5, 8 * p95(battery.quiet)), told
    assert p95(battery.health) < 0.1, told


_TIMES = ("quiet", "beside", "health")
