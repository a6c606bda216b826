"""The reviewed table of operations that hand out secrets or access, and of answer fields that are secret.

A guarded operation creates, rolls or returns a secret, or lets somebody in. Policy asks for a grant that
names it, and the secret fields of its answer never reach the agent: an agent cannot mint itself something
that outlives its identity. Reviewed 2026-11 against the descriptions of 2024-08 and 2026-07. `*` stands for
one path segment, `**` for any number. Fields are dotted from the answer's root; every string at or under a
named field is secret.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

WRITES: Final = "POST PUT PATCH"
ANY: Final = "GET POST PUT PATCH DELETE"


@dataclass(frozen=True, slots=True)
class Rule:
    """Operations by method and template, and what their answers hold."""

    methods: str
    template: str
    secret: tuple[str, ...] = ()


_APP = ("saas_app.client_secret", "scim_config.authentication")
_LOGIN = ("config.client_secret", "scim_config.secret", "secret")
_DATABASE = ("origin.password", "origin.access_client_secret")
_SINK = ("config.credentials", "config.token")


def _one(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"result.{name}" for name in names)


def _either(names: tuple[str, ...]) -> tuple[str, ...]:
    """In one result, or in each of a list of them."""
    return (*_one(names), *(f"result.*.{name}" for name in names))


GUARDED: Final[tuple[Rule, ...]] = (
    # Cloudflare's own credentials: whoever holds one is somebody.
    Rule("POST", "/user/tokens", ("result.value",)),
    Rule("PUT PATCH", "/user/tokens/*"),  # replaces the policies: widens what a token may do
    Rule("PUT POST", "/user/tokens/*/value", ("result",)),
    Rule("POST", "/accounts/*/tokens", ("result.value",)),
    Rule("PUT PATCH", "/accounts/*/tokens/*"),
    Rule("PUT POST", "/accounts/*/tokens/*/value", ("result",)),
    Rule(ANY, "/user/api_key", ("result.api_key", "result")),
    Rule(ANY, "/user/service_keys/**", ("result",)),
    Rule(WRITES, "/accounts/*/oauth_clients/**", _either(("client_secret", "secret"))),
    Rule("POST", "/accounts/*/r2/temp-access-credentials", _one(("secretAccessKey", "sessionToken"))),
    Rule(WRITES, "/accounts/*/builds/tokens/**", ("result.token", "result.build_token")),
    Rule(WRITES, "/accounts/*/ai-search/tokens/**", ("result.token", "result.cf_api_key")),
    # People, and what lets them in.
    Rule("POST", "/accounts"),
    Rule(WRITES, "/accounts/*/members/**"),
    Rule(WRITES, "/accounts/*/iam/user_groups/**"),
    Rule(WRITES, "/accounts/*/iam/resource_groups/**"),
    Rule(WRITES, "/accounts/*/scim/**", ("result.token", "result.secret")),
    Rule(WRITES, "/accounts/*/sso_connectors/**"),
    Rule(WRITES, "/accounts/*/shares/**"),
    Rule("POST PUT", "/organizations"),
    Rule(WRITES, "/organizations/*/members/**"),
    Rule("POST", "/organizations/*/members:batchCreate"),
    Rule(WRITES, "/tenants/**"),
    Rule("PUT PATCH", "/memberships/*"),
    Rule(WRITES, "/user/invites/**"),
    # Access: service tokens, login methods, and applications that get a client secret.
    Rule(WRITES, "/SCOPE/*/access/service_tokens/**", ("result.client_secret",)),
    Rule(WRITES, "/SCOPE/*/access/keys/**"),
    Rule(WRITES, "/SCOPE/*/access/identity_providers/**", _one(_LOGIN)),
    Rule("POST PUT", "/SCOPE/*/access/apps", _one(_APP)),
    Rule("PUT PATCH", "/SCOPE/*/access/apps/*", _one(_APP)),
    # Certificates that a bearer can log in or terminate TLS with.
    Rule("POST", "/certificates", ("result.private_key",)),
    Rule("POST", "/zones/*/client_certificates", ("result.private_key",)),
    # Tunnels: the token runs a connector into the private network.
    Rule("POST", "/accounts/*/cfd_tunnel", ("result.token", "result.credentials_file")),
    Rule("POST", "/accounts/*/warp_connector", ("result.token", "result.credentials_file")),
    Rule("POST", "/accounts/*/tunnels", ("result.token", "result.credentials_file")),
    Rule("GET POST", "/accounts/*/cfd_tunnel/*/token", ("result",)),
    Rule("GET POST", "/accounts/*/warp_connector/*/token", ("result",)),
    Rule("POST", "/accounts/*/cfd_tunnel/*/management", ("result",)),
    Rule("POST", "/accounts/*/magic/ipsec_tunnels/*/psk_generate", ("result.psk",)),
    # Products' own secrets.
    Rule("POST PUT", "/accounts/*/challenges/widgets", ("result.secret",)),
    Rule("GET PUT POST", "/accounts/*/challenges/widgets/*", ("result.secret",)),
    Rule("POST", "/accounts/*/challenges/widgets/*/rotate_secret", ("result.secret",)),
    Rule("POST", "/accounts/*/calls/apps", ("result.secret",)),
    Rule("POST", "/accounts/*/calls/turn_keys", ("result.key",)),
    Rule("POST", "/accounts/*/containers/registries/*/credentials", ("result.password",)),
    Rule("POST", "/accounts/*/stream/keys", ("result.pem", "result.jwk")),
    Rule("POST", "/accounts/*/stream/*/token", ("result.token",)),
    Rule("GET PUT", "/accounts/*/stream/webhook", ("result.secret",)),
    Rule(
        "GET POST PUT",
        "/accounts/*/stream/live_inputs/**",
        (
            "result.rtmps.streamKey", "result.rtmpsPlayback.streamKey", "result.srt.passphrase",
            "result.srtPlayback.passphrase", "result.liveInputs.*.rtmps.streamKey",
            "result.streamKey", "result.*.streamKey",
        ),
    ),
    Rule("GET PUT", "/accounts/*/images/v1/keys/**", ("result.keys.*.value",)),
    Rule("GET POST PUT", "/accounts/*/secondary_dns/tsigs/**", ("result.secret", "result.*.secret")),
    Rule("POST", "/accounts/*/dlp/datasets", ("result.secret",)),
    Rule("POST", "/accounts/*/dlp/datasets/*/upload", ("result.secret",)),
    Rule("GET POST", "/accounts/*/dlp/email/account_mapping", ("result.addin_identifier_token",)),
    Rule("POST", "/accounts/*/gateway/audit_ssh_settings/rotate_seed"),
    Rule("POST", "/accounts/*/mnm/vpc-flows/token", ("result",)),
    Rule("POST", "/accounts/*/moq/relays", _one(("token", "tokens", "tokens_publish_subscribe"))),
    Rule("POST", "/accounts/*/moq/relays/*/tokens/rotate", ("result.token", "result.tokens")),
    Rule("POST PATCH", "/accounts/*/realtime/kit/*/meetings/*/participants/**", ("data.token",)),
    Rule("POST", "/accounts/*/alerting/v3/destinations/pagerduty/connect", ("result.id",)),
    Rule("POST", "/SCOPE/*/logpush/ownership"),
    Rule("POST", "/accounts/*/pcaps/ownership"),
    Rule("POST", "/accounts/*/workers/scripts/*/tails", ("result.url",)),
    Rule("POST", "/accounts/*/workers/services/*/environments/*/tails", ("result.url",)),
    Rule("POST", "/accounts/*/pages/projects/*/deployments/*/tails", ("result.url",)),
)  # fmt: skip

REDACTED: Final[tuple[Rule, ...]] = (
    # Answers that may repeat a stored secret although the operation is not about it.
    Rule("GET", "/SCOPE/*/access/apps/**", _either(_APP)),
    Rule("GET", "/SCOPE/*/access/identity_providers/**", _either(_LOGIN)),
    Rule("GET POST PUT", "/accounts/*/alerting/v3/destinations/webhooks/**", _either(("secret",))),
    Rule("GET DELETE", "/accounts/*/challenges/widgets/**", _either(("secret",))),
    Rule("DELETE", "/accounts/*/images/v1/keys/*", ("result.keys.*.value",)),
    Rule(ANY, "/accounts/*/hyperdrive/configs/**", _either(_DATABASE)),
    Rule(ANY, "/accounts/*/ai-gateway/gateways/*/provider_configs/**", _either(("secret_preview",))),
    Rule(ANY, "/accounts/*/pipelines/v1/sinks/**", _either(_SINK)),
    Rule(
        ANY,
        "/accounts/*/realtime/kit/**",
        tuple(f"data.{path}storage_config" for path in ("", "*.", "recording_config.", "*.recording_config.")),
    ),
    Rule(ANY, "/zones/*/origin_tls_client_auth/**", _either(("private_key",))),
    Rule(ANY, "/SCOPE/*/logpush/jobs/**", _either(("destination_conf",))),  # bucket URLs carry keys
)

# Reviewed and not guarded although `_SUSPECT` matches: they store, check or arrange, and hand out nothing.
HARMLESS: Final[tuple[Rule, ...]] = (
    Rule("POST", "/SCOPE/*/access/apps/*/revoke_tokens"),  # ends sessions, makes none
    Rule(ANY, "/zones/*/token_validation/**"),
    Rule(ANY, "/accounts/*/vuln_scanner/**"),  # credentials go in and are not read back
    Rule("POST", "/accounts/*/workers/observability/telemetry/keys"),
    Rule(ANY, "/accounts/*/cloudforce-one/**"),
    Rule("POST", "/accounts/*/r2-catalog/*/credential"),
    Rule("PUT", "/accounts/*/calls/turn_keys/*"),
    Rule(ANY, "/zones/*/leaked-credential-checks/**"),
    Rule("GET", "/accounts/*/alerting/**"),
)

# What an operation no one has reviewed looks like when it might hand something out.
_SUSPECT: Final = re.compile(
    r"(?:^|[/_-])(?:tokens?|rotate(?:_\w+)?|roll|credentials?|members|invites?|service_tokens|oauth_clients|"
    r"api_keys?|signing_keys|client_secret|psk_generate|secret_key)$"
)
_SUSPECT_READ: Final = re.compile(r"/(?:token|credentials?|secret_key|api_key|client_secret)$")
_SECRET_NAMES: Final = (
    "value", "token", "secret", "client_secret", "password", "private_key", "psk", "jwt", "key",
    "secretAccessKey", "sessionToken",
)  # fmt: skip
_SUSPECT_FIELDS: Final = tuple(f"{root}.{name}" for root in ("result", "result.*", "data") for name in _SECRET_NAMES)


@lru_cache(maxsize=8192)
def is_guarded(method: str, template: str) -> bool:
    """Whether the operation needs a grant that names it, for handing out a secret or letting somebody in."""
    if match(GUARDED, method, template) is not None:
        return True
    return _suspect(method, template)


@lru_cache(maxsize=8192)
def secret_fields(method: str, template: str) -> tuple[str, ...]:
    """The fields of the operation's answer that are secret."""
    for table in (GUARDED, REDACTED):
        rule = match(table, method, template)
        if rule is not None:
            return rule.secret
    return _SUSPECT_FIELDS if _suspect(method, template) else ()


def handles_secrets(method: str, path: str) -> bool:
    """Whether a concrete path is one of a reviewed operation that hands out a secret or access, described or not."""
    return match(GUARDED, method, path) is not None or match(REDACTED, method, path) is not None


def _suspect(method: str, template: str) -> bool:
    pattern = _SUSPECT_READ if method == "GET" else _SUSPECT
    if method == "DELETE" or pattern.search(template) is None:
        return False
    return match(HARMLESS, method, template) is None


def match(table: tuple[Rule, ...], method: str, template: str) -> Rule | None:
    plain = template.rstrip("/")
    for rule in table:
        if method in rule.methods.split() and _compiled(rule.template).fullmatch(plain):
            return rule
    return None


@lru_cache(maxsize=1024)
def _compiled(template: str) -> re.Pattern[str]:
    text = re.escape(template).replace(r"/SCOPE/", "/(?:accounts|zones)/")
    return re.compile(text.replace(r"/\*\*", "(?:/.*)?").replace(r"\*", "[^/]+"))
