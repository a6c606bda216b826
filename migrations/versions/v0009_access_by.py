"""Access per connection: what a bearer may do on each connection, where a sign-in was given different access on them.

Null: `access` holds for all. Else an entry for each of `connections`, and `access` is the highest of them. The code of a
consent carries it to the bearer of the sign-in, which all its access tokens are minted from.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Strict: lax paths look into arrays, and would let `{"cloudflare": ["read"]}` pass.
_COLUMN = """
alter table {table} add column access_by jsonb check (access_by is null or (
    jsonb_typeof(access_by) = 'object' and connections is not null and access is not null
    and length(access_by::text) <= 10000
    and jsonb_array_length(jsonb_path_query_array(access_by, 'strict $.*')) <= 200
    and not jsonb_path_exists(access_by,
        'strict $.* ? (@.type() != "string" || (@ != "read" && @ != "write" && @ != "destructive"))')));
"""


def upgrade() -> None:
    for table in ("broker.bearers", "broker.oauth_codes"):
        run_script(op.get_bind(), _COLUMN.format(table=table))


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
