"""`keyreeve tenants`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.errors import Usage
from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

if TYPE_CHECKING:
    from broker.server.storage import Storage
    from broker.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Customer organisations on this installation (platform admins).", no_args_is_help=True)
    command(group, "create")(create)
    command(group, "list")(list_)
    command(group, "show")(show)
    command(group, "limit")(limit)
    app.add_typer(group, name="tenants")


def create(cli: Cli, name: Annotated[str, typer.Argument(help="a-z, 0-9 and -, beginning with a letter.")]) -> None:
    """Make a tenant with its own encryption keys, and its first admin's key."""
    made = cli.api.post("/v1/tenants", {"name": name})
    if cli.out.as_json:
        cli.out.json(made)
        return
    cli.out.say(f"Tenant {made['tenant']['name']} is there. Its admin's key, shown this once:")
    cli.out.say(made["admin_key"])


Which = Annotated[str, typer.Argument(help="The tenant's name or id.")]
_ALL = "all"


def show(cli: Cli, name: Which) -> None:
    """Show a tenant, and what its programs are held to."""
    _told(cli, cli.api.get(f"/v1/tenants/{seg(name)}"))


def limit(
    cli: Cli,
    name: Which,
    isolate: Annotated[
        bool | None, typer.Option("--isolate/--no-isolate", help="Each run in a process of its own.")
    ] = None,
    cpu_ms: Annotated[int | None, typer.Option("--cpu-ms", help="Computing time of one run.")] = None,
    wall_seconds: Annotated[float | None, typer.Option("--wall-seconds", help="From start to end of one run.")] = None,
    memory_mb: Annotated[int | None, typer.Option("--memory-mb", help="Memory of one run.")] = None,
    host_calls: Annotated[int | None, typer.Option("--host-calls", help="Requests of one run.")] = None,
    output_bytes: Annotated[int | None, typer.Option("--output-bytes", help="The longest result.")] = None,
    runs_at_once: Annotated[int | None, typer.Option("--runs-at-once", help="Runs at a time.")] = None,
    lift: Annotated[
        list[str] | None, typer.Option("--lift", metavar="NAME", help="Take this limit off again (`all`: every one).")
    ] = None,
) -> None:
    """Hold a tenant's programs (Code Mode) below this installation's limits."""
    given = {
        "isolate": isolate,
        "cpu_ms": cpu_ms,
        "wall_seconds": wall_seconds,
        "memory_mb": memory_mb,
        "host_calls": host_calls,
        "output_bytes": output_bytes,
        "runs_at_once": runs_at_once,
    }
    lifted = [one.replace("-", "_") for one in lift or ()]
    unknown = [one for one in lifted if one not in given and one != _ALL]
    if unknown:
        raise Usage(f"--lift {unknown[0]}: there is no such limit", f"one of {', '.join(given)}, {_ALL}")
    changes: dict[str, Any] = dict.fromkeys(given if _ALL in lifted else lifted)
    changes |= {one: value for one, value in given.items() if value is not None}
    if not changes:
        raise Usage("nothing to change", "say what to limit, for example --cpu-ms 500 or --isolate")
    _told(cli, cli.api.ask("PATCH", f"/v1/tenants/{seg(name)}", body={"sandbox": changes}))


def _told(cli: Cli, found: dict[str, Any]) -> None:
    if cli.out.as_json:
        cli.out.json(found)
        return
    cli.out.say(f"Tenant {found['name']} ({found['status']}). Its programs:")
    for name, value in found["sandbox_limits"].items():
        own = "  set for this tenant" if name in found["sandbox"] else ""
        shown = "yes" if value is True else "no" if value is False else f"{value:,g}"
        cli.out.say(f"  {name.replace('_', '-'):<13} {shown:>10}{own}")


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
