"""Every connector this build has: an explicit list, so that what can be reached is what is written here."""

from collections.abc import Mapping
from typing import Final

from connectors.base import Connector, Json
from connectors.cloudflare.connector import CloudflareConnector
from connectors.mcp_upstream import ready
from connectors.mcp_upstream.config import split_url
from connectors.mcp_upstream.connector import McpConnector

CONNECTORS: Final[tuple[Connector, ...]] = (CloudflareConnector(), McpConnector())
_BY_NAME: Final[Mapping[str, Connector]] = {connector.name: connector for connector in CONNECTORS}


_READY_ORIGINS: Final = frozenset(split_url(found.url).origin for found in ready.READY.values())


def reviewed_origins(connector: Connector) -> frozenset[str]:
    """The origins that a tenant's own admin may connect to: the connector's official ones, and those of ready-made
    servers."""
    official = frozenset(connector.official_origins)
    return official | _READY_ORIGINS if isinstance(connector, McpConnector) else official


def names() -> tuple[str, ...]:
    """The connectors' names, in the catalogue's order."""
    return tuple(_BY_NAME)


def find(name: str) -> Connector | None:
    """The connector called `name`, or None."""
    return _BY_NAME.get(name)


def get(name: str) -> Connector:
    """The connector called `name`, which a stored connection says exists.

    Raises:
        LookupError: this build has no such connector.
    """
    connector = _BY_NAME.get(name)
    if connector is None:
        raise LookupError(f"this build has no connector {name[:60]!r}")
    return connector


def describe() -> list[dict[str, Json]]:
    """The catalogue of `GET /v1/connectors`."""
    return [
        {
            "name": connector.name,
            "title": connector.title,
            "credential_kinds": [
                {
                    "name": kind.name,
                    "fields": dict(kind.fields),
                    "secret_fields": list(kind.secret_fields),
                    "help": kind.help,
                }
                for kind in connector.kinds
            ],
            "permissions_needed": connector.permissions_help,
            "budget": [
                {"meter": meter.name, "limit": meter.limit, "window_seconds": meter.window_seconds}
                for meter in connector.meters
            ],
            "config": dict(connector.config_help),
            "official_origins": list(connector.official_origins),
            **({"ready_made": ready.describe()} if isinstance(connector, McpConnector) else {}),
        }
        for connector in CONNECTORS
    ]
