"""Partitions, forgetting, heartbeats, readiness and the runner, against a real PostgreSQL."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from broker.clock import SystemClock
from broker.db.database import Database
from broker.ids import NIL, new_id
from broker.jobs.bootstrap_key import BootstrapKeyWatch
from broker.jobs.forgetting import Forgetting
from broker.jobs.partitions import Partitions
from broker.jobs.readiness import PARTS, Readiness
from broker.jobs.runner import Job, Runner
from broker.metrics import Metrics
from tests.conftest import Server
from tests.integration.audit.conftest import SetClock, World
from vault.keyring import Keyring
from vault.keystore import SqlKeyStore
from vault.testing import random_root


async def _partitions(db: Database) -> list[str]:
    statement = """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
                    where i.inhparent = 'audit.events'::regclass order by 1"""
    async with db.platform() as conn:
        return [row[0] for row in await conn.execute(text(statement))]


async def test_partitions_are_made_ahead_and_old_ones_dropped(db: Database) -> None:
    clock = SetClock(datetime.now(UTC))
    partitions = Partitions(db, clock, retention_days=90)
    await partitions.ensure()
    today = clock.now().date()
    wanted = {f"events_{today + timedelta(days=d):%Y%m%d}" for d in range(-1, 8)}
    assert wanted <= set(await _partitions(db))
    assert await partitions.ensure() == 0
    async with db.platform() as conn:
        days = {"first": today - timedelta(days=95), "last": today - timedelta(days=89)}
        await conn.execute(text("select audit.ensure_partitions(:first, :last)"), days)
    gone = await partitions.drop()
    assert gone == [f"events_{today - timedelta(days=d):%Y%m%d}" for d in range(95, 90, -1)]
    left = await _partitions(db)
    assert f"events_{today - timedelta(days=90):%Y%m%d}" in left
    assert wanted <= set(left)


async def test_a_partition_is_under_row_level_security_itself(db: Database, world: World) -> None:
    await world.call(world.caller())
    name = f"audit.events_{world.clock.now():%Y%m%d}"
    with pytest.raises(Exception, match="permission denied"):
        async with db.tenant(world.tenant_id) as conn:
            await conn.execute(text(f"select * from {name}"))
    async with db.platform() as conn:
        row = await conn.execute(
            text("select relrowsecurity and relforcerowsecurity from pg_class where oid = to_regclass(:n)"), {"n": name}
        )
        assert row.scalar_one() is True


async def test_partitions_are_made_while_calls_are_written(db: Database, world: World) -> None:
    """Attaching takes no lock that a writer's transaction would have to wait for."""
    async with db.tenant(world.tenant_id) as conn:
        await world.trail.change(conn, None, "x.held", tenant_id=world.tenant_id)
        ahead = SetClock(world.clock.now() + timedelta(days=20))
        async with asyncio.timeout(5):
            assert await Partitions(db, ahead, 90).ensure() > 0


async def test_nothing_in_use_can_be_dropped(db: Database) -> None:
    async with db.platform() as conn:
        with pytest.raises(Exception, match="retention"):
            await conn.execute(text("select audit.drop_partitions(current_date + 1)"))


async def _bearer(conn: Any, world: World, kind: str, age: timedelta, parent: Any = None, identity: Any = None) -> Any:
    """A bearer that expired `age` ago."""
    row_id = new_id()
    now = world.clock.now()
    await conn.execute(
        text(
            """insert into broker.bearers (tenant_id, id, kind, token_hash, root_id, parent_id,
            identity_id, created_at, expires_at) values (:t, :id, :kind, :hash, :id, :parent, :identity,
            :now, :expires)
            """
        ),
        {
            "t": world.tenant_id,
            "id": row_id,
            "kind": kind,
            "hash": os.urandom(32),
            "parent": parent,
            "identity": identity,
            "now": now,
            "expires": now - age,
        },
    )
    return row_id


async def test_ended_sessions_are_forgotten(db: Database, world: World) -> None:
    async with db.tenant(world.tenant_id) as conn:
        who = new_id()
        await conn.execute(
            text("insert into broker.identities (tenant_id, id, identifier, created_at) values (:t, :id, 'p', :now)"),
            {"t": world.tenant_id, "id": who, "now": world.clock.now()},
        )
        agent = await _bearer(conn, world, "agent", timedelta(days=30))
        old = await _bearer(conn, world, "session", timedelta(days=8), agent, who)
        await _bearer(conn, world, "session", timedelta(days=8, hours=1), old, who)
        recent = await _bearer(conn, world, "session", timedelta(days=6), agent, who)
    forgetting = Forgetting(db, world.clock)
    # A parent outlives its child by one run.
    await forgetting.sessions()
    await forgetting.sessions()
    async with db.tenant(world.tenant_id) as conn:
        left = {row[0] for row in await conn.execute(text("select id from broker.bearers"))}
    assert left == {agent, recent}


async def test_kept_results_past_their_time_are_forgotten(db: Database, world: World) -> None:
    now = world.clock.now()
    kept = new_id()
    async with db.tenant(world.tenant_id) as conn:
        for execution_id, at in ((new_id(), now - timedelta(hours=1)), (kept, now + timedelta(hours=1))):
            await conn.execute(
                text(
                    """insert into broker.idempotency (tenant_id, scope, request_digest, execution_id, state,
                    created_at, deadline_at, expires_at) values (:t, :scope, 'x', :id, 'done', :at, :at, :at)
                    """
                ),
                {"t": world.tenant_id, "scope": os.urandom(32), "id": execution_id, "at": at},
            )
    assert await Forgetting(db, world.clock).results() >= 1
    async with db.tenant(world.tenant_id) as conn:
        left = [row[0] for row in await conn.execute(text("select execution_id from broker.idempotency"))]
    assert left == [kept]


async def test_the_app_may_not_forget_living_sessions(db: Database, world: World) -> None:
    from broker.db import functions

    with pytest.raises(Exception, match="at least an hour"):
        async with db.tenant(world.tenant_id) as conn:
            await conn.execute(
                text(functions.call("select broker.forget_sessions{v}(:t, :b, 10)")),
                {"t": world.tenant_id, "b": datetime.now(UTC)},
            )


@pytest.fixture
async def no_platform_key(server: Server) -> AsyncIterator[None]:
    """The platform's keys are set aside, and put back afterwards."""
    admin = await asyncpg.connect(**server.superuser)
    rows = await admin.fetch("select * from vault.tenant_keys where tenant_id = $1", NIL)
    await admin.execute("delete from vault.tenant_keys where tenant_id = $1", NIL)
    yield
    await admin.execute("delete from vault.tenant_keys where tenant_id = $1", NIL)
    await admin.copy_records_to_table("tenant_keys", schema_name="vault", records=[tuple(row) for row in rows])
    await admin.close()


async def test_ready_only_with_every_part(db: Database, no_platform_key: None) -> None:
    keyring = Keyring(SqlKeyStore(db.tenant), random_root())
    now = datetime.now(UTC)
    assert (await Readiness(db, keyring, SystemClock()).check()).failing == ["key_provider"]
    async with db.platform() as conn:
        await keyring.ensure(conn, NIL, now)
    report = await Readiness(db, keyring, SystemClock()).check()
    assert report.ready, report.checks
    assert tuple(report.checks) == PARTS
    other = await Readiness(db, Keyring(SqlKeyStore(db.tenant), random_root("other")), SystemClock()).check()
    assert other.failing == ["key_provider"]
    late = await Readiness(db, keyring, SetClock(now + timedelta(days=300))).check()
    assert late.failing == ["audit_partitions"]


async def test_not_ready_when_the_database_is_gone(server: Server, db: Database) -> None:
    lost = await Database.open(url=server.app_url, connect=server.app, hot=1, admin=1)
    await lost.close()
    lost._engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    report = await Readiness(lost, Keyring(SqlKeyStore(db.tenant), random_root()), SystemClock()).check()
    assert "database" in report.failing
    assert "127.0.0.1" not in str(report.checks)


async def test_a_failing_job_is_tried_again_and_harms_no_other(db: Database) -> None:
    metrics = Metrics()
    runs: dict[str, int] = {"bad": 0, "good": 0}
    done = asyncio.Event()

    async def bad() -> None:
        runs["bad"] += 1
        raise RuntimeError("not today")

    async def good() -> None:
        runs["good"] += 1
        if runs["good"] >= 3:
            done.set()

    runner = Runner(db, metrics, [Job("bad", 0.01, bad), Job("good", 0.01, good)])
    async with runner.running(), asyncio.timeout(5):
        await done.wait()
    assert runs["bad"] >= 2
    shown = metrics.render().decode()
    assert 'keyreeve_job_runs_total{job="bad",result="failed"}' in shown
    assert 'keyreeve_job_runs_total{job="good",result="ok"}' in shown
    settled = dict(runs)
    await asyncio.sleep(0.05)
    assert runs == settled


async def test_a_job_that_hangs_is_cut_off(db: Database) -> None:
    runner = Runner(db, Metrics(), [Job("slow", 60, lambda: asyncio.sleep(30), deadline=0.05)])
    assert await runner.once("slow") is False


async def test_what_runs_alone_runs_alone(db: Database) -> None:
    inside = 0
    most = 0
    runs = 0

    async def exclusive() -> None:
        nonlocal inside, most, runs
        inside += 1
        runs += 1
        most = max(most, inside)
        await asyncio.sleep(0.05)
        inside -= 1

    job = Job("exclusive", 60, exclusive, alone=True)
    runners = [Runner(db, Metrics(), [job]) for _ in range(4)]
    assert all(await asyncio.gather(*(r.once("exclusive") for r in runners)))
    assert (most, runs >= 1) == (1, True)


async def test_an_old_bootstrap_key_is_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from broker.jobs import bootstrap_key

    said: list[str] = []
    monkeypatch.setattr(bootstrap_key._log, "warning", lambda event, **_: said.append(event), raising=False)
    clock = SetClock(datetime.now(UTC))
    watch = BootstrapKeyWatch(tmp_path / "admin.key", clock)
    await watch.run()
    (tmp_path / "admin.key").write_text("x")
    await watch.run()
    assert said == []
    clock.forward(hours=25)
    await watch.run()
    assert said == ["bootstrap_key_still_there"]
