"""Look-ups in the audit trail: indexes that hold what people see (calls, refusals, changes), and no outcomes.

A call is two rows, its intent and its outcome. The execution's index held both and now holds the first, which pays for
the identity's. The others cost a call nothing: a run's is written where there is a run, that of kinds which are no calls
where there is no call. Every partition has them, also those that are made later (attaching one makes what is missing).

Revision ID: 0010
Revises: 0009
"""

from alembic import op

from broker.db.scripts import run_script

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEXES = """
drop index audit.events_by_execution;
create index events_by_execution on audit.events (tenant_id, execution_id)
    where kind <> 'outcome' and execution_id is not null;
create index events_by_identifier on audit.events (tenant_id, identifier, at, id)
    where kind <> 'outcome' and identifier is not null;
create index events_by_run on audit.events (tenant_id, run_id, at, id)
    where kind <> 'outcome' and run_id is not null;
create index events_apart on audit.events (tenant_id, kind, at, id)
    where kind in ('refusal', 'change', 'execution');
"""


def upgrade() -> None:
    run_script(op.get_bind(), INDEXES)


def downgrade() -> None:
    raise RuntimeError("migrations go forward only; restore a backup instead")
