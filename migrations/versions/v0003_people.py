"""People: browser logins, and the one-time links that let a person sign in or connect an account.

A login and a link each stand on a session bearer of their identity, whose token nobody has: what revokes, expires and
forgets bearers does so to them.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
create table broker.logins (
    tenant_id uuid not null references broker.tenants,
    id uuid not null,
    token_hash bytea not null check (length(token_hash) = 32),
    bearer_id uuid not null,
    how text not null check (how ~ '^[a-z_]{1,40}$'),
    made_by text check (length(made_by) <= 300),
    created_at timestamptz not null,
    seen_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, token_hash),
    foreign key (tenant_id, bearer_id) references broker.bearers (tenant_id, id) on delete cascade
);
create index logins_by_bearer on broker.logins (tenant_id, bearer_id);

create table broker.links (
    tenant_id uuid not null references broker.tenants,
    id uuid not null,
    kind text not null check (kind in ('connect', 'sign_in')),
    token_hash bytea not null check (length(token_hash) = 32),
    bearer_id uuid not null,
    connection_name text check (length(connection_name) <= 24),
    made_by text not null check (length(made_by) <= 300),
    attempts int not null default 0 check (attempts between 0 and 1000),
    claimed_at timestamptz,
    used_at timestamptz,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, token_hash),
    check ((kind = 'connect') = (connection_name is not null)),
    foreign key (tenant_id, bearer_id) references broker.bearers (tenant_id, id) on delete cascade
);
create index links_by_bearer on broker.links (tenant_id, bearer_id);
grant select, insert, update on broker.logins, broker.links to keyreeve_app;
"""


def upgrade() -> None:
    run_script(op.get_bind(), TABLES)
    for table in ("broker.logins", "broker.links"):
        run_script(
            op.get_bind(),
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy tenant on {table} using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant())",
        )


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
