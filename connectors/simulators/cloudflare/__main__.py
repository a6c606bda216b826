"""`python -m connectors.simulators.cloudflare [--port 0] [--demo | --state FILE.json]`: a simulator of its
own process.

Its first line on stdout is JSON: `{"event": "ready", "url", "base_url", "spec_url", "control_url",
"control_token"}`. The credentials it accepts are at `GET {control_url}/credentials`.
"""

import argparse
import json
import sys
from pathlib import Path

from connectors.simulators.cloudflare.demo import demo_state
from connectors.simulators.cloudflare.load import load
from connectors.simulators.cloudflare.server import run
from connectors.simulators.cloudflare.state import CloudflareState


def main() -> None:
    """Read the arguments and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m connectors.simulators.cloudflare", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 picks a free one")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--demo", action="store_true", help="the demo's account, zones and engineers")
    what.add_argument("--state", type=Path, help="a JSON file that describes what to hold (see load.py)")
    chosen = parser.parse_args()
    if chosen.state:
        state = load(json.loads(chosen.state.read_text()))
    else:
        state = demo_state().state if chosen.demo else CloudflareState()

    def ready(url: str) -> None:
        line = {
            "event": "ready",
            "url": url,
            "base_url": f"{url}/client/v4",
            "spec_url": f"{url}/openapi.json",
            "control_url": f"{url}/_sim",
            "control_token": state.control_token,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    run(state, chosen.port, ready)


if __name__ == "__main__":
    main()
