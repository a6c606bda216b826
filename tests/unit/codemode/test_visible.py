"""What a search shows is what policy would allow: no more, and no less."""

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain import Connection, Grant, Resolved, Restrictions
from broker.policy.decide import decide
from broker.policy.facts import AccessRequest
from broker.tools.codemode.visible import Table, Visible, compute, live_grants
from connectors.base import Operation, Permissions, Permit, Resources
from connectors.cloudflare.connector import CloudflareConnector
from connectors.cloudflare.permissions import declared
from tests.unit.policy.facts import CONNECTION as CONNECTION_ID
from tests.unit.policy.facts import NOW, account, caller, grant
from tests.unit.policy.facts import OPERATIONS as PLAIN

CONNECTION = Connection(CONNECTION_ID, "cloudflare", "cloudflare", 1, "active")
NEEDS = {"dns-list": ("DNS Read",), "dns-create": ("DNS Write",), "zones-get": ("Zone Read",)}
OPERATIONS = tuple(replace(op, permissions=NEEDS.get(op.id, ())) for op in PLAIN)
CONNECTOR = CloudflareConnector()
TABLE = Table(OPERATIONS, CONNECTOR.names)
TYPED = {f"{CONNECTION.name}_{OPERATIONS[0].id}"[:60]: 0}
UNKNOWN = Permissions("unknown")

_PATTERNS = [
    "GET /zones/**",
    "* /zones/*/dns_records/**",
    "GET /zones",
    OPERATIONS[0].id,
    OPERATIONS[-1].ref,
    "DELETE /zones/*",
]


def _optional(items: list[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(items), max_size=3, unique=True).map(tuple)


_GRANTS = st.builds(
    grant,
    n=st.integers(100, 120),
    tools=st.sampled_from(
        [
            None,
            (),
            ("cloudflare_*",),
            ("cloudflare_call",),
            ("cloudflare_execute",),
            ("cloudflare_search",),
            tuple(TYPED),
        ]
    ),
    access=st.sampled_from(["read", "write", "destructive"]),
    operations=_optional(_PATTERNS),
    accounts=_optional(["a1", "a2"]),
    zones=_optional(["z1", "z2"]),
    account=st.sampled_from(["own", "shared"]),
    expires_at=st.sampled_from([None, NOW, NOW.replace(year=NOW.year + 1)]),
)


def see(grants: list[Grant], access: Any, permissions: Permissions, *, shared: bool) -> Visible:
    return compute(
        TABLE,
        live_grants(_resolved(grants, access), CONNECTION, account(shared=shared), NOW),
        connection_name=CONNECTION.name,
        typed=TYPED,
        access=access,
        connector=CONNECTOR,
        permissions=permissions,
        check="refuse",
    )


def _resolved(grants: list[Grant], access: Any) -> Any:
    return Resolved(caller(Restrictions(access=access)), (CONNECTION,), (), tuple(grants))


def could(operation: Operation, grants: list[Grant], access: Any, permissions: Permissions, *, shared: bool) -> bool:
    """Whether decide allows the operation to some request, over every tool and the ids that one may name."""
    always, possibly = CONNECTOR.names(operation)
    permit = Permit("denied" if CONNECTOR.lacks(operation, permissions) else "unknown")
    for tool in (
        "cloudflare_execute",
        "cloudflare_call",
        *(n for n, at in TYPED.items() if OPERATIONS[at] == operation),
    ):
        for accounts in _named("accounts", ["a1", "a2", "a9"], always, possibly):
            for zones in _named("zones", ["z1", "z2", "z9"], always, possibly):
                asked = AccessRequest(
                    caller=caller(Restrictions(access=access)),
                    connection=CONNECTION,
                    account=account(shared=shared),
                    tool_name=tool,
                    operation=operation,
                    resources=Resources(accounts, zones),
                    grants=grants,
                    permit=permit,
                    permission_check="refuse",
                    now=NOW,
                )
                if decide(asked).allowed:
                    return True
    return False


def _named(kind: str, ids: list[str], always: frozenset[str], possibly: frozenset[str]) -> list[tuple[str, ...]]:
    named: list[tuple[str, ...]] = [(one,) for one in ids] if kind in possibly else []
    return named if kind in always else [(), *named]


@given(
    st.lists(_GRANTS, max_size=4),
    st.sampled_from([None, "read", "write", "destructive"]),
    st.sampled_from([UNKNOWN, Permissions("all"), declared(["DNS Write"]), declared(["Zone Read", "DNS Read"])]),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_visible_is_what_decide_allows_to_some_request(
    grants: list[Grant], access: Any, permissions: Permissions, shared: bool
) -> None:
    seen = see(grants, access, permissions, shared=shared)
    for n, operation in enumerate(OPERATIONS):
        shown = bool(seen.bits >> n & 1)
        assert shown == could(operation, grants, access, permissions, shared=shared), operation.ref
    assert seen.bits.bit_count() + seen.not_granted + seen.not_permitted == len(OPERATIONS)


def test_what_is_kept_back_is_counted_by_its_reason() -> None:
    seen = see([grant(access="read")], None, declared(["DNS Read"]), shared=False)
    assert seen.hidden["not_granted"] > 0
    assert seen.hidden["not_permitted"] > 0
    assert seen.bitmap is not None


@pytest.mark.parametrize("patterns", [1, 20])
def test_thousands_of_operations_take_milliseconds(patterns: int) -> None:
    operations = [
        replace(
            OPERATIONS[n % len(OPERATIONS)],
            id=f"op-{n}",
            path=f"/zones/{{zone_id}}/thing{n}/{{id}}",
            permissions=(f"G{n % 250} Read",),
        )
        for n in range(2_754)
    ]
    table = Table(operations, CONNECTOR.names)
    grants = [grant(operations=tuple(f"GET /zones/*/thing{n}/**" for n in range(patterns)))]
    permissions = declared([f"G{n} Read" for n in range(40)])

    def work() -> float:
        started = time.perf_counter()
        compute(
            table, grants, connection_name="cloudflare", typed={}, access=None, connector=CONNECTOR,
            permissions=permissions, check="refuse",
        )  # fmt: skip
        return time.perf_counter() - started

    work()
    best = min(work() for _ in range(5))
    assert best < 0.025, f"{best * 1000:.1f} ms"
