"""Words of a command line become values, or a sentence that says what is wrong with them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli import parse
from broker.cli.errors import Usage

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("GET /zones", "GET /zones"),
        ("5", 5),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('{"a":[1]}', {"a": [1]}),
        ('"5"', "5"),
        ("[]", []),
        ("", ""),
        ("007", "007"),
        ("1e5", "1e5"),
        ("023e105f4ecef8ad9ca31a8372d0c353", "023e105f4ecef8ad9ca31a8372d0c353"),
        ("12345678901234567890123456789012", "12345678901234567890123456789012"),
        ("NaN", "NaN"),
        ("@", "@"),
    ],
)
def test_value(text: str, value: Any) -> None:
    got = parse.value_of(text)
    assert (got, type(got)) == (value, type(value))


@given(st.text("0123456789abcdef", min_size=32, max_size=32))
def test_an_id_stays_text(text: str) -> None:
    assert parse.value_of(text) == text


def test_pairs_nest() -> None:
    words = ["operation=GET /zones", "query.name=example.com", "query.page=2", "body.a.b=x=y"]
    assert parse.pairs(words) == {
        "operation": "GET /zones",
        "query": {"name": "example.com", "page": 2},
        "body": {"a": {"b": "x=y"}},
    }


@pytest.mark.parametrize(
    "words", [["a"], ["=x"], ["a..b=1"], [".a=1"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=1", "a=2"], ["a={"]]
)
def test_pairs_refuse(words: list[str]) -> None:
    with pytest.raises(Usage):
        parse.pairs(words)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"n": 1}')
    (tmp_path / "a.txt").write_text("plain\n")
    (tmp_path / "a.bin").write_bytes(b"\xff\x00")
    assert parse.value_of(f"@{tmp_path}/a.json") == {"n": 1}
    assert parse.value_of(f"@{tmp_path}/a.txt") == "plain\n"
    assert parse.value_of(f"@{tmp_path}/a.bin") == {"$binary": {"base64": "/wA="}}
    with pytest.raises(Usage, match="cannot be read"):
        parse.value_of(f"@{tmp_path}/none")


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:8443", ("::1", 8443)),
        ("LocalHost:1", ("localhost", 1)),
        ("api.example.com:65535", ("api.example.com", 65535)),
    ],
)
def test_host_port(text: str, pair: tuple[str, int]) -> None:
    assert parse.host_port(text) == pair


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", ":1", "a:0", "a:65536", "a:1a", "a:٣", "::1:80", "[::g]:1", "http://a:1", "a b:1", "a:99999999999"],
)
def test_host_port_refuses(text: str) -> None:
    with pytest.raises(Usage, match="HOST:PORT"):
        parse.host_port(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert parse.is_loopback(host) is loopback


def test_public_url() -> None:
    assert parse.public_url("https://Keyreeve.example.com/") == "https://keyreeve.example.com"
    assert parse.public_url("http://[::1]:8700") == "http://[::1]:8700"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keyreeve.example.com",
        "ftp://a",
        "http://a.example",
        "https://u:p@a",
        "https://a/x",
        "https://a?x",
        "https://a:b",
    ],
)
def test_public_url_refuses(url: str) -> None:
    with pytest.raises(Usage):
        parse.public_url(url)


def test_moment() -> None:
    assert parse.moment("15m", NOW, ahead=False) == "2026-11-21T11:45:00.000000Z"
    assert parse.moment("7d", NOW, ahead=True) == "2026-11-28T12:00:00.000000Z"
    assert parse.moment("2026-01-01T01:00:00+01:00", NOW, ahead=True) == "2026-01-01T00:00:00.000000Z"
    for wrong in ("tomorrow", "2026-01-01T00:00:00", "0m", "9999999d"):
        with pytest.raises(Usage):
            parse.moment(wrong, NOW, ahead=True)


def test_segment_is_one_segment() -> None:
    assert parse.seg("a/b?c#d e@f") == "a%2Fb%3Fc%23d%20e@f"
