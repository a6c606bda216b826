"""Tool names there and back, for any names and any rule."""

import string

from hypothesis import given
from hypothesis import strategies as st
from keyreeve.adapters.names import ANTHROPIC, OPENAI, NameRule, Names

ANY = st.lists(st.text(max_size=90), max_size=20)
OURS = st.lists(st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=60), max_size=20)
NARROW = NameRule(length=16, allowed=string.ascii_lowercase + string.digits + "_", first=string.ascii_lowercase)


@given(ANY, st.sampled_from([ANTHROPIC, OPENAI, NARROW]))
def test_any_names_come_back_and_fit(names: list[str], rule: NameRule) -> None:
    made = Names(names, rule)
    shown = {name: made.outward(name) for name in names}
    assert all(rule.fits(outward) for outward in shown.values())
    assert len(set(shown.values())) == len(set(names))
    assert {made.inward(outward): outward for outward in shown.values()} == shown


@given(OURS)
def test_keyreeves_own_names_pass_unchanged(names: list[str]) -> None:
    for rule in (ANTHROPIC, OPENAI):
        made = Names(names, rule)
        assert [made.outward(name) for name in names] == names


@given(ANY)
def test_the_order_of_the_list_does_not_matter(names: list[str]) -> None:
    there, back = Names(names, OPENAI), Names(sorted(set(names)), OPENAI)
    fitting = [name for name in names if OPENAI.fits(name)]
    assert [there.outward(name) for name in fitting] == [back.outward(name) for name in fitting]


def test_a_name_that_looks_like_anothers_substitute_keeps_both() -> None:
    substitute = Names(["a.b"], OPENAI).outward("a.b")
    made = Names(["a.b", substitute], OPENAI)
    assert made.outward(substitute) == substitute
    assert made.outward("a.b") != substitute
    assert made.inward(made.outward("a.b")) == "a.b"
    assert made.inward("never offered") is None
