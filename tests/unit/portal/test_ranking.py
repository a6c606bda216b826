"""Words against texts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.tools.codemode.portal.ranking import Ranking, words

TEXTS = [
    "List DNS Records",
    "Create DNS Record",
    "Delete a zone",
    "Purge cached content",
    "githubSearchIssues find issues by label",
]


def best(query: str) -> str | None:
    found = Ranking([[(text, 30.0)] for text in TEXTS]).find(query)
    return TEXTS[found[0][0]] if found else None


def test_what_is_meant_comes_first() -> None:
    assert best("list dns records") == "List DNS Records"
    assert best("add a dns record") == "Create DNS Record"
    assert best("remove domain") == "Delete a zone"
    assert best("flush the cache") == "Purge cached content"
    assert best("search github issue") == "githubSearchIssues find issues by label"
    assert best("purg") == "Purge cached content"
    assert best("quantum entanglement") is None
    assert best("") is None


def test_words_of_all_spellings() -> None:
    assert words("listDnsRecords") == words("list-dns_records") == words("Listing DNS record")


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=6), st.text(max_size=60))
def test_any_text_is_taken(texts: list[str], query: str) -> None:
    found = Ranking([[(text, 1.0)] for text in texts]).find(query)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= number < len(texts) for number, _ in found)
