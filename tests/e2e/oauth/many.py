"""Many connections, each granted to everyone to change things: copies of a real one, for making them takes long."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg

from bench.kit import TenantKit

KINDS = ("cloudflare", "github", "pagerduty", "billing-api", "observability", "docs")

_COPY = """
    with first as (
        select c.* from broker.connections c join broker.tenants t on t.id = c.tenant_id
         where t.name = $1 and c.name = 'cloudflare'),
    made as (
        insert into broker.connections (tenant_id, id, name, connector, config, origins, spec_digest, created_at)
        select tenant_id, gen_random_uuid(), n, connector, config, origins, spec_digest, created_at
          from first, unnest($2::text[]) n
        returning tenant_id, id, created_at)
    insert into broker.grants (tenant_id, id, subject_kind, connection_id, access, created_by, created_at)
    select tenant_id, gen_random_uuid(), 'everyone', id, 'write', 'test', created_at from made"""


def names(count: int) -> list[str]:
    return [f"{KINDS[n % len(KINDS)]}-{n:03}" for n in range(count)]


def add(kit: TenantKit, count: int) -> list[str]:
    """Adds `count` to the tenant's `cloudflare`; their names."""

    async def run() -> None:
        owner = await asyncpg.connect(**kit.stand.server.database())
        try:
            await owner.execute(_COPY, kit.name, names(count))
        finally:
            await owner.close()

    # Playwright's own loop runs in the tests' thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(run())).result()
    return names(count)
