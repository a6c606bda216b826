"""`keyreeve tenants`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.output import Columns
from broker.cli.session import Cli, command

if TYPE_CHECKING:
    from broker.server.storage import Storage
    from broker.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Customer organisations on this installation (platform admins).", no_args_is_help=True)
    command(group, "create")(create)
    command(group, "list")(list_)
    app.add_typer(group, name="tenants")


def create(cli: Cli, name: Annotated[str, typer.Argument(help="a-z, 0-9 and -, beginning with a letter.")]) -> None:
    """Make a tenant with its own encryption keys, and its first admin's key."""
    made = cli.api.post("/v1/tenants", {"name": name})
    if cli.out.as_json:
        cli.out.json(made)
        return
    cli.out.say(f"Tenant {made['tenant']['name']} is there. Its admin's key, shown this once:")
    cli.out.say(made["admin_key"])


def list_(cli: Cli) -> None:
    """List the tenants. Reads the data directory's database: the API has no such call."""
    from broker.cli.database import run_with_storage

    columns: Columns = {"name": "name", "status": "status", "since": "created_at", "id": "id"}
    cli.out.items(run_with_storage(cli, _read), columns, none="No tenants yet.")


async def _read(_: "Settings", storage: "Storage") -> list[dict[str, Any]]:
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import create_async_engine

    from broker.identity.tables import tenants

    engine = create_async_engine(storage.app.url(), **storage.app.engine_arguments())
    try:
        async with engine.connect() as connection:
            statement = select(tenants.c.id, tenants.c.name, tenants.c.status, tenants.c.created_at)
            rows = (await connection.execute(statement.order_by(tenants.c.created_at))).all()
    finally:
        await engine.dispose()
    return [
        {"id": str(row.id), "name": row.name, "status": row.status, "created_at": row.created_at.isoformat()}
        for row in rows
    ]
