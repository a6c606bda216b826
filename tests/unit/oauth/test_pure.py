"""What the authorization server decides without I/O: redirects, resources, scopes, PKCE, refresh turns, documents."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.identity.oauth import metadata, pkce, redirects, refresh, scopes
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.resources import resource_of
from broker.ids import new_id

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = b"k" * 32
DOCUMENT = "https://editor.example/client.json"


@pytest.mark.parametrize(
    "uri",
    [
        "https://editor.example/callback",
        "https://editor.example:8443/callback?x=1",
        "http://127.0.0.1/callback",
        "http://localhost:1234/callback",
        "http://[::1]:1234/",
        "com.example.app:/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ],
)
def test_what_may_be_registered(uri: str) -> None:
    assert redirects.check(uri) == uri
    assert redirects.allowed([uri], uri) == uri


@pytest.mark.parametrize("scheme", ["javascript", "data", "file", "vbscript", "blob", "ftp", "mailto", "about"])
def test_no_scheme_that_a_browser_runs(scheme: str) -> None:
    for any_scheme in (True, False):
        with pytest.raises(redirects.BadRedirect):
            redirects.check(f"{scheme}:x", any_scheme=any_scheme)


def test_an_admin_may_name_any_private_scheme() -> None:
    assert redirects.check("myeditor://x", any_scheme=True)
    with pytest.raises(redirects.BadRedirect):
        redirects.check("myeditor://x")


@given(port=st.integers(1, 65535))
def test_only_a_loopback_port_may_differ(port: int) -> None:
    for registered in ("http://127.0.0.1/cb", "http://localhost:1/cb", "http://[::1]/cb"):
        host = registered[7:].partition("/")[0].removesuffix(":1")
        given_uri = f"http://{host}:{port}/cb"
        assert redirects.allowed([registered], given_uri) == given_uri
        for wrong in (f"http://{host}:{port}/cb/", f"http://{host}:{port}/CB", f"https://{host}:{port}/cb"):
            assert redirects.allowed([registered], wrong) is None
    elsewhere = f"https://editor.example:{port}/cb"
    assert redirects.allowed(["https://editor.example/cb"], elsewhere) is None


@given(text=st.text(max_size=60))
def test_a_text_that_was_not_registered_is_never_allowed(text: str) -> None:
    assert redirects.allowed(["https://editor.example/cb", "http://127.0.0.1/cb"], text) in (None, text)
    assert redirects.allowed(["https://editor.example/cb"], text + "x") in (None, "https://editor.example/cb")


def test_the_answer_stands_behind_a_query() -> None:
    assert redirects.with_answer("https://e.example/cb", {"a": "1 2", "b": None}) == "https://e.example/cb?a=1+2"
    assert redirects.with_answer("https://e.example/cb?x=1", {"a": "&"}) == "https://e.example/cb?x=1&a=%26"


def test_resources_are_one_issuers_own() -> None:
    base = "https://k.example"
    assert resource_of(base, "acme", f"{base}/t/acme/mcp").path == "/t/acme/mcp"
    assert resource_of(base, "acme", f"{base}/t/acme/mcp/cf/").connection == "cf"
    assert resource_of(base, "default", f"{base}/mcp").path == "/mcp"
    for wrong in (None, "", f"{base}/mcp", f"{base}/t/other/mcp", f"{base}/t/acme/mcp?x", f"{base}.evil/t/acme/mcp"):
        with pytest.raises(OAuthRefusal) as refused:
            resource_of(base, "acme", wrong)
        assert refused.value.error == "invalid_target"


def test_scopes_hold_the_ones_before() -> None:
    assert scopes.access_of(None) == "read"
    assert scopes.access_of("offline_access openid") == "read"
    assert scopes.access_of("tools:write tools:read") == "write"
    for unasked in (None, "", "offline_access openid"):
        assert scopes.offered_by(unasked) == "destructive"
    for asked in ("tools:read", "tools:write offline_access", "tools:destructive"):
        assert scopes.offered_by(asked) == scopes.access_of(asked)
    assert scopes.scope_of("write") == "tools:read tools:write"
    for access in ("read", "write", "destructive"):
        assert scopes.access_of(scopes.scope_of(access)) == access  # type: ignore[arg-type]


def test_a_challenge_is_proved_by_its_verifier_alone() -> None:
    # RFC 7636, appendix B
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert pkce.is_challenge(challenge)
    assert pkce.proves(verifier, challenge)
    for wrong in (None, "", challenge, verifier + "x", verifier[:-1] + "é", "x" * 200):
        assert not pkce.proves(wrong, challenge)
    short = base64.urlsafe_b64encode(hashlib.sha256(b"short").digest()).rstrip(b"=").decode()
    assert not pkce.proves("short", short)


@given(number=st.integers(0, 2**32 - 1))
def test_a_refresh_token_says_its_turn_and_cannot_be_changed(number: int) -> None:
    turn = refresh.Turn(new_id(), new_id(), number)
    spelled = refresh.spell(KEY, turn)
    assert refresh.parse(KEY, spelled) == turn
    with pytest.raises(refresh.NoRefreshToken):
        refresh.parse(b"x" * 32, spelled)
    middle = len(spelled) // 2
    changed = spelled[:middle] + ("A" if spelled[middle] != "A" else "B") + spelled[middle + 1 :]
    with pytest.raises(refresh.NoRefreshToken):
        refresh.parse(KEY, changed)


def test_turns() -> None:
    second = timedelta(seconds=1)
    assert refresh.judge(3, 3, NOW, 0, NOW + refresh.IDLE - second) == "next"
    assert refresh.judge(3, 3, NOW, 0, NOW + refresh.IDLE) == "old"
    assert refresh.judge(2, 3, NOW, 0, NOW + refresh.GRACE - second) == "again"
    assert refresh.judge(2, 3, NOW, refresh.AGAIN, NOW) == "reused"
    assert refresh.judge(2, 3, NOW, 0, NOW + refresh.GRACE) == "reused"
    assert refresh.judge(1, 3, NOW, 0, NOW) == "reused"
    assert refresh.judge(4, 3, NOW, 0, NOW) == "reused"


@pytest.mark.parametrize(
    "client_id",
    [
        "https://e.example",
        "https://e.example/../x",
        "https://e.example/%2e%2E/x",
        "http://e.example/x",
        "x",
        "https://e/x#",
    ],
)
def test_what_is_no_documents_address(client_id: str) -> None:
    assert not metadata.is_document(client_id)


def test_a_document_speaks_for_itself_alone() -> None:
    good = {"client_id": DOCUMENT, "client_name": "Editor", "redirect_uris": ["http://127.0.0.1/cb"]}
    assert metadata.is_document(DOCUMENT)
    assert metadata.read_document(good, DOCUMENT).name == "Editor"
    for wrong in (
        good | {"client_id": DOCUMENT + "x"},
        good | {"client_secret": "s"},
        good | {"token_endpoint_auth_method": "private_key_jwt"},
        good | {"redirect_uris": []},
        good | {"redirect_uris": ["http://evil.example/"]},
        good | {"grant_types": ["implicit"]},
        [good],
        None,
    ):
        with pytest.raises(metadata.BadMetadata):
            metadata.read_document(wrong, DOCUMENT)


@given(name=st.text())
def test_names_are_one_printable_line(name: str) -> None:
    shown = metadata.plain_name(name)
    assert shown.isprintable() or shown == ""
    assert len(shown) <= metadata.MAX_NAME
