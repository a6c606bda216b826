"""Sessions of a tenant's OpenID provider: which of them a login, and an editor that it let in, came of.

`session` is the digest of issuer and `sid` of the ID token; null where that held none, or where no provider let the
person in. `provider_logouts`: the logout tokens of the last minutes, so that none counts twice, and so that a sign-in
that was under way while its session ended comes too late.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = """
alter table broker.logins add column session bytea check (length(session) = 32);
alter table broker.oauth_sign_ins add column session bytea check (length(session) = 32);
create index logins_by_session on broker.logins (tenant_id, session) where session is not null;
create index oauth_sign_ins_by_session on broker.oauth_sign_ins (tenant_id, session) where session is not null;

create table broker.provider_logouts (
    tenant_id uuid not null references broker.tenants,
    digest bytea not null check (length(digest) = 32),
    person bytea check (length(person) = 32),
    session bytea check (length(session) = 32),
    issued_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (tenant_id, digest),
    check (person is not null or session is not null)
);
create index provider_logouts_by_age on broker.provider_logouts (tenant_id, expires_at);
grant select, insert, delete on broker.provider_logouts to keyreeve_app;
alter table broker.provider_logouts enable row level security;
alter table broker.provider_logouts force row level security;
create policy tenant on broker.provider_logouts
    using (tenant_id = broker.tenant()) with check (tenant_id = broker.tenant());
"""


def upgrade() -> None:
    run_script(op.get_bind(), TABLES)


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
