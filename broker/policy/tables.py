"""The table of grants, as the migrations made it."""

from sqlalchemy import ARRAY, Column, DateTime, Table, Text, Uuid

from broker.db.metadata import metadata

_Time = DateTime(timezone=True)

grants = Table(
    "grants",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("subject_kind", Text, nullable=False),
    Column("identity_id", Uuid),
    Column("group_name", Text),
    Column("connection_id", Uuid, nullable=False),
    Column("tools", ARRAY(Text)),
    Column("access", Text, nullable=False),
    Column("operations", ARRAY(Text)),
    Column("accounts", ARRAY(Text)),
    Column("zones", ARRAY(Text)),
    Column("account", Text, nullable=False),
    Column("expires_at", _Time),
    Column("created_by", Text, nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("deleted_at", _Time),
)
