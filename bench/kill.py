"""`kill -9` under load: `python -m bench.kill [--server 20] [--postgres 10]`.

While calls run, the whole server, one of its serving processes, PostgreSQL's postmaster or one of its backends is
killed, in turn. Every call names something of its own, so that afterwards each request that the simulator saw, each
answer that a client got and each row of the audit can be matched one to one. Held to: no request at the upstream
without a committed intent; no acknowledged call without its outcome; no call twice at the upstream; service back within
5 s of each kill; and nothing answered with 500, for a database that is away is `unavailable`.
"""

import argparse
import asyncio
import itertools
import os
import secrets
import signal
import statistics
import sys
import threading
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import asyncpg
import httpx
import orjson
import uvloop

from bench.harness import Stand
from bench.kit import Engineer
from bench.load import PreparedRequest, Sample, prepare, run
from bench.processes import DidNotStart, children

OPERATION = "GET /zones/{zone_id}/dns_records/{dns_record_id}"
BACK_SECONDS = 5.0
REST_SECONDS = 1.0


@dataclass
class Verdict:
    """What became of a run. `back` is, for each kill, its kind and the seconds until a call was answered again."""

    back: list[tuple[str, float]] = field(default_factory=list)
    answered: int = 0
    arrived: int = 0
    intents: int = 0
    without_intent: int = 0
    lost: int = 0
    twice: int = 0
    unsettled: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    broken: int = 0

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        slow = any(seconds > BACK_SECONDS for _, seconds in self.back)
        wrong = self.without_intent or self.lost or self.twice or self.statuses.get(500)
        return not (wrong or slow) and self.answered > 0


class Battery:
    """Engineers whose calls keep coming, and the kills."""

    def __init__(self, stand: Stand, engineers: int) -> None:
        self.stand = stand
        kit = self.kit = stand.tenant()
        kit.connection()
        self.people: list[Engineer] = [kit.engineer() for _ in range(engineers)]
        self.zone = stand.simulator.zones["example.com"]
        self.mark = secrets.token_hex(4)
        self.acknowledged: set[str] = set()
        self.refused_starts = 0
        self._probes = itertools.count(1 << 60)

    def record(self, number: int) -> str:
        """The name of the number-th call: a DNS record that isn't there."""
        return f"{self.mark}{number:024x}"

    def request(self, number: int) -> PreparedRequest:
        """The number-th call."""
        one = self.people[number % len(self.people)]
        body = {
            "tool_name": "cloudflare_call",
            "tool_input": {
                "operation": OPERATION,
                "path_params": {"zone_id": self.zone, "dns_record_id": self.record(number)},
            },
        }
        host = self.stand.url.removeprefix("http://")
        return prepare("POST", "/v1/tools/execute", host=host, bearer=one.session, body=body)

    def seen(self, number: int, status: int, body: bytes) -> None:
        """An answer of 200 acknowledges the call; anything else does not."""
        if status == 200 and orjson.loads(body)["calls"][0]["sent"] is True:
            self.acknowledged.add(self.record(number))

    def kill(self, kind: str) -> None:
        """One SIGKILL, and what an operator's supervisor would do next."""
        server = self.stand.server
        if kind == "server":
            server.process.kill()
            self._supervise()
        elif kind == "worker":
            os.kill(server.workers()[0], signal.SIGKILL)
        elif kind == "postmaster":
            os.kill(server.postgres_pid(), signal.SIGKILL)
        else:
            os.kill(children(server.postgres_pid())[-1], signal.SIGKILL)

    def _supervise(self) -> None:
        """Starts the server again until it stays: what a supervisor does. What a refused start costs counts."""
        for _ in range(20):
            try:
                self.stand.server.start()
                return
            except DidNotStart:
                self.refused_starts += 1
                threading.Event().wait(0.1)
        raise DidNotStart("the server does not start again after a kill")

    def _until_back(self) -> None:
        """Asks until a call is answered."""
        with httpx.Client(trust_env=False, timeout=5) as client:
            while True:
                raw = self.request(next(self._probes))
                _, _, body = raw.partition(b"\r\n\r\n")
                headers = {
                    "authorization": f"Bearer {self.people[0].session}",
                    "content-type": "application/json",
                }
                try:
                    reply = client.post(f"{self.stand.url}/v1/tools/execute", content=body, headers=headers)
                    if reply.status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                threading.Event().wait(0.02)

    async def go(self, kills: list[str], concurrency: int, rest: float = REST_SECONDS) -> Verdict:
        """Load throughout; the kills one after another, each when the one before is over."""
        verdict = Verdict()
        host, _, port = self.stand.url.removeprefix("http://").partition(":")
        done = asyncio.Event()

        async def killer() -> None:
            for kind in kills:
                await asyncio.sleep(rest)
                began = perf_counter()
                await asyncio.to_thread(self.kill, kind)
                await asyncio.to_thread(self._until_back)
                verdict.back.append((kind, perf_counter() - began))
            await asyncio.sleep(rest)
            done.set()

        samples: list[Sample] = []

        async def load() -> None:
            first = 0
            while not done.is_set():

                def numbered(number: int, base: int = first) -> PreparedRequest:
                    return self.request(base + number)

                def seen(number: int, status: int, body: bytes, base: int = first) -> None:
                    self.seen(base + number, status, body)

                samples.append(
                    await run(
                        numbered,
                        host=host,
                        port=int(port),
                        concurrency=concurrency,
                        seconds=0.5,
                        seen=seen,
                        reconnect=True,
                    )
                )
                first += 1_000_000

        await asyncio.gather(killer(), load())
        for sample in samples:
            verdict.broken += sample.broken
            for status, count in sample.statuses.items():
                verdict.statuses[status] = verdict.statuses.get(status, 0) + count
        await self._judge(verdict)
        return verdict

    async def _judge(self, verdict: Verdict) -> None:
        """Matches what arrived, what was acknowledged and what was written down."""
        journal = await asyncio.to_thread(self.stand.simulator.journal, contains=self.mark)
        arrived = [entry["path"].rpartition("/")[2] for entry in journal]
        rows = await self._audit()
        intents = {row["path"].rpartition("/")[2] for row in rows}
        outcomes = {row["path"].rpartition("/")[2] for row in rows if row["outcome"] is not None}
        verdict.answered = len(self.acknowledged)
        verdict.arrived = len(arrived)
        verdict.intents = len(intents)
        verdict.without_intent = len(set(arrived) - intents)
        verdict.lost = len(self.acknowledged - outcomes)
        verdict.twice = len(arrived) - len(set(arrived))
        verdict.unsettled = len(intents - outcomes)

    async def _audit(self) -> list[Any]:
        connect = self.stand.server.database()
        conn = await asyncpg.connect(**connect)
        try:
            return list(
                await conn.fetch(
                    "select i.body->>'path' as path, (select o.outcome from audit.events o "
                    " where o.tenant_id = i.tenant_id and o.at = i.at and o.call_id = i.call_id and o.kind = 'outcome' "
                    " limit 1) as outcome "
                    "from audit.events i where i.kind = 'intent' and i.body->>'path' like '%' || $1::text || '%'",
                    self.mark,
                )
            )
        finally:
            await conn.close()

    def close(self) -> None:
        """Gives its clients' connections back."""
        for one in self.people:
            one.close()
        self.kit.close()


def show(verdict: Verdict) -> None:
    """Prints it."""
    for kind in dict.fromkeys(kind for kind, _ in verdict.back):
        took = [seconds for what, seconds in verdict.back if what == kind]
        print(f"{kind:<11} killed {len(took)} times; back after {statistics.median(took):.2f} s", end=", ")
        print(f"at most {max(took):.2f} s")
    print(f"answers by status {verdict.statuses}; connections broken {verdict.broken}")
    print(
        f"{verdict.arrived:,} requests at the upstream, {verdict.intents:,} intents, {verdict.answered:,} acknowledged"
    )
    print(f"without an intent: {verdict.without_intent}; acknowledged and lost: {verdict.lost}", end="; ")
    print(f"sent twice: {verdict.twice}")
    print(f"intents still open (the sweeper closes them): {verdict.unsettled}")


def kinds(server: int, postgres: int) -> list[str]:
    """The kills in an order that mixes them."""
    ours = ["server" if n % 2 == 0 else "worker" for n in range(server)]
    theirs = ["postmaster" if n % 2 == 0 else "backend" for n in range(postgres)]
    mixed: list[str] = []
    while ours or theirs:
        mixed += ours[:2]
        mixed += theirs[:1]
        del ours[:2], theirs[:1]
    return mixed


async def main() -> int:
    """Reads the arguments, kills, judges; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.kill", description=__doc__)
    parser.add_argument("--server", type=int, default=20, help="kills of the server, every other one a serving process")
    parser.add_argument("--postgres", type=int, default=10, help="kills of PostgreSQL, every other one a backend")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--engineers", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with Stand(arguments=["--workers", str(chosen.workers)]) as stand:
        battery = Battery(stand, chosen.engineers)
        verdict = await battery.go(kinds(chosen.server, chosen.postgres), chosen.concurrency)
        show(verdict)
        print(f"starts refused right after a kill (the supervisor tried again): {battery.refused_starts}")
        battery.close()
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
