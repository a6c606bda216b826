"""Tenants, sealed credentials, identities, bearers, connections, accounts, grants, open calls, budgets.

Revision ID: 0001
Revises:
"""

from pathlib import Path

from alembic import op

from broker.db.scripts import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMAS = """
create schema vault;
create schema broker;
create schema audit;
grant usage on schema vault, broker, audit to keyreeve_app;
-- Without IN SCHEMA: per-schema default privileges can only add to PUBLIC's built-in EXECUTE, never take it away.
alter default privileges revoke execute on functions from public;

create function broker.tenant() returns uuid language sql stable parallel safe as
$$ select nullif(current_setting('keyreeve.tenant', true), '')::uuid $$;
grant execute on function broker.tenant() to keyreeve_app;
"""

# Platform tables: the few without a tenant. Everything else belongs to exactly one tenant and is under forced RLS.
PLATFORM = """
create table broker.tenants (
    id uuid primary key,
    name text not null unique check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    status text not null default 'active' check (status in ('active', 'suspended', 'closed')),
    policy_version bigint not null default 1,
    impersonation boolean not null default true,
    settings jsonb not null default '{}',
    version int not null default 1,
    created_at timestamptz not null
);
grant select, insert, update on broker.tenants to keyreeve_app;

create table broker.spec_blobs (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    source text not null check (length(source) <= 500),
    artifact bytea not null,
    raw_bytes int not null,
    operations int not null,
    fetched_at timestamptz not null
);
grant select, insert on broker.spec_blobs to keyreeve_app;

-- Reached only through the SECURITY DEFINER functions of broker/gate: no tenant sees another's use.
-- One row per upstream principal and meter. A ring of one-second buckets; see broker/gate/README.md.
create table broker.budgets (
    principal_key bytea not null check (length(principal_key) = 32),
    meter text not null check (length(meter) <= 40),
    cap int not null check (cap between 1 and 30000),
    window_seconds int not null check (window_seconds between 1 and 3600),
    base bigint not null,
    used int not null default 0,
    ring smallint[] not null,
    foreign_used int not null default 0,
    foreign_ring smallint[],
    blocked_until timestamptz,
    era int not null default 1,
    jumps bigint not null,
    shared boolean not null default false,
    sole_tenant uuid,
    sole_sharer uuid,
    primary key (principal_key, meter)
) with (fillfactor = 30);
alter table broker.budgets alter column ring set storage main, alter column foreign_ring set storage main;

-- What each identity spent of a principal that several share: for fair shares and for a tenant's own figure.
create table broker.budget_shares (
    principal_key bytea not null,
    meter text not null,
    tenant_id uuid not null,
    sharer uuid not null,
    bucket bigint not null,
    used int not null,
    constraint budget_shares_pkey primary key (principal_key, meter, tenant_id, sharer, bucket)
) with (fillfactor = 70);

-- Steps of the database's clock that a node noticed. One row.
create table broker.db_clock (
    one boolean primary key default true check (one),
    jumps bigint not null default 0,
    jumped_at timestamptz not null default '-infinity',
    jumped_from timestamptz not null default '-infinity'
);
insert into broker.db_clock default values;

-- How many requests a second each process may send from this installation's address: leases that never add up to more.
create table broker.egress_leases (
    boot uuid primary key,
    rate int not null check (rate >= 0),
    wanted int not null check (wanted >= 0),
    expires_at timestamptz not null
);

create table broker.nodes (
    boot uuid primary key,
    node text not null check (length(node) <= 100),
    started_at timestamptz not null,
    seen_at timestamptz not null
);
grant select, insert, update, delete on broker.nodes to keyreeve_app;
"""

VAULT = """
create table vault.tenant_keys (
    tenant_id uuid not null,
    purpose text not null check (purpose in ('credentials', 'evidence')),
    version int not null check (version > 0),
    root_key_id text not null,
    wrapped bytea,
    created_at timestamptz not null,
    retired_at timestamptz,
    destroyed_at timestamptz,
    primary key (tenant_id, purpose, version)
);
create table vault.credentials (
    tenant_id uuid not null,
    id uuid not null,
    account_id uuid not null,
    version int not null check (version > 0),
    kind text not null,
    origins text[] not null check (cardinality(origins) between 1 and 16),
    kek_version int not null,
    sealed bytea not null,
    fingerprint text not null,
    status text not null default 'active' check (status in ('active', 'superseded', 'revoked')),
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, account_id, version)
);
create index credentials_by_kek on vault.credentials (tenant_id, kek_version);
grant select, insert, update on vault.tenant_keys, vault.credentials to keyreeve_app;
"""

BROKER = """
create table broker.identities (
    tenant_id uuid not null references broker.tenants,
    id uuid not null,
    identifier text not null check (length(identifier) between 1 and 200),
    email text,
    display_name text,
    groups text[] not null default '{}',
    status text not null default 'active' check (status in ('active', 'disabled')),
    disabled_at timestamptz,
    version int not null default 1,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, identifier)
);

-- Keys and session tokens: one table, one revoke path. Only the SHA-256 of the token is kept.
create table broker.bearers (
    tenant_id uuid not null references broker.tenants,
    id uuid not null,
    kind text not null check (kind in ('operator', 'agent', 'session')),
    token_hash bytea not null check (length(token_hash) = 32),
    root_id uuid not null,
    parent_id uuid,
    parent_tenant_id uuid,
    name text not null default '',
    role text check (role in ('platform_admin', 'admin', 'auditor')),
    identifiers text[],
    tenants text[],
    identity_id uuid,
    connections text[],
    access text check (access in ('read', 'write', 'destructive')),
    client text,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_reason text,
    primary key (tenant_id, id),
    unique (tenant_id, token_hash),
    check ((kind = 'operator') = (role is not null)),
    check ((kind = 'session') = (identity_id is not null)),
    foreign key (tenant_id, identity_id) references broker.identities (tenant_id, id)
);
create index bearers_by_root on broker.bearers (tenant_id, root_id);
create index bearers_by_identity on broker.bearers (tenant_id, identity_id) where identity_id is not null;

create table broker.connections (
    tenant_id uuid not null references broker.tenants,
    id uuid not null,
    name text not null check (name ~ '^[a-z][a-z0-9-]{0,23}$'),
    connector text not null,
    config jsonb not null,
    origins text[] not null,
    spec_digest text references broker.spec_blobs,
    pending_spec_digest text references broker.spec_blobs,
    pending_report jsonb,
    status text not null default 'active' check (status in ('active', 'suspended', 'deleted')),
    version int not null default 1,
    created_at timestamptz not null,
    deleted_at timestamptz,
    primary key (tenant_id, id)
);
create unique index connections_by_name on broker.connections (tenant_id, name) where status <> 'deleted';

create table broker.accounts (
    tenant_id uuid not null references broker.tenants,
    id uuid not null,
    connection_id uuid not null,
    identity_id uuid,
    label text,
    status text not null check (status in ('pending', 'active', 'needs_reauth', 'revoked')),
    kind text not null,
    credential_id uuid,
    principal text,
    principal_key bytea,
    upstream_display text,
    upstream_account_id text,
    upstream_token_id text,
    upstream_expires_at timestamptz,
    permissions jsonb not null default '{"source": "unknown"}',
    permissions_version int not null default 1,
    version int not null default 1,
    created_at timestamptz not null,
    revoked_at timestamptz,
    revoked_reason text,
    last_used_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, connection_id) references broker.connections (tenant_id, id),
    foreign key (tenant_id, identity_id) references broker.identities (tenant_id, id)
);
create index accounts_by_owner on broker.accounts (tenant_id, connection_id, identity_id) where status <> 'revoked';
create unique index accounts_one_per_label on broker.accounts
    (tenant_id, connection_id, coalesce(identity_id, '00000000-0000-0000-0000-000000000000'), coalesce(label, ''))
    where status in ('active', 'needs_reauth');
create index accounts_by_identity on broker.accounts (tenant_id, identity_id);

create table broker.grants (
    tenant_id uuid not null references broker.tenants,
    id uuid not null,
    subject_kind text not null check (subject_kind in ('identity', 'group', 'everyone')),
    identity_id uuid,
    group_name text,
    connection_id uuid not null,
    tools text[],
    access text not null check (access in ('read', 'write', 'destructive')),
    operations text[],
    accounts text[],
    zones text[],
    account text not null default 'own' check (account in ('own', 'shared')),
    expires_at timestamptz,
    created_by text not null,
    created_at timestamptz not null,
    deleted_at timestamptz,
    primary key (tenant_id, id),
    check ((subject_kind = 'identity') = (identity_id is not null)),
    check ((subject_kind = 'group') = (group_name is not null)),
    foreign key (tenant_id, connection_id) references broker.connections (tenant_id, id),
    foreign key (tenant_id, identity_id) references broker.identities (tenant_id, id)
);
create index grants_by_identity on broker.grants (tenant_id, identity_id) where deleted_at is null and identity_id is not null;
create index grants_by_group on broker.grants (tenant_id, group_name) where deleted_at is null and identity_id is null;

-- Calls admitted and not yet settled. The row goes when the outcome is written; the intent in audit.events stays.
create table broker.open_calls (
    tenant_id uuid not null,
    call_id uuid not null,
    execution_id uuid not null,
    account_id uuid not null,
    connection_id uuid not null,
    identity_id uuid,
    bearer_id uuid not null,
    intent_at timestamptz not null,
    admitted_at timestamptz not null,
    deadline_at timestamptz not null,
    principal_key bytea not null,
    meters text[] not null,
    costs int[] not null,
    slot_seconds bigint[] not null,
    slot_eras int[] not null,
    slots_seen int[] not null,
    stale boolean not null default true,
    boot uuid not null,
    primary key (tenant_id, call_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000);

create table broker.idempotency (
    tenant_id uuid not null,
    scope bytea not null check (length(scope) = 32),
    request_digest bytea not null,
    execution_id uuid not null,
    state text not null check (state in ('running', 'done', 'unknown')),
    result bytea,
    created_at timestamptz not null,
    deadline_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (tenant_id, scope)
);
create index idempotency_by_expiry on broker.idempotency (tenant_id, expires_at);
"""

AUDIT = Path(__file__).with_name("v0001_audit.sql").read_text(encoding="utf-8")

TENANT_TABLES = (
    "vault.tenant_keys",
    "vault.credentials",
    "broker.identities",
    "broker.bearers",
    "broker.connections",
    "broker.accounts",
    "broker.grants",
    "broker.open_calls",
    "broker.idempotency",
    "audit.events",
)

APP_RIGHTS = """
grant select, insert, update on broker.identities, broker.bearers, broker.connections, broker.accounts, broker.grants
    to keyreeve_app;
grant select, insert, update, delete on broker.open_calls, broker.idempotency to keyreeve_app;
grant delete on broker.accounts, vault.credentials to keyreeve_app;
-- Readiness asks whether the schema is this version's.
grant select on public.alembic_version to keyreeve_app;
"""


def upgrade() -> None:
    for block in (SCHEMAS, PLATFORM, VAULT, BROKER, AUDIT, APP_RIGHTS):
        run_script(op.get_bind(), block)
    for table in TENANT_TABLES:
        run_script(
            op.get_bind(),
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy tenant on {table} using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant())",
        )
    # The sweeper asks which tenants have overdue calls: one SECURITY DEFINER function of the owner looks across them.
    run_script(op.get_bind(), "create policy overdue on broker.open_calls for select to current_user using (true)")


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
