"""OAuth: the clients of each tenant's authorization server, their codes, and who is signed in with which client.

A sign-in stands on a session bearer of its identity, whose token nobody has; each access token is a child of that
bearer. What revokes, expires and forgets bearers does so to them. `bearers.audience` is the one resource at which a
bearer is good (RFC 8707); null: everywhere.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
alter table broker.bearers add column audience text check (length(audience) <= 120);

create table broker.oauth_clients (
    tenant_id uuid not null references broker.tenants,
    client_id text not null check (length(client_id) between 1 and 500),
    source text not null check (source in ('admin', 'dynamic', 'document')),
    name text not null check (length(name) <= 100),
    uri text check (length(uri) <= 500),
    redirect_uris text[] not null,
    made_by text not null check (length(made_by) <= 300),
    created_at timestamptz not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    primary key (tenant_id, client_id)
);
create index oauth_clients_by_age on broker.oauth_clients (tenant_id, source, created_at);

create table broker.oauth_codes (
    tenant_id uuid not null references broker.tenants,
    token_hash bytea not null check (length(token_hash) = 32),
    login_bearer_id uuid not null,
    client_id text not null check (length(client_id) <= 500),
    client_name text not null check (length(client_name) <= 100),
    redirect_uri text not null check (length(redirect_uri) <= 1000),
    challenge text not null check (length(challenge) = 43),
    resource text not null check (length(resource) <= 120),
    connections text[],
    access text not null check (access in ('read', 'write', 'destructive')),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    sign_in_id uuid,
    primary key (tenant_id, token_hash),
    foreign key (tenant_id, login_bearer_id) references broker.bearers (tenant_id, id) on delete cascade
);
create index oauth_codes_by_login on broker.oauth_codes (tenant_id, login_bearer_id);

create table broker.oauth_sign_ins (
    tenant_id uuid not null references broker.tenants,
    bearer_id uuid not null,
    client_id text not null check (length(client_id) <= 500),
    client_name text not null check (length(client_name) <= 100),
    resource text not null check (length(resource) <= 120),
    turn integer not null check (turn >= 0),
    turned_at timestamptz not null,
    again integer not null default 0 check (again >= 0),
    created_at timestamptz not null,
    primary key (tenant_id, bearer_id),
    foreign key (tenant_id, bearer_id) references broker.bearers (tenant_id, id) on delete cascade
);
grant select, insert, update, delete on broker.oauth_clients, broker.oauth_codes to keyreeve_app;
grant select, insert, update on broker.oauth_sign_ins to keyreeve_app;
"""


def upgrade() -> None:
    run_script(op.get_bind(), TABLES)
    for table in ("broker.oauth_clients", "broker.oauth_codes", "broker.oauth_sign_ins"):
        run_script(
            op.get_bind(),
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy tenant on {table} using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant())",
        )


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
