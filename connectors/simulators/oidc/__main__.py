"""`python -m connectors.simulators.oidc`: a provider of its own process, which signs everybody in as one person.

Its first line on stdout is JSON: `{"event": "ready", "issuer"}`.
"""

import argparse
import json
import sys

from connectors.simulators.cloudflare.clock import wall_seconds
from connectors.simulators.oidc.provider import Account, Client, Provider
from connectors.simulators.oidc.serving import run


def main() -> None:
    """Read the arguments and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m connectors.simulators.oidc", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 picks a free one")
    parser.add_argument("--client", default="keyreeve", help="the client id; it is public")
    parser.add_argument("--redirect", required=True, help="where answers go: Keyreeve's redirect_uri")
    parser.add_argument("--logout", help="where logout tokens go: Keyreeve's backchannel_logout_uri")
    parser.add_argument("--session", default="session-1", help="the name of that person's session")
    parser.add_argument("--subject", default="priya-1", help="who is signed in")
    parser.add_argument("--email", default="priya@acme.example", help="their verified e-mail address")
    chosen = parser.parse_args()
    provider = Provider(wall_seconds)
    provider.clients[chosen.client] = Client(chosen.client, None, [chosen.redirect], chosen.logout)
    provider.current = Account(chosen.subject, chosen.email, session=chosen.session)

    def ready(issuer: str) -> None:
        sys.stdout.write(json.dumps({"event": "ready", "issuer": issuer}) + "\n")
        sys.stdout.flush()

    run(provider, chosen.port, ready)


if __name__ == "__main__":
    main()
