"""`up`'s options become settings, or a sentence that says why not."""

from pathlib import Path
from typing import Any

import pytest

from broker.cli.connecting import kind_of
from broker.cli.errors import Usage
from broker.cli.serving import settings_of

DIR = Path("/nowhere")


def test_the_defaults_are_the_safe_ones() -> None:
    made = settings_of(DIR, {})
    assert (made.host, made.port, made.public_url, made.trusted_proxy) == ("127.0.0.1", 8700, None, False)
    assert made.allow_upstream == frozenset()
    assert made.database_url is None


def test_options() -> None:
    made = settings_of(
        DIR,
        {"KEYREEVE_NODE": "n1", "KEYREEVE_ROOT_KEY_FILE": "/k"},
        host="0.0.0.0",
        trusted_proxy=True,
        public_url="https://k.example/",
        allow_upstream=["127.0.0.1:80", "[::1]:81"],
        workers=3,
    )
    assert made.public_url == "https://k.example"
    assert made.allow_upstream == {("127.0.0.1", 80), ("::1", 81)}
    assert (made.workers, made.node, made.root_key_path) == (3, "n1", Path("/k"))


def test_secrets_leave_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYREEVE_DATABASE_URL", "postgresql://u:secret@h/d")
    monkeypatch.setenv("KEYREEVE_ROOT_KEY", "root-1:secret")
    made = settings_of(DIR, {})
    assert made.database_url == "postgresql://u:secret@h/d"
    assert "secret" not in repr(made)
    assert settings_of(DIR, {}).database_url is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"host": "0.0.0.0"}, "in the clear"),
        ({"host": "keyreeve.example"}, "in the clear"),
        ({"host": "0.0.0.0", "trusted_proxy": True}, "--public-url"),
        ({"public_url": "http://k.example"}, "http is for loopback only"),
        ({"allow_upstream": ["127.0.0.1"]}, "HOST:PORT"),
    ],
)
def test_refusals(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(Usage, match=told):
        settings_of(DIR, {}, **wrong)


def test_a_tokens_prefix_tells_its_kind() -> None:
    kinds = ["api_token", "account_token", "global_key"]
    assert [kind_of(t, kinds) for t in ("cfut_x", "cfat_x", "cfk_x", "x" * 40)] == [*kinds, "api_token"]
    assert kind_of("cfat_x", ["bearer"]) == "bearer"
