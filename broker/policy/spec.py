"""A grant as it is asked for, and the checks it must pass. Pure; that its names exist is looked up in
`grants.py`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from broker.domain import Access
from broker.errors import Field, Problem, invalid
from broker.identity import names
from broker.policy.match import PatternError, check_tool, parse

MAX_ITEMS: Final = 200
"""Of each of a grant's lists. More is another grant, or `*`."""

RESOURCE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""An upstream account's or zone's id; Cloudflare's are 32 hex digits."""


@dataclass(frozen=True, slots=True)
class GrantSpec:
    """A grant that is asked for. Exactly one of `identifier`, `group` and `everyone` says to whom.

    None means all, an empty list none, for `tools`, `operations`, `accounts` and `zones` alike.
    """

    connection_name: str
    access: Access
    identifier: str | None = None
    group: str | None = None
    everyone: bool = False
    tools: Sequence[str] | None = None
    operations: Sequence[str] | None = None
    accounts: Sequence[str] | None = None
    zones: Sequence[str] | None = None
    account: Literal["own", "shared"] = "own"
    expires_at: datetime | None = None


def check(spec: GrantSpec, now: datetime) -> None:
    """Returns if the grant is well formed. Raises Problem `invalid_input` with every wrong item named, 20 at
    most."""
    named = [spec.identifier is not None, spec.group is not None, spec.everyone]
    if sum(named) != 1:
        raise invalid("subject", "must hold exactly one of identifier, group and everyone: true")
    names.connection("connection_name", spec.connection_name)
    if spec.group is not None:
        names.group("subject.group", spec.group)
    if spec.expires_at is not None:
        names.future("expires_at", spec.expires_at, now)
    wrong = [
        *_list("tools", spec.tools, lambda item: _tool(item, spec.connection_name)),
        *_list("operations", spec.operations, _operation),
        *_list("resources.accounts", spec.accounts, _resource),
        *_list("resources.zones", spec.zones, _resource),
    ]
    if wrong:
        raise Problem("invalid_input", f"{wrong[0].path}: {wrong[0].problem}", fields=wrong[:20])


def _list(path: str, items: Sequence[str] | None, check_item: Callable[[str], str | None]) -> list[Field]:
    if items is None:
        return []
    if len(items) > MAX_ITEMS:
        return [Field(path, f"holds at most {MAX_ITEMS} items")]
    told = [(n, check_item(item)) for n, item in enumerate(items)]
    return [Field(f"{path}.{n}", problem) for n, problem in told if problem is not None]


def _tool(item: str, connection_name: str) -> str | None:
    try:
        check_tool(item)
    except PatternError as error:
        return str(error)
    prefix = f"{connection_name}_"
    fixed, star, _ = item.partition("*")
    if fixed.startswith(prefix) or (star and prefix.startswith(fixed)):
        return None
    return f"covers no tool of this connection: their names begin with `{prefix}`"


def _operation(item: str) -> str | None:
    try:
        parse(item)
    except PatternError as error:
        return str(error)
    return None


def _resource(item: str) -> str | None:
    return None if RESOURCE_ID.fullmatch(item) else "must be an id, 1 to 64 of A-Z a-z 0-9 _ -"
