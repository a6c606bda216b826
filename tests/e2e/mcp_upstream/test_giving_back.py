"""A revoked sign-in's tokens are given back to the server that issued them, where an admin asks for it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bench.kit import TenantKit
from tests.e2e.mcp_upstream.conftest import McpServers
from tests.e2e.mcp_upstream.site import Site


@pytest.fixture
def site(servers: McpServers, tenant: TenantKit) -> Iterator[Site]:
    made = Site(servers, tenant, tenant.name)
    made.behaves()
    yield made
    for opened in made.open:
        opened.close()


def revoke(site: Site, account_id: str, **more: Any) -> dict[str, Any]:
    body = {"reason": "left", "upstream": True, **more}
    found: dict[str, Any] = site.kit.admin.ok("POST", f"/v1/connected_accounts/{account_id}:revoke", body)
    return found


def given_back(site: Site) -> list[str | None]:
    """What the token endpoint's neighbour was given, by its hint."""
    return [a["hint"] for a in site.asked() if "hint" in a]


def told(site: Site) -> list[dict[str, Any]]:
    """What the audit says of it, newest first."""
    items = site.kit.admin.ok("GET", "/v1/audit/events?connection_name=up")["items"]
    return [item for item in items if item.get("operation") == "account.given_back"]


def test_what_was_asked_for_is_done_and_told(site: Site) -> None:
    site.connection()
    up = site.connected()
    account = site.account()["id"]
    assert revoke(site, account)["upstream"] == "deleted"
    assert given_back(site) == ["refresh_token", "access_token"]
    assert up.call("ping", status=409)["code"] == "revoked"
    again = revoke(site, account)
    assert again["upstream"] == "deleted"
    assert revoke(site, account, upstream=False)["upstream"] == "deleted", "as it stands"
    assert len(given_back(site)) == 2, "nobody is asked twice for what they did"
    [event] = told(site)
    assert event["summary"]["upstream"] == "deleted"
    calls = site.kit.admin.ok("GET", "/v1/audit/events?connection_name=up")["items"]
    assert [c["outcome"] for c in calls if c.get("operation") == "maintenance:oauth/revoke"] == ["ok"]


def test_nothing_is_given_back_unasked(site: Site) -> None:
    site.connection()
    site.connected()
    assert revoke(site, site.account()["id"], upstream=False)["upstream"] == "kept"
    assert given_back(site) == []


def test_nobody_takes_them_or_nobody_would(site: Site) -> None:
    site.behaves(metadata={"revocation_endpoint": None})
    site.connection()
    site.connected()
    assert revoke(site, site.account()["id"])["upstream"] == "kept", "there is nobody to give them back to"
    site.behaves(keep=True, metadata={}, revoke_status=503)
    site.identifier = site.kit.identity()
    site.kit.grant({"identifier": site.identifier}, "write", "up")
    site.connected()
    account = site.account()["id"]
    report = revoke(site, account)
    assert report["revoked_at"], "which does not keep the account from being revoked"
    assert report["upstream"] == "failed"
    site.behaves(keep=True, revoke_status=400)
    assert revoke(site, account)["upstream"] == "failed"
    site.behaves(keep=True, revoke_status=200)
    assert revoke(site, account)["upstream"] == "deleted", "asked again"
    assert [e["summary"]["upstream"] for e in told(site)] == ["deleted", "failed", "failed", "kept"]


def test_an_answer_that_takes_long_is_not_waited_for(site: Site) -> None:
    site.connection()
    site.connected()
    site.behaves(keep=True, revoke_seconds=3.5)
    account = site.account()["id"]
    report = revoke(site, account)
    assert report["upstream"] == "pending"
    until = time.monotonic() + 30
    while not told(site) and time.monotonic() < until:
        time.sleep(0.2)
    assert [e["summary"]["upstream"] for e in told(site)] == ["deleted"]
    assert revoke(site, account)["upstream"] == "deleted"


def test_who_leaves_gives_everything_back(site: Site) -> None:
    site.connection()
    site.connected()
    body = {"reason": "left", "revoke_upstream": True, "drain_seconds": 0}
    report = site.kit.admin.ok("POST", f"/v1/identities/{site.identifier}:offboard", body)
    assert [a["upstream"] for a in report["connected_accounts"]] == ["deleted"]
    assert given_back(site) == ["refresh_token", "access_token"]
