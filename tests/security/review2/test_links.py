"""One-time links: who can keep whom from getting one, and what a link opens after its tenant has changed its mind."""

import asyncio

import asyncpg
import httpx

from bench.kit import TenantKit
from tests.security.pages.test_attacks import OURS, csrf_of


def test_what_others_at_an_address_try_locks_no_link(tenant: TenantKit) -> None:
    """Behind a proxy everybody has one address."""
    tenant.connection()
    identifier = tenant.identity()
    connect = tenant.admin.ok("POST", "/v1/connect_links", {"connection_name": "cloudflare", "identifier": identifier})[
        "url"
    ]
    sign_in = tenant.admin.ok("POST", "/v1/sign_in_links", {"identifier": identifier})["url"]
    transport = httpx.HTTPTransport(local_address="127.0.0.11")
    with httpx.Client(base_url=tenant.stand.server.url, transport=transport, timeout=30) as browser:
        for wrong in ("/c/krv_cl_", "/s/krv_si_"):
            answers = [browser.get(wrong + "A" * 64).status_code for _ in range(31)]
            assert answers[-1] == 429
        assert browser.get(connect).status_code == 303
        assert browser.get(sign_in).status_code == 303


async def forbid_impersonation(tenant: TenantKit) -> None:
    """As the database's superuser: no call of the API changes it yet."""
    connection = await asyncpg.connect(**tenant.stand.server.database())
    try:
        await connection.execute("update broker.tenants set impersonation = false where name = $1", tenant.name)
    finally:
        await connection.close()


def test_an_agent_cannot_keep_its_engineer_from_signing_in(tenant: TenantKit) -> None:
    """The page is where a person cuts their agent off."""
    tenant.connection()
    identifier = tenant.identity()
    tenant.grant({"identifier": identifier}, "read")
    agent = tenant.stand.server.api(tenant.session(identifier)["token"])
    answers = [
        agent.send("POST", "/v1/connect_links", json={"connection_name": "cloudflare"}).status_code for _ in range(22)
    ]
    assert answers[-1] == 429
    assert tenant.admin.ok("POST", "/v1/sign_in_links", {"identifier": identifier})["url"]
    agent.close()


def test_a_link_ends_with_the_tenants_leave_to_impersonate(tenant: TenantKit) -> None:
    identifier = tenant.identity()
    link = tenant.admin.ok("POST", "/v1/sign_in_links", {"identifier": identifier})["url"]
    with httpx.Client(base_url=tenant.stand.server.url, trust_env=False, timeout=30) as browser:
        browser.get(link)
        csrf = csrf_of(browser.get("/signin/link"))
        asyncio.run(forbid_impersonation(tenant))
        reply = browser.post("/signin/link", data={"csrf": csrf}, headers=OURS)
        assert reply.status_code == 403
        assert "krv_login" not in browser.cookies
