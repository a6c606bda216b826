"""What a grant's patterns mean, example by example, and against an independent matcher."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.policy.match import (
    PatternError,
    check_tool,
    covers_operation,
    covers_tool,
    names_operation,
    parse,
)
from connectors.base import Operation
from tests.unit.policy.facts import CREATE_DNS, GET_ZONE, LIST_DNS, LIST_ZONES


@pytest.mark.parametrize(
    ("pattern", "operation", "covers", "names"),
    [
        ("GET /zones", LIST_ZONES, True, True),
        ("GET /zones/{zone_id}", GET_ZONE, True, True),
        ("zones-0-get", GET_ZONE, True, True),
        ("GET /zones/*", GET_ZONE, True, True),
        ("GET /*/*", GET_ZONE, True, True),
        ("GET /zones/**", GET_ZONE, True, False),
        ("GET /zones/**", LIST_ZONES, True, False),
        ("GET /**", LIST_ZONES, True, False),
        ("* /zones", LIST_ZONES, True, False),
        ("* /**", CREATE_DNS, True, False),
        ("* /zones/*/dns_records/**", CREATE_DNS, True, False),
        ("* /zones/*/dns_records/**", LIST_DNS, True, False),
        ("GET /**/dns_records", LIST_DNS, True, False),
        ("GET /zones/**/dns_records", LIST_DNS, True, False),
        ("GET /zones/**/**", LIST_DNS, True, False),
        # not the same method, too few or too many segments, another template's variable, another case
        ("POST /zones", LIST_ZONES, False, False),
        ("GET /zones/*", LIST_ZONES, False, False),
        ("GET /zones/*", LIST_DNS, False, False),
        ("GET /zones", GET_ZONE, False, False),
        ("GET /zones/{id}", GET_ZONE, False, False),
        ("GET /Zones", LIST_ZONES, False, False),
        ("GET /**/purge", LIST_DNS, False, False),
        ("zones-0-GET", GET_ZONE, False, False),
        ("zones", GET_ZONE, False, False),
    ],
)
def test_operation_patterns(pattern: str, operation: Operation, covers: bool, names: bool) -> None:
    assert covers_operation([pattern], operation) is covers
    assert names_operation([pattern], operation) is names


def test_an_absent_list_covers_all_and_names_none_an_empty_one_covers_none() -> None:
    assert covers_operation(None, GET_ZONE)
    assert not names_operation(None, GET_ZONE)
    assert not covers_operation([], GET_ZONE)
    assert covers_tool(None, "cloudflare_call")
    assert not covers_tool([], "cloudflare_call")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " GET /zones",
        "GET /zones ",
        "get /zones",
        "FETCH /zones",
        "GET zones",
        "* zones",
        "/zones",
        "GET //zones",
        "GET /zones/",
        "GET /zones/a*",
        "GET /zones/***",
        "GET /zo nes",
        "zones-*",
        "*",
        "GET /\x00",
        "GET /zönes",
        "GET /" + "a" * 300,
        "GET /" + "/".join("a" * 65),
    ],
)
def test_what_is_no_pattern_is_refused_and_covers_nothing(text: str) -> None:
    with pytest.raises(PatternError):
        parse(text)
    assert not covers_operation([text], GET_ZONE)


def test_an_operation_id_may_hold_what_descriptions_hold() -> None:
    odd = Operation("ssl/-tls-mode (recommended), v2", "GET", "/x", "read")
    assert names_operation(["ssl/-tls-mode (recommended), v2"], odd)


@pytest.mark.parametrize(
    ("pattern", "name", "covers"),
    [
        ("cloudflare_call", "cloudflare_call", True),
        ("cloudflare_call", "cloudflare_call2", False),
        ("cloudflare_*", "cloudflare_call", True),
        ("cloudflare_*", "cloudflare_", True),
        ("*", "anything", True),
        ("*_call", "cloudflare_call", True),
        ("*_call", "cloudflare_calls", False),
        ("c*_c*l", "cloudflare_call", True),
        ("c*xx*l", "cloudflare_call", False),
        ("ab*ba", "aba", False),
        ("Cloudflare_*", "cloudflare_call", False),
    ],
)
def test_tool_patterns(pattern: str, name: str, covers: bool) -> None:
    assert covers_tool([pattern], name) is covers


@pytest.mark.parametrize("text", ["", "a" * 61, "a b", "a.b", "**", "a\n", "é"])
def test_what_is_no_tool_pattern_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        check_tool(text)


_SEGMENTS = st.lists(st.sampled_from(["a", "b", "{x}", "*", "**"]), min_size=1, max_size=7)
_TEMPLATE = st.lists(st.sampled_from(["a", "b", "{x}", "c"]), min_size=1, max_size=8)


@given(_SEGMENTS, _TEMPLATE)
def test_paths_agree_with_a_regular_expression(wanted: list[str], found: list[str]) -> None:
    parts = {"*": "/[^/]+", "**": "(?:/[^/]+)*"}
    independent = re.fullmatch("".join(parts.get(s, "/" + re.escape(s)) for s in wanted), "/" + "/".join(found))
    operation = Operation("id", "GET", "/" + "/".join(found), "read")
    assert covers_operation(["GET /" + "/".join(wanted)], operation) is (independent is not None)


@given(st.text("ab*", min_size=1, max_size=10), st.text("ab", max_size=12))
def test_globs_agree_with_a_regular_expression(pattern: str, name: str) -> None:
    independent = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name)
    assert covers_tool([pattern], name) is (independent is not None)


@pytest.mark.timeout(60)
def test_no_pattern_is_slow() -> None:
    """The worst of both: every `**` could try every place, 60 segments long. Trying them all would not end."""
    hostile = "GET /" + "/".join(["**", "a"] * 30 + ["b"])
    operation = Operation("id", "GET", "/" + "/".join("a" * 64), "read")
    assert not covers_operation([hostile], operation)
    assert not covers_tool(["*a" * 29 + "*b"], "a" * 60)
