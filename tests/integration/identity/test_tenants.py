"""Tenants: made by platform admins, with keys of their own; and the first start."""

import pytest
from sqlalchemy import text

from broker.errors import Problem
from broker.identity.sandbox import NO_RULE, SandboxRule, SandboxRules
from broker.identity.tokens import parse
from broker.ids import new_id
from tests.integration.identity.world import ALL, World


async def test_a_tenant_comes_with_its_keys_and_an_admin(world: World) -> None:
    admin = await world.caller(world.admin_token)
    assert (admin.tenant_name, admin.bearer.role) == (world.tenant, "admin")
    assert parse(world.admin_token).tenant_id == admin.tenant_id
    # The evidence key is there and readable: a digest can be made at once.
    assert await world.sealed_storage.digest(admin.tenant_id, "arguments", b"x")
    changes = await world.changes(await world.platform())
    assert changes[-1]["operation"] == "tenant.created"
    assert changes[-1]["body"]["summary"]["tenant"] == world.tenant


async def test_names_are_unique_and_bounded(world: World) -> None:
    platform = await world.platform()
    with pytest.raises(Problem) as taken:
        await world.tenants.create(platform, name=world.tenant)
    assert taken.value.code == "already_exists"
    for name in ("", "Acme", "1acme", "a" * 64, "a b", "a\n"):
        with pytest.raises(Problem) as wrong:
            await world.tenants.create(platform, name=name)
        assert wrong.value.fields[0].path == "name"


async def test_only_platform_admins_make_tenants(world: World) -> None:
    with pytest.raises(Problem) as refused:
        await world.tenants.create(await world.caller(), name="other")
    assert refused.value.code == "forbidden"


async def test_the_admin_key_ends_with_the_platform_key_unless_kept(world: World) -> None:
    platform = await world.platform()
    other = await world.key(platform, kind="operator", name="next", role="platform_admin")
    gone = await world.keys.revoke(platform, str(platform.bearer.id), keep_minted=True)
    assert gone["also_revoked"] == []
    assert (await world.caller(world.admin_token)).bearer.role == "admin"
    # What was kept stands by itself now, and can still be revoked.
    successor = await world.caller(other["key"])
    assert (await world.keys.list(successor, ALL)).items[-1]["minted_by"] is None
    admin = await world.caller(world.admin_token)
    await world.keys.revoke(admin, str(admin.bearer.id))
    with pytest.raises(Problem):
        await world.caller(world.admin_token)


async def test_without_keep_minted_it_ends_in_every_tenant(world: World) -> None:
    platform = await world.platform()
    # A key of another family, so that this is not the last platform admin.
    async with world.db.tenant(platform.tenant_id) as conn:
        await conn.execute(
            text(
                "insert into broker.bearers (tenant_id, id, kind, token_hash, root_id, role, created_at)"
                " values (:t, gen_random_uuid(), 'operator', decode(repeat('00', 32), 'hex'), gen_random_uuid(),"
                " 'platform_admin', now())"
            ),
            {"t": platform.tenant_id},
        )
    admin = await world.caller(world.admin_token)
    gone = await world.keys.revoke(platform, str(platform.bearer.id))
    assert str(admin.bearer.id) in gone["also_revoked"]
    with pytest.raises(Problem) as refused:
        await world.caller(world.admin_token)
    assert refused.value.code == "unauthenticated"


async def test_a_key_that_cannot_be_kept_is_not_made(world: World) -> None:
    def full(_: str) -> None:
        raise OSError("no space left")

    async with world.db.platform() as conn:
        there = (await conn.execute(text("select 1 from broker.tenants where name = 'default'"))).one_or_none()
    if there is not None:
        pytest.skip("tenant default was made by a test before")
    with pytest.raises(OSError, match="no space"):
        await world.tenants.bootstrap(world.clock.now(), full)
    async with world.db.platform() as conn:
        assert (await conn.execute(text("select 1 from broker.tenants where name = 'default'"))).one_or_none() is None


async def test_the_first_start_makes_one_platform_admin_once(world: World) -> None:
    """Other tests share the database, so `default` may be there; whichever it is, the second time makes nothing."""
    kept: list[str] = []
    first = await world.tenants.bootstrap(world.clock.now(), kept.append)
    assert first is bool(kept)
    assert await world.tenants.bootstrap(world.clock.now(), kept.append) is False
    assert len(kept) <= 1
    if kept:
        assert (await world.caller(kept[0])).bearer.role == "platform_admin"


async def test_programs_of_a_tenant_are_held_to_less(world: World) -> None:
    platform = await world.platform()
    shown = await world.tenants.get(platform, world.tenant)
    assert (shown["sandbox"], shown["version"]) == ({}, 1)
    rules = SandboxRules(world.db)
    before = await world.caller()
    assert await rules.of(before) == NO_RULE
    changed = await world.tenants.change(platform, world.tenant, {"cpu_ms": 250, "isolate": True}, 1)
    assert changed["sandbox"] == {"isolate": True, "cpu_ms": 250}
    assert (changed["sandbox_limits"]["cpu_ms"], changed["version"]) == (250, 2)
    # The very next look-up of anybody sees it: the policy version says so.
    after = await world.caller()
    assert after.policy_version > before.policy_version
    assert await rules.of(after) == SandboxRule(isolate=True, cpu_ms=250)
    found = (await world.changes(after))[-1]
    assert found["operation"] == "tenant.changed"
    assert found["body"]["summary"]["sandbox"] == {"cpu_ms": 250, "isolate": True}
    by_id = await world.tenants.change(platform, str(after.tenant_id), None, None)
    assert by_id["sandbox"] == {}
    assert await rules.of(await world.caller()) == NO_RULE


async def test_who_may_not_or_too_much_is_refused(world: World) -> None:
    platform, admin = await world.platform(), await world.caller()
    with pytest.raises(Problem) as caught:
        await world.tenants.change(admin, world.tenant, {"cpu_ms": 250}, None)
    assert caught.value.code == "forbidden"
    for tenant, changes, version, code in (
        ("no-such-tenant", {"cpu_ms": 250}, None, "not_found"),
        (str(new_id()), {}, None, "not_found"),
        (world.tenant, {"cpu_ms": 250}, 7, "version_conflict"),
        (world.tenant, {"cpu_ms": 60_000}, None, "invalid_input"),
        (world.tenant, {"host_calls": 201}, None, "invalid_input"),
    ):
        with pytest.raises(Problem) as caught:
            await world.tenants.change(platform, tenant, changes, version)
        assert caught.value.code == code
    assert (await world.tenants.get(platform, world.tenant))["sandbox"] == {}
