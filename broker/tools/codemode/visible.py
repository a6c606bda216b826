"""Which operations of a description a caller may use at all: a bitmap, computed once per set of facts. Pure but for its
caches.

It is `policy.decide` asked of every operation at once, with the request left open: an operation is hidden where decide
would refuse every request for it, through every tool. What depends on the request (which zone) does not hide it.
"""

import base64
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.domain import Account, Connection, Grant, Resolved
from broker.policy.covers import must_be_named
from broker.policy.match import PatternError, covers_tool, matches, parse
from connectors.base import EFFECT_RANK, Connector, Operation, Permissions, Programmable
from connectors.openapi.index import SpecIndex

CACHED: Final = 2_000
PATTERNS_CACHED: Final = 4_000

KINDS: Final = ("accounts", "zones")

Names = Callable[[Operation], tuple[frozenset[str], frozenset[str]]]
"""`connectors.base.Programmable.names`."""


@dataclass(frozen=True, slots=True)
class Visible:
    """`bits`: bit n is operation n. `not_granted` are kept back by grants or the bearer, `not_permitted` by what the
    credential may do upstream."""

    bits: int
    count: int
    not_granted: int
    not_permitted: int

    @property
    def bitmap(self) -> str | None:
        """Base64 of the bits, the least significant bit of the first byte first; None: all of them."""
        if self.not_granted == self.not_permitted == 0:
            return None
        return base64.b64encode(self.bits.to_bytes((self.count + 7) // 8, "little")).decode("ascii")

    @property
    def hidden(self) -> dict[str, int]:
        return {"not_permitted": self.not_permitted, "not_granted": self.not_granted}


class Table:
    """The operations of one description, ready to be asked about: sets of operations are integers, a bit each."""

    def __init__(self, operations: Sequence[Operation], names: Names) -> None:
        self.operations = tuple(operations)
        self.numbers = {op.id: n for n, op in enumerate(self.operations)}
        self.all = (1 << len(self.operations)) - 1
        self.by_effect = {effect: self._of_effect(effect) for effect in EFFECT_RANK}
        self.must_be_named = self._where(must_be_named)
        naming = [names(op) for op in self.operations]
        self.always = {kind: _bits(kind in always for always, _ in naming) for kind in KINDS}
        self.possibly = {kind: _bits(kind in possibly for _, possibly in naming) for kind in KINDS}
        self._by_permissions: dict[tuple[str, ...], tuple[Operation, int]] = {}
        for n, op in enumerate(self.operations):
            if op.permissions:
                first, bits = self._by_permissions.get(op.permissions, (op, 0))
                self._by_permissions[op.permissions] = (first, bits | 1 << n)
        self._patterns: OrderedDict[str, tuple[int, bool]] = OrderedDict()

    def _of_effect(self, effect: str) -> int:
        return self._where(lambda op: op.effect == effect)

    def _where(self, wanted: Callable[[Operation], bool]) -> int:
        return _bits(wanted(op) for op in self.operations)

    def reached(self, access: str) -> int:
        """Operations whose effect an access covers."""
        return sum(bits for effect, bits in self.by_effect.items() if EFFECT_RANK[effect] <= EFFECT_RANK[access])

    def matched(self, texts: Sequence[str] | None) -> tuple[int, int]:
        """Operations that a grant's `operations` cover, and those that they name."""
        if texts is None:
            return self.all, 0
        covered = named = 0
        for text in texts:
            bits, names = self._pattern(text)
            covered |= bits
            named |= bits if names else 0
        return covered, named

    def cold(self, texts: Sequence[str] | None) -> int:
        """How many of the patterns were never asked about."""
        return sum(text not in self._patterns for text in texts or ())

    def _pattern(self, text: str) -> tuple[int, bool]:
        found = self._patterns.get(text)
        if found is None:
            found = self._patterns[text] = self._match(text)
            if len(self._patterns) > PATTERNS_CACHED:
                self._patterns.popitem(last=False)
        return found

    def _match(self, text: str) -> tuple[int, bool]:
        try:
            pattern = parse(text)
        except PatternError:
            return 0, False
        if pattern.method is None:
            number = self.numbers.get(pattern.text)
            return (0 if number is None else 1 << number), True
        return self._where(lambda op: matches(pattern, op)), pattern.names

    def confined(self, grant: Grant) -> int:
        """Operations of which some request stays within the grant's lists of accounts and zones."""
        lists = {"accounts": grant.accounts, "zones": grant.zones}
        limited = {kind: ids for kind, ids in lists.items() if ids is not None}
        if not limited:
            return self.all
        within = 0
        for kind, ids in limited.items():
            within |= self.possibly[kind] if ids else 0
        for kind, ids in limited.items():
            within &= self.all if ids else ~self.always[kind]
        return within

    def lacking(self, connector: Connector, permissions: Permissions) -> int:
        """Operations that the credential's permissions deny for every resource. Equal permissions, equal answers."""
        bits = 0
        for first, those in self._by_permissions.values():
            if connector.lacks(first, permissions) is not None:
                bits |= those
        return bits


class Visibility:
    """Computes and keeps what callers see. One per process."""

    def __init__(self) -> None:
        self._tables: OrderedDict[str, Table] = OrderedDict()
        self._kept: OrderedDict[tuple[object, ...], Visible] = OrderedDict()

    def table(self, digest: str, spec: SpecIndex, connector: Programmable) -> Table:
        """The table of the description with this digest."""
        found = self._tables.get(digest)
        if found is None:
            found = self._tables[digest] = Table(connector.operations(spec), connector.names)
            if len(self._tables) > 8:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(digest)
        return found

    def peek(self, key: tuple[object, ...]) -> Visible | None:
        """What was computed for these facts."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: tuple[object, ...], visible: Visible) -> None:
        """Remembers what was computed."""
        self._kept[key] = visible
        if len(self._kept) > CACHED:
            self._kept.popitem(last=False)


def live_grants(
    resolved: Resolved, connection: Connection, account: Account | None, now: datetime
) -> tuple[Grant, ...]:
    """The grants that count on this connection for this account (None: for any)."""
    return tuple(
        g
        for g in resolved.grants
        if g.connection_id == connection.id
        and (g.expires_at is None or g.expires_at > now)
        and (account is None or (g.account == "shared") == account.shared)
    )


def compute(
    table: Table,
    grants: Sequence[Grant],
    *,
    connection_name: str,
    typed: Mapping[str, int],
    access: str | None,
    connector: Connector,
    permissions: Permissions,
    check: str,
) -> Visible:
    """What is visible under `grants` (of `live_grants`). `typed` are the tools of one operation, name → number;
    `access` is what the bearer is narrowed to; `check` the connection's `permission_check`."""
    granted = 0
    for grant in grants:
        covered, named = table.matched(grant.operations)
        through = _through(table, grant, connection_name, typed)
        granted |= (
            covered & table.reached(grant.access) & table.confined(grant) & through & (named | ~table.must_be_named)
        )
    granted &= table.all
    if access is not None:
        granted &= table.reached(access)
    lacking = 0 if check == "advise" else table.lacking(connector, permissions)
    bits = granted & ~lacking
    return Visible(
        bits=bits,
        count=len(table.operations),
        not_granted=(table.all & ~granted).bit_count(),
        not_permitted=(granted & lacking).bit_count(),
    )


def _bits(flags: Iterable[bool]) -> int:
    """Bit n for flag n."""
    digits = "".join("1" if flag else "0" for flag in flags)
    return int(digits[::-1] or "0", 2)


def _through(table: Table, grant: Grant, connection_name: str, typed: Mapping[str, int]) -> int:
    """Operations that the tools of a grant can make at all: any of them, or those with a tool of their own."""
    if any(covers_tool(grant.tools, f"{connection_name}_{tool}") for tool in ("execute", "call")):
        return table.all
    return sum(1 << number for name, number in typed.items() if covers_tool(grant.tools, name))
