"""What one tenant's flood costs another: `python -m bench.neighbours [--seconds 4] [--connections 400]`.

One serving process, two tenants. A neighbour makes calls, two at a time; beside it the other tenant is quiet, or floods
the server with calls, refusals, listings, or large bodies of many small values, from so many connections that all ask
again as soon as they are answered. Quiet and flooded stretches in turn, so that a busy machine slows both. Prints the
neighbour's median and p95 in each, the ratio of the p95, and what the flood got. `--unlimited` takes the limits away.
"""

import argparse
import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

import uvloop

from bench.call import Bench
from bench.harness import Installed
from bench.kit import TenantKit
from bench.load import PreparedRequest, Sample, prepare, run
from bench.upstream import Lab
from broker.settings import Limits

Flood = Sequence[PreparedRequest]
IDENTITIES = 24
"""Of the tenant that floods: as many budgets, so that it does not run out of them."""


def floods(bench: Bench, kit: TenantKit) -> dict[str, tuple[Flood, float]]:
    """What another tenant may send, and the part of the connections that sends it."""
    kit.connection()
    kit.grant({"everyone": True}, "read")
    sessions = []
    for n in range(IDENTITIES):
        identifier = kit.identity(f"hot-{n}")
        kit.account(identifier, f"cfut_{10**6 + n:048d}")
        sessions.append(kit.session(identifier)["token"])
    host = bench.stand.url.removeprefix("http://")
    given = {"operation": "GET /zones/{zone_id}/dns_records"}

    def execute(number: int, **more: Any) -> list[PreparedRequest]:
        body = {"tool_name": "cloudflare_call", "tool_input": {**given, **more}}
        return [
            prepare("POST", "/v1/tools/execute", host=host, bearer=session, body=body) for session in sessions[:number]
        ]

    listings = [prepare("GET", "/v1/tools/scoped", host=host, bearer=session) for session in sessions]
    return {
        "calls": (execute(IDENTITIES, path_params={"zone_id": bench.zone}), 1.0),
        "refusals": (execute(IDENTITIES), 1.0),
        "listings": (listings, 1.0),
        "large bodies": (execute(1, body=[0] * 7_000_000), 0.01),
    }


async def stretch(bench: Bench, flood: Flood | None, connections: int, seconds: float) -> tuple[Sample, Sample]:
    """The neighbour's calls, and beside them the flood's."""
    beside = None
    if flood is not None:
        beside = asyncio.create_task(
            run(
                lambda n: flood[n % len(flood)],
                host=bench.host,
                port=bench.port,
                concurrency=connections,
                seconds=seconds + 0.5,
            )
        )
        await asyncio.sleep(0.5)
    sample = await bench.measure("through", 2, seconds)
    return sample, Sample() if beside is None else await beside


async def main() -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="of each stretch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--at-work", type=int, default=Limits().requests_at_work)
    parser.add_argument("--unlimited", action="store_true")
    parser.add_argument("--only", help="one kind of flood")
    chosen = parser.parse_args()
    most, at_work = (100_000, 100_000) if chosen.unlimited else (Limits().requests_per_tenant, chosen.at_work)
    arguments = ["--requests-per-tenant", str(most), "--requests-at-work", str(at_work)]
    with Installed(Lab, arguments=arguments) as stand:
        bench = Bench(stand, 64)  # as many budgets: it must not run out of them
        hot = stand.tenant("hot")
        await bench.measure("through", 2, 1)
        for name, (flood, part) in floods(bench, hot).items():
            if chosen.only in (None, name):
                await compare(bench, name, flood, max(1, int(chosen.connections * part)), chosen)


async def compare(bench: Bench, name: str, flood: Flood, connections: int, chosen: argparse.Namespace) -> None:
    """Quiet and flooded stretches in turn."""
    quiet, loud, ratios = [], [], []
    for _ in range(chosen.rounds):
        calm, _none = await stretch(bench, None, 0, chosen.seconds)
        busy, got = await stretch(bench, flood, connections, chosen.seconds)
        assert set(calm.statuses) == set(busy.statuses) == {200}, (calm.statuses, busy.statuses)
        quiet.append(calm)
        loud.append(busy)
        ratios.append(busy.quantile(0.95) / calm.quantile(0.95))
    print(
        f"{name}, {connections} connections: neighbour's p50 {_middle(quiet, 0.5):.1f} → {_middle(loud, 0.5):.1f} ms, "
        f"p95 {_middle(quiet, 0.95):.1f} → {_middle(loud, 0.95):.1f} ms (× {statistics.median(ratios):.1f}); "
        f"the flood got {dict(got.statuses)} in {got.seconds:.1f} s, broken {got.broken}",
        flush=True,
    )


def _middle(samples: list[Sample], share: float) -> float:
    return statistics.median(sample.quantile(share) for sample in samples)


if __name__ == "__main__":
    uvloop.run(main())
