"""`allow` builds no wider grant than the refusal asks for."""

from typing import Any

import pytest

from broker.cli.errors import CommandError
from broker.cli.granting import describe, narrowest

ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
WOULD = {"subject": {"identifier": "priya"}, "connection_name": "cloudflare", "access": "write", "operations": ["x"]}
REFUSAL: dict[str, Any] = {
    "kind": "refusal",
    "identifier": "priya",
    "connection_name": "cloudflare",
    "tool_name": "cloudflare_call",
    "operation": "zone-purge",
    "effect": "write",
    "path": f"/client/v4/zones/{ZONE}/purge_cache",
    "reason": "not_granted",
    "summary": {},
}


def test_the_grant_that_policy_worked_out_is_used() -> None:
    assert narrowest([{"kind": "change"}, {**REFUSAL, "summary": {"would_grant": WOULD}}], "e") == WOULD


def test_without_it_the_refusals_own_facts_are() -> None:
    assert narrowest([REFUSAL], "e") == {
        "subject": {"identifier": "priya"},
        "connection_name": "cloudflare",
        "tools": ["cloudflare_call"],
        "access": "write",
        "operations": ["zone-purge"],
        "resources": {"zones": [ZONE]},
    }


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([], "no execution e is recorded"),
        ([{"kind": "call"}], "was not refused"),
        ([{**REFUSAL, "reason": "not_permitted_upstream", "detail": "lacks DNS Write"}], "no grant would change that"),
        ([{**REFUSAL, "operation": None}], "does not say enough"),
    ],
)
def test_what_no_grant_mends(items: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        narrowest(items, "e")


def test_a_grant_in_plain_lines() -> None:
    grant = {**WOULD, "resources": {"zones": [ZONE]}, "account": "shared", "tools": ["cloudflare_call"]}
    assert describe(grant) == [
        "priya may write through cloudflare",
        "only x",
        "with the tools cloudflare_call",
        f"on zones {ZONE}",
        "through the shared account",
        "without an end",
    ]
