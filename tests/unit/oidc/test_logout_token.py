"""Every lie about a logout token is seen through, and the truth is heard."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.identity.oidc.errors import BadToken, UnknownKey
from broker.identity.oidc.id_token import Expected, read_id_token
from broker.identity.oidc.keys import read_keys
from broker.identity.oidc.logout_token import EVENT, Ended, digest_of, glance, read_logout_token
from connectors.simulators.oidc.lies import CLAIMS, LOGOUTS, SIGNATURES
from connectors.simulators.oidc.provider import Account, Grant, Provider, SigningKey

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER, CLIENT = "https://idp.example", "keyreeve"
# Those that make no difference here: a logout token has no nonce, and names a person or a session.
NOT_OURS = {"no nonce", "no subject"}


@cache
def keys_of(algorithm: str) -> list[SigningKey]:
    return Provider(NOW.timestamp, algorithm=algorithm).keys


def made(algorithm: str = "EdDSA") -> Provider:
    provider = Provider(NOW.timestamp, algorithm="EdDSA")
    provider.issuer, provider.keys = ISSUER, keys_of(algorithm)
    return provider


def read(provider: Provider, token: str, *, later: float = 0) -> Ended:
    keys = read_keys({"keys": provider.published()})
    return read_logout_token(token, keys, ISSUER, CLIENT, NOW + timedelta(seconds=later))


def logout(provider: Provider, subject: str | None = "priya-1", session: str | None = "s-1") -> str:
    return provider.logout_token(CLIENT, subject=subject, session=session)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_the_truth_is_heard(algorithm: str) -> None:
    provider = made(algorithm)
    token = logout(provider)
    found = read(provider, token)
    assert glance(token, NOW) == found
    assert (found.issuer, found.subject, found.session) == (ISSUER, "priya-1", "s-1")
    assert (found.made, found.until) == (NOW, NOW + timedelta(minutes=2))


@pytest.mark.parametrize(("subject", "session"), [("priya-1", None), (None, "s-1")])
def test_one_of_person_and_session_is_enough(subject: str | None, session: str | None) -> None:
    provider = made()
    found = read(provider, logout(provider, subject, session))
    assert (found.subject, found.session) == (subject, session)


@pytest.mark.parametrize("lie", [*(CLAIMS.keys() - NOT_OURS), *LOGOUTS, *SIGNATURES])
def test_a_lie_is_seen_through(lie: str) -> None:
    provider = made("RS256")
    provider.lies = {lie}
    token = logout(provider)
    with pytest.raises(BadToken) as refused:
        read(provider, token)
    assert isinstance(refused.value, UnknownKey) == (lie == "unknown key id"), refused.value
    provider.lies.clear()
    assert read(provider, logout(provider)).subject == "priya-1", "but for the lie it would have been heard"


@pytest.mark.parametrize(("later", "heard"), [(-60, True), (-61, False), (179, True), (180, False)])
def test_it_is_good_for_its_time(later: float, heard: bool) -> None:
    provider = made()
    if heard:
        assert read(provider, logout(provider), later=later)
    else:
        with pytest.raises(BadToken):
            read(provider, logout(provider), later=later)


def test_neither_kind_passes_for_the_other() -> None:
    provider = made()
    id_token = provider.id_token(Grant(Account("priya-1", session="s-1"), CLIENT, "https://k.test/cb", "n", "c"))
    with pytest.raises(BadToken):
        read(provider, id_token)
    keys = read_keys({"keys": provider.published()})
    with pytest.raises(BadToken):
        read_id_token(logout(provider), keys, Expected(ISSUER, CLIENT, "n"), NOW)


def test_the_type_may_be_left_out() -> None:
    provider = made()
    claims: dict[str, Any] = {"iss": ISSUER, "aud": CLIENT, "iat": int(NOW.timestamp()), "sid": "s", "jti": "j"}
    claims |= {"exp": claims["iat"] + 60, "events": {EVENT: {}}}
    for typ in ("JWT", "jwt", "logout+jwt", "application/logout+jwt"):
        assert read(provider, provider.signed(claims, typ)).session == "s"


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_no_text_is_a_logout(text: str) -> None:
    with pytest.raises(BadToken):
        glance(text, NOW)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=8), lambda v: st.lists(v, max_size=3)))
def test_no_claim_of_a_wrong_kind_gets_through(value: Any) -> None:
    provider = made()
    claims: dict[str, Any] = {"iss": ISSUER, "aud": CLIENT, "iat": int(NOW.timestamp()), "sid": "s", "jti": "j"}
    claims |= {"exp": claims["iat"] + 60, "events": {EVENT: {}}}
    for name in ("iss", "aud", "events", "exp"):
        with pytest.raises(BadToken):
            read(provider, provider.signed(claims | {name: value}))


def test_a_session_is_its_own_issuers() -> None:
    found = {digest_of(kind, issuer, name) for kind in ("sid", "sub") for issuer in "ab" for name in "xy"}
    assert len(found) == 8
