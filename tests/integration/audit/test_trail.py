"""Rows, their MACs and numbers, changes and refusals, against a real PostgreSQL."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from broker.audit.events import RefusalFacts
from broker.audit.trail import verify_rows
from tests.integration.audit.conftest import World


async def test_an_intent_and_its_outcome_verify_and_share_their_time(world: World) -> None:
    caller = world.caller()
    intent = await world.call(caller, sentence="list the records", body=b'{"x":1}')
    first, second = await world.rows()
    assert (first["kind"], second["kind"]) == ("intent", "outcome")
    assert first["at"] == second["at"] == intent.facts.at
    assert first["call_id"] == second["call_id"] == intent.facts.call_id
    assert [first["counter"], second["counter"]] == [1, 2]
    assert first["body"]["args_digest"].startswith("1:")
    assert first["body"]["summary"] == {"zone_id": "abc", "per_page": 5}
    assert first["body"]["body_bytes"] == 7
    assert second["outcome"] == "ok"
    assert first["xid"] is not None
    assert await verify_rows(world.vault_, [first, second]) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "session:mallory"),
        ("identifier", None),
        ("outcome", "ok"),
        ("counter", 7),
        ("node", "elsewhere"),
        ("n", 2),
        ("at", None),
        ("body", None),
        ("mac_key", None),
    ],
)
async def test_an_edited_row_is_found(world: World, column: str, value: object) -> None:
    await world.call(world.caller(), "timeout")
    for row in await world.rows():
        edited = dict(row)
        if column == "at":
            edited["at"] += timedelta(microseconds=1)
        elif column == "body":
            edited["body"] = {**row["body"], "path": "/client/v4/zones/other"}
        elif column == "mac_key":
            edited["mac"] = bytes(32)
        else:
            edited[column] = value
        assert await verify_rows(world.vault_, [edited]) == [row["id"]]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=40)
    | st.binary(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(summary=st.dictionaries(st.text(max_size=8), json_values, max_size=5), sentence=st.text(max_size=600))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_whatever_is_summarised_survives_the_database(world: World, summary: dict, sentence: str) -> None:
    """jsonb reorders keys and rewrites numbers: the canonical form must not notice."""
    await world.trail.write(world.intent(world.caller(), summary=summary, sentence=sentence))
    rows = await world.rows()
    assert await verify_rows(world.vault_, rows[-1:]) == []


async def test_a_row_that_was_not_written_leaves_a_gap(world: World) -> None:
    await world.call(world.caller(), None)
    await world.trail.row(world.intent(world.caller()))
    await world.call(world.caller(), None)
    assert [r["counter"] for r in await world.rows()] == [1, 3]


async def test_numbers_are_gapless_under_concurrency(world: World) -> None:
    world.vault_.keyring.evict(world.tenant_id)
    await asyncio.gather(*(world.call(world.caller()) for _ in range(25)))
    rows = await world.rows()
    assert sorted(r["counter"] for r in rows) == list(range(1, 51))
    assert await verify_rows(world.vault_, rows) == []


async def test_the_audit_is_append_only_for_the_app(world: World) -> None:
    await world.call(world.caller())
    for statement in ("update audit.events set actor = 'x'", "delete from audit.events", "truncate audit.events"):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with world.db.tenant(world.tenant_id) as conn:
                await conn.execute(text(statement))


async def test_a_change_is_written_in_the_callers_transaction(world: World) -> None:
    caller = world.caller("operator", None)

    async def changing(fail: bool) -> None:
        async with world.db.tenant(world.tenant_id) as conn:
            await world.trail.change(
                conn, caller, "grant.created", identifier="priya@example.com", details={"access": "read"}
            )
            if fail:
                raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        await changing(fail=True)
    assert await world.rows() == []
    await changing(fail=False)
    (row,) = await world.rows()
    assert (row["kind"], row["operation"], row["outcome"], row["actor"]) == (
        "change",
        "grant.created",
        "done",
        "operator:ops",
    )
    assert row["bearer_id"] == caller.bearer.id
    assert await verify_rows(world.vault_, [row]) == []


async def test_the_system_may_change_things_too(world: World) -> None:
    async with world.db.tenant(world.tenant_id) as conn:
        await world.trail.change(conn, None, "session.forgotten", tenant_id=world.tenant_id, actor="system:sessions")
    (row,) = await world.rows()
    assert (row["actor"], row["bearer_id"]) == ("system:sessions", None)


async def test_a_flood_of_refusals_is_counted(world: World) -> None:
    caller = world.caller()
    for _ in range(57):
        await world.trail.refusal(caller, RefusalFacts("not_granted", tool_name="cf_call", detail="no grant"))
    await world.trail.refusal(caller, RefusalFacts("budget_exhausted", tool_name="cf_call"))
    await world.trail.refusal(world.caller(), RefusalFacts("not_granted", tool_name="cf_call"))
    assert len(await world.rows()) == 22
    world.clock.forward(seconds=61)
    assert await world.trail.flush() == 1
    counted = (await world.rows())[-1]
    assert counted["body"]["suppressed"] == 37
    assert counted["bearer_id"] == caller.bearer.id
    assert counted["execution_id"] is None
    assert await world.trail.flush() == 0


async def test_tokens_in_free_text_are_masked(world: World) -> None:
    token = "cfut_" + "a1B2" * 10
    caller = world.caller(agent=f"x {token}", client=token, run_id=f"run-{token}")
    await world.call(caller, sentence=f"use {token}", path=f"/client/v4/zones/{token}", summary={"note": token})
    await world.trail.refusal(caller, RefusalFacts("not_granted", detail=f"no {token}", path=f"/{token}"))
    assert token not in str(await world.rows())
    assert "[redacted]" in str(await world.rows())


async def test_the_row_is_bounded(world: World) -> None:
    summary = {f"k{i}": "v" * 5000 for i in range(300)}
    await world.call(world.caller(), summary=summary, sentence="s" * 5000, path="/p" * 5000)
    row = (await world.rows())[0]
    assert len(str(row["body"])) < 9000
    assert len(row["body"]["intent"]) == 500
    assert "left_out_bytes" in row["body"]["summary"]
