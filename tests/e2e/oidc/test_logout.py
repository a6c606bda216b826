"""The provider says over the wire that somebody signed out there: what lives on it here is dead at once."""

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from bench.kit import TenantKit
from connectors.simulators.cloudflare.clock import wall_seconds
from connectors.simulators.oidc.provider import Account, Client
from tests.e2e.cli.shell import Shell
from tests.e2e.oauth.person import Editor, Person, answer_of
from tests.e2e.oidc.conftest import Organisation, Visitor


@pytest.fixture
def account(organisation: Organisation) -> Iterator[Account]:
    """Somebody who is granted tools, with a session at the provider; only this organisation hears of it."""
    organisation.kit.connection()
    engineer = organisation.kit.engineer()
    _, account = organisation.person(engineer.identifier)
    account.session = f"session-{secrets.token_hex(6)}"
    others = {name: c for name, c in organisation.provider.clients.items() if name != organisation.kit.name}
    for other in others.values():
        other.logout_uri = None
    yield account
    organisation.provider.now = wall_seconds


def let_in(organisation: Organisation, visitor: Visitor) -> tuple[Editor, dict[str, Any]]:
    """Signs the browser in by the provider, and an editor in with it."""
    assert visitor.sign_in().status_code == 303
    person, editor = Person(organisation.kit), Editor(organisation.kit)
    person.http = visitor.http
    tokens = editor.redeem(answer_of(person.consent(editor.url()))["code"]).json()
    assert editor.tools(tokens["access_token"]).status_code == 200
    return editor, tokens


def dead(editor: Editor, tokens: dict[str, Any]) -> bool:
    found = {editor.tools(tokens["access_token"]).status_code, editor.refresh(tokens["refresh_token"]).status_code}
    assert found in ({200}, {401, 400}), found
    return found != {200}


def test_signing_out_there_ends_the_login_and_the_editor_here(organisation: Organisation, account: Account) -> None:
    here = Visitor(organisation.kit)
    editor, tokens = let_in(organisation, here)
    # The same person at another machine, by another session of the provider's.
    organisation.provider.current = dataclasses.replace(account, session="another")
    elsewhere = Visitor(organisation.kit)
    other_editor, other_tokens = let_in(organisation, elsewhere)
    organisation.provider.current = account
    told = here.elsewhere.get(f"{organisation.provider.issuer}/logout").json()
    assert told == {organisation.kit.name: 200}
    assert dead(editor, tokens)
    assert here.who() is None
    assert not dead(other_editor, other_tokens)
    assert elsewhere.who() is not None
    # Everywhere: the person without a session.
    assert organisation.provider.sign_out(dataclasses.replace(account, session=None)) == {organisation.kit.name: 200}
    assert elsewhere.who() is None
    assert editor.tools(other_tokens["access_token"]).status_code == 401
    events = organisation.kit.admin.ok("GET", "/v1/audit/events?operation=identity.signed_out_by_provider")["items"]
    assert [(e["summary"]["by"], e["summary"]["signed_out"]) for e in events] == [("subject", 2), ("session", 2)]
    assert account.subject not in str(events)
    organisation.provider.now = lambda: wall_seconds() + 2
    organisation.provider.current = dataclasses.replace(account, session="a new one")
    assert here.sign_in().status_code == 303, "whoever signs in anew is in"


def post(organisation: Organisation, **sent: Any) -> httpx.Response:
    uri = f"{organisation.kit.stand.url}/t/{organisation.kit.name}/oidc/backchannel-logout"
    return httpx.post(uri, trust_env=False, timeout=30, **sent)


def test_what_the_provider_is_answered(organisation: Organisation, account: Account) -> None:
    token = organisation.provider.logout_token(organisation.kit.name, session=account.session)
    taken = post(organisation, data={"logout_token": token})
    assert (taken.status_code, taken.content) == (200, b""), "also where there was nothing to end"
    assert taken.headers["cache-control"] == "no-store"
    organisation.provider.lies = {"logout with a nonce"}
    lie = organisation.provider.logout_token(organisation.kit.name, session=account.session)
    for sent in (
        {"data": {"logout_token": token}},
        {"data": {"logout_token": lie}},
        {"data": {"logout_token": "x"}},
        {"data": {"logout_token": ""}},
        {"data": {"other": token}},
        {"json": {"logout_token": token}},
        {"data": {"logout_token": token}, "params": {"a": "b"}},
        {"data": {"logout_token": "x" * 20_000}},
        {"content": b"logout_token=a&logout_token=b", "headers": {"content-type": "application/x-www-form-urlencoded"}},
    ):
        refused = post(organisation, **sent)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), refused.text
        assert refused.headers["cache-control"] == "no-store"
        assert token not in refused.text
    assert post(organisation, content=b"").status_code == 400
    uri = f"{organisation.kit.stand.url}/t/{organisation.kit.name}/oidc/backchannel-logout"
    assert httpx.get(uri, trust_env=False).status_code == 405


def test_tenants_look_alike_from_outside(
    organisation: Organisation, account: Account, make_kit: Callable[[], TenantKit]
) -> None:
    token = organisation.provider.logout_token(organisation.kit.name, session=account.session)
    base = organisation.kit.stand.url
    replies = [
        httpx.post(f"{base}/t/{name}/oidc/backchannel-logout", data={"logout_token": token}, trust_env=False)
        for name in (make_kit().name, "no-such-tenant", "UPPER", "a" * 63)
    ]
    assert {(reply.status_code, reply.text) for reply in replies} == {(400, replies[0].text)}


def test_the_admin_is_shown_where_to_send_it(organisation: Organisation) -> None:
    kit = organisation.kit
    assert kit.admin.key is not None
    shell = Shell({"KEYREEVE_URL": kit.stand.url, "KEYREEVE_API_KEY": kit.admin.key})
    uri = f"{kit.stand.url}/t/{kit.name}/oidc/backchannel-logout"
    assert shell.ok("sign-in-provider", "show")["backchannel_logout_uri"] == uri


def test_another_clients_token_ends_nothing(organisation: Organisation, account: Account) -> None:
    """The same provider's token for a site that the attacker runs, sent on to us."""
    editor, tokens = let_in(organisation, Visitor(organisation.kit))
    organisation.provider.clients["evil"] = Client("evil", None, [])
    stolen = organisation.provider.logout_token("evil", subject=account.subject, session=account.session)
    assert post(organisation, data={"logout_token": stolen}).status_code == 400
    assert not dead(editor, tokens)
