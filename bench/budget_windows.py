"""Whether the budget holds: `python -m bench.budget_windows [--windows 2] [--seconds 300] [--processes 4]`.

So many serving processes saturate one upstream principal through real windows; the simulator counts what arrives. It is
told to let everything through, so that a request too many would be counted and not refused. Checks that no window of
that length ever held more than 1,200 and that at least 99 % were used. The description's own window is 300 s: another
`--seconds` only changes how long is driven and over what length arrivals are counted.
"""

import argparse
import asyncio
import time

import orjson

from bench.harness import PLENTY, Stand
from bench.load import PreparedRequest, prepare, run

CAP = 1200
WINDOW = 300
USED = 0.99


async def drive(stand: Stand, session: str, seconds: float, concurrency: int) -> None:
    """Asks without a pause, whatever the answer."""
    host = stand.url.removeprefix("http://")
    name, port = host.split(":")
    body = {"tool_name": "cloudflare_call", "tool_input": {"operation": "GET /zones"}, "max_wait_seconds": 30}
    request = prepare("POST", "/v1/tools/execute", host=host, bearer=session, body=body)

    def one(_: int) -> PreparedRequest:
        return request

    sample = await run(one, host=name, port=int(port), concurrency=concurrency, seconds=seconds)
    print(f"answers: {dict(sample.statuses)}; broken: {sample.broken}")
    for odd in sample.odd[:1]:
        print("first refusal:", {k: v for k, v in orjson.loads(odd).items() if k in ("code", "retry_after", "detail")})


def judge(arrivals: list[float], began: float, windows: int, seconds: float) -> bool:
    """Prints what the simulator saw; whether it is within both bounds."""
    ordered = sorted(at for at in arrivals if at >= began)
    worst = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - WINDOW:
            first += 1
        worst = max(worst, last - first + 1)
    driven = windows * seconds
    possible = CAP * driven / WINDOW
    used = sum(1 for at in ordered if at < began + driven) / possible
    print(f"most in any {WINDOW} s: {worst} of {CAP}; used over {driven:.0f} s: {used:.2%} of {possible:.0f}")
    return worst <= CAP and used >= USED


def main() -> None:
    """Runs it; exit code 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.budget_windows", description=__doc__)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float(WINDOW))
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=24, help="callers; those beyond the in-flight limit get 429")
    chosen = parser.parse_args()
    with Stand(arguments=["--workers", str(chosen.processes)], limits={"limit": PLENTY}) as stand:
        engineer = stand.tenant("windows").engineer(access="read")
        # What the deposit's verification spent is part of the first window, as it is upstream.
        began = time.monotonic()
        asyncio.run(drive(stand, engineer.session, chosen.windows * chosen.seconds, chosen.concurrency))
        arrivals = [float(e["at"]) for e in stand.simulator.journal(principal=engineer.principal)]
        spent_before = sum(1 for at in arrivals if at < began)
        print(
            f"{chosen.processes} serving processes; {len(arrivals)} requests arrived, {spent_before} before the start"
        )
        held = judge(arrivals, began - spent_before, chosen.windows, chosen.seconds)
        engineer.close()
    print("held" if held else "BROKEN")
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
