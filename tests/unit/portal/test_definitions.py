"""What a model pays for the portal: its two definitions, whatever stands behind them."""

import json

import bpe_openai  # type: ignore[import-untyped]
import jsonschema_rs
import pytest

from broker.endpoints.mcp import discovery
from broker.endpoints.mcp.place import Options, read_options
from broker.endpoints.mcp.portal import kind_of
from broker.endpoints.mcp.portal_tools import TOOLS
from broker.endpoints.mcp.rpc import Refused

MOST = 600


def test_both_together_cost_at_most_six_hundred_tokens() -> None:
    text = json.dumps(list(TOOLS), ensure_ascii=False)
    tokens = len(bpe_openai.get_encoding("o200k_base").encode(text))
    print(f"{tokens} tokens")
    assert tokens <= MOST


def test_they_are_good_definitions() -> None:
    assert [tool["name"] for tool in TOOLS] == ["execute", "search"]
    for tool in (*TOOLS, *discovery.TOOLS):
        jsonschema_rs.Draft202012Validator(tool["inputSchema"])
        jsonschema_rs.Draft202012Validator(tool.get("outputSchema", {}))
    assert [kind_of(name) for name in ("search", "execute", "find_tools", "cf_call", "__proto__")] == [
        "search", "execute", None, None, None,
    ]  # fmt: skip


def test_the_url_says_so() -> None:
    assert read_options(b"codemode=search_and_execute") == Options(None, None, "codemode")
    assert read_options(b"codemode=search_and_execute&access=read&tools=cf_call").shape == "codemode"
    for wrong in (b"codemode=1", b"codemode=", b"codemode=search_and_execute&discover=1"):
        with pytest.raises(Refused):
            read_options(wrong)
