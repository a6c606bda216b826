"""A sign-in that allows too little: the client is told which one would do (RFC 6750 § 3.1, `insufficient_scope`)."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.kit import Api, Engineer, TenantKit
from tests.e2e.mcp.conftest import Endpoint
from tests.e2e.oauth.person import Editor, Person

PURGE = "cloudflare_zone-purge"
ZONE = "0" * 32


@pytest.fixture
def editor(tenant_mcp: TenantKit) -> Editor:
    return Editor(tenant_mcp)


@pytest.fixture
def person(tenant_mcp: TenantKit, engineer: Engineer) -> Person:
    return Person(tenant_mcp, engineer.identifier)


@pytest.fixture
def reader(tenant_mcp: TenantKit, editor: Editor, person: Person) -> Iterator[Api]:
    """The engineer's editor, signed in for reading."""
    api = tenant_mcp.stand.server.api(editor.signed_in(person)["access_token"])
    yield api
    api.close()


def purge(api: Api, kit: TenantKit, query: str = "", tool: str = PURGE, **arguments: Any) -> httpx.Response:
    """A call that writes."""
    given = arguments or {"zone_id": ZONE, "body": {"purge_everything": True}}
    return Endpoint(api, f"/t/{kit.name}/mcp{query}").ask("tools/call", {"name": tool, "arguments": given})


def test_a_call_beyond_the_sign_in_says_which_would_do(tenant_mcp: TenantKit, reader: Api) -> None:
    here = Endpoint(reader, f"/t/{tenant_mcp.name}/mcp")
    listed = {tool["name"]: tool for tool in here.result("tools/list")["tools"]}
    assert "Needs a sign-in that allows write" in listed[PURGE]["description"]
    for tool, arguments in (
        (PURGE, {}),
        ("cloudflare_call", {"operation": "POST /zones/{zone_id}/purge_cache", "path_params": {"zone_id": ZONE}}),
    ):
        reply = purge(reader, tenant_mcp, tool=tool, **arguments)
        assert reply.status_code == 403, reply.text
        metadata = f"{tenant_mcp.stand.server.url}/.well-known/oauth-protected-resource/t/{tenant_mcp.name}/mcp"
        assert reply.headers["www-authenticate"] == (
            'Bearer realm="keyreeve", error="insufficient_scope", scope="tools:read tools:write", '
            f'resource_metadata="{metadata}"'
        )
        assert reply.json()["code"] == "forbidden"
        refusals = tenant_mcp.admin.ok("GET", f"/v1/audit/events?execution_id={reply.json()['execution_id']}")["items"]
        assert [(item["kind"], item["reason"], item["tool_name"]) for item in refusals] == [
            ("refusal", "forbidden", tool)
        ]


def test_after_it_the_call_goes_through(tenant_mcp: TenantKit, editor: Editor, person: Person) -> None:
    token = editor.signed_in(person, access="write")["access_token"]
    api = tenant_mcp.stand.server.api(token)
    reply = purge(api, tenant_mcp)
    assert reply.status_code == 200, reply.text
    assert "Needs a sign-in" not in str(Endpoint(api, f"/t/{tenant_mcp.name}/mcp").result("tools/list"))
    api.close()


def test_where_no_sign_in_would_help_it_is_a_tools_error(
    tenant_mcp: TenantKit, reader: Api, engineer: Engineer, editor: Editor, person: Person
) -> None:
    narrow = tenant_mcp.stand.server.api(tenant_mcp.session(engineer.identifier, access="read")["token"])
    writer = tenant_mcp.stand.server.api(editor.signed_in(person, access="write")["access_token"])
    for api, query in ((narrow, ""), (writer, "?access=read"), (reader, "?access=read")):
        reply = purge(api, tenant_mcp, query)
        assert reply.status_code == 200, reply.text
        assert reply.json()["result"]["structuredContent"]["code"] == "forbidden"
        assert "www-authenticate" not in reply.headers
        assert PURGE not in Endpoint(api, f"/t/{tenant_mcp.name}/mcp{query}").tools()
    narrow.close()
    writer.close()
