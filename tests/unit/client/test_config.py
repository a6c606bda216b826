"""Where and as whom: read once, refused where it would show the key."""

import copy
import pickle
from typing import Any

import pytest
from keyreeve import AsyncKeyreeve, ConnectLink, Keyreeve, errors
from keyreeve.config import Key, target, trace_headers

KEY = "krv_ag_0123456789abcdef"


def address(url: str, **more: Any) -> str:
    return target(url, KEY, tenant=None, client_name=None, **{"allow_http": False, **more}).url


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://keyreeve.example", "https://keyreeve.example"),
        ("https://keyreeve.example:8443/base/", "https://keyreeve.example:8443/base"),
        ("http://127.0.0.1:8700/", "http://127.0.0.1:8700"),
        ("http://localhost:8700", "http://localhost:8700"),
        ("http://[::1]:8700", "http://[::1]:8700"),
    ],
)
def test_addresses(given: str, used: str) -> None:
    assert address(given) == used


@pytest.mark.parametrize(
    "url",
    [
        "http://keyreeve.example",
        "http://10.0.0.5:8700",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "keyreeve.example",
        "ftp://keyreeve.example",
        "https://",
        "https://user:secret@keyreeve.example",
        "https://keyreeve.example/?q=1",
        "https://keyreeve.example:port",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        address(url)
    assert "secret" not in str(caught.value)


def test_plain_http_elsewhere_only_where_it_is_asked_for() -> None:
    assert address("http://10.0.0.5:8700", allow_http=True) == "http://10.0.0.5:8700"


@pytest.mark.parametrize("key", ["", "  ", "two words", "new\nline", "ümlaut"])
def test_keys_that_no_header_can_carry_are_refused_unseen(key: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        Keyreeve("https://k.example", key)
    assert not key.strip() or key not in str(caught.value)


def test_the_environment_is_read_once_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYREEVE_URL", raising=False)
    monkeypatch.delenv("KEYREEVE_API_KEY", raising=False)
    with pytest.raises(errors.ConfigurationError, match="KEYREEVE_URL"):
        Keyreeve()
    monkeypatch.setenv("KEYREEVE_URL", "http://127.0.0.1:8700")
    with pytest.raises(errors.ConfigurationError, match="KEYREEVE_API_KEY"):
        Keyreeve()
    monkeypatch.setenv("KEYREEVE_API_KEY", f" {KEY}\n")
    with Keyreeve() as one:
        monkeypatch.setenv("KEYREEVE_URL", "http://127.0.0.1:1")
        assert "127.0.0.1:8700" in repr(one)


def test_a_connect_link_does_not_show_its_url() -> None:
    link = ConnectLink(url="https://k.example/connect#krv_once")
    shown = [repr(link), str(link), f"{link}", repr([link]), repr(list(link.__rich_repr__()))]
    assert "krv_once" not in "".join(shown)
    assert link.url.endswith("krv_once")


def test_two_clients_share_nothing() -> None:
    with Keyreeve("http://127.0.0.1:1", "krv_ag_one") as one, Keyreeve("http://127.0.0.1:2", "krv_ag_two") as two:
        assert repr(one) != repr(two)
        assert one._channel._http is not two._channel._http


@pytest.mark.parametrize("kind", [Keyreeve, AsyncKeyreeve])
def test_the_key_shows_nowhere(kind: Any) -> None:
    client = kind("https://k.example", KEY, tenant="acme")
    shown = [repr(client), str(client), repr(client.__dict__), repr(client._target), repr(client._asker.__dict__)]
    shown += [repr(client._channel.__dict__), repr(Key(KEY)), f"{Key(KEY)}"]
    assert KEY not in "".join(shown)
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(client)


@pytest.mark.parametrize("name", ["", "x" * 101, "a\r\nb", "é"])
def test_client_names_that_no_header_can_carry(name: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        Keyreeve("https://k.example", KEY, client_name=name)


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"traceparent": PARENT}, {"traceparent": PARENT}),
        ({"traceparent": PARENT, "tracestate": "a=1"}, {"traceparent": PARENT, "tracestate": "a=1"}),
        ({"traceparent": PARENT, "tracestate": "a\r\nX: 1", "authorization": "no"}, {"traceparent": PARENT}),
        ({"traceparent": PARENT + "\r\nX: 1"}, {}),
        ({"tracestate": "a=1"}, {}),
    ],
)
def test_trace_context_is_passed_on_and_nothing_else(given: dict[str, str], sent: dict[str, str]) -> None:
    assert trace_headers(lambda: given) == sent
    assert trace_headers(None) == {}
