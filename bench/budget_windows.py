"""Whether the budget holds: `python -m bench.budget_windows [--windows 2] [--seconds 300] [--processes 4]`.

So many serving processes saturate one upstream principal through real windows; the simulator counts what arrives. It is
told to let everything through, so that a request too many would be counted and not refused. Checks that no window of
that length ever held more than 1,200 and that at least 99 % were used. The description's own window is 300 s: another
`--seconds` only changes how long is driven and over what length arrivals are counted.
"""

import argparse
import asyncio
import time
from collections import Counter

import orjson

from bench.harness import PLENTY, Stand
from bench.load import connect, prepare

CAP = 1200
WINDOW = 300
USED = 0.99


async def drive(stand: Stand, session: str, seconds: float, callers: int) -> None:
    """Asks on and on; a caller that is refused asks again after a quarter of a second."""
    host = stand.url.removeprefix("http://")
    name, port = host.split(":")
    body = {"tool_name": "cloudflare_call", "tool_input": {"operation": "GET /zones"}}
    request = prepare("POST", "/v1/tools/execute", host=host, bearer=session, body=body)
    until = time.monotonic() + seconds
    answers: Counter[str] = Counter()

    async def caller() -> None:
        wire = await connect(name, int(port))
        while time.monotonic() < until:
            status, answer = await wire.ask(request)
            answers[str(status) if status == 200 else orjson.loads(answer)["code"]] += 1
            if status != 200:
                await asyncio.sleep(0.25)
        wire.close()

    await asyncio.gather(*(caller() for _ in range(callers)))
    print(f"answers: {dict(answers)}")


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
    parser.add_argument("--callers", type=int, default=24)
    chosen = parser.parse_args()
    with Stand(arguments=["--workers", str(chosen.processes)], limits={"limit": PLENTY}) as stand:
        kit = stand.tenant("windows")
        kit.connection()
        engineer = kit.engineer(access="read")
        # What the deposit's verification spent is part of the first window, as it is upstream.
        began = time.monotonic()
        asyncio.run(drive(stand, engineer.session, chosen.windows * chosen.seconds, chosen.callers))
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
