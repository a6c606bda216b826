"""A connection over a small description, and requests and answers in one line each."""
# ruff: noqa: E501

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from connectors.base import Operation, Prepared, RawAnswer, Resources
from connectors.cloudflare.connector import CloudflareConnector
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex

ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
ACCOUNT = "75ccbf912a8c4b14b9aa8cc660623d82"


@dataclass
class View:
    """A connection as a connector sees it."""

    name: str = "cf"
    config: Mapping[str, Any] = field(default_factory=dict)
    spec: SpecIndex | None = None


def _parameter(name: str, place: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema or {"type": "string"}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


_OK = {"200": {"description": "ok", **_json({"type": "object"})}}
_BYTES = {"200": {"description": "ok", "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
_RECORD = {
    "type": "object",
    "required": ["type", "name"],
    "properties": {
        "type": {"type": "string", "enum": ["A", "TXT"]},
        "name": {"type": "string"},
        "ttl": {"type": "integer"},
    },
}
_VALUE_PATH = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}"
SPEC = {
    "openapi": "3.0.3",
    "info": {"title": "small", "version": "1"},
    "servers": [{"url": "https://api.cloudflare.com/client/v4"}],
    "paths": {
        "/zones": {
            "get": {
                "operationId": "zones-get",
                "summary": "List Zones",
                "parameters": [_parameter("name", "query"), _parameter("account.id", "query")],
                "responses": _OK,
                "x-api-token-group": ["Zone Zone Read"],
            }
        },
        "/zones/{zone_id}/dns_records": {
            "get": {
                "operationId": "dns-list",
                "summary": "List records",
                "parameters": [_parameter("zone_id", "path", type="string", maxLength=32), _parameter("page", "query", type="integer")],
                "responses": _OK,
                "x-api-token-group": ["DNS Read", "DNS Write"],
            },
            "post": {
                "operationId": "dns-create",
                "summary": "Create record",
                "parameters": [_parameter("zone_id", "path", type="string", maxLength=32)],
                "requestBody": {"required": True, **_json(_RECORD)},
                "responses": _OK,
                "x-api-token-group": ["DNS Write"],
            },
        },
        "/user/tokens": {
            "post": {"operationId": "token-create", "requestBody": _json({"type": "object"}), "responses": _OK,
                     "x-api-token-group": ["API Tokens Write"]},
        },
        _VALUE_PATH: {
            "get": {
                "operationId": "kv-get",
                "parameters": [_parameter(n, "path") for n in ("account_id", "namespace_id", "key_name")],
                "responses": _BYTES,
                "x-api-token-group": ["Workers KV Storage Read", "Workers KV Storage Write"],
            },
            "put": {
                "operationId": "kv-put",
                "parameters": [_parameter(n, "path") for n in ("account_id", "namespace_id", "key_name")],
                "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}},
                "responses": _OK,
                "x-api-token-group": ["Workers KV Storage Write"],
            },
        },
        "/plain": {"post": {"operationId": "call", "requestBody": _json({}), "responses": _OK}},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def connector() -> CloudflareConnector:
    return CloudflareConnector()


@pytest.fixture(scope="session")
def index() -> SpecIndex:
    return SpecIndex.load(compile_spec(json.dumps(SPEC).encode()))


@pytest.fixture
def connection(connector: CloudflareConnector, index: SpecIndex) -> Callable[..., View]:
    def make(**config: Any) -> View:
        return View(config=connector.check_config(config), spec=index)

    return make


@pytest.fixture
def request_of() -> Callable[..., Prepared]:
    def make(*groups: str, zones: tuple[str, ...] = (), accounts: tuple[str, ...] = (), **given: Any) -> Prepared:
        operation = Operation("op", "GET", "/x", "read", permissions=groups, annotated=bool(groups))
        return Prepared(
            operation, "GET", "https://api.cloudflare.com", "/x", resources=Resources(accounts, zones), **given
        )

    return make


@pytest.fixture
def raw() -> Callable[..., RawAnswer]:
    def make(body: bytes, status: int = 200, media: str = "application/json", **headers: str) -> RawAnswer:
        return RawAnswer(status, {"content-type": media, **{k.replace("_", "-"): v for k, v in headers.items()}}, body)

    return make
