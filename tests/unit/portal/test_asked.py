"""What a call of the portal may ask for."""

from typing import Any

import pytest

from broker.errors import Problem
from broker.tools.codemode.portal.asked import Ask, Kind, Wanted, read


def ask(kind: Kind, arguments: Any, intent: str | None = None) -> Wanted:
    return read(Ask(kind, arguments, (), (), "", intent, 30.0, 0.0, 0.0))


def test_programs_and_words() -> None:
    assert ask("search", {"code": "1"}) == Wanted("search", "1", None, False, None)
    assert ask("search", {"query": "dns", "code": None}) == Wanted("search", None, "dns", False, None)
    assert ask("execute", {"code": "1", "dry_run": True, "intent": "why"}) == Wanted("execute", "1", None, True, "why")
    assert ask("execute", {"code": "1", "intent": "mine"}, "the client's").intent == "the client's"


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        ("search", {}, "exactly one"),
        ("search", {"code": "1", "query": "x"}, "exactly one"),
        ("search", {"query": "x" * 301}, "at most 300"),
        ("search", {"qwery": "x"}, "did you mean `query`"),
        ("execute", {}, "required"),
        ("execute", {"code": "  "}, "not empty"),
        ("execute", {"code": 1}, "not empty"),
        ("execute", {"code": "\ud800"}, "Unicode"),
        ("execute", {"code": "x" * 262_145}, "at most"),
        ("execute", {"code": "1", "dry_run": "yes"}, "true or false"),
        ("execute", {"code": "1", "account_id": "a"}, "is not known"),
    ],
)
def test_anything_else_is_refused(kind: Kind, arguments: Any, told: str) -> None:
    with pytest.raises(Problem) as caught:
        ask(kind, arguments)
    assert caught.value.code == ("unknown_field" if "is not known" in caught.value.detail else "invalid_input")
    assert told in caught.value.detail
