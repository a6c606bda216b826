"""The tables of this package, for building statements. Migrations make them."""

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from broker.db.metadata import metadata

connections = Table(
    "connections",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("connector", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("origins", ARRAY(Text), nullable=False),
    Column("spec_digest", Text),
    Column("pending_spec_digest", Text),
    Column("pending_report", JSONB),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("deleted_at", DateTime(timezone=True)),
)

accounts = Table(
    "accounts",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("connection_id", Uuid, nullable=False),
    Column("identity_id", Uuid),
    Column("label", Text),
    Column("status", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("credential_id", Uuid),
    Column("principal", Text),
    Column("principal_key", LargeBinary),
    Column("upstream_display", Text),
    Column("upstream_account_id", Text),
    Column("upstream_token_id", Text),
    Column("upstream_expires_at", DateTime(timezone=True)),
    Column("permissions", JSONB, nullable=False),
    Column("permissions_version", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_reason", Text),
    Column("last_used_at", DateTime(timezone=True)),
)

spec_blobs = Table(
    "spec_blobs",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("artifact", LargeBinary, nullable=False),
    Column("raw_bytes", Integer, nullable=False),
    Column("operations", Integer, nullable=False),
    Column("fetched_at", DateTime(timezone=True), nullable=False),
    Column("document", LargeBinary),
)

definitions = Table(
    "definitions",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("connection_id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("tools", Integer, nullable=False),
    Column("held", ARRAY(Text), nullable=False),
    Column("pending_digest", Text),
    Column("pending_document", Text),
    Column("pending_report", Text),
    Column("fetched_at", DateTime(timezone=True), nullable=False),
)
