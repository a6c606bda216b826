"""Whether a call gets slower as the installation fills: `python -m bench.growth [--accounts 100000] [--rows 5000000]`.

Two installations side by side: one with 10 connected accounts and an empty audit, one with so many accounts
(identities, sealed credentials, sessions, grants and budgets with them, all in the caller's own tenant) and so many
audit rows over 90 days, a fifth of them today's. The same call is measured in both in turn, so that a busy machine
slows both. Held to: p50 within 15 %.
"""

import argparse
import asyncio
import statistics
import sys
from time import perf_counter
from typing import Any

import asyncpg
import httpx
import uvloop

from bench.call import Bench
from bench.harness import Installed
from bench.upstream import Lab

ALLOWED = 1.15

FILL_ACCOUNTS = """
with made as (
    insert into broker.identities (tenant_id, id, identifier, groups, created_at)
    select $1, gen_random_uuid(), 'filler-' || n, array['filler-' || n % 100], now() from generate_series(1, $3::int) n
    returning id
), opened as (
    insert into broker.accounts (tenant_id, id, connection_id, identity_id, status, kind, credential_id, principal,
                                 principal_key, created_at)
    select $1, gen_random_uuid(), $2, id, 'active', 'api_token', gen_random_uuid(), 'user:' || id,
           sha256(id::text::bytea), now() from made
    returning id, credential_id, identity_id, principal_key
), sealed as (
    insert into vault.credentials (tenant_id, id, account_id, version, kind, origins, kek_version, sealed, fingerprint,
                                   created_at)
    select $1, credential_id, id, 1, 'api_token', array['https://api.cloudflare.com'], 1,
           sha256(id::text::bytea) || sha256(credential_id::text::bytea), 'filler', now() from opened
    returning id
), granted as (
    insert into broker.grants (tenant_id, id, subject_kind, identity_id, connection_id, access, created_by, created_at)
    select $1, gen_random_uuid(), 'identity', identity_id, $2, 'read', 'filler', now() from opened
    returning id
)
insert into broker.bearers (tenant_id, id, kind, token_hash, root_id, identity_id, created_at, expires_at)
select $1, i, 'session', sha256(i::text::bytea), i, identity_id, now(), now() + interval '1 day'
  from (select gen_random_uuid() as i, identity_id from opened) s
"""

FILL_AUDIT = """
insert into audit.events (tenant_id, at, id, kind, call_id, execution_id, n, actor, identifier, connection_name,
                          tool_name, operation, outcome, body, recorded_at, node, boot, counter, mac_key, mac)
select $1, x.at, gen_random_uuid(), k.kind, x.call_id, x.call_id, 1, 'session:filler', 'filler-' || x.n % $3::int,
       'cloudflare', 'cloudflare_call', 'zones-get', case k.kind when 'outcome' then 'ok' end,
       '{"operation": "GET /zones", "method": "GET", "path": "/client/v4/zones", "effect": "read"}', x.at, 'filler',
       '00000000-0000-7000-8000-000000000000', x.n, 1, sha256(x.n::text::bytea)
  from (select n, gen_random_uuid() as call_id,
               case when n % 5 = 0 then now() - random() * (now() - date_trunc('day', now()))
                    else now() - random() * interval '89 days' end as at
          from generate_series($2::int, $2::int + $4::int - 1) n) x,
       (values ('intent'), ('outcome')) k (kind)
"""


async def fill(bench: Bench, accounts: int, rows: int) -> None:
    """Puts the accounts and the audit in, as the database's superuser, and lets the planner know."""
    conn = await asyncpg.connect(**bench.stand.server.database(), command_timeout=3600)
    try:
        tenant, connection = await conn.fetchrow(
            "select c.tenant_id, c.id from broker.connections c join broker.tenants t on t.id = c.tenant_id "
            "where t.name = 'bench' and c.name = 'cloudflare'"
        )
        await conn.execute("set synchronous_commit = off; set timezone = 'UTC'")
        for start in range(0, accounts, 20_000):
            part = min(20_000, accounts - start)
            statement = FILL_ACCOUNTS.replace("'filler-' || n,", f"'filler-' || ({start} + n),", 1)
            await conn.execute(statement, tenant, connection, part)
        await _budgets(conn, accounts)
        await conn.execute("select audit.ensure_partitions((now() - interval '90 days')::date, now()::date + 7)")
        calls, step = rows // 2, 250_000
        for start in range(0, calls, step):
            await conn.execute(FILL_AUDIT, tenant, start, max(1, accounts), min(step, calls - start))
            print(f"  {min(calls, start + step) * 2:,} audit rows", end="\r", flush=True)
        print()
        # What autovacuum does in an installation that filled over 90 days.
        await conn.execute("vacuum analyze")
        await conn.execute("checkpoint")
    finally:
        await conn.close()


async def _budgets(conn: Any, accounts: int) -> None:
    """As many budgets; those of the measured principals start afresh, so that none runs out during the second half."""
    columns = [
        f'b."{row[0]}"'
        for row in await conn.fetch(
            "select attname from pg_attribute where attrelid = 'broker.budgets'::regclass and attnum > 0 "
            "and not attisdropped order by attnum"
        )
    ]
    values = ", ".join("sha256(n::text::bytea)" if name == 'b."principal_key"' else name for name in columns)
    own = [row[0] for row in await conn.fetch("select distinct principal_key from broker.budgets")]
    await conn.execute(
        f"insert into broker.budgets select {values} "
        "from (select * from broker.budgets limit 1) b, generate_series(1, $1::int) n",
        accounts,
    )
    await conn.execute("delete from broker.budgets where principal_key = any ($1)", own)


async def measured(small: Bench, full: Bench, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """The p50 of each round in ms, one call at a time, the two installations in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for bench, kept in zip((small, full), found, strict=True):
            sample = await bench.measure("through", 1, seconds)
            assert set(sample.statuses) == {200}, (sample.statuses, sample.odd)
            if number:  # the first round warms up
                kept.append(sample.quantile(0.5))
    return found


def audit_ms(bench: Bench, query: str) -> float:
    """How long one page of the audit takes, in ms: the median of five."""
    headers = {"authorization": f"Bearer {bench.kit.admin.key}"}
    took = []
    with httpx.Client(trust_env=False, timeout=60, headers=headers) as client:
        for _ in range(5):
            began = perf_counter()
            assert client.get(f"{bench.stand.url}/v1/audit/events?{query}").status_code == 200
            took.append((perf_counter() - began) * 1000)
    return statistics.median(took)


async def main() -> int:
    """Reads the arguments, measures, fills, measures; 1 where it got slower by more than 15 %."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.6, help="of each round in each installation")
    chosen = parser.parse_args()
    with Installed(Lab) as one, Installed(Lab) as other:
        small, full = Bench(one, 10), Bench(other, 10)
        began = perf_counter()
        await fill(full, chosen.accounts, chosen.rows)
        print(f"{chosen.accounts:,} accounts and {chosen.rows:,} audit rows in {perf_counter() - began:.0f} s")
        few, many = await measured(small, full, chosen.rounds, chosen.seconds)
        ratio = statistics.median(b / a for a, b in zip(few, many, strict=True))
        print(f"p50 with 10 accounts: {statistics.median(few):.3f} ms; with all that: {statistics.median(many):.3f} ms")
        print(f"ratio {ratio:.3f} (the median of {chosen.rounds} pairs; at most {ALLOWED})")
        for query in ("page_size=100", "identifier=filler-7", "kind=refusal"):
            print(f"audit page, {query}: {await asyncio.to_thread(audit_ms, full, query):.1f} ms")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
