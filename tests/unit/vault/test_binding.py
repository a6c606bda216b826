"""Bindings are bounded, canonical and injective."""

import dataclasses
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.binding import MAX_VERSION, BlobBinding, CredentialBinding
from vault.errors import InvalidBinding

GOOD = CredentialBinding(
    UUID(int=1),
    UUID(int=2),
    UUID(int=3),
    1,
    "api_token",
    ("https://api.cloudflare.com", "https://b.example:8443"),
)
BLOB = BlobBinding(UUID(int=1), "result", "execution/1")

names = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
origins = st.lists(st.from_regex(r"https?://[a-z0-9.-]{1,40}(:[0-9]{1,5})?", fullmatch=True), min_size=1, max_size=6)
credential_bindings = st.builds(
    CredentialBinding,
    st.uuids(),
    st.uuids(),
    st.uuids(),
    st.integers(1, MAX_VERSION),
    names,
    origins.map(tuple),
)
blob_bindings = st.builds(
    BlobBinding,
    st.uuids(),
    st.from_regex(r"[a-z][a-z0-9_.-]{0,63}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100),
)
bindings = credential_bindings | blob_bindings


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": "00000000-0000-0000-0000-000000000001"},
        {"account_id": None},
        {"credential_id": b"x" * 16},
        {"version": 0},
        {"version": -1},
        {"version": 2**31},
        {"version": True},
        {"version": 1.0},
        {"kind": ""},
        {"kind": "API"},
        {"kind": "a" * 33},
        {"kind": "a\n"},
        {"origins": ()},
        {"origins": "https://a.example"},
        {"origins": ["https://a.example"]},
        {"origins": ("https://a.example",) * 17},
        {"origins": ("https://A.example",)},
        {"origins": ("https://a.example/",)},
        {"origins": ("https://u@a.example",)},
        {"origins": ("https://a.example?x",)},
        {"origins": ("https://a.example\r\n",)},
        {"origins": ("https://ä.example",)},
        {"origins": ("a.example",)},
        {"origins": ("https://" + "a" * 263,)},
    ],
)
def test_credential_bounds(change: dict[str, object]) -> None:
    with pytest.raises(InvalidBinding):
        dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": "x"},
        {"purpose": ""},
        {"purpose": "Result"},
        {"purpose": "a:b"},
        {"purpose": "a" * 65},
        {"object_id": ""},
        {"object_id": "ä" * 257},
        {"object_id": "\ud800"},
    ],
)
def test_blob_bounds(change: dict[str, object]) -> None:
    with pytest.raises(InvalidBinding):
        dataclasses.replace(BLOB, **change)  # type: ignore[arg-type]


def test_origins_are_a_set() -> None:
    one, two = "https://a.example", "https://b.example"
    first = dataclasses.replace(GOOD, origins=(two, one, two))
    assert first.origins == (one, two)
    assert first.encode() == dataclasses.replace(GOOD, origins=(one, two)).encode()


@given(bindings, bindings)
def test_encoding_is_injective(left: CredentialBinding | BlobBinding, right: CredentialBinding | BlobBinding) -> None:
    assert (left.encode() == right.encode()) == (left == right)


def test_origins_do_not_run_into_each_other() -> None:
    """Two origins are never the bytes of one, nor of a longer kind."""
    seen = set()
    for kind in ("a", "ab"):
        for found in (("x://a", "x://b"), ("x://ax", "x://b"), ("x://ab",), ("x://a",)):
            seen.add(dataclasses.replace(GOOD, kind=kind, origins=found).encode())
    assert len(seen) == 8
