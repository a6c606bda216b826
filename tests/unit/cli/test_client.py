"""The client: problems are told in words, and silence is told apart from them."""

from collections.abc import Callable

import httpx
import pytest

from broker.cli import exits
from broker.cli.client import Api
from broker.cli.errors import Refused, Unreachable
from broker.cli.place import Place

Handler = Callable[[httpx.Request], httpx.Response]


def api(handler: Handler, tenant: str | None = None) -> Api:
    return Api(Place("http://127.0.0.1:1", "krv_op_x"), tenant=tenant, transport=httpx.MockTransport(handler))


def test_what_is_sent() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"ok": True})

    with api(handler, "acme") as client:
        assert client.get("/v1/x", a="1", b=None) == {"ok": True}
    assert seen[0].headers["authorization"] == "Bearer krv_op_x"
    assert seen[0].headers["x-keyreeve-tenant"] == "acme"
    assert seen[0].headers["user-agent"].startswith("keyreeve-cli/")
    assert str(seen[0].url) == "http://127.0.0.1:1/v1/x?a=1"


def test_pages() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("page_token", "0"))
        size = int(request.url.params["page_size"])
        more = str(start + size) if start + size < 2500 else None
        return httpx.Response(200, json={"items": list(range(start, min(2500, start + size))), "next_page_token": more})

    with api(handler) as client:
        assert client.pages("/v1/x") == list(range(2500))
        assert client.pages("/v1/x", limit=1200) == list(range(1200))


def test_a_stream_is_cut_at_newlines_alone() -> None:
    lines = ['{"name":"a\u2028b\x85c\x0bd"}', '{"kind":"end"}']
    with api(lambda _: httpx.Response(200, content="\n".join(lines).encode() + b"\n")) as client:
        assert [line.decode() for line in client.lines("/v1/audit/export")] == lines


def test_a_problem_is_told_in_words() -> None:
    problem = {
        "code": "not_granted",
        "detail": "no grant covers it",
        "hint": "ask an admin",
        "status": 403,
        "execution_id": "e1",
        "sent": False,
        "fields": [{"path": "body.x", "problem": "is wrong"}],
        "retry_after": 7,
    }
    with api(lambda _: httpx.Response(403, json=problem)) as client, pytest.raises(Refused) as raised:
        client.post("/v1/x", {})
    assert raised.value.exit_code == exits.FORBIDDEN
    assert list(raised.value.lines()) == [
        "not_granted: no grant covers it",
        "  body.x: is wrong",
        "  try again in 7 s",
        "→ ask an admin",
        "→ keyreeve allow e1",
    ]
    assert raised.value.as_json() == problem
    told = Refused({**problem, "hint": "type `keyreeve allow e1`"}, 403).lines()
    assert [line for line in told if "allow e1" in line] == ["→ type `keyreeve allow e1`"]


def test_an_answer_that_is_no_problem_document_is_still_an_answer() -> None:
    with api(lambda _: httpx.Response(502, text="<html>")) as client, pytest.raises(Refused) as raised:
        client.get("/v1/x")
    assert raised.value.exit_code == exits.SERVER
    with api(lambda _: httpx.Response(200, text="<html>")) as client, pytest.raises(Unreachable):
        client.get("/v1/x")


def test_redirects_are_not_followed() -> None:
    """A redirect could carry the key elsewhere."""
    elsewhere = httpx.Response(307, headers={"location": "http://elsewhere.example/"})
    with api(lambda _: elsewhere) as client, pytest.raises(Refused):
        client.get("/v1/x")


def test_silence() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with api(handler) as client, pytest.raises(Unreachable, match="nothing answers") as raised:
        client.get("/v1/x")
    assert raised.value.exit_code == exits.SERVER
