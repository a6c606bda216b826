"""A sign-in under way: bound to its browser, tenant, provider and ten minutes."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Problem
from broker.identity.oidc.begun import Begun, check_state, digest_of, read_cookie, request_address
from broker.ids import new_id

KEY, NOW = b"k" * 32, datetime(2026, 11, 21, 12, tzinfo=UTC)
TENANT = new_id()
BEGUN = Begun(TENANT, digest_of("https://idp.example", "keyreeve", 1), NOW, b"s" * 32)


def refused(cookie: str | None, *, key: bytes = KEY, tenant: object = TENANT, now: datetime = NOW) -> None:
    with pytest.raises(Problem) as problem:
        read_cookie(key, cookie, tenant, now)  # type: ignore[arg-type]
    assert problem.value.code == "forbidden"


def test_a_cookie_says_what_was_put_into_it() -> None:
    assert read_cookie(KEY, BEGUN.cookie(KEY), TENANT, NOW + timedelta(minutes=9, seconds=59)) == BEGUN


def test_it_is_good_for_its_tenant_key_and_time_alone() -> None:
    cookie = BEGUN.cookie(KEY)
    refused(None)
    refused("")
    refused(cookie, key=b"x" * 32)
    refused(cookie, tenant=new_id())
    refused(cookie, now=NOW + timedelta(minutes=10))
    refused(cookie, now=NOW - timedelta(minutes=1, seconds=1))
    refused(cookie + "A")
    refused(cookie[:-1])
    refused("é" * 139)
    refused("A" * 100_000)


@given(st.integers(0, 103), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(place: int, mask: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(BEGUN.cookie(KEY) + "=="))
    raw[place] ^= mask
    refused(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode())


def test_state_nonce_and_verifier_say_nothing_of_each_other() -> None:
    derived = {BEGUN.state, BEGUN.nonce, BEGUN.verifier, BEGUN.challenge}
    assert len(derived) == 4
    assert all(len(one) == 43 for one in derived)
    assert BEGUN.challenge == base64.urlsafe_b64encode(hashlib.sha256(BEGUN.verifier.encode()).digest()).decode()[:43]
    other = Begun(TENANT, BEGUN.provider, NOW, b"t" * 32)
    assert not derived & {other.state, other.nonce, other.verifier, other.challenge}


@pytest.mark.parametrize("given_state", [None, "", BEGUN.nonce, BEGUN.state + "x", BEGUN.state[:-1], "é"])
def test_only_its_own_state_fits(given_state: str | None) -> None:
    check_state(BEGUN, BEGUN.state)
    with pytest.raises(Problem):
        check_state(BEGUN, given_state)


def test_secrets_are_not_printed() -> None:
    assert BEGUN.seed.decode() not in repr(BEGUN)
    assert BEGUN.verifier not in repr(BEGUN)


@pytest.mark.parametrize("endpoint", ["https://idp.example/a", "https://idp.example/a?p=1"])
def test_the_request_says_all_that_it_must(endpoint: str) -> None:
    where = request_address(endpoint, BEGUN, client_id="k&r", redirect_uri="https://k.test/cb", scopes=("openid", "x"))
    asked = {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}
    asked.pop("p", None)
    assert asked == {
        "response_type": "code",
        "client_id": "k&r",
        "redirect_uri": "https://k.test/cb",
        "scope": "openid x",
        "state": BEGUN.state,
        "nonce": BEGUN.nonce,
        "code_challenge": BEGUN.challenge,
        "code_challenge_method": "S256",
    }
