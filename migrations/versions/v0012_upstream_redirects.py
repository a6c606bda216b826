"""Sign-ins with MCP servers' authorization servers: which registrations are of use, and whose tokens are given back.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


TABLES = """
-- When somebody last signed in by a registration of ours; null: nobody has.
alter table broker.upstream_clients add column used_at timestamptz;
-- Where the tokens of a revoked sign-in stand at their authorization server. While it is 'pending', and never else, the
-- gate admits one kind of call with the revoked credential: the one that gives it back.
alter table broker.accounts
    add column giving_back text check (giving_back in ('pending', 'deleted', 'kept', 'failed'));
"""


def upgrade() -> None:
    run_script(op.get_bind(), TABLES)


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
