"""The reviewed tables against Cloudflare's own descriptions: what is guarded, what destroys, what only reads."""

import gzip
import json
import re
from pathlib import Path

import pytest

from connectors.cloudflare.guarded import GUARDED, HARMLESS, REDACTED, Rule, is_guarded, match, secret_fields
from connectors.cloudflare.operations import DESTRUCTIVE, READS, effect_of, path_resources
from connectors.cloudflare.resources import request_resources

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
METHODS = ("get", "put", "post", "patch", "delete")


def operations(year: str) -> list[tuple[str, str, str]]:
    path = DATA / f"cloudflare-openapi-{year}.json.gz"
    if not path.exists():
        pytest.skip(f"no description data at {path}")
    document = json.loads(gzip.decompress(path.read_bytes()))
    return [
        (method.upper(), template, operation.get("operationId", ""))
        for template, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


@pytest.fixture(scope="module")
def everything() -> list[tuple[str, str, str]]:
    return operations("2026-07")


KNOWN_GUARDED = [
    ("POST", "/user/tokens"),
    ("PUT", "/user/tokens/{token_id}"),
    ("PUT", "/user/tokens/{token_id}/value"),
    ("POST", "/accounts/{account_id}/tokens"),
    ("PUT", "/accounts/{account_id}/tokens/{token_id}/value"),
    ("POST", "/accounts/{account_id}/members"),
    ("PUT", "/accounts/{account_id}/members/{member_id}"),
    ("POST", "/organizations/{organization_id}/members:batchCreate"),
    ("POST", "/accounts/{account_id}/iam/user_groups/{user_group_id}/members"),
    ("POST", "/accounts/{account_id}/access/service_tokens"),
    ("POST", "/zones/{zone_id}/access/service_tokens"),
    ("POST", "/accounts/{account_id}/access/service_tokens/{service_token_id}/rotate"),
    ("POST", "/accounts/{account_id}/r2/temp-access-credentials"),
    ("GET", "/accounts/{account_id}/cfd_tunnel/{tunnel_id}/token"),
    ("POST", "/accounts/{account_id}/cfd_tunnel"),
    ("POST", "/accounts/{account_id}/challenges/widgets"),
    ("POST", "/accounts/{account_id}/challenges/widgets/{sitekey}/rotate_secret"),
    ("POST", "/accounts/{account_id}/stream/keys"),
    ("POST", "/accounts/{account_id}/containers/registries/{domain}/credentials"),
    ("POST", "/accounts/{account_id}/sso_connectors"),
    ("POST", "/accounts"),
    ("POST", "/certificates"),
    ("PATCH", "/user/invites/{invite_id}"),
    ("POST", "/accounts/{account_id}/logpush/ownership"),
    ("POST", "/accounts/{account_id}/workers/scripts/{script_name}/tails"),
]
NOT_GUARDED = [
    ("GET", "/user/tokens"),
    ("GET", "/user/tokens/verify"),
    ("DELETE", "/user/tokens/{token_id}"),
    ("GET", "/accounts/{account_id}/members"),
    ("GET", "/zones"),
    ("POST", "/zones/{zone_id}/dns_records"),
    ("POST", "/zones/{zone_id}/purge_cache"),
    ("PUT", "/accounts/{account_id}/workers/scripts/{script_name}"),
    ("PUT", "/accounts/{account_id}/workers/scripts/{script_name}/secrets"),
    ("PUT", "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}"),
    ("POST", "/accounts/{account_id}/secrets_store/stores/{store_id}/secrets"),
    ("PATCH", "/zones/{zone_id}/token_validation/config/{config_id}"),
]


def test_known_operations_of_the_description_are_guarded(everything: list[tuple[str, str, str]]) -> None:
    present = {(method, template) for method, template, _ in everything}
    for method, template in KNOWN_GUARDED:
        assert (method, template) in present
        assert is_guarded(method, template), f"{method} {template}"
    for method, template in NOT_GUARDED:
        assert (method, template) in present
        assert not is_guarded(method, template), f"{method} {template}"


def test_the_guarded_operations_are_few_and_listed(everything: list[tuple[str, str, str]]) -> None:
    found = sorted(f"{m} {t}" for m, t, _ in everything if is_guarded(m, t))
    print(f"{len(found)} guarded operations:", *found, sep="\n  ")
    assert 100 <= len(found) <= 180
    guessed = [f for f in found if match(GUARDED, *f.split(" ", 1)) is None]
    print(f"{len(guessed)} of them by their look alone:", *guessed, sep="\n  ")
    assert len(guessed) <= 15


def test_the_older_description_is_guarded_too() -> None:
    older = operations("2024-08")
    named = {f"{m} {re.sub(r'{[^}]*}', '{}', t)}" for m, t, _ in older if is_guarded(m, t)}
    for ref in (
        "PUT /user/tokens/{}/value",
        "POST /user/tokens",
        "POST /accounts/{}/members",
        "POST /accounts/{}/access/service_tokens",
        "POST /accounts/{}/challenges/widgets/{}/rotate_secret",
    ):
        assert ref in named


def test_every_rule_matches_something_or_is_kept_for_a_reason(everything: list[tuple[str, str, str]]) -> None:
    """A template with a typo guards nothing. These few stand for operations not in the description."""
    unlisted = {
        "/user/api_key",
        "/user/service_keys/**",
        "/accounts/*/oauth_clients/**",
        "/accounts/*/scim/**",
        "/tenants/**",
        "/accounts/*/tunnels",
        "/accounts/*/workers/services/*/environments/*/tails",
        "/accounts/*/pages/projects/*/deployments/*/tails",
        "/accounts/*/queues/*/messages/ack",
    }
    for table in (GUARDED, REDACTED, HARMLESS, READS, DESTRUCTIVE):
        for rule in table:
            hits = [t for m, t, _ in everything if match((Rule(rule.methods, rule.template),), m, t)]
            assert hits or rule.template in unlisted, f"{rule.methods} {rule.template} matches no operation"


def test_operations_whose_answers_hold_secrets_name_the_fields() -> None:
    assert secret_fields("POST", "/user/tokens") == ("result.value",)
    assert secret_fields("PUT", "/user/tokens/{token_id}/value") == ("result",)
    assert "result.secretAccessKey" in secret_fields("POST", "/accounts/{a}/r2/temp-access-credentials")
    assert secret_fields("POST", "/zones/{z}/access/service_tokens") == ("result.client_secret",)
    assert secret_fields("GET", "/zones/{zone_id}/dns_records") == ()


def test_an_operation_nobody_reviewed_is_guarded_by_its_look() -> None:
    for method, template in (
        ("POST", "/accounts/{account_id}/newthing/{id}/tokens"),
        ("POST", "/zones/{zone_id}/newthing/rotate"),
        ("GET", "/accounts/{account_id}/newthing/{id}/token"),
        ("PUT", "/accounts/{account_id}/newthing/credentials"),
    ):
        assert is_guarded(method, template)
        assert "result.secret" in secret_fields(method, template)


@pytest.mark.parametrize(
    ("method", "template", "effect"),
    [
        ("GET", "/zones", "read"),
        ("HEAD", "/x", "read"),
        ("POST", "/zones/{zone_id}/dns_records", "write"),
        ("PUT", "/zones/{zone_id}/dns_records/{dns_record_id}", "write"),
        ("PATCH", "/zones/{zone_id}", "write"),
        ("POST", "/zones/{zone_id}/purge_cache", "write"),
        ("DELETE", "/zones/{zone_id}", "destructive"),
        ("POST", "/zones/{zone_id}/dns_records/batch", "destructive"),
        ("POST", "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/bulk/delete", "destructive"),
        ("POST", "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/bulk/get", "read"),
        ("POST", "/accounts/{account_id}/queues/{queue_id}/purge", "destructive"),
        ("POST", "/accounts/{account_id}/infrastructure/targets/batch_delete", "destructive"),
        ("POST", "/accounts/{account_id}/workflows/{w}/instances/batch/terminate", "destructive"),
        ("POST", "/accounts/{account_id}/vectorize/v2/indexes/{i}/delete_by_ids", "destructive"),
        ("POST", "/accounts/{account_id}/vectorize/v2/indexes/{i}/query", "read"),
        ("POST", "/accounts/{account_id}/d1/database/{database_id}/query", "write"),
        ("POST", "/accounts/{account_id}/ai/run/{model_name}", "write"),
        ("POST", "/accounts/{account_id}/cloudforce-one/requests/new", "write"),
        ("POST", "/accounts/{account_id}/logpush/validate/destination", "write"),
    ],
)
def test_effects(method: str, template: str, effect: str) -> None:
    assert effect_of(method, template) == effect


def test_nothing_that_sounds_destructive_is_a_read(everything: list[tuple[str, str, str]]) -> None:
    for method, template, name in everything:
        if method != "GET" and re.search(r"delete|remove|purge|revoke|terminate|rotate|reset", template + name.lower()):
            assert effect_of(method, template) != "read", f"{method} {template}"


def test_resources_come_from_the_path_that_is_sent() -> None:
    found = path_resources("/zones/{zone_id}/dns_records/{id}", "/zones/abc/dns_records/zones")
    assert (found.zones, found.accounts) == (("abc",), ())
    found = path_resources("/accounts/{a}/addressing/maps/{m}/zones/{z}", "/accounts/A/addressing/maps/zones/zones/Z")
    assert (found.zones, found.accounts) == (("Z",), ("A",))
    assert path_resources("/zones/{zone_id}", "/zones/a%2Fb").zones == ("a/b",)
    assert path_resources("/user", "/user").zones == ()


@pytest.mark.parametrize(
    ("template", "path", "query", "body", "accounts", "zones"),
    [
        ("/zones", "/zones", {"account.id": "A"}, None, ("A",), ()),
        ("/zones", "/zones", {}, {"account": {"id": "A"}, "name": "x"}, ("A",), ()),
        ("/zones", "/zones", {"name": "x"}, None, (), ()),
        ("/zones/{z}", "/zones/Z", {}, {"zone_id": "Z"}, (), ("Z",)),
        ("/zones/{z}", "/zones/Z", {}, {"zone_id": "Y"}, (), ("Z", "Y")),
        # An id that only the body names does not confine the request: `*` is in no grant's list.
        ("/accounts/{a}/x", "/accounts/A/x", {}, {"zone_id": "Z"}, ("A",), ("Z", "*")),
        ("/accounts/{a}/x", "/accounts/A/x", {"zone_id": "Z"}, None, ("A",), ("Z", "*")),
        ("/zones/{z}/x", "/zones/Z/x", {}, {"account_id": "A"}, ("A", "*"), ("Z",)),
        ("/user/x", "/user/x", {}, {"zones": [{"id": "Z"}, "Y"]}, (), ("Y", "Z", "*")),
        ("/accounts/{a}/x", "/accounts/A/x", {}, {"accounts": ["B"]}, ("A", "B"), ()),
        ("/accounts/{a}/x", "/accounts/A/x", {}, [1, "zone_id"], ("A",), ()),
    ],
)
def test_query_and_body_can_widen_a_request_but_never_confine_it(
    template: str, path: str, query: dict[str, str], body: object, accounts: tuple[str, ...], zones: tuple[str, ...]
) -> None:
    found = request_resources(template, path, query, body)
    assert (found.accounts, found.zones) == (accounts, zones)
