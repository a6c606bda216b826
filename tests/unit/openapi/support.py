"""Small descriptions written by hand, and the real ones where they lie beside the repository."""

import functools
import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex
from connectors.openapi.model import OperationDetails

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def document(paths: dict[str, Any], *, version: str = "3.0.3", **more: Any) -> bytes:
    return orjson.dumps({"openapi": version, "info": {"title": "t", "version": "1"}, "paths": paths, **more})


def index(paths: dict[str, Any], **more: Any) -> SpecIndex:
    return SpecIndex.load(compile_spec(document(paths, **more)))


def operation(
    path: str = "/things/{id}",
    method: str = "get",
    *,
    parameters: list[dict[str, Any]] | None = None,
    content: dict[str, Any] | None = None,
    **more: Any,
) -> OperationDetails:
    """The details of a description's only operation; `content` maps media types to schemas."""
    body = {"requestBody": {"content": {m: {"schema": s} for m, s in content.items()}}} if content else {}
    opened = index({path: {method: {"operationId": "op", "parameters": parameters or [], **body}}}, **more)
    return opened.details(opened.rows[0])


def param(name: str, schema: dict[str, Any], where: str = "query", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "schema": schema,
        **({"required": True} if where == "path" else {}),
        **more,
    }


def raw_description(name: str) -> bytes:
    file = DATA / f"cloudflare-openapi-{name}.json.gz"
    if not file.exists():
        pytest.skip(f"{file} is not there: the real description is not part of the product")
    return gzip.decompress(file.read_bytes())


@functools.cache
def real_index(name: str) -> SpecIndex:
    return SpecIndex.load(compile_spec(raw_description(name)))
