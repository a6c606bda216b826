"""The two tables of schema `vault`. The migrations create them and put both under FORCE ROW LEVEL SECURITY.

Invariant: every statement on them runs in a transaction in which the caller has set `keyreeve.tenant`; rows
of another tenant are invisible there. Statements filter by `tenant_id` all the same.
"""

from typing import Final

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

metadata: Final = MetaData(schema="vault")

tenant_keys: Final = Table(
    "tenant_keys",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("root_key_id", Text, nullable=False),
    Column("wrapped", LargeBinary),  # null once destroyed
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("retired_at", DateTime(timezone=True)),  # set: seals nothing new, still opens
    Column("destroyed_at", DateTime(timezone=True)),
    CheckConstraint("purpose in ('credentials','evidence')", name="tenant_keys_purpose"),
)

credentials: Final = Table(
    "credentials",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("origins", ARRAY(Text), nullable=False),
    Column("kek_version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("status in ('active','superseded','revoked')", name="credentials_status"),
    UniqueConstraint("tenant_id", "account_id", "version", name="credentials_account_version"),
)
