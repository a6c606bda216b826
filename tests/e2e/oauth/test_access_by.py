"""One sign-in with its own access on each connection, from the consent page to the tools of an MCP client."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.kit import Api, Engineer, TenantKit
from tests.e2e.mcp.conftest import Endpoint
from tests.e2e.oauth.person import OURS, Editor, Person, answer_of, field

BY = {"cloudflare": "write", "second": "read"}
ASKED = "tools:read tools:write"


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    """Granted everything on both connections, with an account on each."""
    for name in BY:
        tenant.connection(name, tools=["GET /zones", "POST /zones/{zone_id}/purge_cache"])
    made = tenant.engineer()
    tenant.account(made.identifier, made.token, "second")
    tenant.grant({"identifier": made.identifier}, "destructive", "second")
    return made


@pytest.fixture
def editor(tenant: TenantKit) -> Editor:
    return Editor(tenant)


@pytest.fixture
def person(tenant: TenantKit, engineer: Engineer) -> Person:
    return Person(tenant, engineer.identifier)


@pytest.fixture
def tokens(editor: Editor, person: Person) -> dict[str, Any]:
    return editor.signed_in(person, scope=ASKED, by=BY)


@pytest.fixture
def api(tenant: TenantKit, tokens: dict[str, Any]) -> Iterator[Api]:
    made = tenant.stand.server.api(tokens["access_token"])
    yield made
    made.close()


def purge(api: Api, kit: TenantKit, connection: str, query: str = "") -> httpx.Response:
    """A call that writes."""
    arguments = {"zone_id": kit.stand.upstream.zones["example.com"], "body": {"purge_everything": True}}
    call = {"name": f"{connection}_zone-purge", "arguments": arguments}
    return Endpoint(api, f"/t/{kit.name}/mcp{query}").ask("tools/call", call)


def worked(reply: httpx.Response) -> bool:
    assert reply.status_code == 200, reply.text
    return reply.json()["result"]["isError"] is False


def test_each_connection_has_the_access_it_was_given(
    tenant: TenantKit, editor: Editor, api: Api, tokens: dict[str, Any]
) -> None:
    assert tokens["scope"] == ASKED
    assert worked(purge(api, tenant, "cloudflare"))
    refused = purge(api, tenant, "second")
    assert refused.status_code == 403, refused.text
    assert 'error="insufficient_scope", scope="tools:read tools:write"' in refused.headers["www-authenticate"]
    assert "restricted to read on second" in refused.text
    listed = {tool["name"]: tool for tool in Endpoint(api, f"/t/{tenant.name}/mcp").result("tools/list")["tools"]}
    assert "Needs a sign-in that allows write" in listed["second_zone-purge"]["description"]
    assert "Needs a sign-in" not in listed["cloudflare_zone-purge"]["description"]
    assert listed["second_call"]["annotations"]["readOnlyHint"] is True
    assert listed["cloudflare_call"]["annotations"]["readOnlyHint"] is False
    # The next turn of the sign-in may do the same, and no more.
    renewed = tenant.stand.server.api(editor.refresh(tokens["refresh_token"]).json()["access_token"])
    assert worked(purge(renewed, tenant, "cloudflare"))
    assert purge(renewed, tenant, "second").status_code == 403
    renewed.close()


def test_an_address_still_narrows(tenant: TenantKit, api: Api) -> None:
    for connection in BY:
        reply = purge(api, tenant, connection, "?access=read")
        assert reply.status_code == 200, reply.text
        assert reply.json()["result"]["structuredContent"]["code"] == "forbidden"
    assert purge(api, tenant, "second", "?access=write").json()["result"]["isError"] is True
    assert worked(purge(api, tenant, "cloudflare", "?access=write"))


def test_a_program_over_all_connections_has_it_too(tenant: TenantKit, api: Api) -> None:
    zone = tenant.stand.upstream.zones["example.com"]
    code = f"""async () => {{
        const purge = {{method: 'POST', path: '/zones/{zone}/purge_cache', body: {{purge_everything: true}}}}
        const did = {{}}
        for (const name of ['cloudflare', 'second']) {{
            try {{ await connections[name].request(purge); did[name] = 'done' }} catch (e) {{ did[name] = String(e) }}
        }}
        return did
    }}"""
    portal = Endpoint(api, f"/t/{tenant.name}/mcp?codemode=search_and_execute")
    said = str(portal.call("execute", {"code": code}))
    assert "done" in said
    assert "restricted to read on second" in said


def test_it_is_audited_and_shown(tenant: TenantKit, person: Person, tokens: dict[str, Any]) -> None:
    shown = [s for s in tenant.admin.ok("GET", "/v1/sessions?page_size=1000")["items"] if s["access_by"] is not None]
    assert [(s["access"], s["access_by"]) for s in shown] == [("write", BY), ("write", BY)]  # sign-in and access token
    page = person.http.get("/").text
    assert "cloudflare: read and change" in page
    assert "second: read" in page
    events = tenant.admin.ok("GET", "/v1/audit/events?operation=client.signed_in")["items"]
    assert [event["summary"]["access_by"] for event in events] == [BY]
    assert editor_sessions(tenant) == {"write"}


def editor_sessions(tenant: TenantKit) -> set[str]:
    """The access of the sign-ins' sessions, as those see it who know of one alone."""
    found = tenant.admin.ok("GET", "/v1/sessions?page_size=1000")["items"]
    return {s["access"] for s in found if s["audience"] == f"/t/{tenant.name}/mcp"}


def test_another_consent_has_choices_of_its_own(tenant: TenantKit, editor: Editor, person: Person, api: Api) -> None:
    code = answer_of(person.consent(editor.url(scope=ASKED), by={"second": "write"}))["code"]
    other = tenant.stand.server.api(editor.redeem(code).json()["access_token"])
    assert worked(purge(other, tenant, "second"))
    assert worked(purge(other, tenant, "cloudflare")) is False
    assert worked(purge(api, tenant, "cloudflare"))
    other.close()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"c.cloudflare": "destructive"}, "asked for write"),
        ({"c.cloudflare": "everything"}, "choose what the program may do"),
        ({"c.cloudflare": "read", "c.elsewhere": "read"}, "cannot choose"),
        ({"c.cloudflare": "none", "c.second": "none"}, "at least one"),
        ({"access": "destructive"}, "at least one"),
    ],
)
def test_a_posted_choice_is_judged(editor: Editor, person: Person, fields: dict[str, str], told: str) -> None:
    url = editor.url(scope=ASKED)
    page = person.http.get(url).text
    asked = {"csrf": field(page, "csrf"), "request": field(page, "request"), "decision": "allow"}
    reply = person.http.post(url.partition("?")[0], data={**asked, **fields}, headers=OURS)
    assert (reply.status_code, "location" in reply.headers) == (422, False), reply.text
    assert told in reply.text
