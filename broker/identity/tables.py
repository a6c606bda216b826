"""The tables of this package, as the migrations made them. Columns that only the gate writes are left out."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from broker.db.metadata import metadata

_Time = DateTime(timezone=True)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("policy_version", BigInteger, nullable=False),
    Column("impersonation", Boolean, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("sandbox", JSONB, nullable=False),
)

identities = Table(
    "identities",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("identifier", Text, nullable=False),
    Column("email", Text),
    Column("display_name", Text),
    Column("groups", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    Column("disabled_at", _Time),
    Column("version", Integer, nullable=False),
    Column("created_at", _Time, nullable=False),
)

bearers = Table(
    "bearers",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    Column("root_id", Uuid, nullable=False),
    Column("parent_id", Uuid),
    Column("parent_tenant_id", Uuid),
    Column("name", Text, nullable=False),
    Column("role", Text),
    Column("identifiers", ARRAY(Text)),
    Column("tenants", ARRAY(Text)),
    Column("identity_id", Uuid),
    Column("connections", ARRAY(Text)),
    Column("access", Text),
    Column("access_by", JSONB(none_as_null=True)),
    Column("client", Text),
    Column("audience", Text),
    Column("created_at", _Time, nullable=False),
    Column("expires_at", _Time),
    Column("revoked_at", _Time),
    Column("revoked_reason", Text),
)
