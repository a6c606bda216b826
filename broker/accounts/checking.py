"""Whether a connection may be configured so: by its connector, by the caller's role, by the egress rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.domain import Caller
from broker.errors import Field, Problem, misfit
from broker.identity.roles import require
from connectors import catalog
from connectors.base import Connector
from connectors.egress import EgressPolicy, check_origin
from connectors.errors import EgressRefused, InvalidConfig


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration that holds together: with defaults, and the origins its credentials may go to."""

    connector: Connector
    config: Mapping[str, Any]
    origins: tuple[str, ...]


def check(name: str, config: Mapping[str, Any], egress: EgressPolicy, *, set_by: Caller | None = None) -> Checked:
    """The config of a connection of connector `name`, checked. `set_by`: whoever sets it now; None: it is stored.

    Only a platform admin sets one whose origins are not the connector's official ones. That holds for every change of
    such a connection, since a base URL is more than its origin. Raises Problem `invalid_input`, `unknown_field`,
    `forbidden`, `egress_refused`.
    """
    connector = catalog.find(name)
    if connector is None:
        raise wrong("connector", f"must be one of {', '.join(catalog.names())}")
    try:
        full = connector.check_config(config)
    except InvalidConfig as error:
        fields = [Field(f"config.{f.path}" if f.path else "config", f.problem, f.unknown) for f in error.fields]
        raise misfit(fields) from None
    origins = tuple(connector.origins(full))
    if set_by is not None and not set(origins) <= catalog.reviewed_origins(connector):
        require(set_by, "origins.unofficial")
    try:
        for origin in origins:
            check_origin(origin, policy=egress)
    except EgressRefused as error:
        raise Problem(
            "egress_refused",
            error.reason,
            fields=[Field("config.base_url", error.reason)],
            hint="an operator can start the server with --allow-upstream HOST:PORT",
        ) from None
    return Checked(connector, full, origins)


def wrong(path: str, problem: str) -> Problem:
    """One field is wrong."""
    return Problem("invalid_input", f"{path}: {problem}", fields=[Field(path, problem)])
