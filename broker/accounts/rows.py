"""Reading connections: their rows, and how they are shown."""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Select, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.tables import connections, definitions, spec_blobs
from broker.errors import Problem
from broker.identity import names


def select_connections(tenant_id: UUID) -> Select[Any]:
    """The tenant's connections that are not deleted, with what is shown of their descriptions."""
    return (
        select(
            connections,
            spec_blobs.c.source.label("spec_source"),
            spec_blobs.c.operations.label("spec_operations"),
            spec_blobs.c.fetched_at.label("spec_fetched_at"),
            definitions.c.url.label("definitions_url"),
            definitions.c.digest.label("definitions_digest"),
            definitions.c.tools.label("definitions_tools"),
            definitions.c.fetched_at.label("definitions_fetched_at"),
            definitions.c.pending_digest.label("definitions_pending"),
            definitions.c.pending_report.label("definitions_report"),
        )
        .join(spec_blobs, spec_blobs.c.digest == connections.c.spec_digest, isouter=True)
        .join(
            definitions,
            and_(definitions.c.tenant_id == connections.c.tenant_id, definitions.c.connection_id == connections.c.id),
            isouter=True,
        )
        .where(connections.c.tenant_id == tenant_id, connections.c.status != "deleted")
    )


async def find(conn: AsyncConnection, tenant_id: UUID, name: str) -> Any:
    """The connection called `name`, or None."""
    statement = select_connections(tenant_id).where(connections.c.name == name)
    return (await conn.execute(statement)).one_or_none()


async def existing(conn: AsyncConnection, tenant_id: UUID, name: str) -> Any:
    """The connection called `name`, for whoever may list the tenant's. Raises Problem `unknown_connection`, with near
    names."""
    row = await find(conn, tenant_id, name) if len(name) <= 24 else None
    if row is None:
        raise await unknown(conn, tenant_id, name)
    return row


async def unknown(conn: AsyncConnection, tenant_id: UUID, name: str) -> Problem:
    """The refusal of a name that no connection has, with near ones: for whoever may list the tenant's."""
    mine = (connections.c.tenant_id == tenant_id) & (connections.c.status != "deleted")
    some = await conn.execute(select(connections.c.name).where(mine).order_by(connections.c.name).limit(500))
    hint = names.near(name, [str(row.name) for row in some])
    return Problem("unknown_connection", f"no connection {name[:60]!r} in this tenant", hint=hint)


async def hold(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> None:
    """Till the end of the transaction nobody else changes the connection. Comes before the tenant's lock, always."""
    await conn.execute(
        select(connections.c.id)
        .where(connections.c.tenant_id == tenant_id, connections.c.id == connection_id)
        .with_for_update(key_share=True)
    )


def shown(row: Any) -> dict[str, Any]:
    """A connection as the API answers it."""
    spec = None
    if row.spec_digest is not None:
        spec = {
            "digest": row.spec_digest,
            "source": row.spec_source,
            "operations": row.spec_operations,
            "fetched_at": row.spec_fetched_at,
        }
    elif row.definitions_digest is not None:
        spec = {
            "digest": row.definitions_digest,
            "source": row.definitions_url,
            "operations": row.definitions_tools,
            "fetched_at": row.definitions_fetched_at,
        }
    pending = None
    if row.definitions_pending is not None:
        pending = {"digest": row.definitions_pending, "report": orjson.loads(row.definitions_report)}
    if row.pending_spec_digest is not None:
        pending = {"digest": row.pending_spec_digest, "report": row.pending_report}
    return {
        "id": str(row.id),
        "name": row.name,
        "connector": row.connector,
        "config": row.config,
        "origins": row.origins,
        "spec": spec,
        "pending_spec": pending,
        "status": row.status,
        "version": row.version,
        "created_at": row.created_at,
    }
