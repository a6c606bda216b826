"""Small JSON documents that others publish: fetched by the one way out, bounded, without redirects or credentials."""

import json
from typing import Any, Final
from urllib.parse import urlsplit

from connectors.base import HttpSender
from connectors.errors import ConnectorError, EgressRefused

SECONDS: Final = 5.0
MAX_BYTES: Final = 64 * 1024


class NoDocument(Exception):
    """There is no such document to be had. The message says why, and repeats nothing of the answer."""


async def fetch_json(http: HttpSender, url: str, *, max_bytes: int = MAX_BYTES) -> Any:
    """The JSON value at `url`, an https address, within 5 s. Raises NoDocument."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise NoDocument("its address cannot be read") from None
    origin = f"{parts.scheme}://{parts.netloc}"
    try:
        answer = await http.send(
            method="GET",
            origin=origin,
            path=parts.path,
            query=parts.query,
            headers=(("accept", "application/json"),),
            body=None,
            timeout_seconds=SECONDS,
            max_response_bytes=max_bytes,
            allowed_origins=(origin,),
        )
    except EgressRefused as refused:
        raise NoDocument(f"its address is not allowed: {refused.reason}") from None
    except ConnectorError:
        raise NoDocument("it could not be fetched") from None
    if answer.status != 200:
        raise NoDocument(f"its server answered {answer.status}")
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise NoDocument("it is not JSON") from None
