"""Headers that say who asks, and the methods that HTTP gives every path."""

import pytest

from bench.harness import Stand
from tests.security.rawhttp import exchange, request


@pytest.mark.parametrize("name", ["Authorization", "X-Keyreeve-Tenant", "X-Keyreeve-Identifier", "Host"])
def test_who_asks_is_said_once(running_server: Stand, name: str) -> None:
    """Of two such headers, whatever stands before this server may have checked the other."""
    here = running_server.url.removeprefix("http://")
    said = {"Authorization": f"Bearer {running_server.admin_key}", "Host": here}.get(name, "default")
    headers = tuple(f"{name}: {said}" for _ in range(2))
    host = None if name == "Host" else ""
    for path in ("/v1/keys", "/v1/tools/execute", "/mcp"):
        answer = exchange(running_server, request(running_server, path, headers=headers, host=host))
        assert (answer.status, b"given twice" in answer.body) == (422, True), answer


def test_head_is_get_without_the_body(running_server: Stand) -> None:
    for path in ("/healthz", "/", "/v1/keys", "/v1/keys/nothing"):
        head, got = (running_server.admin.send(method, path) for method in ("HEAD", "GET"))
        assert (head.status_code, head.headers.get("content-length")) == (
            got.status_code,
            got.headers.get("content-length"),
        )
        assert head.content == b""
    for method in ("GET", "HEAD", "DELETE"):
        answer = running_server.admin.send(method, "/v1/tools/execute")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
