"""Whether revocation holds: `python -m bench.revocation [--revokes 300] [--processes 4] [--callers 4]`.

Callers hammer as many serving processes; accounts, sessions, keys and identities are revoked in turn, over the API,
under full load. Counted at the simulator: requests that arrived after the revoke's answer and belong to an execution
it did not name as in flight. There must be none.
"""

import argparse
import asyncio
import random
import time
from dataclasses import dataclass, field

import orjson

from bench.harness import Stand
from bench.kit import TenantKit
from bench.load import connect, prepare

KINDS = ("account", "session", "key", "identity")


@dataclass
class Round:
    """One person, hammered and revoked. `executions` maps a request's mark to the execution it became."""

    identifier: str
    bearer: str
    call: tuple[str, str]
    extra: dict[str, str]
    executions: dict[str, str] = field(default_factory=dict)
    returned: float = 0.0
    named: frozenset[str] = frozenset()
    milliseconds: float = 0.0


def prepare_round(kit: TenantKit, kind: str) -> Round:
    """A fresh engineer and what to revoke of it."""
    person = kit.engineer(access="read")
    bearer, extra = person.session, {}
    if kind == "account":
        call = ("POST", f"/v1/connected_accounts/{person.account_id}:revoke")
    elif kind == "session":
        call = ("DELETE", f"/v1/sessions/{person.session_id}")
    elif kind == "key":
        made = kit.key("agent", identifiers=[person.identifier])
        bearer, extra = made["key"], {"identifier": person.identifier}
        call = ("DELETE", f"/v1/keys/{made['id']}")
    else:
        call = ("POST", f"/v1/identities/{person.identifier}:offboard")
    person.close()
    return Round(person.identifier, bearer, call, extra)


class Hammer:
    """Callers on connections of their own, so that every serving process has some."""

    def __init__(self, stand: Stand, callers: int) -> None:
        self._host = stand.url.removeprefix("http://")
        self._name, port = self._host.split(":")
        self._port = int(port)
        self._callers = callers
        self._marks = 0

    async def until(self, stop: asyncio.Event, round_: Round) -> int:
        """Calls without a pause until `stop`; how many calls were answered with the upstream's answer."""
        return sum(await asyncio.gather(*(self._one(stop, round_) for _ in range(self._callers))))

    async def _one(self, stop: asyncio.Event, round_: Round) -> int:
        wire = await connect(self._name, self._port)
        done = 0
        while not stop.is_set():
            self._marks += 1
            mark = f"m{self._marks}.example"
            body = {
                "tool_name": "cloudflare_call",
                "tool_input": {"operation": "GET /zones", "query": {"name": mark}},
                **round_.extra,
            }
            request = prepare("POST", "/v1/tools/execute", host=self._host, bearer=round_.bearer, body=body)
            status, answer = await wire.ask(request)
            execution = orjson.loads(answer).get("execution_id")
            if execution is not None:
                round_.executions[mark] = execution
            done += status == 200
        wire.close()
        return done

    async def revoke(self, admin_key: str, tenant: str, round_: Round) -> None:
        """The revoke itself, on a connection of its own; notes when its answer was here and whom it named."""
        method, path = round_.call
        body = {"reason": "bench"} if method == "POST" else None
        headers = [f"X-Keyreeve-Tenant: {tenant}"]
        wire = await connect(self._name, self._port)
        began = time.monotonic()
        status, answer = await wire.ask(
            prepare(method, path, host=self._host, bearer=admin_key, body=body, headers=headers)
        )
        round_.returned = time.monotonic()
        round_.milliseconds = (round_.returned - began) * 1000
        wire.close()
        told = orjson.loads(answer)
        if status != 200:
            raise SystemExit(f"{method} {path}: {status} {told}")
        named = list(told.get("in_flight", ()))
        for account in told.get("connected_accounts", ()):
            named += account["in_flight"]
        round_.named = frozenset(named)


def unaccounted(stand: Stand, round_: Round) -> tuple[int, int]:
    """(requests after the answer that were not named, requests after the answer)."""
    late = [
        entry["query"].partition("name=")[2].partition("&")[0]
        for entry in stand.simulator.journal(contains="name=m")
        if entry["at"] > round_.returned
    ]
    return sum(round_.executions.get(mark) not in round_.named for mark in late), len(late)


async def one_round(hammer: Hammer, kit: TenantKit, round_: Round) -> int:
    """Hammers, revokes in the midst of it, hammers on for a moment; how many calls got through."""
    stop = asyncio.Event()
    hammering = asyncio.create_task(hammer.until(stop, round_))
    await asyncio.sleep(random.uniform(0.05, 0.15))
    assert kit.admin.key is not None
    await hammer.revoke(kit.admin.key, kit.name, round_)
    await asyncio.sleep(0.1)
    stop.set()
    return await hammering


def main() -> None:
    """Runs it; exit code 1 when anything got out unnamed."""
    parser = argparse.ArgumentParser(prog="python -m bench.revocation", description=__doc__)
    parser.add_argument("--revokes", type=int, default=300)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--callers", type=int, default=8)
    chosen = parser.parse_args()
    out = late = calls = 0
    took: list[float] = []
    with Stand(arguments=["--workers", str(chosen.processes)]) as stand:
        kit = stand.tenant("revocation")
        kit.connection()
        hammer = Hammer(stand, chosen.callers)
        for n in range(chosen.revokes):
            round_ = prepare_round(kit, KINDS[n % len(KINDS)])
            # Arrivals are told apart by their time, so each round begins with an empty journal.
            stand.simulator.control("POST", "/reset", {"what": ["journal"]})
            calls += asyncio.run(one_round(hammer, kit, round_))
            more, after = unaccounted(stand, round_)
            out, late = out + more, late + after
            took.append(round_.milliseconds)
        kit.close()
    took.sort()
    print(f"{chosen.revokes} revokes under {chosen.callers} callers on {chosen.processes} serving processes")
    print(f"{calls} calls got through; a revoke took {took[len(took) // 2]:.1f} ms (p50), {took[-1]:.1f} ms at most")
    print(f"{late} requests arrived after a revoke's answer; not named by it: {out}")
    raise SystemExit(1 if out or not calls else 0)


if __name__ == "__main__":
    main()
