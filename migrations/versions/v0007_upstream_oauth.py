"""OAuth with upstream MCP servers: who is on the way through a sign-in, as which client we ask, and how each account's
tokens stand. And when each MCP server's definitions were last looked at.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
-- A person who was sent to an authorization server and is not back yet. The state's text is in their browser's address
-- alone, the other half in a cookie; sealed: the PKCE verifier and what the answer is judged by.
create table broker.upstream_sign_ins (
    tenant_id uuid not null references broker.tenants,
    state_hash bytea not null check (length(state_hash) = 32),
    browser_hash bytea not null check (length(browser_hash) = 32),
    identity_id uuid not null,
    connection_id uuid not null,
    link_id uuid,
    sealed bytea not null check (length(sealed) <= 65536),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (tenant_id, state_hash)
);
create index upstream_sign_ins_by_identity on broker.upstream_sign_ins (tenant_id, identity_id);

-- Clients that we are, by place: an issuer and our redirect (registered by us), or a connection (registered by an
-- admin). sealed: id, secret, method.
create table broker.upstream_clients (
    tenant_id uuid not null references broker.tenants,
    place text not null check (length(place) between 1 and 200),
    issuer text not null check (length(issuer) <= 2000),
    sealed bytea not null check (length(sealed) <= 65536),
    created_at timestamptz not null,
    expires_at timestamptz,
    primary key (tenant_id, place)
);

-- How an account's tokens stand. generation: how often they were stored; a renewal starts from the one it saw and takes
-- the row by refreshing_by, so that no refresh token is ever used by two processes.
create table broker.upstream_tokens (
    tenant_id uuid not null references broker.tenants,
    account_id uuid not null,
    generation int not null default 0 check (generation >= 0),
    expires_at timestamptz,
    scope text check (length(scope) <= 2100),
    wanted_scope text check (length(wanted_scope) <= 1000),
    refreshing_by uuid,
    refreshing_until timestamptz,
    stored_at timestamptz,
    primary key (tenant_id, account_id),
    foreign key (tenant_id, account_id) references broker.accounts (tenant_id, id) on delete cascade
);
-- When a server's definitions were last looked at by the job; null: as soon as may be.
alter table broker.definitions add column checked_at timestamptz;

grant select, insert, delete on broker.upstream_sign_ins to keyreeve_app;
grant select, insert, update, delete on broker.upstream_clients to keyreeve_app;
grant select, insert, update on broker.upstream_tokens to keyreeve_app;
"""


def upgrade() -> None:
    run_script(op.get_bind(), TABLES)
    for table in ("broker.upstream_sign_ins", "broker.upstream_clients", "broker.upstream_tokens"):
        run_script(
            op.get_bind(),
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy tenant on {table} "
            "using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant())",
        )


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
