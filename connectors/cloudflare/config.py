"""What a Cloudflare connection can be configured with (API.md, "Administration"), and the credentials it
takes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from connectors.base import CredentialKind, Json
from connectors.egress import EgressPolicy, check_origin, check_target
from connectors.errors import EgressRefused, FieldProblem, InvalidConfig, InvalidInput

BASE_URL: Final = "https://api.cloudflare.com/client/v4"
OFFICIAL_ORIGIN: Final = "https://api.cloudflare.com"
SPEC_SOURCE: Final = "https://raw.githubusercontent.com/cloudflare/api-schemas/main/openapi.json"

MAX_TOOLS: Final = 200
MAX_RESERVE: Final = 600
RESULT_CHARS: Final = (1_000, 24_000, 200_000)
"""Of a program's result before it is summarised: at least, usually, at most."""
MAX_PERMISSIONS: Final = 300

_SPEC_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PIN = re.compile(r"[0-9a-f]{8,64}")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "permission_check": ("refuse", "advise"),
    "body_check": ("advise", "strict"),
    "key": ("user", "token", "account"),
}

# An unprefixed token is the form given out before 2026; rolling it makes a prefixed one (research: [D]).
_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,100}")
_GLOBAL_KEY = re.compile(r"(?:cfk_[A-Za-z0-9_-]{36,100}|[0-9a-f]{37,64})")
_EMAIL = re.compile(r"[!-?A-~]{1,200}@[!-?A-~]{1,200}")
_ID = re.compile(r"[0-9a-f]{32}")
_PREFIXES: Final = {
    "cfut_": ("a user API token", "api_token"),
    "cfat_": ("an account API token", "account_token"),
    "cfk_": ("a Global API Key", "global_key"),
    "cfoat_": ("an OAuth access token", "oauth"),
}

KINDS: Final = (
    CredentialKind(
        name="api_token",
        fields={
            "token": "user API token, cfut_… or 40 characters",
            "permissions": "list of permission group names, optional",
        },
        secret_fields=("token",),
        help="My Profile → API Tokens → Create Token. Add User Details: Read so that calls count "
        "against the right user; add API Tokens: Read only if Keyreeve should read the token's own "
        "permissions.",
    ),
    CredentialKind(
        name="account_token",
        fields={
            "token": "account API token, cfat_… or 40 characters",
            "account_id": "the account's id, 32 hex digits",
            "permissions": "list of permission group names, optional",
        },
        secret_fields=("token",),
        help="Manage Account → Account API Tokens → Create Token. It belongs to the account, not to a person.",
    ),
    CredentialKind(
        name="global_key",
        fields={"email": "the user's e-mail address", "key": "Global API Key"},
        secret_fields=("key",),
        help="My Profile → API Tokens → Global API Key. It can do everything the user can: prefer a token.",
    ),
)


@dataclass(frozen=True, slots=True)
class Base:
    """Where the API is: a canonical origin, and the path before every operation's (no slash at its end)."""

    origin: str
    prefix: str


def split_base(url: str) -> Base:
    """Origin and path prefix of a base URL. Whether it may be reached is the egress rule's at deposit and
    sending.

    Raises:
        EgressRefused: it is not scheme://host[:port][/path] in a form that can be sent.
    """
    if len(url) > 400 or any(character in url for character in "?#\\@"):
        raise EgressRefused("origin", "A base URL has no query, fragment, user name or backslash.")
    cut = url.find("/", url.find("://") + 3)
    origin, prefix = (url, "") if cut < 0 else (url[:cut], url[cut:].rstrip("/"))
    if prefix:
        check_target(prefix)
    try:
        port = urlsplit(origin).port
    except ValueError as exc:
        raise EgressRefused("port", "A port is a number from 1 to 65535.") from exc
    # The form is checked as if the operator had opened it: whether they did is asked where it is used.
    scheme, host = origin.partition("://")[::2]
    name = host.rsplit(":", 1)[0] if port is not None else host
    opened = EgressPolicy.parse([f"{name}:{port or (443 if scheme.lower() == 'https' else 80)}"])
    return Base(str(check_origin(origin, policy=opened)), prefix)


def check_config(config: Mapping[str, Json]) -> dict[str, Json]:
    """The config with its defaults filled in.

    Raises:
        InvalidConfig: names every unknown field (with the nearest known one) and every wrong value.
    """
    problems: list[FieldProblem] = []
    known = ("base_url", "spec", "tools", "permission_check", "body_check", "budget", "result_chars")
    _known(config, known, "", problems)
    checked: dict[str, Json] = {
        "base_url": _base_url(config.get("base_url", BASE_URL), problems),
        "spec": _spec(config.get("spec", {}), problems),
        "tools": _tools(config.get("tools", []), problems),
        "permission_check": _choice(config, "permission_check", "", problems),
        "body_check": _choice(config, "body_check", "", problems),
        "budget": _budget(config.get("budget", {}), problems),
        "result_chars": _result_chars(config.get("result_chars", RESULT_CHARS[1]), problems),
    }
    if problems:
        raise InvalidConfig(problems[:20])
    return checked


def check_credential(credential: Mapping[str, Json]) -> tuple[str, bytes, tuple[str, ...]]:
    """(kind, plaintext to seal, declared permission groups). Errors name fields from the credential's root.

    Their texts hold no value.

    Raises:
        InvalidInput
    """
    kinds = {kind.name: kind for kind in KINDS}
    name = credential.get("kind")
    if not isinstance(name, str) or name not in kinds:
        raise _refuse("kind", f"must be one of {', '.join(kinds)}")
    known = ("kind", *kinds[name].fields)
    problems: list[FieldProblem] = []
    _known(credential, known, "", problems)
    if problems:
        raise InvalidInput(problems[:20])
    declared = _permissions(credential.get("permissions"))
    if name == "global_key":
        return name, _global_key(credential), ()
    token = _text(credential, "token")
    _check_prefix(token, name)
    if _TOKEN.fullmatch(token) is None:
        raise _refuse("token", "is not a Cloudflare API token: 40 or more letters, digits, - and _")
    if name == "account_token" and _ID.fullmatch(_text(credential, "account_id")) is None:
        raise _refuse("account_id", "must be the account's id: 32 hex digits, on its overview page")
    return name, token.encode("ascii"), declared


def _global_key(credential: Mapping[str, Json]) -> bytes:
    email, key = _text(credential, "email"), _text(credential, "key")
    _check_prefix(key, "global_key")
    if _EMAIL.fullmatch(email) is None:
        raise _refuse("email", "must be the e-mail address of the Cloudflare user")
    if _GLOBAL_KEY.fullmatch(key) is None:
        raise _refuse("key", "is not a Global API Key: 37 hex digits, or cfk_…")
    return orjson.dumps({"email": email, "key": key})


def _check_prefix(value: str, kind: str) -> None:
    for prefix, (what, its_kind) in _PREFIXES.items():
        if value.startswith(prefix) and its_kind != kind:
            how = "deposits of it are not supported yet" if its_kind == "oauth" else f'use kind "{its_kind}"'
            raise _refuse("key" if kind == "global_key" else "token", f"is {what} ({prefix}…): {how}")


def _text(credential: Mapping[str, Json], field: str) -> str:
    value = credential.get(field)
    if not isinstance(value, str) or not value:
        raise _refuse(field, "is required, as text")
    if len(value) > 1_000:
        raise _refuse(field, "is too long")
    if value.strip() != value:
        raise _refuse(field, "has white space around it; paste it without")
    return value


def _permissions(value: Json) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_PERMISSIONS:
        raise _refuse("permissions", f"must be a list of at most {MAX_PERMISSIONS} permission group names")
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= 120 or not name.isprintable():
            raise _refuse("permissions", "each entry is a permission group's name, such as DNS Write")
    return tuple(dict.fromkeys(value))


def _refuse(field: str, problem: str) -> InvalidInput:
    return InvalidInput([FieldProblem(field, problem)])


def _known(value: Mapping[str, Any], known: tuple[str, ...], prefix: str, problems: list[FieldProblem]) -> None:
    for name in islice((n for n in value if n not in known), 20):
        near = get_close_matches(str(name)[:100], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known fields: {', '.join(known)}"
        problems.append(FieldProblem(prefix + str(name)[:100], f"unknown field; {hint}", unknown=True))


def _base_url(value: Json, problems: list[FieldProblem]) -> str:
    if not isinstance(value, str):
        problems.append(FieldProblem("base_url", "must be text"))
        return BASE_URL
    try:
        base = split_base(value)
    except EgressRefused as exc:
        problems.append(FieldProblem("base_url", exc.reason))
        return BASE_URL
    url = base.origin + base.prefix
    if base.origin == OFFICIAL_ORIGIN and url != BASE_URL:
        # Another prefix would shift every path: what the reviewed tables call harmless would be something else there.
        problems.append(FieldProblem("base_url", f"at this host is {BASE_URL}"))
    return url


def _spec(value: Json, problems: list[FieldProblem]) -> dict[str, Json]:
    if not isinstance(value, dict):
        problems.append(FieldProblem("spec", "must be an object: {source, pin?}"))
        return {"source": SPEC_SOURCE}
    _known(value, ("source", "pin"), "spec.", problems)
    source, pin = value.get("source", SPEC_SOURCE), value.get("pin")
    named = isinstance(source, str) and _SPEC_NAME.fullmatch(source) is not None and ".." not in source
    if source != SPEC_SOURCE and not named:
        what = f"must be {SPEC_SOURCE} or the name of a file in the operator's spec folder"
        problems.append(FieldProblem("spec.source", what))
    if pin is not None and not (isinstance(pin, str) and _PIN.fullmatch(pin)):
        problems.append(FieldProblem("spec.pin", "must be 8 to 64 hex digits of the description's SHA-256"))
    return {"source": source} | ({} if pin is None else {"pin": pin})


def _tools(value: Json, problems: list[FieldProblem]) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        problems.append(FieldProblem("tools", f"must be a list of at most {MAX_TOOLS} operation ids"))
        return []
    for n, name in enumerate(value):
        if not isinstance(name, str) or not 0 < len(name) <= 300:
            problems.append(FieldProblem(f"tools.{n}", "must be an operation id or METHOD /path"))
    return list(dict.fromkeys(name for name in value if isinstance(name, str)))


def _choice(config: Mapping[str, Json], name: str, prefix: str, problems: list[FieldProblem]) -> str:
    choices = _CHOICES[name]
    value = config.get(name, choices[0])
    if value not in choices:
        problems.append(FieldProblem(prefix + name, f"must be one of {', '.join(choices)}"))
    return str(value)


def _result_chars(value: Json, problems: list[FieldProblem]) -> int:
    least, usual, most = RESULT_CHARS
    if type(value) is int and least <= value <= most:
        return value
    problems.append(FieldProblem("result_chars", f"must be a whole number from {least:,} to {most:,}"))
    return usual


def _budget(value: Json, problems: list[FieldProblem]) -> dict[str, Json]:
    if not isinstance(value, dict):
        problems.append(FieldProblem("budget", "must be an object: {reserve?, key?}"))
        return {"reserve": 0, "key": "user"}
    _known(value, ("reserve", "key"), "budget.", problems)
    reserve = value.get("reserve", 0)
    if type(reserve) is not int or not 0 <= reserve <= MAX_RESERVE:
        problems.append(FieldProblem("budget.reserve", f"must be a whole number from 0 to {MAX_RESERVE}"))
    return {"reserve": reserve, "key": _choice(value, "key", "budget.", problems)}
