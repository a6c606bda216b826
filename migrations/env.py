"""Alembic's entry: runs on the connection that broker/db/migrate.py hands over, never on one of its own."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="public", transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
