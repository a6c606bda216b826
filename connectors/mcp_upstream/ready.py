"""MCP servers that a connection can be made of by name: reviewed addresses, and what each is for.

Cloudflare's are those of its mcp-server-cloudflare repository; GitHub's of its github-mcp-server repository.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ready:
    """One server. `token` says what to deposit: None where it serves without a credential."""

    name: str
    url: str
    title: str
    token: str | None


_CLOUDFLARE: Final[Mapping[str, str]] = {
    "docs": "Cloudflare's documentation",
    "bindings": "Workers bindings: KV, R2, D1, Hyperdrive, Workers",
    "builds": "Workers Builds",
    "observability": "Workers logs and metrics",
    "radar": "Internet traffic and URL scans",
    "containers": "Sandboxed containers",
    "browser": "Browser rendering",
    "logs": "Logpush job health",
    "ai-gateway": "AI Gateway logs",
    "autorag": "AutoRAG",
    "auditlogs": "Audit logs",
    "dns-analytics": "DNS settings and analytics",
    "dex": "Digital Experience Monitoring",
    "casb": "Cloud access security findings",
    "graphql": "GraphQL analytics",
}
_WITHOUT_TOKEN: Final = frozenset({"docs"})
_DEPOSIT: Final = "a Cloudflare API token with the product's permissions, as bearer"

READY: Final[Mapping[str, Ready]] = {
    ready.name: ready
    for ready in (
        *(
            Ready(
                f"cloudflare-{name}",
                f"https://{name}.mcp.cloudflare.com/mcp",
                title,
                None if name in _WITHOUT_TOKEN else _DEPOSIT,
            )
            for name, title in _CLOUDFLARE.items()
        ),
        Ready(
            "github",
            "https://api.githubcopilot.com/mcp/",
            "GitHub: repositories, issues, pull requests, Actions",
            "a GitHub personal access token, as bearer",
        ),
    )
}
"""By name; the name is also what a connection of it is called unless told otherwise."""


def describe() -> list[dict[str, str | None]]:
    """The catalogue, for `GET /v1/connectors`."""
    return [{"name": r.name, "url": r.url, "title": r.title, "credential": r.token} for r in READY.values()]
