"""Client-id metadata documents: fetched once, for their own address, or taken from the operator's folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.identity.oauth.server import read_seeds
from connectors.base import RawAnswer
from connectors.documents import MAX_BYTES, NoDocument, fetch_json
from connectors.egress import EgressPolicy
from connectors.errors import ResponseTooLarge, UpstreamTimeout
from connectors.http import HttpClient

URL = "https://editor.example/client.json"
GOOD = {"client_id": URL, "client_name": "Editor", "redirect_uris": ["http://127.0.0.1/cb"]}


class Answering:
    """An upstream that answers as told."""

    def __init__(self, answer: RawAnswer | Exception) -> None:
        self.answer = answer
        self.asked: list[dict[str, object]] = []

    async def send(self, **asked: object) -> RawAnswer:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_document_is_asked_for_with_nothing_else() -> None:
    http = Answering(RawAnswer(200, {}, json.dumps(GOOD).encode()))
    assert await fetch_json(http, URL) == GOOD  # type: ignore[arg-type]
    (asked,) = http.asked
    assert asked["allowed_origins"] == ("https://editor.example",)
    assert asked["max_response_bytes"] == MAX_BYTES
    assert asked["headers"] == (("accept", "application/json"),)


@pytest.mark.parametrize(
    "answer",
    [
        RawAnswer(302, {"location": "http://169.254.169.254/"}, b""),
        RawAnswer(404, {}, b"{}"),
        RawAnswer(200, {}, b"<html>"),
        RawAnswer(200, {}, b"[" * 60_000),
        ResponseTooLarge(MAX_BYTES),
        UpstreamTimeout("slow", sent="unknown"),
    ],
    ids=["redirect", "missing", "html", "nested", "large", "slow"],
)
async def test_anything_but_a_document_is_none(answer: RawAnswer | Exception) -> None:
    http = Answering(answer)
    with pytest.raises(NoDocument):
        await fetch_json(http, URL)  # type: ignore[arg-type]
    assert len(http.asked) == 1


async def test_an_address_that_is_none_is_not_asked_at() -> None:
    http = Answering(RawAnswer(200, {}, b"{}"))
    with pytest.raises(NoDocument):
        await fetch_json(http, "https://[::1/client.json")  # type: ignore[arg-type]
    assert http.asked == []


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "10.0.0.1", "::1", "fd00::1", "100.64.0.1"])
async def test_a_public_name_with_an_inner_address_is_not_reached(address: str) -> None:
    async def resolve(_: str, __: int) -> Sequence[str]:
        return [address]

    async with HttpClient(EgressPolicy(), resolve=resolve) as http:
        with pytest.raises(NoDocument, match="not allowed"):
            await fetch_json(http, URL)


def test_the_operators_folder(tmp_path: Path) -> None:
    (tmp_path / "editor.json").write_text(json.dumps(GOOD))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text(json.dumps(GOOD | {"client_id": "not an address", "redirect_uris": []}))
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "large.json").write_text(" " * (MAX_BYTES + 1))
    assert read_seeds(tmp_path) == {URL: GOOD}
    assert read_seeds(tmp_path / "missing") == {}
