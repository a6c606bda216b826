"""Attacks on the pages: links that are replayed, forms from elsewhere, frames, leaks, names that are markup."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.harness import Stand
from bench.kit import TenantKit

PRIYA = "priya@acme.example"
OURS = {"sec-fetch-site": "same-origin"}
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'"


def browser(stand: Stand, **options: Any) -> httpx.Client:
    """A client that keeps cookies and follows nothing by itself."""
    return httpx.Client(base_url=stand.server.url, trust_env=False, timeout=30, **options)


@pytest.fixture
def kit(tenant: TenantKit) -> TenantKit:
    tenant.connection()
    tenant.identity(PRIYA)
    tenant.identity("marco@acme.example")
    tenant.grant({"identifier": PRIYA}, "read")
    return tenant


@pytest.fixture
def me(running_server: Stand) -> Iterator[httpx.Client]:
    with browser(running_server) as client:
        yield client


@pytest.fixture
def other(running_server: Stand) -> Iterator[httpx.Client]:
    with browser(running_server) as client:
        yield client


def connect_link(kit: TenantKit, identifier: str = PRIYA) -> str:
    body = {"connection_name": "cloudflare", "identifier": identifier}
    return str(kit.admin.ok("POST", "/v1/connect_links", body)["url"])


def sign_in_link(kit: TenantKit, identifier: str = PRIYA) -> str:
    return str(kit.admin.ok("POST", "/v1/sign_in_links", {"identifier": identifier})["url"])


def csrf_of(reply: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', reply.text)
    assert found, reply.text
    return found[1]


def sign_in(client: httpx.Client, link: str) -> httpx.Response:
    client.get(link)
    csrf = csrf_of(client.get("/signin/link"))
    return client.post("/signin/link", data={"csrf": csrf}, headers=OURS)


def deposit(client: httpx.Client, token: str, csrf: str | None = None, **headers: str) -> httpx.Response:
    given = csrf if csrf is not None else csrf_of(client.get("/connect/link"))
    fields = {"csrf": given, "kind": "api_token", "token": token}
    return client.post("/connect/link", data=fields, headers=headers or OURS)


def test_a_used_link_opens_nothing_in_any_browser(kit: TenantKit, me: httpx.Client, other: httpx.Client) -> None:
    link = connect_link(kit)
    other.get(link)
    theirs = csrf_of(other.get("/connect/link"))
    me.get(link)
    assert deposit(me, kit.stand.upstream.token()["value"]).status_code == 200
    assert deposit(other, kit.stand.upstream.token()["value"], theirs).status_code == 404
    assert other.get("/connect/link").status_code == 404
    assert httpx.get(link, trust_env=False).status_code == 404


def test_a_used_sign_in_link_signs_nobody_in(kit: TenantKit, me: httpx.Client, other: httpx.Client) -> None:
    link = sign_in_link(kit)
    other.get(link)
    theirs = csrf_of(other.get("/signin/link"))
    assert sign_in(me, link).status_code == 303
    assert other.post("/signin/link", data={"csrf": theirs}, headers=OURS).status_code == 404
    assert "krv_login" not in other.cookies


@pytest.mark.parametrize("headers", [{}, {"sec-purpose": "prefetch;prerender"}, {"purpose": "prefetch"}])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_uses_nothing_up(
    kit: TenantKit, me: httpx.Client, other: httpx.Client, method: str, headers: dict[str, str]
) -> None:
    """Link scanners, previews and prefetching browsers look first."""
    link = connect_link(kit)
    for _ in range(3):
        other.request(method, link, headers=headers)
        other.request(method, "/connect/link", headers=headers)
    me.get(link)
    assert deposit(me, kit.stand.upstream.token()["value"]).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1"},
        {"accept": "*/*"},
    ],
)
def test_forms_of_other_sites_are_refused(kit: TenantKit, me: httpx.Client, headers: dict[str, str]) -> None:
    """With everything right but where it comes from."""
    me.get(connect_link(kit))
    token = kit.stand.upstream.token()["value"]
    assert deposit(me, token, **headers).status_code == 403
    me.get(sign_in_link(kit))
    csrf = csrf_of(me.get("/signin/link"))
    assert me.post("/signin/link", data={"csrf": csrf}, headers=headers).status_code == 403
    assert kit.admin.ok("GET", "/v1/connected_accounts")["items"] == []


def test_an_origin_of_ours_is_taken_where_there_is_no_fetch_metadata(kit: TenantKit, me: httpx.Client) -> None:
    me.get(connect_link(kit))
    assert deposit(me, kit.stand.upstream.token()["value"], origin=kit.stand.server.url).status_code == 200


def test_a_form_fits_its_own_link_alone(kit: TenantKit, me: httpx.Client, other: httpx.Client) -> None:
    """Whoever swaps the cookie under an open page does not have its token deposited elsewhere."""
    me.get(connect_link(kit))
    csrf = csrf_of(me.get("/connect/link"))
    me.get(connect_link(kit, "marco@acme.example"))
    token = kit.stand.upstream.token()["value"]
    for wrong in (csrf, "", "0" * 64):
        assert deposit(me, token, wrong).status_code == 403
    assert other.post("/connect/link", data={"csrf": csrf, "token": token}, headers=OURS).status_code == 404
    assert kit.admin.ok("GET", "/v1/connected_accounts")["items"] == []


def test_a_link_for_somebody_else_is_refused_to_whoever_is_signed_in(kit: TenantKit, me: httpx.Client) -> None:
    """Marco sends Priya his own link, to have her account connected to himself."""
    sign_in(me, sign_in_link(kit))
    me.get(connect_link(kit, "marco@acme.example"))
    reply = me.get("/connect/link")
    assert reply.status_code == 403
    assert "marco@acme.example" in reply.text
    fields = {"csrf": "0" * 64, "kind": "api_token", "token": "x"}
    assert me.post("/connect/link", data=fields, headers=OURS).status_code == 403


def test_a_login_ends_at_its_tenant_and_identity(
    kit: TenantKit, make_kit: Any, me: httpx.Client, other: httpx.Client
) -> None:
    foreign = make_kit()
    foreign.connection()
    sign_in(me, sign_in_link(kit))
    for name in (foreign.name, "no-such-tenant"):
        reply = me.get(f"/connect/{name}/cloudflare")
        assert reply.status_code == 403
    signed_out = [other.get(f"/connect/{name}/cloudflare") for name in (foreign.name, "no-such-tenant")]
    told = [re.sub(r"no-such-tenant|t[0-9a-f]{12}", "T", r.text) for r in signed_out]
    assert told[0] == told[1], "whether a tenant exists is told to nobody"
    marco = kit.account("marco@acme.example", kit.stand.upstream.token()["value"])
    csrf = csrf_of(me.get("/"))
    reply = me.post(f"/accounts/{marco['id']}/revoke", data={"csrf": csrf}, headers=OURS)
    assert reply.status_code == 404
    assert kit.admin.ok("GET", f"/v1/connected_accounts/{marco['id']}")["status"] == "active"


def test_cookies_and_bearers_are_not_each_other(kit: TenantKit, me: httpx.Client, other: httpx.Client) -> None:
    sign_in(me, sign_in_link(kit))
    cookie = me.cookies["krv_login"]
    assert me.get("/v1/tools/scoped").status_code == 401, "a cookie is nothing to the API"
    assert other.get("/v1/tools/scoped", headers={"authorization": f"Bearer {cookie}"}).status_code == 401
    session = kit.session(PRIYA)["token"]
    other.cookies.set("krv_login", session)
    assert "Sign out" not in other.get("/").text
    other.cookies.set("krv_login", connect_link(kit).rpartition("/")[2])
    assert "Sign out" not in other.get("/").text


def test_signing_in_replaces_and_ends_the_login_before(kit: TenantKit, me: httpx.Client, other: httpx.Client) -> None:
    """Nobody plants a login: the cookie is always a new one, and the old one is dead."""
    sign_in(me, sign_in_link(kit))
    before = me.cookies["krv_login"]
    sign_in(me, sign_in_link(kit, "marco@acme.example"))
    assert me.cookies["krv_login"] != before
    other.cookies.set("krv_login", before)
    assert "Sign out" not in other.get("/").text


def test_a_ticket_is_nowhere_after_its_first_answer(running_server: Stand, kit: TenantKit, me: httpx.Client) -> None:
    links = [connect_link(kit), sign_in_link(kit)]
    tickets = [link.rpartition("/")[2] for link in links]
    for link, page in zip(links, ("/connect/link", "/signin/link"), strict=True):
        first = me.get(link)
        assert first.headers["location"] == page
        assert first.headers["referrer-policy"] == "no-referrer"
        assert first.headers["cache-control"] == "no-store"
        assert first.content == b""
        shown = me.get(page)
        assert all(t not in shown.text and t not in str(shown.headers) for t in tickets)
    wrong = deposit(me, "cfut_" + "w" * 48)
    assert "w" * 20 not in wrong.text
    me.get(links[0][:-3] + "AAA")
    logs = running_server.server.logs().decode(errors="replace")
    for ticket in tickets:
        assert ticket[30:60] not in logs


def test_every_answer_closes_frames_caches_and_referrers(kit: TenantKit, me: httpx.Client) -> None:
    me.get(connect_link(kit))
    paths = ["/", "/signin", "/connect/link", "/signin/link", "/c/nonsense", f"/connect/{kit.name}/cloudflare"]
    replies = [me.get(path) for path in [*paths, "/assets/nothing.css", "/connect/UPPER/x", "/s/" + "x" * 500]]
    replies.append(me.post("/connect/link", data={}, headers=OURS))
    replies.append(me.post("/signout", data={}, headers=OURS))
    for reply in replies:
        assert reply.headers["x-frame-options"] == "DENY", reply.url
        policy = reply.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cross-origin-opener-policy"] == "same-origin"
        assert reply.headers["referrer-policy"] == "no-referrer"
    style = me.get(re.search(r'href="(/assets/page[^"]+)"', me.get("/").text)[1])  # type: ignore[index]
    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "/%09/evil.example", "javascript:alert(1)", ""]
)
def test_signing_in_leads_nowhere_else(kit: TenantKit, me: httpx.Client, to: str) -> None:
    me.get("/signin", params={"return_to": to.replace("%09", "\t")})
    assert "krv_return" not in me.cookies
    me.cookies.set("krv_return", to.replace("%09", "x"))
    if to.startswith("/%09"):
        return
    assert sign_in(me, sign_in_link(kit)).headers["location"] == "/"


def test_names_from_elsewhere_are_text(kit: TenantKit, me: httpx.Client) -> None:
    """A display name, a key's name and an upstream user's address that are markup, or turn the line around."""
    identifier = "<b>x</b>&\"'@acme.example"
    kit.admin.ok("POST", "/v1/identities", {"identifier": identifier, "display_name": MARKUP})
    key = kit.key("operator", role="admin")
    named = kit.admin.ok("POST", "/v1/keys", {"kind": "operator", "name": f"k{MARKUP}"[:60], "role": "admin"})
    helper = kit.stand.server.api(named["key"], tenant=kit.name)
    link = helper.ok("POST", "/v1/connect_links", {"connection_name": "cloudflare", "identifier": identifier})["url"]
    email = '"<script>alert(3)</script>"@evil.example'
    kit.stand.upstream.control("POST", "/users", {"email": email, "accounts": ["acme"]})
    me.get(link)
    pages = [me.get("/connect/link"), deposit(me, kit.stand.upstream.token(email)["value"])]
    assert pages[1].status_code == 200, pages[1].text
    assert "&lt;script&gt;alert(3)" in pages[1].text
    sign = helper.ok("POST", "/v1/sign_in_links", {"identifier": identifier})["url"]
    me.get(sign)
    pages.append(me.get("/signin/link"))
    me.post("/signin/link", data={"csrf": csrf_of(pages[-1])}, headers=OURS)
    pages.append(me.get("/"))
    assert "&lt;img src=x" in pages[-1].text
    for page in pages:
        assert "<img src=x" not in page.text
        assert "<script>" not in page.text
        assert "<b>x</b>" not in page.text
        assert "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", page.text)
    helper.close()
    assert key["key"]


def test_forms_are_bounded(kit: TenantKit, me: httpx.Client) -> None:
    me.get(connect_link(kit))
    csrf = csrf_of(me.get("/connect/link"))
    body = f"csrf={csrf}&kind=api_token"
    form = {"content-type": "application/x-www-form-urlencoded", **OURS}

    def post(content: str, headers: dict[str, str] = form) -> int:
        return me.post("/connect/link", content=content, headers=headers).status_code

    assert post(f"{body}&token={'x' * 40_000}") == 413
    assert post(f"{body}&kind=other") == 422
    assert post(body + "&a=1" * 50) == 422
    assert post(body + "&token=%ff%fe") == 422
    assert post('{"csrf": "x"}', {"content-type": "application/json", **OURS}) == 415
    assert post(body, {"content-type": "text/plain", **OURS}) == 415
    assert post("") == 403
    assert post(f"{body}&kind2=&token=") == 422
    assert me.get("/connect/link?kind=" + "x" * 3000).status_code == 200


def test_another_host_is_not_this_server(kit: TenantKit, me: httpx.Client) -> None:
    link = connect_link(kit)
    for path in ("/", "/signin", link.partition(kit.stand.server.url)[2]):
        reply = me.get(path, headers={"host": "evil.example"})
        assert reply.status_code == 422
        assert "set-cookie" not in reply.headers


def test_guessing_is_bounded_by_address(running_server: Stand, kit: TenantKit) -> None:
    """From an address of its own, so that no other test is kept out."""
    with browser(running_server, transport=httpx.HTTPTransport(local_address="127.0.0.9")) as guesser:
        answers = [guesser.get("/c/krv_cl_" + "A" * 64).status_code for _ in range(40)]
    assert answers[:30] == [404] * 30
    assert set(answers[30:]) == {429}


def test_an_agents_session_cannot_cut_its_engineer_off(kit: TenantKit) -> None:
    """Revoking one's own account is for a person in their page."""
    account = kit.account(PRIYA, kit.stand.upstream.token()["value"])
    api = kit.stand.server.api(kit.session(PRIYA)["token"])
    reply = api.send("POST", f"/v1/connected_accounts/{account['id']}:revoke", json={"reason": "x"})
    assert reply.status_code == 403
    assert api.send("POST", f"/accounts/{account['id']}/revoke").status_code == 401
    api.close()
