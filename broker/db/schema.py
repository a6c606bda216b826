"""What this code needs to find in a database, and whether it is there: asked at every start, without loading what
migrates."""

from typing import Final

import asyncpg

from broker.db import functions
from broker.db.server_checks import ExternalDatabase
from broker.ids import NIL

HEAD: Final = "0012"
"""The newest revision this code knows. A test holds it to the migrations'."""

FIRST_TENANT: Final = "default"
"""What a first start makes last of all. A test holds it to `broker.identity.tenants`."""

CURRENT: Final = "select version_num from public.alembic_version"
"""What the app role may ask to know whether the schema is ready."""

_COMPLETE: Final = f"""
select exists (select from pg_proc where proname = $2 and pronamespace = 'broker'::regnamespace)
   and exists (select from vault.tenant_keys where tenant_id = $3 and purpose = 'evidence')
   and exists (select from broker.tenants where name = $4)
   and ({CURRENT}) = $1"""  # noqa: S608 - constants


async def is_complete(app: ExternalDatabase) -> bool:
    """Whether the database is just as this release leaves it after a first start: nothing to migrate, to install or to
    make. As the role that serves. Raises OSError, TimeoutError and the driver's errors where it cannot be asked."""
    connection = await asyncpg.connect(**app.connect_kwargs(), timeout=10)
    try:
        async with connection.transaction(readonly=True):
            await connection.execute("select set_config('keyreeve.tenant', $1, true)", str(NIL))
            found = await connection.fetchval(_COMPLETE, HEAD, f"resolve{functions.suffix()}", NIL, FIRST_TENANT)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.InsufficientPrivilegeError):
        return False
    finally:
        await connection.close(timeout=5)
    return bool(found)
