"""Those who should not be here: other tenants' tokens, dead tokens, rebound names, borrowed state."""

import httpx

from bench.kit import Engineer, TenantKit
from tests.e2e.mcp.conftest import MakeEndpoint
from tests.e2e.mcp.test_tools import IN_BROWSER, ZONES


def challenge(reply: httpx.Response) -> str:
    assert reply.status_code == 401, reply.text
    return reply.headers["www-authenticate"]


def test_without_a_token_the_challenge_says_where_to_go(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    nobody = tenant_mcp.stand.server.api(None)
    try:
        told = challenge(endpoint(nobody).ask("tools/list"))
        assert "error=" not in told
        assert 'scope="tools:read tools:write tools:destructive"' in told
        assert f'/.well-known/oauth-protected-resource/t/{tenant_mcp.name}/mcp"' in told
        assert challenge(endpoint(nobody, path="/mcp").ask("tools/list")).endswith('oauth-protected-resource/mcp"')
    finally:
        nobody.close()


def test_another_tenant_s_token_is_a_wrong_token(endpoint: MakeEndpoint, make_kit: object, engineer: Engineer) -> None:
    other: TenantKit = make_kit()  # type: ignore[operator]
    here = endpoint(path=f"/t/{other.name}/mcp")
    nowhere = endpoint(path="/t/no-such-tenant/mcp")
    replies = [place.ask("tools/list") for place in (here, nowhere)]
    replies += [place.ask("tools/call", {"name": "cloudflare_call", "arguments": ZONES}) for place in (here, nowhere)]
    replies.append(here.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}}))
    replies.append(here.post({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    for reply in replies:
        assert 'error="invalid_token"' in challenge(reply)
    # No word says whether the tenant exists.
    assert len({reply.text for reply in replies}) == 1
    assert engineer.api.ok("GET", "/v1/tools/scoped")["tools"]


def test_a_key_of_another_tenant_is_a_wrong_token(endpoint: MakeEndpoint, make_kit: object) -> None:
    other: TenantKit = make_kit()  # type: ignore[operator]
    identifier = other.identity()
    api = other.stand.server.api(other.key("agent", identifiers=["*"])["key"])
    try:
        challenge(endpoint(api, x_keyreeve_identifier=identifier).ask("tools/list"))
        assert endpoint(api, x_keyreeve_tenant=other.name).ask("tools/list").status_code == 422
    finally:
        api.close()


def test_a_token_for_another_connection_is_told_what_it_lacks(
    endpoint: MakeEndpoint, tenant_mcp: TenantKit, engineer: Engineer
) -> None:
    tenant_mcp.connection("other")
    token = tenant_mcp.session(engineer.identifier, connections=["other"])["token"]
    api = tenant_mcp.stand.server.api(token)
    reply = endpoint(api, path=f"/t/{tenant_mcp.name}/mcp/cloudflare").ask("tools/list")
    assert reply.status_code == 403
    assert 'error="insufficient_scope"' in reply.headers["www-authenticate"]
    assert endpoint(api).tools() == []


def test_a_revoked_token_ends_with_the_next_request(
    endpoint: MakeEndpoint, tenant_mcp: TenantKit, engineer: Engineer
) -> None:
    here = endpoint()
    assert here.call("cloudflare_call", ZONES)["isError"] is False
    tenant_mcp.admin.ok("DELETE", f"/v1/sessions/{engineer.session_id}")
    for reply in (
        here.ask("tools/call", {"name": "cloudflare_call", "arguments": ZONES}),
        here.ask("tools/list"),
        here.ask("server/discover"),
        here.legacy("ping"),
    ):
        assert 'error="invalid_token"' in challenge(reply)


def test_a_suspended_identity_is_out(endpoint: MakeEndpoint, tenant_mcp: TenantKit, engineer: Engineer) -> None:
    path = f"/v1/identities/{engineer.identifier}:offboard"
    tenant_mcp.admin.ok("POST", path, {"reason": "left", "drain_seconds": 0})
    challenge(endpoint().ask("tools/list"))


def test_pages_of_other_origins_are_refused(endpoint: MakeEndpoint) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"):
        assert endpoint(origin=origin).ask("tools/list").status_code == 403


def test_our_own_origin_is_not(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    assert endpoint(origin=tenant_mcp.stand.url).ask("tools/list").status_code == 200


def test_a_rebound_host_is_refused(endpoint: MakeEndpoint) -> None:
    assert endpoint(host="evil.example").ask("tools/list").status_code == 422


def test_state_that_moves_to_another_caller_or_endpoint_is_worth_nothing(
    endpoint: MakeEndpoint, tenant_mcp: TenantKit
) -> None:
    apis = []
    for _ in range(2):
        identifier = tenant_mcp.identity()
        tenant_mcp.grant({"identifier": identifier}, "read")
        apis.append(tenant_mcp.stand.server.api(tenant_mcp.session(identifier)["token"]))
    first, second = (endpoint(api) for api in apis)
    call = {"name": "cloudflare_connect", "arguments": {}}
    asked = first.result("tools/call", call, capabilities=IN_BROWSER)
    answer = {**call, "inputResponses": {"connect": {"action": "cancel"}}, "requestState": asked["requestState"]}
    assert first.ask("tools/call", answer, capabilities=IN_BROWSER).status_code == 200
    assert second.ask("tools/call", answer, capabilities=IN_BROWSER).status_code == 400
    elsewhere = endpoint(apis[0], path=f"/t/{tenant_mcp.name}/mcp/cloudflare")
    assert elsewhere.ask("tools/call", answer, capabilities=IN_BROWSER).status_code == 400
    for api in apis:
        api.close()


def test_two_bearers_are_none(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    headers = [*here.headers.items(), ("authorization", "Bearer x"), ("content-type", "application/json")]
    reply = here.api.http.build_request("POST", here.path, content=b"{}", headers=headers)
    reply.headers = httpx.Headers([*reply.headers.multi_items(), ("authorization", f"Bearer {here.api.key}")])
    assert here.api.http.send(reply).status_code == 422


def test_refusals_that_are_found_here_are_on_record(
    tenant_mcp: TenantKit, engineer: Engineer, endpoint: MakeEndpoint
) -> None:
    """Also those that nothing below the endpoint has seen: whose they are is known."""
    tenant_mcp.connection("elsewhere")
    narrow = tenant_mcp.stand.server.api(tenant_mcp.session(engineer.identifier, connections=["elsewhere"])["token"])
    assert endpoint(narrow, path=f"/t/{tenant_mcp.name}/mcp/cloudflare").ask("tools/list").status_code == 403
    narrow.close()
    wrong = endpoint().call("cloudflare_zones-get", {"connected_account_id": "none"})
    assert wrong["structuredContent"]["code"] == "invalid_input"
    items = tenant_mcp.admin.ok("GET", f"/v1/audit/events?identifier={engineer.identifier}")["items"]
    refused = {(item.get("reason"), item.get("connection_name"), item.get("tool_name")) for item in items}
    assert ("forbidden", "cloudflare", None) in refused
    assert ("invalid_input", "cloudflare", "cloudflare_zones-get") in refused
