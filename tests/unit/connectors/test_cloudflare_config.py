"""Configurations and credentials: what is taken, and how plainly the rest is refused."""

from typing import Any

import pytest

from connectors import catalog
from connectors.cloudflare.config import BASE_URL, SPEC_SOURCE, check_config, check_credential, split_base
from connectors.errors import EgressRefused, InvalidConfig, InvalidInput

USER = "cfut_" + "A" * 40 + "01234567"
ACCOUNT = "cfat_" + "B" * 40 + "01234567"
KEY = "cfk_" + "C" * 40 + "01234567"
ACCOUNT_ID = "023e105f4ecef8ad9ca31a8372d0c353"


def test_an_empty_config_is_the_official_api_with_every_default() -> None:
    assert check_config({}) == {
        "base_url": BASE_URL,
        "spec": {"source": SPEC_SOURCE},
        "tools": [],
        "result_chars": 24_000,
        "permission_check": "refuse",
        "body_check": "advise",
        "budget": {"reserve": 0, "key": "user"},
    }


def test_a_checked_config_checks_to_itself() -> None:
    given = {
        "base_url": "http://127.0.0.1:8080/client/v4/",
        "spec": {"source": "mine.json.gz", "pin": "a" * 64},
        "tools": ["zones-get", "zones-get", "GET /user"],
        "permission_check": "advise",
        "body_check": "strict",
        "budget": {"reserve": 600, "key": "account"},
    }
    checked = check_config(given)
    assert checked["base_url"] == "http://127.0.0.1:8080/client/v4"
    assert checked["tools"] == ["zones-get", "GET /user"]
    assert check_config(checked) == checked


@pytest.mark.parametrize(
    ("config", "path", "words"),
    [
        ({"base_ur": "x"}, "base_ur", "base_url"),
        ({"Tools": []}, "Tools", "tools"),
        ({"zzz": 1}, "zzz", "known fields"),
        ({"base_url": 5}, "base_url", "text"),
        ({"base_url": "https://u:p@api.cloudflare.com"}, "base_url", "user name"),
        ({"base_url": "https://api.cloudflare.com/../x"}, "base_url", ".."),
        ({"base_url": "https://api.cloudflare.com/v4?x=1"}, "base_url", "query"),
        ({"base_url": "ftp://x.example"}, "base_url", "https"),
        ({"base_url": "https://127.1/"}, "base_url", "four decimal"),
        ({"spec": "x"}, "spec", "object"),
        ({"spec": {"sauce": "x"}}, "spec.sauce", "source"),
        ({"spec": {"source": "../../etc/passwd"}}, "spec.source", "spec folder"),
        ({"spec": {"source": "https://evil.example/openapi.json"}}, "spec.source", "spec folder"),
        ({"spec": {"source": "a/b.json"}}, "spec.source", "spec folder"),
        ({"spec": {"source": "..json"}}, "spec.source", "spec folder"),
        ({"spec": {"pin": "XYZ"}}, "spec.pin", "hex"),
        ({"tools": "zones-get"}, "tools", "list"),
        ({"tools": [1]}, "tools.0", "operation id"),
        ({"tools": ["x"] * 201}, "tools", "200"),
        ({"permission_check": "never"}, "permission_check", "refuse, advise"),
        ({"body_check": True}, "body_check", "advise, strict"),
        ({"budget": {"reserve": 601}}, "budget.reserve", "600"),
        ({"budget": {"reserve": True}}, "budget.reserve", "whole number"),
        ({"budget": {"reserve": -1}}, "budget.reserve", "whole number"),
        ({"budget": {"key": "ip"}}, "budget.key", "user, token, account"),
        ({"budget": {"reserv": 1}}, "budget.reserv", "reserve"),
    ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(config: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        check_config(config)
    assert [f.path for f in refused.value.fields] == [path]
    assert words in refused.value.fields[0].problem


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidConfig) as refused:
        check_config({"a": 1, "base_url": 5, "budget": {"reserve": "x", "key": "y"}})
    assert {f.path for f in refused.value.fields} == {"a", "base_url", "budget.reserve", "budget.key"}


def test_a_base_url_splits_into_origin_and_prefix() -> None:
    base = split_base("HTTPS://API.Cloudflare.com:443/client/v4///")
    assert (base.origin, base.prefix) == ("https://api.cloudflare.com", "/client/v4")
    base = split_base("http://[::1]:8080")
    assert (base.origin, base.prefix) == ("http://[::1]:8080", "")
    for url in ("https://x.example:99999", "https://x.example/a//b", "https://", "https://x.example/a b"):
        with pytest.raises(EgressRefused):
            split_base(url)


def test_credentials_of_each_kind() -> None:
    assert check_credential({"kind": "api_token", "token": USER}) == ("api_token", USER.encode(), ())
    old = "a_-" + "Z" * 37
    assert check_credential({"kind": "api_token", "token": old, "permissions": ["DNS Write", "DNS Write"]}) == (
        "api_token",
        old.encode(),
        ("DNS Write",),
    )
    given = {"kind": "account_token", "token": ACCOUNT, "account_id": ACCOUNT_ID}
    assert check_credential(given) == ("account_token", ACCOUNT.encode(), ())
    kind, sealed, declared = check_credential({"kind": "global_key", "email": "p@acme.example", "key": KEY})
    assert (kind, declared) == ("global_key", ())
    assert sealed == b'{"email":"p@acme.example","key":"' + KEY.encode() + b'"}'


@pytest.mark.parametrize(
    ("credential", "path", "words"),
    [
        ({}, "kind", "api_token"),
        ({"kind": "oauth", "token": USER}, "kind", "api_token"),
        ({"kind": ["api_token"]}, "kind", "must be"),
        ({"kind": "api_token"}, "token", "required"),
        ({"kind": "api_token", "token": 5}, "token", "required"),
        ({"kind": "api_token", "token": "short"}, "token", "40"),
        ({"kind": "api_token", "token": USER + "\n"}, "token", "white space"),
        ({"kind": "api_token", "token": "Bearer " + USER}, "token", "40"),
        ({"kind": "api_token", "token": "x" * 5000}, "token", "too long"),
        ({"kind": "api_token", "token": ACCOUNT}, "token", "account_token"),
        ({"kind": "api_token", "token": KEY}, "token", "global_key"),
        ({"kind": "api_token", "token": "cfoat_" + "x" * 40}, "token", "OAuth"),
        ({"kind": "api_token", "token": USER, "tokn": 1}, "tokn", "token"),
        ({"kind": "api_token", "token": USER, "account_id": ACCOUNT_ID}, "account_id", "unknown"),
        ({"kind": "api_token", "token": USER, "permissions": "DNS"}, "permissions", "list"),
        ({"kind": "api_token", "token": USER, "permissions": [1]}, "permissions", "name"),
        ({"kind": "api_token", "token": USER, "permissions": ["a\n"]}, "permissions", "name"),
        ({"kind": "account_token", "token": USER, "account_id": ACCOUNT_ID}, "token", "api_token"),
        ({"kind": "account_token", "token": ACCOUNT}, "account_id", "required"),
        ({"kind": "account_token", "token": ACCOUNT, "account_id": "../x"}, "account_id", "32 hex"),
        ({"kind": "global_key", "email": "p@acme.example", "key": USER}, "key", "api_token"),
        ({"kind": "global_key", "email": "nobody", "key": KEY}, "email", "e-mail"),
        ({"kind": "global_key", "email": "a@b\r\nX: y", "key": KEY}, "email", "e-mail"),
        ({"kind": "global_key", "email": "p@acme.example", "key": "zz"}, "key", "37"),
    ],
)
def test_a_wrong_credential_is_explained_without_quoting_it(credential: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_credential(credential)
    assert refused.value.fields[0].path == path
    assert words in refused.value.fields[0].problem
    for secret in (credential.get("token"), credential.get("key")):
        if isinstance(secret, str) and len(secret) > 5:
            assert secret not in str(refused.value)


def test_the_catalogue_says_what_a_person_needs_to_connect() -> None:
    (entry,) = (line for line in catalog.describe() if line["name"] == "cloudflare")
    assert entry["name"] == "cloudflare" == catalog.names()[0]
    assert [k["name"] for k in entry["credential_kinds"]] == ["api_token", "account_token", "global_key"]
    assert {"meter": "rest", "limit": 1200, "window_seconds": 300} in entry["budget"]
    assert set(entry["config"]) == set(check_config({}))
    assert catalog.get("cloudflare") is catalog.find("cloudflare")
    assert catalog.find("nope") is None
    with pytest.raises(LookupError):
        catalog.get("nope")
