"""Headers that carry a secret, and headers that say how much is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.auth import bearer_headers, global_key_headers, headers_for
from connectors.base import RateHint
from connectors.errors import CredentialRejected
from connectors.limits import rate_hint
from vault.secret import Secret

TOKEN = "cfut_" + "A" * 40 + "01234567"


def test_a_bearer_token_becomes_one_header_and_one_needle() -> None:
    found = bearer_headers(Secret(TOKEN.encode()))
    assert found.headers == (("Authorization", f"Bearer {TOKEN}"),)
    assert found.needles == (TOKEN.encode(),)
    assert TOKEN not in repr(found)


def test_the_global_key_becomes_two_headers_and_the_key_is_the_needle() -> None:
    found = global_key_headers(Secret(b'{"email":"p@acme.example","key":"' + b"a" * 37 + b'"}'))
    assert found.headers == (("X-Auth-Email", "p@acme.example"), ("X-Auth-Key", "a" * 37))
    assert found.needles == (b"a" * 37,)


@pytest.mark.parametrize(
    "plain",
    [b"", b"a\r\nX: y", b"a b", b"a\n", b"\xff", "é".encode(), b"a\x00", b"=", b"a" * 5_000, b'{"token":"x"}'],
)
def test_bytes_that_could_add_a_header_are_never_sent(plain: bytes) -> None:
    for kind in ("api_token", "account_token"):
        with pytest.raises(CredentialRejected) as rejected:
            headers_for(kind, Secret(plain))
        if len(plain) > 2:
            assert plain.decode("latin-1") not in str(rejected.value)


@pytest.mark.parametrize(
    "plain",
    [b"", b"[]", b"{", b'{"email":"a@b"}', b'{"email":"a@b","key":"x\\r\\ny"}', b'{"email":"a\\r\\nX: y@b","key":"k"}',
     b'{"email":"a b@c","key":"k"}', b'{"email":1,"key":"k"}', '{"email":"a@b","key":"é"}'.encode()],
)  # fmt: skip
def test_a_malformed_global_key_is_never_sent(plain: bytes) -> None:
    with pytest.raises(CredentialRejected):
        global_key_headers(Secret(plain))


def test_an_unknown_kind_has_no_headers() -> None:
    with pytest.raises(CredentialRejected):
        headers_for("s3", Secret(TOKEN.encode()))


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({}, RateHint()),
        (
            {"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=1200;w=300'},
            RateHint(1200, 50, 300, 30, None),
        ),
        ({"ratelimit": "default;r=0;t=300"}, RateHint(None, 0, None, 300, None)),
        (
            {"ratelimit": '"a";r=9;t=1, "b";r=3;t=2', "ratelimit-policy": '"a";q=10;w=1, "b";q=20;w=60'},
            RateHint(20, 3, 60, 2, None),
        ),
        ({"ratelimit-policy": '"burst";q=100;w=60'}, RateHint(100, None, 60, None, None)),
        ({"retry-after": "120"}, RateHint(retry_after_seconds=120)),
        ({"retry-after": "0"}, RateHint(retry_after_seconds=0)),
        ({"retry-after": "999999"}, RateHint(retry_after_seconds=600)),
        ({"retry-after": "-5"}, RateHint()),
        ({"retry-after": "1e3"}, RateHint()),
        ({"retry-after": "soon"}, RateHint()),
        (
            {"retry-after": "Sat, 21 Nov 2026 09:02:00 GMT", "date": "Sat, 21 Nov 2026 09:00:00 GMT"},
            RateHint(retry_after_seconds=120),
        ),
        (
            {"retry-after": "Sat, 21 Nov 2026 08:00:00 GMT", "date": "Sat, 21 Nov 2026 09:00:00 GMT"},
            RateHint(retry_after_seconds=0),
        ),
        (
            {"retry-after": "Sat, 21 Nov 2099 08:00:00 GMT", "date": "Sat, 21 Nov 2026 09:00:00 GMT"},
            RateHint(retry_after_seconds=600),
        ),
        ({"retry-after": "Sat, 21 Nov 2026 09:02:00 GMT"}, RateHint()),
        ({"ratelimit": '"default";r=-1;t=30'}, RateHint()),
        ({"ratelimit": '"default";r=99999999999999;t=30'}, RateHint()),
        ({"ratelimit": '"default";r=1.5;t=30'}, RateHint()),
        ({"ratelimit": '"default";r=5;t=99999999'}, RateHint(None, 5, None, None, None)),
        ({"ratelimit": "x" * 10_000}, RateHint()),
        ({"ratelimit": "\x00;r=1"}, RateHint()),
    ],
)
def test_rate_headers(headers: dict[str, str], hint: RateHint) -> None:
    assert rate_hint(headers) == hint


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=80), st.text(max_size=40))
def test_hostile_rate_headers_never_raise_nor_leave_their_bounds(a: str, b: str, c: str, d: str) -> None:
    hint = rate_hint({"ratelimit": a, "ratelimit-policy": b, "retry-after": c, "date": d})
    for value in (hint.limit, hint.remaining, hint.window_seconds, hint.reset_seconds):
        assert value is None or 0 <= value <= 10_000_000
    assert hint.retry_after_seconds is None or 0 <= hint.retry_after_seconds <= 600
