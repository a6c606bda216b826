"""Asks Cloudflare whose credential was deposited, until when it holds, and what it may do.

Every request goes through the gate as a maintenance call of the same budget: at most four. Account tokens
are asked at their account, since user-level checks refuse them.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import orjson

from connectors.base import Answer, Json, Operation, Perform, Permissions, Prepared, UpstreamIdentity
from connectors.cloudflare.answer import error_codes
from connectors.cloudflare.config import Base
from connectors.cloudflare.operations import REST
from connectors.cloudflare.permissions import MAX_POLICIES, declared
from connectors.errors import CredentialRejected, FieldProblem, InvalidInput, UpstreamUnreachable

MAX_ACCOUNTS: Final = 50
MAX_POLICY_BYTES: Final = 131_072

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|\+00:00)")


async def verify(base: Base, kind: str, credential: Mapping[str, Json], perform: Perform) -> UpstreamIdentity:
    """Whose the credential is.

    Raises:
        InvalidInput: an account token without its `account_id`.
        CredentialRejected: Cloudflare does not accept it, or it is disabled or expired; the hint says what
        to do. UpstreamFault: Cloudflare could not be asked, or its answer makes no sense.
    """
    ask = _Asker(base, perform)
    if kind == "global_key":
        return await _verify_key(ask)
    groups = tuple(credential.get("permissions") or ())
    if kind == "account_token":
        account = credential.get("account_id")
        if not isinstance(account, str) or _ID.fullmatch(account) is None:
            raise InvalidInput([FieldProblem("account_id", "is needed to verify an account token")])
        return await _verify_account_token(ask, account, groups)
    return await _verify_user_token(ask, groups)


class _Asker:
    """Performs maintenance requests and reads their `result`."""

    def __init__(self, base: Base, perform: Perform) -> None:
        self._base = base
        self._perform = perform

    async def ask(self, name: str, template: str, path: str, query: str = "") -> Answer:
        operation = Operation(id=f"maintenance:{name}", method="GET", path=template, effect="read")
        return await self._perform(
            Prepared(
                operation=operation,
                method="GET",
                origin=self._base.origin,
                path=self._base.prefix + path,
                query=query,
                meters=(REST,),
                summary={"operation": operation.ref},
                idempotent=True,
            )
        )


async def _verify_user_token(ask: _Asker, groups: Sequence[str]) -> UpstreamIdentity:
    answer = await ask.ask("user-tokens-verify", "/user/tokens/verify", "/user/tokens/verify")
    token = _token(answer, "If it is an account token (Manage Account → Account API Tokens), use account_token.")
    user = await _optional(await ask.ask("user", "/user", "/user"))
    permissions = await _policies(ask, "user", f"/user/tokens/{token.id}", groups)
    accounts = _accounts(await ask.ask("accounts", "/accounts", "/accounts", f"per_page={MAX_ACCOUNTS}"))
    user_id = _id(user.get("id"))
    email = user.get("email")
    return UpstreamIdentity(
        principal=f"user:{user_id}" if user_id else f"token:{token.id}",
        display=email[:254] if isinstance(email, str) and email else f"API token {token.id}",
        account_id=accounts[0]["id"] if len(accounts) == 1 else None,
        token_id=token.id,
        expires_at=token.expires_at,
        permissions=permissions,
        accounts=accounts,
    )


async def _verify_account_token(ask: _Asker, account: str, groups: Sequence[str]) -> UpstreamIdentity:
    path = f"/accounts/{quote(account, safe='')}/tokens"
    answer = await ask.ask("account-tokens-verify", "/accounts/{account_id}/tokens/verify", f"{path}/verify")
    token = _token(answer, "Check the account id; if the token was made under My Profile, use api_token.")
    permissions = await _policies(ask, "account", f"{path}/{token.id}", groups)
    return UpstreamIdentity(
        principal=f"account-token:{account}:{token.id}",
        display=f"account token {token.id}",
        account_id=account,
        token_id=token.id,
        expires_at=token.expires_at,
        permissions=permissions,
        accounts=({"id": account, "name": ""},),
    )


async def _verify_key(ask: _Asker) -> UpstreamIdentity:
    answer = await ask.ask("user", "/user", "/user")
    user = _result(answer) if not answer.is_error else None
    user_id = _id(user.get("id")) if user else None
    if user is None or user_id is None:
        raise _rejected(answer, "Check the e-mail address and copy the Global API Key again from My Profile.")
    accounts = _accounts(await ask.ask("accounts", "/accounts", "/accounts", f"per_page={MAX_ACCOUNTS}"))
    email = user.get("email")
    return UpstreamIdentity(
        principal=f"user:{user_id}",
        display=email[:254] if isinstance(email, str) and email else f"user {user_id}",
        account_id=accounts[0]["id"] if len(accounts) == 1 else None,
        permissions=Permissions("all"),
        accounts=accounts,
    )


class _Token:
    def __init__(self, token_id: str, expires_at: datetime | None) -> None:
        self.id = token_id
        self.expires_at = expires_at


def _token(answer: Answer, otherwise: str) -> _Token:
    if answer.is_error:
        raise _rejected(answer, f"Copy the token again: it is shown only once. {otherwise}")
    result = _result(answer)
    token_id, status = _id(result.get("id")), result.get("status")
    if token_id is None or not isinstance(status, str):
        raise UpstreamUnreachable("the upstream's verification answer makes no sense", sent=True)
    if status != "active":
        what = status if status in ("disabled", "expired") else "not active"
        raise CredentialRejected(
            f"the token is {what}", "Enable or renew it in the Cloudflare dashboard, or deposit another one."
        )
    return _Token(token_id, _time(result.get("expires_on")))


async def _policies(ask: _Asker, owner: str, path: str, groups: Sequence[str]) -> Permissions | None:
    """What the token may do: its own policies where it may read them, else what was declared, else None."""
    template = "/user/tokens/{token_id}" if owner == "user" else "/accounts/{account_id}/tokens/{token_id}"
    result = await _optional(await ask.ask(f"{owner}-token-details", template, path))
    policies = result.get("policies")
    if isinstance(policies, list) and 0 < len(policies) <= MAX_POLICIES:
        kept = tuple(_policy(p) for p in policies if isinstance(p, dict))
        if kept and len(orjson.dumps(kept)) <= MAX_POLICY_BYTES:
            return Permissions("policies", kept)
    return declared(groups) if groups else None


def _policy(policy: dict[str, Any]) -> Mapping[str, Json]:
    groups = policy.get("permission_groups")
    return {
        "effect": policy.get("effect"),
        "resources": policy.get("resources"),
        "permission_groups": [
            {key: str(group[key])[:200] for key in ("id", "name") if isinstance(group.get(key), str)}
            for group in (groups if isinstance(groups, list) else ())
            if isinstance(group, dict)
        ],
    }


def _accounts(answer: Answer) -> tuple[Mapping[str, str], ...]:
    """Ids and names of the accounts the credential sees: for hints, so an error answer counts as none."""
    value = {} if answer.is_error else decoded(answer)
    result = value.get("result") if isinstance(value, dict) else None
    found = []
    for item in result[:MAX_ACCOUNTS] if isinstance(result, list) else ():
        identifier = _id(item.get("id")) if isinstance(item, dict) else None
        if identifier is not None:
            found.append({"id": identifier, "name": str(item.get("name", ""))[:200]})
    return tuple(found)


async def _optional(answer: Answer) -> Mapping[str, Json]:
    """The result, or nothing where the credential may not read it."""
    return {} if answer.is_error else _result(answer)


def _result(answer: Answer) -> Mapping[str, Json]:
    value = decoded(answer)
    result = value.get("result") if isinstance(value, dict) else None
    return result if isinstance(result, dict) else {}


def decoded(answer: Answer) -> Json:
    """An answer's data as plain values: `send` hands JSON on as its own text."""
    return orjson.loads(orjson.dumps(answer.data))


def _rejected(answer: Answer, hint: str) -> CredentialRejected | UpstreamUnreachable:
    if answer.status >= 500 or answer.status == 429 or 300 <= answer.status < 400:
        return UpstreamUnreachable(f"the credential could not be checked: {_said(answer)}", sent=True)
    if 9109 in error_codes(answer) and "cannot use the access token from location" in _said(answer).lower():
        hint = "The token has a Client IP filter: add this server's address to it."
    return CredentialRejected(f"the credential was refused: {_said(answer)}", hint)


def _said(answer: Answer) -> str:
    return str(answer.error.get("detail", "")) if answer.error else f"status {answer.status}"


def _id(value: Json) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _time(value: Json) -> datetime | None:
    if not isinstance(value, str) or _TIME.fullmatch(value) is None:
        return None
    head, dot, tail = value.removesuffix("Z").removesuffix("+00:00").partition(".")
    try:
        return datetime.fromisoformat(head + (f".{tail[:6]:0<6}" if dot else "")).replace(tzinfo=UTC)
    except ValueError:
        return None
