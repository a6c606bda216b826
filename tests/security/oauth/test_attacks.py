"""Attacks on the authorization server: tokens and codes elsewhere than they belong, redirects, consent, floods."""

import concurrent.futures
from collections.abc import Callable

import pytest

from bench.kit import Engineer, TenantKit
from tests.e2e.oauth.person import OURS, Editor, Person, answer_of, field


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    tenant.connection()
    return tenant.engineer()


@pytest.fixture
def person(tenant: TenantKit, engineer: Engineer) -> Person:
    return Person(tenant, engineer.identifier)


@pytest.fixture
def editor(tenant: TenantKit) -> Editor:
    return Editor(tenant)


def test_a_token_is_good_at_its_resource_alone(
    tenant: TenantKit, editor: Editor, person: Person, make_kit: Callable[[], TenantKit]
) -> None:
    editor.resource += "/cloudflare"
    token = editor.signed_in(person)["access_token"]
    mcp = f"/t/{tenant.name}/mcp"
    assert editor.tools(token, f"{mcp}/cloudflare").status_code == 200
    assert editor.tools(token, mcp).status_code == 401
    assert editor.tools(token, "/mcp/cloudflare").status_code == 401
    assert editor.tools(token, f"/t/{make_kit().name}/mcp/cloudflare").status_code == 401
    api = tenant.stand.server.api(token)
    assert api.call("GET /zones").status_code == 401
    assert api.send("GET", "/v1/tools/scoped").status_code == 401
    assert api.send("POST", "/v1/sessions", json={}).status_code == 401
    api.close()


def test_a_listing_just_made_lets_no_token_in_elsewhere(tenant: TenantKit, editor: Editor, person: Person) -> None:
    token = editor.signed_in(person, access="destructive")["access_token"]
    assert editor.tools(token).status_code == 200
    api = tenant.stand.server.api(token)
    for _ in range(3):
        assert api.call("GET /zones").status_code == 401
    api.close()


@pytest.mark.parametrize(
    "resource",
    [
        None,
        "https://evil.example/t/x/mcp",
        "{base}/t/other/mcp",
        "{base}/v1",
        "{base}.evil.example/t/{name}/mcp",
        "{base}/t/{name}/mcp#x",
        "{base}/t/{name}/mcp?x=1",
        "{base}/t/{name}/mcp/../mcp",
    ],
)
def test_a_resource_that_is_not_ours_is_refused(
    tenant: TenantKit, editor: Editor, person: Person, resource: str | None
) -> None:
    given = None if resource is None else resource.format(base=editor.base, name=tenant.name)
    assert answer_of(person.http.get(editor.url(resource=given)))["error"] == "invalid_target"


def test_a_code_works_once_and_a_second_use_ends_what_it_began(editor: Editor, person: Person) -> None:
    code = answer_of(person.consent(editor.url()))["code"]
    tokens = editor.redeem(code).json()
    assert editor.tools(tokens["access_token"]).status_code == 200
    assert editor.redeem(code).json()["error"] == "invalid_grant"
    assert editor.tools(tokens["access_token"]).status_code == 401
    assert editor.refresh(tokens["refresh_token"]).status_code == 400


def test_many_at_once_redeem_a_code_once_at_most(editor: Editor, person: Person) -> None:
    code = answer_of(person.consent(editor.url()))["code"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: editor.redeem(code).status_code, range(8)))
    assert set(replies) <= {200, 400}
    assert replies.count(200) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_verifier": "x" * 43},
        {"code_verifier": None},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:1/callback"},
        {"client_id": "somebody-else"},
        {"client_id": None},
        {"resource": "{resource}/cloudflare"},
    ],
)
def test_a_code_is_good_for_its_own_request_alone(editor: Editor, person: Person, wrong: dict[str, str | None]) -> None:
    code = answer_of(person.consent(editor.url()))["code"]
    given = {k: v if v is None else v.format(resource=editor.resource) for k, v in wrong.items()}
    assert editor.redeem(code, **given).json()["error"] == "invalid_grant"
    assert editor.redeem(code).json()["error"] == "invalid_grant", "a code that was tried wrongly is used up"


def test_a_code_of_another_tenant_opens_nothing(
    editor: Editor, person: Person, make_kit: Callable[[], TenantKit]
) -> None:
    code = answer_of(person.consent(editor.url()))["code"]
    other = Editor(make_kit(), editor.client_id)
    other.verifier = editor.verifier
    assert other.redeem(code, resource=None).json()["error"] == "invalid_grant"
    tokens = editor.redeem(code).json()
    assert other.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert editor.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    "without",
    [
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"response_type": "token"},
        {"response_mode": "fragment"},
        {"request_uri": "https://evil.example/r"},
    ],
)
def test_a_request_without_proof_is_told_so(editor: Editor, person: Person, without: dict[str, str | None]) -> None:
    answer = answer_of(person.http.get(editor.url(**without)))
    assert "code" not in answer
    assert answer["state"] == editor.state
    assert answer["iss"] == editor.issuer


@pytest.mark.parametrize(
    "redirect",
    [
        "https://evil.example/callback",
        "http://127.0.0.1:33418/callback/../x",
        "http://127.0.0.1:33418/callback?x=1",
        "http://127.0.0.1:33418/callback#x",
        "http://127.0.0.1:33418@evil.example/callback",
        "http://evil.example:33418/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://localhost:33418/callback",
        "https://127.0.0.1:33418/callback",
        "http://127.0.0.1:33418\\@evil.example/callback",
        "javascript:alert(1)",
        "http://2130706433/callback",
    ],
)
def test_an_answer_goes_nowhere_but_where_the_client_registered(editor: Editor, person: Person, redirect: str) -> None:
    page = person.http.get(editor.url(redirect_uri=redirect))
    assert page.status_code == 422
    assert "location" not in page.headers


def test_a_loopback_port_may_differ(editor: Editor, person: Person) -> None:
    elsewhere = "http://127.0.0.1:50123/callback"
    reply = person.consent(editor.url(redirect_uri=elsewhere))
    assert reply.headers["location"].startswith(elsewhere + "?")
    assert editor.redeem(answer_of(reply)["code"], redirect_uri=elsewhere).status_code == 200


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil.example/callback",
        "https://user:pw@evil.example/callback",
        "https://evil.example/callback#f",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://",
        "https://localhost.evil/\nx",
        "unknown-scheme://x",
        "/callback",
        "",
    ],
)
def test_a_redirect_that_nobody_may_register(editor: Editor, uri: str) -> None:
    reply = editor.register(redirect_uris=[uri])
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_redirect_uri")


def test_no_other_site_can_agree(tenant: TenantKit, editor: Editor, person: Person) -> None:
    page = person.http.get(editor.url())
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:33418 " in policy
    fields = {"request": field(page.text, "request"), "access": "read", "decision": "allow", "c.cloudflare": "read"}
    csrf = field(page.text, "csrf")
    path = f"/t/{tenant.name}/oauth/authorize"
    for data, headers in (
        (fields, OURS),
        ({**fields, "csrf": "0" * 64}, OURS),
        ({**fields, "csrf": csrf}, {"sec-fetch-site": "cross-site"}),
        ({**fields, "csrf": csrf}, {"origin": "https://evil.example"}),
        ({**fields, "csrf": csrf}, {}),
    ):
        reply = person.http.post(path, data=data, headers=headers)
        assert reply.status_code == 403
        assert "location" not in reply.headers


def test_nothing_is_agreed_to_in_silence(editor: Editor, person: Person) -> None:
    editor.signed_in(person)
    answer = answer_of(person.http.get(editor.url(prompt="none")))
    assert (answer["error"], answer["state"], answer["iss"]) == ("consent_required", editor.state, editor.issuer)
    assert person.http.get(editor.url()).status_code == 200
    assert answer_of(person.consent(editor.url(), decision="deny"))["error"] == "access_denied"


def test_what_a_client_calls_itself_is_shown_as_such(tenant: TenantKit, person: Person) -> None:
    editor = Editor(tenant, "x")
    name = "<script>alert(1)</script>Claude\u202eedoC\n\n\u200b"
    editor.client_id = editor.register(client_name=name).json()["client_id"]
    page = person.http.get(editor.url())
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert "It registered itself" in page.text
    assert "127.0.0.1:33418" in page.text


def test_a_replaced_refresh_token_ends_the_sign_in(editor: Editor, person: Person) -> None:
    first = editor.signed_in(person)
    second = editor.refresh(first["refresh_token"]).json()
    # An answer that was lost: the same one again, for a short while.
    repeated = editor.refresh(first["refresh_token"]).json()
    assert repeated["refresh_token"] == second["refresh_token"]
    third = editor.refresh(second["refresh_token"]).json()
    # A copy: older than the turn before.
    assert editor.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert editor.refresh(third["refresh_token"]).json()["error"] == "invalid_grant"
    assert editor.tools(third["access_token"]).status_code == 401


def test_a_lost_answer_is_not_repeated_for_ever(editor: Editor, person: Person) -> None:
    first = editor.signed_in(person)
    replies = [editor.refresh(first["refresh_token"]).status_code for _ in range(8)]
    assert replies == [200] * 6 + [400] * 2


def test_refreshing_at_once_gives_one_answer(editor: Editor, person: Person) -> None:
    token = editor.signed_in(person)["refresh_token"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: editor.refresh(token), range(4)))
    assert {r.status_code for r in replies} == {200}
    assert len({r.json()["refresh_token"] for r in replies}) == 1


def test_a_refresh_token_is_its_client_s_and_cannot_be_made(editor: Editor, person: Person) -> None:
    token = editor.signed_in(person)["refresh_token"]
    assert editor.refresh(token, client_id="other").json()["error"] == "invalid_grant"
    for forged in (token[:-4] + "AAAA", token.replace("krv_rt_", "krv_ac_"), "krv_rt_" + "A" * 91, "", "x" * 5000):
        assert editor.refresh(forged).status_code == 400
    assert editor.refresh(token).status_code == 200
    assert editor.tools(token).status_code == 401


def test_revoking_the_key_that_let_a_person_in_ends_their_editors(tenant: TenantKit, engineer: Engineer) -> None:
    helper = tenant.key("operator", role="admin")
    api = tenant.stand.server.api(helper["key"], tenant=tenant.name)
    person = Person(tenant)
    admin, tenant.admin = tenant.admin, api
    person.sign_in(engineer.identifier)
    tenant.admin = admin
    api.close()
    editor = Editor(tenant)
    tokens = editor.signed_in(person)
    assert editor.tools(tokens["access_token"]).status_code == 200
    tenant.admin.ok("DELETE", f"/v1/keys/{helper['id']}")
    assert editor.tools(tokens["access_token"]).status_code == 401
    assert editor.refresh(tokens["refresh_token"]).status_code == 400


def test_signing_out_takes_back_a_code_but_no_editor(editor: Editor, person: Person) -> None:
    tokens = editor.signed_in(person)
    code = answer_of(person.consent(editor.url()))["code"]
    csrf = field(person.http.get("/").text, "csrf")
    assert person.http.post("/signout", data={"csrf": csrf}, headers=OURS).status_code == 303
    assert editor.redeem(code).status_code == 400
    assert editor.tools(tokens["access_token"]).status_code == 200


def test_the_wrong_tenant_s_person_agrees_to_nothing(person: Person, make_kit: Callable[[], TenantKit]) -> None:
    other = Editor(make_kit())
    assert person.http.get(other.url()).status_code == 403


@pytest.mark.parametrize(
    "client_id",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/client.json",
        "https://[::1]/client.json",
        "https://localhost/client.json",
        "https://metadata.google.internal/x",
        "https://user@host.example/x",
        "https://host.example/a/../b",
        "https://host.example/x#f",
        "https://host.example",
        "http://host.example/client.json",
        "https://host.example:99999/x",
    ],
)
def test_a_client_id_that_is_an_address_reaches_nothing_inside(editor: Editor, person: Person, client_id: str) -> None:
    page = person.http.get(editor.url(client_id=client_id))
    assert page.status_code == 422
    assert "location" not in page.headers


def test_registrations_are_bounded(tenant: TenantKit) -> None:
    editor = Editor(tenant, "x")
    replies = [editor.register() for _ in range(23)]
    assert [r.status_code for r in replies] == [201] * 20 + [429] * 3
    assert replies[-1].headers["retry-after"]
    huge = editor.http.post(f"{editor.issuer}/oauth/register", json={"client_name": "x" * 20_000})
    assert huge.status_code == 400


def test_parameters_given_twice_are_refused(editor: Editor, person: Person) -> None:
    page = person.http.get(editor.url() + "&redirect_uri=https://evil.example/")
    assert page.status_code == 422
    reply = editor.http.post(
        f"{editor.issuer}/oauth/token",
        content=b"grant_type=refresh_token&grant_type=refresh_token",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert reply.json()["error"] == "invalid_request"
    assert editor.http.post(f"{editor.issuer}/oauth/token?grant_type=refresh_token", data={}).status_code == 400


def test_a_stranger_leads_nobody_away_who_did_not_agree(tenant: TenantKit, person: Person) -> None:
    stranger = Editor(tenant, redirect_uri="https://evil.example/callback")
    for wrong in ({"prompt": "none"}, {"resource": None}, {"response_type": "token"}):
        page = person.http.get(stranger.url(**wrong))
        assert page.status_code == 422
        assert "location" not in page.headers
    shown = person.http.get(stranger.url())
    assert "evil.example" in shown.text
    assert person.consent(stranger.url()).headers["location"].startswith("https://evil.example/callback?code=")
