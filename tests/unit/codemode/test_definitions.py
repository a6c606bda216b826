"""The two definitions as a model pays for them."""

import json
from typing import Any

import bpe_openai  # type: ignore[import-untyped]
import pytest

from broker.policy.reach import Reach
from broker.tools.codemode.offered import annotations, without_account
from connectors.base import Permissions
from connectors.cloudflare.programs import execute_tool, reachable, search_tool

MOST = 1_000


def definition(tool: Any, reach: Reach) -> dict[str, Any]:
    told = tool.description if tool.kind == "search" else f"{tool.description} {reach.sentence}"
    return {
        "name": tool.name,
        "description": told,
        "input_schema": tool.input_schema,
        "annotations": annotations(tool, reach),
    }


@pytest.mark.parametrize("several", [True, False])
def test_both_together_cost_at_most_a_thousand_tokens(several: bool) -> None:
    reach = Reach("destructive", "You may read, write and delete, only: GET /zones/**, * /zones/*/dns_records/**.")
    tools = [search_tool("cloudflare"), execute_tool("cloudflare", several_accounts=several)]
    text = json.dumps([definition(tool, reach) for tool in tools], ensure_ascii=False)
    tokens = len(bpe_openai.get_encoding("o200k_base").encode(text))
    print(f"{tokens} tokens")
    assert tokens <= MOST


def test_account_id_is_there_only_where_it_means_something() -> None:
    tool = execute_tool("cloudflare", several_accounts=True)
    assert "account_id" in tool.input_schema["properties"]
    narrow = without_account(tool)
    assert "account_id" not in narrow.input_schema["properties"]
    assert narrow.schema_hash == execute_tool("cloudflare", several_accounts=False).schema_hash != tool.schema_hash


@pytest.mark.parametrize(
    ("resources", "accounts", "zones"),
    [
        ({"com.cloudflare.api.account.a1": "*"}, ("a1",), None),
        ({"com.cloudflare.api.account.*": "*"}, None, None),
        ({"com.cloudflare.api.account.zone.z1": "*"}, (), ("z1",)),
        ({"com.cloudflare.api.account.a1": {"com.cloudflare.api.account.zone.*": "*"}}, ("a1",), None),
        ({"com.cloudflare.api.account.a1": {"com.cloudflare.api.account.zone.z1": "*"}}, ("a1",), ("z1",)),
        ("odd", None, None),
    ],
)
def test_what_policies_say_of_accounts_and_zones(resources: Any, accounts: Any, zones: Any) -> None:
    permissions = Permissions("policies", ({"effect": "allow", "permission_groups": [], "resources": resources},))
    assert reachable(permissions, "accounts") == accounts
    assert reachable(permissions, "zones") == zones
    assert reachable(Permissions("unknown"), "accounts") is None
