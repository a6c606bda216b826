"""A Cloudflare that runs on loopback: the v4 API's envelope, credentials, permissions, limits and state.

Promises: a request is authenticated, counted, permitted and answered as api.cloudflare.com would for the
routes in `openapi.json`; everything that arrived is in `CloudflareState.journal` and counted exactly per
principal; faults can be injected over the control plane (`/_sim/…`). It is not a copy of Cloudflare: DNS is
never served, Workers never run.

Evidence for behaviour is tagged where it is implemented: [D] Cloudflare's documentation or OpenAPI
description, [I] an answer quoted in a public issue, [memory] neither.
"""

from connectors.simulators.cloudflare.app import create_app
from connectors.simulators.cloudflare.demo import Demo, demo_state
from connectors.simulators.cloudflare.server import Running, serve
from connectors.simulators.cloudflare.state import CloudflareState

__all__ = ["CloudflareState", "Demo", "Running", "create_app", "demo_state", "serve"]
