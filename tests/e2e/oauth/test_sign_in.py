"""Signing an editor in: by hand, and as the MCP SDK does it."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import httpx2
import mcp.types as t
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.e2e.oauth.person import Editor, Person, answer_of


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    tenant.connection()
    return tenant.engineer()


def test_metadata_stands_where_clients_look(tenant: TenantKit, running_server: Stand) -> None:
    base = running_server.server.url
    issuer = f"{base}/t/{tenant.name}"
    challenge = httpx.post(f"{issuer}/mcp", json={}, trust_env=False).headers["www-authenticate"]
    named = challenge.partition('resource_metadata="')[2].partition('"')[0]
    protected = httpx.get(named, trust_env=False).json()
    assert protected["authorization_servers"] == [issuer]
    assert protected["resource"] == f"{issuer}/mcp"
    for path in (
        f"/.well-known/oauth-authorization-server/t/{tenant.name}",
        f"/t/{tenant.name}/.well-known/oauth-authorization-server",
    ):
        found = httpx.get(base + path, trust_env=False).json()
        assert found["issuer"] == issuer
        assert found["code_challenge_methods_supported"] == ["S256"]
        assert found["authorization_response_iss_parameter_supported"] is True
        assert found["client_id_metadata_document_supported"] is True


def test_an_editor_signs_in_and_stays_signed_in(tenant: TenantKit, engineer: Engineer) -> None:
    editor, person = Editor(tenant), Person(tenant)
    asked = person.http.get(editor.url())
    assert asked.status_code == 401
    assert person.sign_in(engineer.identifier).headers["location"] == editor.url()
    answer = answer_of(person.consent(editor.url()))
    assert (answer["state"], answer["iss"]) == (editor.state, editor.issuer)
    tokens = editor.redeem(answer["code"]).json()
    assert tokens["access_token"].startswith("krv_st_")
    assert tokens["scope"] == "tools:read"
    assert 600 <= tokens["expires_in"] <= 900
    assert editor.tools(tokens["access_token"]).status_code == 200
    again = editor.refresh(tokens["refresh_token"]).json()
    assert again["refresh_token"] != tokens["refresh_token"]
    assert editor.tools(again["access_token"]).status_code == 200


def test_what_the_person_chose_is_what_it_may_do(tenant: TenantKit, engineer: Engineer) -> None:
    editor, person = Editor(tenant), Person(tenant, engineer.identifier)
    reading = editor.signed_in(person)
    writing = editor.signed_in(person, access="destructive")
    assert writing["scope"] == "tools:read tools:write tools:destructive"
    shown = tenant.admin.ok("GET", "/v1/sessions")["items"]
    accesses = {s["access"] for s in shown if s["audience"] == f"/t/{tenant.name}/mcp"}
    assert accesses == {"read", "destructive"}
    assert editor.tools(reading["access_token"]).status_code == 200


def test_a_person_sees_and_ends_their_editors(tenant: TenantKit, engineer: Engineer) -> None:
    editor, person = Editor(tenant), Person(tenant, engineer.identifier)
    tokens = editor.signed_in(person)
    page = person.http.get("/").text
    assert "Signed-in editors" in page
    csrf = page.partition('name="csrf" value="')[2][:64]
    action = page.partition('action="/editors/')[2].partition('"')[0]
    ended = person.http.post(f"/editors/{action}", data={"csrf": csrf}, headers={"sec-fetch-site": "same-origin"})
    assert ended.status_code == 303
    assert editor.tools(tokens["access_token"]).status_code == 401
    assert editor.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_offboarding_ends_every_sign_in(tenant: TenantKit, engineer: Engineer) -> None:
    editor, person = Editor(tenant), Person(tenant, engineer.identifier)
    tokens = editor.signed_in(person)
    pending = answer_of(person.consent(editor.url()))["code"]
    tenant.admin.ok("POST", f"/v1/identities/{engineer.identifier}:offboard", {"reason": "left"})
    assert editor.tools(tokens["access_token"]).status_code == 401
    assert editor.refresh(tokens["refresh_token"]).status_code == 400
    assert editor.redeem(pending).status_code == 400


def test_an_editor_signs_itself_out(tenant: TenantKit, engineer: Engineer) -> None:
    editor, person = Editor(tenant), Person(tenant, engineer.identifier)
    for kind in ("refresh_token", "access_token"):
        tokens = editor.signed_in(person)
        url = f"{editor.issuer}/oauth/revoke"
        assert editor.http.post(url, data={"token": tokens[kind], "client_id": "other"}).status_code == 200
        assert editor.tools(tokens["access_token"]).status_code == 200
        assert editor.http.post(url, data={"token": tokens[kind], "client_id": editor.client_id}).status_code == 200
        assert editor.tools(tokens["access_token"]).status_code == 401
        assert editor.refresh(tokens["refresh_token"]).status_code == 400


def test_a_deleted_client_is_signed_out(tenant: TenantKit, engineer: Engineer) -> None:
    body = {"client_id": "cursor", "name": "Cursor", "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"]}
    tenant.admin.ok("POST", "/v1/oauth_clients", body)
    editor = Editor(tenant, "cursor", body["redirect_uris"][0])  # type: ignore[arg-type]
    person = Person(tenant, engineer.identifier)
    page = person.http.get(editor.url())
    assert "form-action 'self' cursor: " in page.headers["content-security-policy"]
    tokens = editor.signed_in(person)
    assert tenant.admin.ok("DELETE", "/v1/oauth_clients/cursor")["signed_out"] == 1
    assert editor.tools(tokens["access_token"]).status_code == 401
    assert editor.refresh(tokens["refresh_token"]).status_code == 400


def test_a_backend_gets_a_token_for_its_key(tenant: TenantKit, engineer: Engineer) -> None:
    key = tenant.key("agent", identifiers=[engineer.identifier])
    editor = Editor(tenant, key["id"])
    fields = {"grant_type": "client_credentials", "client_secret": key["key"], "resource": editor.resource}
    tokens = editor.token(**fields).json()
    assert "refresh_token" not in tokens
    assert tokens["scope"] == "tools:read"
    assert editor.tools(tokens["access_token"]).status_code == 200
    assert editor.token(**{**fields, "identifier": "somebody@else"}).status_code == 401
    assert editor.token(**{**fields, "client_id": engineer.session_id}).status_code == 401
    assert editor.token(**{**fields, "client_secret": engineer.session}).status_code == 401
    tenant.admin.ok("DELETE", f"/v1/keys/{key['id']}")
    assert editor.token(**fields).status_code == 401
    assert editor.tools(tokens["access_token"]).status_code == 401


class Kept:
    """The SDK's storage, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.mark.parametrize("path", ["", "/cloudflare"])
async def test_the_sdk_signs_in_by_itself(tenant: TenantKit, engineer: Engineer, path: str) -> None:
    person, kept = Person(tenant, engineer.identifier), Kept()
    url = f"{tenant.stand.server.url}/t/{tenant.name}/mcp{path}"
    answers: list[dict[str, str]] = []

    async def redirect(to: str) -> None:
        parts = urlsplit(to)
        answers.append(answer_of(person.consent(f"{parts.path}?{parts.query}")))

    async def callback() -> Any:
        from mcp.client.auth import AuthorizationCodeResult

        answer = answers[-1]
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])

    about = OAuthClientMetadata(client_name="The SDK", redirect_uris=["http://localhost:3030/callback"])  # type: ignore[list-item]
    auth = OAuthClientProvider(url, about, kept, redirect, callback)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        listed = await client.list_tools()
        assert "cloudflare_call" in {tool.name for tool in listed.tools}
        # What a client does whose token has run out.
        assert kept.tokens is not None
        first = kept.tokens.access_token
        auth.context.token_expiry_time = 1
        result = await client.call_tool("cloudflare_call", {"operation": "GET /zones"})
        assert isinstance(result, t.CallToolResult)
        assert not result.is_error
        assert kept.tokens.access_token != first
    assert len(answers) == 1
