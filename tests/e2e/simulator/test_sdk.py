"""Cloudflare's own Python SDK, unchanged, works against the simulator and raises its own errors."""

from collections.abc import AsyncIterator

import cloudflare
import pytest
import pytest_asyncio
from cloudflare import AsyncCloudflare

from connectors.simulators.cloudflare import Demo, Running


@pytest_asyncio.fixture
async def sdk(running: Running, demo: Demo) -> AsyncIterator[AsyncCloudflare]:
    async with AsyncCloudflare(api_token=demo.priya_token.value, base_url=running.base_url, max_retries=0) as client:
        yield client


@pytest_asyncio.fixture
async def marco(running: Running, demo: Demo) -> AsyncIterator[AsyncCloudflare]:
    async with AsyncCloudflare(api_token=demo.marco_token.value, base_url=running.base_url, max_retries=0) as client:
        yield client


async def test_zones_differ_by_token(sdk: AsyncCloudflare, marco: AsyncCloudflare) -> None:
    assert [zone.name async for zone in sdk.zones.list()] == ["example.com", "example.org"]
    assert [zone.name async for zone in marco.zones.list()] == ["example.org"]
    assert [zone.name async for zone in sdk.zones.list(name="contains:.org")] == ["example.org"]


async def test_dns_records_live_and_die(sdk: AsyncCloudflare, demo: Demo) -> None:
    zone = demo.com.id
    made = await sdk.dns.records.create(zone_id=zone, type="A", name="new.example.com", content="203.0.113.99", ttl=300)
    assert made is not None
    assert made.name == "new.example.com"
    changed = await sdk.dns.records.edit(made.id, zone_id=zone, type="A", name="new", ttl=600, content="203.0.113.98")
    assert changed is not None
    assert (changed.content, changed.ttl) == ("203.0.113.98", 600)
    names = [record.name async for record in sdk.dns.records.list(zone_id=zone, per_page=2)]
    assert len(names) == 6
    assert await sdk.dns.records.delete(made.id, zone_id=zone) is not None
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await sdk.dns.records.get(made.id, zone_id=zone)
    assert gone.value.errors[0].code == 81044


async def test_errors_are_the_sdks_own(sdk: AsyncCloudflare, marco: AsyncCloudflare, demo: Demo) -> None:
    with pytest.raises(cloudflare.PermissionDeniedError) as denied:
        await marco.dns.records.create(zone_id=demo.org.id, type="A", name="x", content="203.0.113.1", ttl=1)
    assert denied.value.errors[0].code == 10000
    with pytest.raises(cloudflare.PermissionDeniedError):
        await marco.cache.purge(zone_id=demo.org.id, purge_everything=True)
    with pytest.raises(cloudflare.BadRequestError) as twice:
        await sdk.dns.records.create(zone_id=demo.com.id, type="A", name="@", content="203.0.113.10", ttl=300)
    assert twice.value.errors[0].code == 81058


async def test_purge(sdk: AsyncCloudflare, demo: Demo) -> None:
    answer = await sdk.cache.purge(zone_id=demo.com.id, files=["https://example.com/a.css"])
    assert answer is not None
    assert answer.id == demo.com.id
    assert demo.com.purges == [{"files": ["https://example.com/a.css"]}]


async def test_verify_and_tokens(sdk: AsyncCloudflare, running: Running, demo: Demo) -> None:
    verified = await sdk.user.tokens.verify()
    assert verified is not None
    assert (verified.id, verified.status) == (demo.priya_token.id, "active")
    async with AsyncCloudflare(api_token=demo.pipeline.value, base_url=running.base_url, max_retries=0) as pipeline:
        of_account = await pipeline.accounts.tokens.verify(account_id=demo.account.id)
        assert of_account is not None
        assert of_account.id == demo.pipeline.id
        with pytest.raises(cloudflare.AuthenticationError) as wrong:
            await pipeline.user.tokens.verify()
        assert wrong.value.errors[0].code == 1000
    listed = [token async for token in sdk.user.tokens.list()]
    assert [token.id for token in listed] == [demo.priya_token.id]
    assert demo.priya_token.value not in repr(listed)
    with pytest.raises(cloudflare.PermissionDeniedError):
        await sdk.user.tokens.delete(demo.priya_token.id)


async def test_global_key_mints_rolls_and_deletes(running: Running, demo: Demo) -> None:
    async with AsyncCloudflare(
        api_email=demo.priya.email, api_key=demo.priya.global_key, base_url=running.base_url, max_retries=0
    ) as owner:
        groups = [group async for group in owner.user.tokens.permission_groups.list(name="DNS Read")]
        policy = {
            "effect": "allow",
            "resources": {f"com.cloudflare.api.account.zone.{demo.com.id}": "*"},
            "permission_groups": [{"id": groups[0].id}],
        }
        made = await owner.user.tokens.create(name="ci", policies=[policy])  # type: ignore[list-item]
        assert made is not None
        assert made.value is not None
        old = AsyncCloudflare(api_token=made.value, base_url=running.base_url, max_retries=0)
        assert [r async for r in old.dns.records.list(zone_id=demo.com.id)]
        rolled = await owner.user.tokens.value.update(str(made.id))
        assert rolled != made.value
        with pytest.raises(cloudflare.PermissionDeniedError) as stopped:
            await old.dns.records.list(zone_id=demo.com.id)
        assert stopped.value.errors[0].code == 9109
        await old.close()
        await owner.user.tokens.delete(str(made.id))
        assert str(made.id) not in demo.state.tokens


async def test_kv_keeps_bytes(sdk: AsyncCloudflare, demo: Demo) -> None:
    account = demo.account.id
    space = await sdk.kv.namespaces.create(account_id=account, title="flags")
    assert space is not None
    values = sdk.kv.namespaces.values
    await values.update("a/b c", account_id=account, namespace_id=space.id, value=b"hello", metadata={"n": 1})
    answer = await values.get("a/b c", account_id=account, namespace_id=space.id)
    assert await answer.read() == b"hello"
    keys = [key async for key in sdk.kv.namespaces.keys.list(space.id, account_id=account)]
    assert [key.name for key in keys] == ["a/b c"]
    await values.delete("a/b c", account_id=account, namespace_id=space.id)
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await values.get("a/b c", account_id=account, namespace_id=space.id)
    assert gone.value.errors[0].code == 10009


async def test_worker_upload(sdk: AsyncCloudflare, demo: Demo) -> None:
    code = b"export default { fetch() { return new Response('hi') } }"
    made = await sdk.workers.scripts.update(
        "hello",
        account_id=demo.account.id,
        metadata={"main_module": "main.js", "compatibility_date": "2026-01-01"},
        files=[("main.js", code, "application/javascript+module")],
    )
    assert made is not None
    assert [script.id async for script in sdk.workers.scripts.list(account_id=demo.account.id)] == ["hello"]
    assert demo.account.scripts["hello"].content == code
    assert code.decode() in await sdk.workers.scripts.get("hello", account_id=demo.account.id)
    await sdk.workers.scripts.delete("hello", account_id=demo.account.id)
    assert not demo.account.scripts
