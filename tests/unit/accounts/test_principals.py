"""Whose budget it is."""

import pytest

from broker.accounts.principals import budget_key, budget_principal


@pytest.mark.parametrize(
    ("key", "token", "account", "expected"),
    [
        ("user", "t1", "a1", "user:u1"),
        ("token", "t1", "a1", "token:t1"),
        ("token", None, "a1", "user:u1"),
        ("account", "t1", "a1", "account:a1"),
        ("account", "t1", None, "user:u1"),
    ],
)
def test_the_key_chooses_and_the_principal_stands_in(
    key: str, token: str | None, account: str | None, expected: str
) -> None:
    assert budget_principal(key, "user:u1", token, account) == expected  # type: ignore[arg-type]


def test_the_default_is_the_user() -> None:
    assert budget_key({}) == "user"
    assert budget_key({"budget": {}}) == "user"
    assert budget_key({"budget": {"reserve": 3}}) == "user"
    assert budget_key({"budget": {"key": "token"}}) == "token"
