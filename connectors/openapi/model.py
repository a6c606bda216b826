"""The values that pass between the parts of this package: rows, parameters and details of operations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from connectors.openapi.template import Template

Json = Any  # a decoded JSON value
Schema = Any  # JSON Schema 2020-12: a mapping or a boolean
Location = Literal["path", "query", "header"]


class Absent:
    """The type of `ABSENT`, which tells "no body" from a body of `null`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One operation as the light table holds it.

    `groups` are the permission groups of `x-api-token-group`, any one of which suffices; None where the
    description names none. `permissions_required` are those of `x-cfPermissionsRequired`. `number` is its
    place in the table.
    """

    id: str
    method: str
    path: str
    summary: str
    tags: tuple[str, ...]
    deprecated: bool
    groups: tuple[str, ...] | None
    permissions_required: tuple[str, ...]
    number: int

    @property
    def ref(self) -> str:
        """What a person reads: "GET /zones/{zone_id}"."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    `json` ones travel as JSON text; the others by `style` and `explode` (OpenAPI 3 § 4.8.12).
    """

    name: str
    location: Location
    required: bool
    schema: Schema
    style: str
    explode: bool
    json: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """A request body in one media type.

    `part_types` gives the content type declared for parts of a multipart body.
    """

    schema: Schema
    part_types: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OperationDetails:
    """All that building and judging one operation's request needs.

    Schemas are JSON Schema 2020-12; their references are `#/$defs/NAME` into `defs`. `responses` gives the
    media types declared per status.
    """

    row: OperationRow
    template: Template
    parameters: tuple[Parameter, ...]
    bodies: Mapping[str, Body]
    body_required: bool
    responses: Mapping[str, tuple[str, ...]]
    defs: Mapping[str, Schema]
    description: str

    def located(self, location: Location) -> dict[str, Parameter]:
        """The parameters of one location by name, in the description's order."""
        return {p.name: p for p in self.parameters if p.location == location}

    def standalone(self, schema: Schema) -> Schema:
        """`schema` with its definitions, as any JSON Schema validator takes it."""
        if not self.defs or not isinstance(schema, dict):
            return schema
        return {**schema, "$defs": dict(self.defs)}
