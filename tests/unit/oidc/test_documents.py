"""A provider's description, and how long it and the keys are kept."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.identity.oidc import fetching
from broker.identity.oidc.discovery import address_of, check_issuer, read_metadata
from broker.identity.oidc.errors import Away, BadProvider
from broker.identity.oidc.fetching import Documents
from connectors.base import RawAnswer
from connectors.egress import EgressPolicy
from connectors.errors import EgressRefused, UpstreamUnreachable
from connectors.simulators.oidc.provider import Provider

ISSUER = "https://idp.example"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PUBLIC = EgressPolicy()
GOOD: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
    "token_endpoint": "https://tokens.example/token",
    "jwks_uri": "https://keys.example/keys?v=1",
    "response_types_supported": ["code", "id_token"],
}


def test_a_good_description() -> None:
    found = read_metadata(GOOD, ISSUER, PUBLIC)
    assert (found.authentication, found.names_itself, found.userinfo_endpoint) == ("basic", False, None)
    more = {
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"],
        "authorization_response_iss_parameter_supported": True,
        "userinfo_endpoint": f"{ISSUER}/me",
    }
    found = read_metadata(GOOD | more, ISSUER, PUBLIC)
    assert (found.authentication, found.names_itself, found.userinfo_endpoint) == ("post", True, f"{ISSUER}/me")
    none = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    assert read_metadata(GOOD | none, ISSUER, PUBLIC).authentication is None


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri", "userinfo_endpoint"])
def test_nobody_outside_has_us_ask_inside(name: str) -> None:
    """What the operator opened is no tenant's to reach by an issuer elsewhere; an issuer that is there is its own."""
    opened = EgressPolicy.parse(["10.0.0.7:8080", "wiki.acme.example:443"])
    for inside in ("http://10.0.0.7:8080/admin?delete=1", "https://wiki.acme.example/delete"):
        with pytest.raises(EgressRefused):
            read_metadata(GOOD | {name: inside}, ISSUER, opened)
    issuer = "http://10.0.0.7:8080/idp"
    found = read_metadata(GOOD | {"issuer": issuer, name: "http://10.0.0.7:8080/x"}, issuer, opened)
    assert getattr(found, name) == "http://10.0.0.7:8080/x"


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": ISSUER + "/"},
        {"issuer": "https://IDP.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": 7},
        {"jwks_uri": ""},
        {"jwks_uri": "https://keys.example/keys#frag"},
        {"jwks_uri": "https://keys.example/" + "x" * 1000},
        {"authorization_endpoint": "https://idp.example/a b"},
        {"response_types_supported": ["id_token"]},
        {"response_types_supported": None},
        {"response_types_supported": "code"},
        {"code_challenge_methods_supported": ["plain"]},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"response_types_supported": ["code"] * 201},
    ],
)
def test_a_description_that_cannot_be_used(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadProvider):
        read_metadata(GOOD | wrong, ISSUER, PUBLIC)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"])
@pytest.mark.parametrize(
    "where",
    [
        "http://idp.example/x",
        "http://169.254.169.254/latest",
        "https://169.254.169.254/latest",
        "https://127.0.0.1/x",
        "https://idp.example:8443/x",
        "https://user@idp.example/x",
        "https://localhost/x",
        "https://IDP.example/x",
        "https://idp.example/../x",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ],
)
def test_no_endpoint_is_where_it_must_not_be(name: str, where: str) -> None:
    with pytest.raises((EgressRefused, BadProvider)):
        read_metadata(GOOD | {name: where}, ISSUER, PUBLIC)


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "idp.example",
        "http://idp.example",
        "https://idp.example?x",
        "https://idp.example#x",
        "https://10.0.0.1",
        "https://a@idp.example",
        "https://idp.example//x",
        "https://idp.example/" + "x" * 250,
    ],
)
def test_what_is_no_issuer(issuer: str) -> None:
    with pytest.raises((EgressRefused, BadProvider)):
        check_issuer(issuer, PUBLIC)


def test_loopback_only_where_the_operator_said_so() -> None:
    with pytest.raises(EgressRefused):
        check_issuer("http://127.0.0.1:8080", PUBLIC)
    check_issuer("http://127.0.0.1:8080", EgressPolicy.parse(["127.0.0.1:8080"]))


def test_where_a_description_is() -> None:
    assert address_of("https://idp.example") == "https://idp.example/.well-known/openid-configuration"
    assert address_of("https://idp.example/") == "https://idp.example/.well-known/openid-configuration"
    assert address_of("https://idp.example/t/v2.0") == "https://idp.example/t/v2.0/.well-known/openid-configuration"


class Site:
    """The provider's documents; counts how often it is asked for each."""

    def __init__(self) -> None:
        self.provider = Provider(NOW.timestamp, algorithm="EdDSA")
        self.description: Any = GOOD
        self.down = False
        self.asked = {"description": 0, "keys": 0}

    async def send(self, *, path: str, **_: object) -> RawAnswer:
        what = "keys" if path == "/keys" else "description"
        self.asked[what] += 1
        await asyncio.sleep(0)
        if self.down:
            raise UpstreamUnreachable("down", sent=False)
        told = {"keys": self.provider.published()} if what == "keys" else self.description
        return RawAnswer(200, {}, json.dumps(told).encode())


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def documents(site: Site) -> Documents:
    return Documents(site, PUBLIC)


async def test_a_description_is_kept_for_an_hour(site: Site, documents: Documents) -> None:
    await asyncio.gather(*(documents.metadata(ISSUER, NOW) for _ in range(20)))
    await documents.metadata(ISSUER, NOW + timedelta(minutes=59))
    assert site.asked["description"] == 1
    await documents.metadata(ISSUER, NOW + timedelta(minutes=60))
    assert site.asked["description"] == 2
    await documents.metadata(ISSUER, NOW)
    assert site.asked["description"] == 3, "a clock that was set back makes nothing last longer"


async def test_what_cannot_be_had_anew_is_used_ten_minutes_more(site: Site, documents: Documents) -> None:
    metadata = await documents.metadata(ISSUER, NOW)
    await documents.keys(metadata, NOW)
    site.down = True
    await documents.keys(metadata, NOW + timedelta(minutes=9, seconds=59))
    with pytest.raises(Away):
        await documents.keys(metadata, NOW + timedelta(minutes=10, seconds=20))
    await documents.metadata(ISSUER, NOW + timedelta(minutes=69))
    with pytest.raises(Away):
        await documents.metadata(ISSUER, NOW + timedelta(minutes=71))


async def test_a_description_that_came_to_lie_is_not_passed_over(site: Site, documents: Documents) -> None:
    await documents.metadata(ISSUER, NOW)
    site.description = GOOD | {"issuer": "https://other.example"}
    with pytest.raises(BadProvider):
        await documents.metadata(ISSUER, NOW + timedelta(minutes=61))


async def test_failures_are_not_asked_for_again_at_once(site: Site, documents: Documents) -> None:
    site.down = True
    for seconds in range(15):
        with pytest.raises(Away):
            await documents.metadata(ISSUER, NOW + timedelta(seconds=seconds))
    assert site.asked["description"] == 1
    site.down = False
    await documents.metadata(ISSUER, NOW + timedelta(seconds=15))


async def test_an_unknown_key_has_keys_fetched_once_a_minute(site: Site, documents: Documents) -> None:
    metadata = await documents.metadata(ISSUER, NOW)
    old = await documents.keys(metadata, NOW)
    site.provider.rotate("EdDSA")
    for seconds in range(60):
        assert await documents.keys(metadata, NOW + timedelta(seconds=seconds), again=True) == old
    assert site.asked["keys"] == 1
    new = await documents.keys(metadata, NOW + timedelta(seconds=60), again=True)
    assert [k.kid for k in new] != [k.kid for k in old]
    for seconds in range(61, 120):
        await documents.keys(metadata, NOW + timedelta(seconds=seconds), again=True)
    assert site.asked["keys"] == 2
    site.down = True
    for seconds in range(120, 180):
        await documents.keys(metadata, NOW + timedelta(seconds=seconds), again=True)
    assert site.asked["keys"] == 3


async def test_what_is_kept_is_bounded(site: Site, documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "HELD", 3)
    for n in range(5):
        site.description = GOOD | {"issuer": f"https://{n}.example"}
        await documents.metadata(f"https://{n}.example", NOW)
    await documents.metadata("https://4.example", NOW)
    assert site.asked["description"] == 5
    site.description = GOOD | {"issuer": "https://0.example"}
    await documents.metadata("https://0.example", NOW)
    assert site.asked["description"] == 6
