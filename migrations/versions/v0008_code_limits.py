"""Code Mode: limits per tenant, programs that are under way, and the grants that a kept result was made under.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LIMITS = """
-- What a platform admin set for the programs of a tenant, below the installation's own limits. A member that is not
-- there is the installation's.
alter table broker.tenants add column sandbox jsonb not null default '{}'
    check (jsonb_typeof(sandbox) = 'object' and length(sandbox::text) <= 500);
"""

RESULTS = """
-- Fingerprints of the grants that the run stood on; null where a release before this one kept it.
alter table broker.code_results add column grants text[];
"""

OPEN = """
-- Programs that may write and have not ended: written with the program's text before its first write, removed with its
-- end. `facts` is what the audit says of the execution whichever way it ends.
create table broker.open_executions (
    tenant_id uuid not null references broker.tenants,
    execution_id uuid not null,
    boot uuid not null,
    begun_at timestamptz not null,
    deadline_at timestamptz not null,
    facts jsonb not null,
    primary key (tenant_id, execution_id)
);
create index open_executions_by_deadline on broker.open_executions (deadline_at);
grant select, insert, delete on broker.open_executions to keyreeve_app;
alter table broker.open_executions enable row level security;
alter table broker.open_executions force row level security;
create policy tenant on broker.open_executions
    using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant());
-- The sweeper asks which tenants have some: a SECURITY DEFINER function of the owner looks across them.
create policy abandoned on broker.open_executions for select to current_user using (true);
"""


def upgrade() -> None:
    for script in (LIMITS, RESULTS, OPEN):
        run_script(op.get_bind(), script)


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
