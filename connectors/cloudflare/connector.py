"""The Cloudflare connector: implements `connectors.base.Connector` with the parts beside it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from connectors.auth import headers_for
from connectors.base import (
    Answer,
    ConnectionView,
    CredentialKind,
    HttpSender,
    Json,
    Meter,
    Operation,
    Perform,
    Permissions,
    Permit,
    Prepared,
    Tool,
    UpstreamIdentity,
)
from connectors.cloudflare import config as settings
from connectors.cloudflare import explain, graphql, permissions, programs, tools
from connectors.cloudflare import verify as verification
from connectors.cloudflare.answer import MAX_ANSWER, read_answer
from connectors.cloudflare.call import base_of, index_of, prepare_call, prepare_row
from connectors.cloudflare.concrete import prepare_request
from connectors.cloudflare.operations import GRAPHQL, REST, operation_of, path_resources
from connectors.errors import FieldProblem, InvalidInput
from connectors.openapi.index import SpecIndex
from connectors.openapi.model import OperationRow
from connectors.openapi.schema import split_input
from vault.secret import Secret

LARGE_ANSWER: Final = 512 * 1024  # bytes; reading more would hold up every other call

CONFIG_HELP: Final[Mapping[str, str]] = {
    "base_url": f"where the API is; default {settings.BASE_URL}. Another origin needs a platform admin",
    "spec": "{source, pin?}: Cloudflare's published description, or a file in the operator's spec folder",
    "tools": "operation ids that get a typed tool each, beside NAME_call",
    "permission_check": "refuse (default): what the token can't do is not sent; advise: it is, and learned",
    "result_chars": "how long a program's result may be before it is summarised: 1,000-200,000, default 24,000",
    "body_check": "advise (default): a body unlike the description is a warning; strict: it is refused",
    "budget": "{reserve?: 0-600 requests kept for people's own dashboard use, key?: user, token or account}",
}
PERMISSIONS_HELP: Final = (
    "User Details: Read, so that calls count against the right user; then what the agents should be able to "
    "do, such as Zone: Read and DNS: Edit. API Tokens: Read is not needed; with it a token sees its siblings."
)


class CloudflareConnector:
    """Stateless: one instance serves every connection."""

    name: str = "cloudflare"
    title: str = "Cloudflare"
    official_origins: tuple[str, ...] = (settings.OFFICIAL_ORIGIN,)
    kinds: tuple[CredentialKind, ...] = settings.KINDS
    meters: tuple[Meter, ...] = (REST, GRAPHQL)
    needs_spec: bool = True
    config_help: Mapping[str, str] = CONFIG_HELP
    permissions_help: str = PERMISSIONS_HELP

    def check_config(self, config: Mapping[str, Json]) -> Mapping[str, Json]:
        return settings.check_config(config)

    def origins(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        return (base_of(config.get("base_url", settings.BASE_URL)).origin,)

    def check_credential(self, credential: Mapping[str, Json]) -> tuple[str, bytes, tuple[str, ...]]:
        return settings.check_credential(credential)

    async def verify(
        self, connection: ConnectionView, kind: str, credential: Mapping[str, Json], perform: Perform
    ) -> UpstreamIdentity:
        return await verification.verify(base_of(connection.config["base_url"]), kind, credential, perform)

    def tools(self, connection: ConnectionView) -> Sequence[Tool]:
        return tools.tools(connection)

    def missing_tools(self, connection: ConnectionView) -> tuple[str, ...]:
        """The entries of `config.tools` that name no operation of the pinned description."""
        return tools.missing_tools(connection)

    def prepare(self, connection: ConnectionView, tool_name: str, tool_input: Mapping[str, Json]) -> Prepared:
        if tool_name == f"{connection.name}_call":
            return prepare_call(connection, tool_input)
        row = tools.typed_rows(connection).get(tool_name)
        if row is None:
            raise InvalidInput([FieldProblem("tool_name", "is not a tool of this connection")])
        path_params, query, body = split_input(index_of(connection).details(row), tool_input)
        return prepare_row(connection, row, path_params=path_params, query=query, body=body)

    def prepare_request(self, connection: ConnectionView, given: Mapping[str, Json]) -> Prepared:
        return prepare_request(connection, given)

    def operations(self, spec: SpecIndex) -> Sequence[Operation]:
        return [operation_of(row) for row in spec.rows]

    def names(self, operation: Operation) -> tuple[frozenset[str], frozenset[str]]:
        found = path_resources(operation.path, operation.path)
        always = frozenset(kind for kind in ("accounts", "zones") if getattr(found, kind))
        # Listing and creating zones: their account stands in the query or the body (resources.request_resources).
        return always, always | {"accounts"} if operation.path == "/zones" else always

    def reachable_accounts(self, permissions_: Permissions) -> tuple[str, ...] | None:
        return programs.reachable(permissions_, "accounts")

    def reachable_zones(self, permissions_: Permissions) -> tuple[str, ...] | None:
        return programs.reachable(permissions_, "zones")

    def operation(self, connection: ConnectionView, ref: str) -> Operation:
        if ref.strip() in graphql.REFS:
            return graphql.operation("read")
        return operation_of(index_of(connection).find(ref))

    def nearest(self, connection: ConnectionView, asked: str, allow: Callable[[Operation], bool]) -> Sequence[str]:
        def admits(row: OperationRow) -> bool:
            return allow(operation_of(row))

        return index_of(connection).nearest(asked, admits, n=5)

    def permit(self, prepared: Prepared, permissions_: Permissions) -> Permit:
        return explain.learned_denial(prepared, permissions_) or permissions.permit(prepared, permissions_)

    def lacks(self, operation: Operation, permissions_: Permissions) -> str | None:
        return permissions.lacks(operation, permissions_)

    async def send(
        self,
        http: HttpSender,
        prepared: Prepared,
        kind: str,
        secret: Secret,
        *,
        allowed_origins: Sequence[str],
        timeout_seconds: float,
    ) -> Answer:
        authorisation = headers_for(kind, secret)
        raw = await http.send(
            method=prepared.method,
            origin=prepared.origin,
            path=prepared.path,
            query=prepared.query,
            headers=(*prepared.headers, *authorisation.headers),
            body=prepared.body,
            timeout_seconds=timeout_seconds,
            max_response_bytes=MAX_ANSWER,
            allowed_origins=allowed_origins,
        )
        if len(raw.body) > LARGE_ANSWER:
            answer = await asyncio.to_thread(read_answer, prepared, raw, authorisation.needles)
        else:
            answer = read_answer(prepared, raw, authorisation.needles)
        if answer.error is None:
            return answer
        hint = explain.hint_for(prepared, answer)
        return answer if hint is None else replace(answer, error={**answer.error, "hint": hint})

    def learn(self, prepared: Prepared, answer: Answer) -> str | None:
        return explain.learn(prepared, answer)
