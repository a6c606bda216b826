"""Code Mode: the descriptions that programs search, the programs that ran, and results kept for an hour.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DESCRIPTIONS = """
-- The description itself, compressed; null where it was compiled by a release that did not keep it.
alter table broker.spec_blobs add column document bytea;
"""

TABLES = """
-- The text of each program, sealed. It lives as long as the audit's day of its execution.
create table broker.programs (
    tenant_id uuid not null references broker.tenants,
    execution_id uuid not null,
    at timestamptz not null,
    digest text not null check (digest ~ '^[0-9a-f]{64}$'),
    code bytea not null,
    primary key (tenant_id, execution_id)
);
create index programs_by_age on broker.programs (tenant_id, at);

-- Whole results, sealed, for `previous()`: whose they are, and how far the bearer reached that they were made under.
create table broker.code_results (
    tenant_id uuid not null references broker.tenants,
    execution_id uuid not null,
    identity_id uuid not null,
    root_id uuid not null,
    connection_id uuid not null,
    account_id uuid,
    access text check (access in ('read', 'write', 'destructive')),
    bytes int not null check (bytes >= 0),
    result bytea not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (tenant_id, execution_id)
);
create index code_results_by_owner on broker.code_results (tenant_id, identity_id, created_at);
create index code_results_by_expiry on broker.code_results (tenant_id, expires_at);
grant select, insert, delete on broker.programs, broker.code_results to keyreeve_app;
"""


def upgrade() -> None:
    run_script(op.get_bind(), DESCRIPTIONS)
    run_script(op.get_bind(), TABLES)
    for table in ("broker.programs", "broker.code_results"):
        run_script(
            op.get_bind(),
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy tenant on {table} "
            "using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant())",
        )


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
