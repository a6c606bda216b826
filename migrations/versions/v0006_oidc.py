"""Engineers' sign-in by the tenant's OIDC provider.

`sign_in_providers`: a tenant's one provider, its client secret sealed. `sign_ins`: which subject of which issuer is
which identity: one subject an identity, one identity a subject. `sign_in_states`: the sign-ins of the last minutes, so
that none is finished twice.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
create table broker.sign_in_providers (
    tenant_id uuid not null references broker.tenants,
    issuer text not null check (length(issuer) between 1 and 250),
    client_id text not null check (length(client_id) between 1 and 200),
    token_origin text not null check (length(token_origin) <= 300),
    sealed_secret bytea check (length(sealed_secret) <= 4096),
    scopes text[] not null,
    allowed_domains text[] not null,
    create_identities boolean not null,
    link_by_email boolean not null,
    version integer not null check (version > 0),
    made_by text not null check (length(made_by) <= 300),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id)
);

create table broker.sign_ins (
    tenant_id uuid not null references broker.tenants,
    identity_id uuid not null,
    issuer text not null check (length(issuer) between 1 and 250),
    subject text not null check (length(subject) between 1 and 255),
    linked_by text not null check (linked_by in ('admin', 'email', 'created')),
    made_by text not null check (length(made_by) <= 300),
    created_at timestamptz not null,
    last_used_at timestamptz,
    primary key (tenant_id, identity_id),
    unique (tenant_id, issuer, subject),
    foreign key (tenant_id, identity_id) references broker.identities (tenant_id, id)
);

create table broker.sign_in_states (
    tenant_id uuid not null references broker.tenants,
    digest bytea not null check (length(digest) = 32),
    expires_at timestamptz not null,
    primary key (tenant_id, digest)
);
create index sign_in_states_by_age on broker.sign_in_states (tenant_id, expires_at);
grant select, insert, update, delete on broker.sign_in_providers, broker.sign_ins to keyreeve_app;
grant select, insert, delete on broker.sign_in_states to keyreeve_app;
"""


def upgrade() -> None:
    run_script(op.get_bind(), TABLES)
    for table in ("broker.sign_in_providers", "broker.sign_ins", "broker.sign_in_states"):
        run_script(
            op.get_bind(),
            f"alter table {table} enable row level security;"
            f"alter table {table} force row level security;"
            f"create policy tenant on {table} using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant())",
        )


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
