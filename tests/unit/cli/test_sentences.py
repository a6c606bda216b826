"""An audit item as one plain sentence."""

from typing import Any

import pytest

from broker.cli.sentences import sentence

CALL = {
    "kind": "call",
    "outcome": "ok",
    "actor": "agent:ci",
    "identifier": "priya@acme.example",
    "client": "claude-code/2.1 (cli)",
    "method": "PATCH",
    "effect": "write",
    "operation": "dns-patch",
    "operation_ref": "PATCH /zones/{zone_id}/dns_records/{dns_record_id}",
    "summary": {"values": {"type": "A", "name": "api.example.com"}},
}


def test_the_sentence_of_the_contract() -> None:
    assert sentence(CALL, 1143) == "priya's Claude Code changed A api.example.com · 1,143 left"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"agent": "release bot"}, "priya's release bot changed A api.example.com"),
        ({"client": "python-httpx/0.28"}, "priya changed A api.example.com"),
        (
            {"on_behalf_of": "priya@acme.example", "actor": "operator:ops"},
            "operator ops, for priya, changed A api.example.com",
        ),
        ({"outcome": "timeout"}, "priya's Claude Code tried to change A api.example.com: no answer in time"),
        (
            {"outcome": "upstream_error", "upstream_status": 403},
            "priya's Claude Code tried to change A api.example.com: the upstream answered 403",
        ),
        (
            {
                "reason": "maintenance",
                "identifier": None,
                "actor": "operator:ops",
                "connection_name": "cloudflare",
                "method": "GET",
                "summary": {},
                "operation_ref": "GET /user/tokens/verify",
            },
            "operator ops checked a credential on cloudflare (GET /user/tokens/verify)",
        ),
        ({"outcome": "open"}, "priya's Claude Code is about to change A api.example.com"),
        (
            {"method": "GET", "effect": "read", "summary": {}, "operation_ref": "GET /zones/{zone_id}/dns_records"},
            "priya's Claude Code read DNS records",
        ),
        (
            {"method": "POST", "summary": {}, "operation_ref": "POST /zones/{zone_id}/purge_cache"},
            "priya's Claude Code purged cache",
        ),
        (
            {
                "kind": "refusal",
                "outcome": "refused",
                "method": "DELETE",
                "effect": "destructive",
                "detail": "no grant",
            },
            "priya's Claude Code was refused to delete A api.example.com: no grant",
        ),
        (
            {"kind": "refusal", "suppressed": 41, "reason": "not_granted"},
            "priya's Claude Code was refused 41 more times (not_granted)",
        ),
        (
            {"kind": "change", "actor": "operator:ops", "operation": "identity.offboarded"},
            "operator ops: identity offboarded (priya@acme.example)",
        ),
    ],
)
def test_sentences(change: dict[str, Any], told: str) -> None:
    assert sentence({**CALL, **change}) == told


def test_a_path_without_template_shows_no_ids() -> None:
    item = {**CALL, "kind": "refusal", "operation_ref": None, "summary": {}, "detail": "x"}
    item |= {"path": "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/dns_records", "method": "POST"}
    assert sentence(item) == "priya's Claude Code was refused to create DNS records: x"
