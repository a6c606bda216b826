"""Bearer tokens: what is minted parses, anything else is refused, and nothing of a token shows."""

import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import BearerKind
from broker.identity.tokens import TOKEN_LENGTH, MalformedToken, mint, parse

KINDS: list[BearerKind] = ["operator", "agent", "session"]


@given(st.sampled_from(KINDS), st.uuids())
def test_a_minted_token_parses_back(kind: BearerKind, tenant: UUID) -> None:
    minted = mint(kind, tenant)
    parsed = parse(minted.text)
    assert (parsed.kind, parsed.tenant_id, parsed.digest) == (kind, tenant, minted.digest)
    assert minted.digest == hashlib.sha256(minted.text.encode()).digest()
    assert len(minted.text) == TOKEN_LENGTH


def test_two_tokens_differ_and_neither_shows_in_a_repr() -> None:
    tenant = UUID(int=7)
    one, two = mint("agent", tenant), mint("agent", tenant)
    assert one.text != two.text
    assert one.text not in repr(one)


@given(st.integers(0, TOKEN_LENGTH - 1), st.characters())
def test_any_changed_character_is_refused(place: int, other: str) -> None:
    text = mint("session", UUID(int=1)).text
    changed = text[:place] + other + text[place + 1 :]
    if changed != text:
        with pytest.raises(MalformedToken):
            parse(changed)


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(MalformedToken) as refused:
        parse(text)
    assert len(text) < 12 or text not in str(refused.value)


@pytest.mark.parametrize("cut", [1, 6, 40])
def test_a_cut_token_is_refused(cut: int) -> None:
    with pytest.raises(MalformedToken):
        parse(mint("operator", UUID(int=3)).text[:-cut])
