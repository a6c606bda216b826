"""`keyreeve connections` and `keyreeve connectors`."""

from typing import Annotated, Any

import typer

from broker.cli import parse
from broker.cli.admin import upstream_clients
from broker.cli.errors import Usage
from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

Name = Annotated[str, typer.Argument(help="The connection's name.")]
Config = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE…", help="Its configuration: spec.source=x.json tools='[\"zones-get\"]'."),
]

COLUMNS: Columns = {
    "name": "name",
    "connector": "connector",
    "status": "status",
    "origins": "origins",
    "operations": "spec.operations",
    "version": "version",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="A tenant's named configurations of connectors.", no_args_is_help=True)
    for name, function in (
        ("create", create),
        ("list", list_),
        ("show", show),
        ("update", update),
        ("delete", delete),
        ("refresh", refresh),
        ("accept", accept),
    ):
        command(group, name)(function)
    upstream_clients.add_to(group)
    app.add_typer(group, name="connections")
    command(app, "connectors")(connectors)


def connectors(cli: Cli) -> None:
    """List the kinds of upstream this installation can reach."""
    columns: Columns = {
        "name": "name",
        "title": "title",
        "credentials": lambda c: [k["name"] for k in c["credential_kinds"]],
        "budget": lambda c: [f"{m['limit']} per {m['window_seconds']} s ({m['meter']})" for m in c["budget"]],
    }
    cli.out.items(cli.api.get("/v1/connectors")["items"], columns, none="No connectors.")


def create(
    cli: Cli,
    name: Name,
    connector: Annotated[str, typer.Option("--connector", help="One of `keyreeve connectors`.")],
    config: Config = None,
    default_grant: Annotated[
        bool, typer.Option("--read-for-everyone", help="Also grant everyone read access.")
    ] = False,
) -> None:
    """Make a connection and pin its description."""
    body: dict[str, Any] = {"name": name, "connector": connector, "config": parse.pairs(config or [])}
    if default_grant:
        body["default_grant"] = "read"
    cli.out.record(cli.api.post("/v1/connections", body))


def list_(cli: Cli) -> None:
    """List the tenant's connections."""
    cli.out.items(cli.api.pages("/v1/connections"), COLUMNS, none="No connections yet: `keyreeve connect cloudflare`.")


def show(cli: Cli, name: Name) -> None:
    """Show one connection."""
    cli.out.record(cli.api.get(f"/v1/connections/{seg(name)}"))


def update(
    cli: Cli,
    name: Name,
    config: Config = None,
    remove: Annotated[list[str] | None, typer.Option("--unset", help="A member of the configuration to drop.")] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Only if it is still at this version.")
    ] = None,
) -> None:
    """Change members of a connection's configuration; the others stay."""
    if not config and not remove:
        raise Usage("nothing to change", "KEY=VALUE or --unset KEY")
    before = cli.api.get(f"/v1/connections/{seg(name)}")
    changed = {**before["config"], **parse.pairs(config or [])}
    for member in remove or ():
        changed.pop(member, None)
    body = {"config": changed, "version": before["version"] if version is None else version}
    cli.out.record(cli.api.ask("PATCH", f"/v1/connections/{seg(name)}", body=body))


def delete(
    cli: Cli,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the audit.")] = "deleted",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a connection and revoke every account on it."""
    cli.confirm(f"Remove connection {name} and revoke every account on it?", yes=yes)
    cli.out.record(cli.api.ask("DELETE", f"/v1/connections/{seg(name)}", params={"reason": reason}))


def refresh(cli: Cli, name: Name) -> None:
    """Fetch the description again and show what changed. What widens or moves granted operations waits."""
    told = cli.api.post(f"/v1/connections/{seg(name)}:refresh")
    if cli.out.as_json:
        cli.out.json(told)
        return
    if told["applied"]:
        cli.out.say("The new description is pinned.")
    elif told["pending"]:
        cli.out.say("It changes operations that grants cover, so it waits. Review, then:")
        cli.out.say(f"  keyreeve connections accept {name} {told['digest']}")
    else:
        cli.out.say("The description has not changed.")
    cli.out.table(None, [[k, v] for k, v in told["report"].items()])


def accept(
    cli: Cli, name: Name, digest: Annotated[str, typer.Argument(help="The description that was reviewed.")]
) -> None:
    """Pin the refreshed description that waits."""
    cli.out.record(cli.api.post(f"/v1/connections/{seg(name)}:accept", {"digest": digest}))
