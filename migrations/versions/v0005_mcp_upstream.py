"""MCP servers as connections: the definitions pinned for each.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
-- What was taken in from the server at `url`, and, where a change waits for an admin, what was fetched last.
-- held: the server's names of tools that are not offered until then.
create table broker.definitions (
    tenant_id uuid not null references broker.tenants,
    connection_id uuid not null,
    url text not null,
    digest text not null check (digest ~ '^[0-9a-f]{64}$'),
    document text not null,
    tools int not null check (tools >= 0),
    held text[] not null default '{}',
    pending_digest text check (pending_digest ~ '^[0-9a-f]{64}$'),
    pending_document text,
    pending_report text,
    fetched_at timestamptz not null,
    primary key (tenant_id, connection_id),
    check ((pending_digest is null) = (pending_document is null))
);
grant select, insert, update on broker.definitions to keyreeve_app;
"""


def upgrade() -> None:
    run_script(op.get_bind(), TABLES)
    run_script(
        op.get_bind(),
        "alter table broker.definitions enable row level security;"
        "alter table broker.definitions force row level security;"
        "create policy tenant on broker.definitions "
        "using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant())",
    )


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
