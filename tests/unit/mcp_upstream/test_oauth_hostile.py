"""Authorization servers that lie: where they may not have us ask, what their metadata may not say."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from broker.accounts.upstream_oauth.outward import OutwardOnly
from broker.accounts.upstream_oauth.sign_ins import Back, UpstreamSignIns, make_upstream_sign_ins
from broker.domain import Connection
from connectors.base import RawAnswer
from connectors.egress import EgressPolicy
from connectors.errors import EgressRefused, UpstreamUnreachable
from connectors.mcp_upstream.oauth.discovery import SignIn, discover
from connectors.mcp_upstream.oauth.errors import NoRegistration, NoRevocation, NoSignIn, TokenRefused
from connectors.mcp_upstream.oauth.registration import register
from connectors.mcp_upstream.oauth.tokens import OAuthClient, Tokens, give_back

SERVER = "https://mcp.example.com/mcp"
ISSUER = "https://as.example.com"
INSIDE = "https://wiki.corp.example:8443"
SIGN_IN = SignIn(
    resource=SERVER,
    scope=None,
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize",
    token_endpoint=f"{ISSUER}/token",
    registration_endpoint=f"{ISSUER}/register",
    revocation_endpoint=f"{ISSUER}/revoke",
    methods=("client_secret_basic",),
    documents=False,
    names_itself=True,
)
HELD = Tokens("access", "refresh", None, ISSUER, SERVER, f"{ISSUER}/token", f"{ISSUER}/revoke", "c", None, "none")


class Web:
    """Answers by address; what it was asked."""

    def __init__(self, answers: dict[str, Any] | None = None, status: int = 200) -> None:
        self.answers = answers or {}
        self.status = status
        self.asked: list[str] = []
        self.bodies: list[bytes | None] = []

    async def send(self, *, origin: str, path: str, body: bytes | None, **_: Any) -> RawAnswer:
        self.asked.append(origin + path)
        self.bodies.append(body)
        found = self.answers.get(origin + path)
        return RawAnswer(404 if found is None else self.status, {}, orjson.dumps(found))


def published(server: str = ISSUER, **metadata: Any) -> Web:
    """A server and the authorization server that it names."""
    return Web(
        {
            "https://mcp.example.com/.well-known/oauth-protected-resource/mcp": {
                "resource": SERVER,
                "authorization_servers": [server],
            },
            f"{ISSUER}/.well-known/oauth-authorization-server": {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "code_challenge_methods_supported": ["S256"],
                **metadata,
            },
        }
    )


async def test_what_is_said_is_what_is_found() -> None:
    found = await discover(published(), SERVER, None)
    assert (found.issuer, found.token_endpoint) == (ISSUER, f"{ISSUER}/token")


@pytest.mark.parametrize(
    "issuer",
    [
        f"{ISSUER}?tenant=1",
        f"{ISSUER}#x",
        "https://as.example.com\\@evil.example",
        "https://\u0430s.example.com",
        "https://user:pw@as.example.com",
        "http://as.example.com",
        "//as.example.com",
        "https://" + "a" * 2_000 + ".example",
        ["https://as.example.com"],
        None,
    ],
)
async def test_issuers_that_are_none(issuer: Any) -> None:
    web = published(issuer)
    with pytest.raises(NoSignIn):
        await discover(web, SERVER, None)
    assert len(web.asked) == 1, "and nobody is asked there"


@pytest.mark.parametrize(
    "more", ["client_id=x", "redirect_uri=https%3A%2F%2Fevil.example", "a=1&state=", "sc%6Fpe=admin", "request_uri=x"]
)
async def test_an_endpoint_brings_no_parameter_of_ours(more: str) -> None:
    with pytest.raises(NoSignIn, match="is a request already"):
        await discover(published(authorization_endpoint=f"{ISSUER}/authorize?{more}"), SERVER, None)
    kept = await discover(published(authorization_endpoint=f"{ISSUER}/authorize?tenant=1"), SERVER, None)
    assert kept.authorization_endpoint.endswith("?tenant=1")


async def test_who_is_outside_has_nobody_inside_asked() -> None:
    """What the operator opened is reached by connections to it; no server elsewhere points us there."""
    policy = EgressPolicy.parse(["wiki.corp.example:8443", "127.0.0.1:9000"])
    for inside in (INSIDE, "http://127.0.0.1:9000"):
        web = published(inside)
        with pytest.raises(NoSignIn):
            await discover(OutwardOnly(web, policy), SERVER, None)
        assert not [asked for asked in web.asked if asked.startswith(inside)]
    web = Web()
    for sign_in in (replace(SIGN_IN, registration_endpoint=f"{INSIDE}/api/delete"),):
        with pytest.raises(EgressRefused):
            await register(OutwardOnly(web, policy), sign_in, "https://k.example/cb")
    with pytest.raises(EgressRefused):
        await give_back(OutwardOnly(web, policy), replace(HELD, revocation_endpoint=f"{INSIDE}/x"))
    assert web.asked == []
    assert OutwardOnly(web, policy).opened(INSIDE.upper().replace("HTTPS", "https"))
    with pytest.raises(EgressRefused):
        OutwardOnly(web, policy).opened("https://localhost")


@pytest.mark.parametrize("inside", [f"{INSIDE}/api/delete?everything=1", "https://localhost/x"])
async def test_nor_asked_when_tokens_are_given_back(inside: str) -> None:
    """That is sent by the gate, as calls are, which reach what the operator opened."""
    nothing: Any = None
    parts = dict.fromkeys(("db", "vault_", "trail", "clock", "views"), nothing)
    policy = EgressPolicy.parse(["wiki.corp.example:8443"])

    def sign_ins(**metadata: Any) -> UpstreamSignIns:
        return make_upstream_sign_ins(base_url="https://k.example", http=published(**metadata), egress=policy, **parts)

    with pytest.raises(EgressRefused):
        await sign_ins(revocation_endpoint=inside)._discover(SERVER)
    found = await sign_ins(revocation_endpoint=f"{ISSUER}/revoke")._discover(SERVER)
    assert found.revocation_endpoint == f"{ISSUER}/revoke"
    assert (await sign_ins()._discover(SERVER)).revocation_endpoint is None


@pytest.mark.parametrize("ends", [0, -1, 2**40, 2**63, "soon", 1.5e9, True, None])
async def test_a_secret_that_ends_at_no_date_does_not_end(ends: Any) -> None:
    web = Web({f"{ISSUER}/register": {"client_id": "c", "client_secret": "s", "client_secret_expires_at": ends}})
    made = await register(web, SIGN_IN, "https://k.example/cb")
    assert made.secret_expires_at is None
    assert json.loads(web.bodies[0] or b"")["redirect_uris"] == ["https://k.example/cb"]


async def test_where_nobody_registers_the_issuer_is_told() -> None:
    with pytest.raises(NoRegistration) as caught:
        await register(Web(), replace(SIGN_IN, registration_endpoint=None), "https://k.example/cb")
    assert caught.value.issuer == ISSUER


async def test_both_tokens_are_given_back() -> None:
    web = Web({f"{ISSUER}/revoke": {}})
    await give_back(web, HELD)
    assert [b"refresh_token" in (body or b"") for body in web.bodies] == [True, False]
    web.bodies.clear()
    await give_back(web, replace(HELD, refresh_token=None))
    assert len(web.bodies) == 1
    with pytest.raises(NoRevocation):
        await give_back(web, replace(HELD, revocation_endpoint=None))


async def test_one_that_is_refused_keeps_the_other_from_nothing() -> None:
    web = Web({f"{ISSUER}/revoke": {"error": "unsupported_token_type"}}, 400)
    with pytest.raises(TokenRefused):
        await give_back(web, HELD)
    assert [b"hint=access_token" in (body or b"") for body in web.bodies] == [False, True]


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, {"error": "unsupported_token_type"}, TokenRefused),
        (401, {"error": "invalid_client"}, TokenRefused),
        (204, {}, UpstreamUnreachable),
        (302, {}, UpstreamUnreachable),
        (503, {"error": "x"}, UpstreamUnreachable),
    ],
)
async def test_only_a_plain_yes_is_one(status: int, body: Any, fault: type[Exception]) -> None:
    web = Web({f"{ISSUER}/revoke": body}, status)
    with pytest.raises(fault):
        await give_back(web, HELD)
    assert len(web.asked) == (2 if fault is TokenRefused else 1)


async def test_tokens_are_given_back_where_the_sign_in_cannot_be_noted() -> None:
    """The database may go away between the server's answer and ours: live tokens that nobody holds must not stay."""
    place = uuid4()
    granted = {"access_token": "at", "refresh_token": "rt", "token_type": "Bearer"}
    web = Web({f"{ISSUER}/token": granted, f"{ISSUER}/revoke": {}})

    class Views:
        async def connection(self, *_: object) -> Any:
            return SimpleNamespace(config={"url": SERVER})

    async def away(*_: object) -> None:
        raise ConnectionResetError

    nothing: Any = None
    parts = dict.fromkeys(("db", "vault_", "trail", "clock"), nothing)
    views: Any = Views()
    signs = make_upstream_sign_ins(
        base_url="https://k.example", http=web, egress=EgressPolicy.parse([]), views=views, **parts
    )
    signs.clients.used = away  # type: ignore[method-assign]  # stands for a database that is away
    client = OAuthClient("c")
    back = Back(place, place, place, None, "up", SERVER, SIGN_IN, client, "https://k.example/cb", None, verifier="v")
    connection = Connection(place, "up", "mcp", 1, "active")
    with pytest.raises(ConnectionResetError):
        await signs.redeem(back, connection, iss=ISSUER, code="x", error=None)
    assert web.asked == [f"{ISSUER}/token", f"{ISSUER}/revoke", f"{ISSUER}/revoke"]
