"""Access that differs by connection: kept, looked up, handed down and shown; the database keeps no other shape."""

from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from broker.db import functions
from broker.domain import Access, Restrictions
from broker.identity.tokens import parse
from tests.integration.identity.world import ALL, World, refused

BY: dict[str, Access] = {"one": "write", "two": "read"}
_SET = text("update broker.bearers set access = 'write', access_by = cast(:by as jsonb) where id = :id")


async def differing(world: World, by: Any = BY, connections: list[str] | None = None) -> dict[str, Any]:
    """A session of priya's whose access differs, as a sign-in leaves it behind."""
    made = await world.session(connections=["one", "two"] if connections is None else connections, access="write")
    async with world.db.tenant((await world.caller()).tenant_id) as conn:
        await conn.execute(_SET, {"by": orjson.dumps(by).decode(), "id": UUID(made["id"])})
    return made


@pytest.fixture
async def ready(world: World) -> World:
    await world.identity()
    for name in ("one", "two"):
        await world.connection(name)
    return world


async def test_the_look_up_hands_it_over(ready: World) -> None:
    made = await differing(ready)
    whole = (await ready.caller(made["token"])).bearer.restrictions
    assert whole == Restrictions(("one", "two"), "write", BY)
    narrowed = (await ready.caller(made["token"], access="read")).bearer.restrictions
    assert narrowed == Restrictions(("one", "two"), "read", {"one": "read", "two": "read"})
    wide = (await ready.caller(made["token"], access="destructive")).bearer.restrictions
    assert wide == whole, "a request narrows, and never widens"


async def test_a_child_inherits_it_and_never_more(ready: World) -> None:
    parent = await ready.caller((await differing(ready))["token"])
    made = await ready.session(parent, None)
    assert (made["access"], made["access_by"]) == ("write", BY)
    child = await ready.caller(made["token"])
    assert child.bearer.restrictions == parent.bearer.restrictions
    two = await ready.session(child, None, connections=["two"])
    assert (two["connections"], two["access"], two["access_by"]) == (["two"], "read", {"two": "read"})
    await refused(ready.session(parent, None, connections=["two"], access="write"), "forbidden")
    await refused(ready.session(parent, None, access="destructive"), "forbidden")
    reading = await ready.session(parent, None, access="read")
    assert (reading["access"], reading["access_by"]) == ("read", {"one": "read", "two": "read"})
    last = (await ready.changes())[-1]
    assert last["operation"] == "session.created"
    assert last["body"]["summary"]["access_by"] == {"one": "read", "two": "read"}


async def test_it_is_shown(ready: World) -> None:
    made = await differing(ready)
    plain = await ready.session()
    shown = {s["id"]: s["access_by"] for s in (await ready.sessions.list(await ready.caller(), ALL)).items}
    assert (shown[made["id"]], shown[plain["id"]]) == (BY, None)


async def test_a_watch_sees_it(ready: World) -> None:
    """Two bearers that differ in nothing else are no same standing."""
    tokens = [parse((await differing(ready, by))["token"]) for by in (BY, BY, {"one": "write", "two": "write"})]
    standing = await ready.db.pool.fetch(
        functions.call("select broker.standing{v}($1, $2, $3, $4, $5)"),
        [token.tenant_id for token in tokens],
        [token.digest for token in tokens],
        *[[None] * 3] * 3,
    )
    same, again, other = (row[0] for row in standing)
    assert same is not None
    assert same == again != other


@pytest.mark.parametrize(
    "by",
    [
        ["read"],
        "read",
        None,
        {"one": "all"},
        {"one": 1},
        {"one": None},
        {"one": ["read"]},
        {"one": {"two": "read"}},
        {f"c{n}": "read" for n in range(201)},
        {"x" * 10_000: "read"},
    ],
)
async def test_the_database_keeps_no_other_shape(ready: World, by: Any) -> None:
    with pytest.raises(DBAPIError):
        await differing(ready, by)


async def test_it_stands_with_its_connections_alone(ready: World) -> None:
    made = await ready.session()
    async with ready.db.tenant((await ready.caller()).tenant_id) as conn:
        with pytest.raises(DBAPIError):
            await conn.execute(_SET, {"by": orjson.dumps(BY).decode(), "id": UUID(made["id"])})
