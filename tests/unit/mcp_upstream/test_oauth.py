"""Signing in to a server, the parts without I/O: challenges, places, addresses, answers, tokens, headers."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from connectors.auth import headers_for
from connectors.base import RawAnswer
from connectors.errors import CredentialRejected, InvalidInput, UpstreamUnreachable
from connectors.mcp_upstream.config import check_credential
from connectors.mcp_upstream.mirroring import headers_of
from connectors.mcp_upstream.oauth import tokens
from connectors.mcp_upstream.oauth.authorization import Proof, address, read_answer
from connectors.mcp_upstream.oauth.challenge import Challenge, read_challenge, union
from connectors.mcp_upstream.oauth.discovery import SignIn, covers, resource_documents, server_documents
from connectors.mcp_upstream.oauth.errors import NoSignIn, TokenRefused
from connectors.mcp_upstream.oauth.registration import as_document, document, method_of
from connectors.mcp_upstream.oauth.tokens import OAuthClient, Tokens
from vault.secret import Secret

SIGN_IN = SignIn(
    resource="https://mcp.example.com/mcp",
    scope="mcp:use",
    issuer="https://as.example.com",
    authorization_endpoint="https://as.example.com/authorize",
    token_endpoint="https://as.example.com/token",
    registration_endpoint=None,
    revocation_endpoint=None,
    methods=("client_secret_basic",),
    documents=True,
    names_itself=True,
)
HELD = Tokens("access", "refresh", "s", "i", "r", "https://as.example.com/token", None, "c", "secret-of-client", "none")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            'Bearer realm="x", scope="a b", resource_metadata="https://a.example/m"',
            ("a b", "https://a.example/m", None),
        ),
        ("bearer error=invalid_token", (None, None, "invalid_token")),
        ('Basic realm="x", Bearer scope="a"', ("a", None, None)),
        ("Bearer", (None, None, None)),
        ('Bearer scope="a\\"b"', (None, None, None)),
        ('Bearer scope="a  b"', (None, None, None)),
    ],
)
def test_challenges(header: str, found: tuple[str | None, str | None, str | None]) -> None:
    assert read_challenge({"www-authenticate": header}) == Challenge(*found)


@pytest.mark.parametrize("header", ["", "Basic realm=x", "x" * 5000, "Bearerer scope=a"])
def test_what_is_no_challenge(header: str) -> None:
    assert read_challenge({"www-authenticate": header}) is None


def test_scopes_are_joined_once() -> None:
    assert union("a b", "b c") == "a b c"
    assert union(None, None) is None


@pytest.mark.parametrize(
    ("resource", "fits"),
    [
        ("https://a.example/mcp", True),
        ("https://a.example/mcp/", True),
        ("https://a.example", True),
        ("https://a.example/", True),
        ("https://a.example/mc", False),
        ("https://a.example/mcp/more", False),
        ("http://a.example/mcp", False),
        ("https://a.example:8443/mcp", False),
        ("https://user@a.example/mcp", False),
        ("https://a.example.evil.example/mcp", False),
        ("https://a.example/mcp?tenant=b", False),
    ],
)
def test_a_resource_is_the_server_or_what_it_lies_under(resource: str, fits: bool) -> None:
    assert covers(resource, "https://a.example/mcp") is fits


def test_where_metadata_may_be() -> None:
    base = "https://a.example/.well-known/oauth-protected-resource"
    assert resource_documents("https://a.example/x/mcp", None) == [f"{base}/x/mcp", base]
    assert resource_documents("https://a.example/", "https://b.example/m") == ["https://b.example/m", base]
    assert resource_documents("https://a.example/", "javascript:x") == [base]
    inside = "http://10.0.0.7:8080/admin?delete=1"
    assert resource_documents("https://a.example/", inside) == [base], "nobody outside points us inside"
    assert resource_documents("http://10.0.0.7:8080/mcp", inside)[0] == inside
    assert server_documents("https://a.example/t/1") == [
        "https://a.example/.well-known/oauth-authorization-server/t/1",
        "https://a.example/.well-known/openid-configuration/t/1",
        "https://a.example/t/1/.well-known/openid-configuration",
    ]


def test_the_address_carries_what_the_answer_is_judged_by() -> None:
    proof = Proof.make()
    url = address(SIGN_IN, client_id="c", redirect_uri="https://k.example/cb", state="s", proof=proof, scope="a")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    digest = hashlib.sha256(proof.verifier.encode()).digest()
    assert asked["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert (asked["code_challenge_method"], asked["resource"]) == ("S256", SIGN_IN.resource)
    assert proof.verifier not in repr(proof)


@pytest.mark.parametrize("iss", ["https://as.example.com/", "https://AS.example.com", "", None])
def test_only_the_very_issuer_answers(iss: str | None) -> None:
    with pytest.raises(NoSignIn):
        read_answer(issuer=SIGN_IN.issuer, names_itself=True, iss=iss, code="x", error=None)


def test_an_answer_that_promised_no_iss_needs_none() -> None:
    assert read_answer(issuer="i", names_itself=False, iss=None, code="x", error=None) == "x"
    with pytest.raises(TokenRefused) as caught:
        read_answer(issuer="i", names_itself=False, iss=None, code="x", error="<b>")
    assert caught.value.code == "other"


def test_a_document_is_a_client_where_it_can_be_fetched() -> None:
    url = "https://k.example/upstream/client.json"
    assert as_document(SIGN_IN, url) == OAuthClient(url)
    assert as_document(SIGN_IN, "http://127.0.0.1:8700/upstream/client.json") is None
    assert as_document(SIGN_IN, None) is None
    assert document(url, "https://k.example/cb")["client_id"] == url
    assert method_of(SIGN_IN) == "client_secret_basic"


class Answers:
    """An endpoint that answers what it is told, and keeps what it was asked."""

    def __init__(self, status: int, body: object) -> None:
        self.raw = RawAnswer(status, {}, orjson.dumps(body))
        self.asked: dict[str, object] = {}

    async def send(self, **asked: object) -> RawAnswer:
        self.asked = asked
        return self.raw


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"access_token": "a"},
        {"access_token": "a", "token_type": "mac"},
        {"access_token": "a b", "token_type": "bearer"},
        {"access_token": "a\n", "token_type": "bearer"},
        {"access_token": "a" * 8001, "token_type": "bearer"},
        {"access_token": "a", "token_type": "bearer", "refresh_token": "\u0000"},
        {"access_token": "a", "token_type": "bearer", "refresh_token": 7},
    ],
)
async def test_what_is_no_token(body: object) -> None:
    with pytest.raises(UpstreamUnreachable):
        await tokens.refresh(Answers(200, body), HELD)


@pytest.mark.parametrize(("seconds", "kept"), [(60, 60), (-1, None), ("60", None), (True, None), (10**12, None)])
async def test_lifetimes(seconds: object, kept: int | None) -> None:
    body = {"access_token": "a", "token_type": "BEARER", "expires_in": seconds}
    found = await tokens.refresh(Answers(200, body), HELD)
    assert (found.expires_in, found.refresh_token) == (kept, "refresh"), "and the refresh token stays"


async def test_how_a_client_shows_who_it_is() -> None:
    answers = Answers(200, {"access_token": "a", "token_type": "bearer"})
    for method in ("client_secret_basic", "client_secret_post", "none"):
        held = Tokens.load({**orjson.loads(HELD.dump()), "client_id": "c:/", "method": method})
        await tokens.refresh(answers, held)
        body, headers = str(answers.asked["body"]), str(answers.asked["headers"])
        assert ("secret-of-client" in body) == (method == "client_secret_post")
        assert (base64.b64encode(b"c%3A%2F:secret-of-client").decode() in headers) == (method == "client_secret_basic")
        assert answers.asked["allowed_origins"] == ("https://as.example.com",)


def test_only_the_access_token_goes_with_a_call_and_no_secret_comes_back() -> None:
    authorisation = headers_for("oauth", Secret(HELD.dump()))
    assert authorisation.headers == (("Authorization", "Bearer access"),)
    assert set(authorisation.needles) == {b"access", b"refresh", b"secret-of-client"}
    for secret in ("access", "refresh", "secret-of-client"):
        assert f"'{secret}'" not in repr(HELD)
    for odd in (b"x", b"{}", b'{"access_token": 1}', b'{"access_token": "a\\r\\nX: 1"}'):
        with pytest.raises(CredentialRejected):
            headers_for("oauth", Secret(odd))


def test_nobody_deposits_a_sign_in() -> None:
    for odd in ("x", {"access_token": "x"}, None):
        with pytest.raises(InvalidInput):
            check_credential({"kind": "oauth", "token": odd})
    assert check_credential({"kind": "oauth", "token": HELD})[0] == "oauth"


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"type": "string", "x-mcp-header": ""}},
        {"a": {"type": "string", "x-mcp-header": "A B"}},
        {"a": {"type": "string", "x-mcp-header": "A\r\nB"}},
        {"a": {"type": "number", "x-mcp-header": "A"}},
        {"a": {"type": "object", "x-mcp-header": "A"}},
        {"a": {"type": "string", "x-mcp-header": 7}},
        {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}},
        {f"p{n}": {"type": "string", "x-mcp-header": f"H{n}"} for n in range(21)},
    ],
)
def test_headers_that_make_a_tool_unusable(properties: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="want"):
        headers_of({"type": "object", "properties": properties})


def test_headers_that_are_mirrored() -> None:
    properties = {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "integer"}}
    assert headers_of({"properties": properties}) == {"a": "A"}
    assert headers_of(None) == {}
