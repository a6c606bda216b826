"""`keyreeve grants`."""

from typing import Annotated, Any

import typer

from broker.cli import parse
from broker.cli.errors import Usage
from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command


def _subject(grant: Any) -> str:
    subject = grant["subject"]
    return subject.get("identifier") or (f"group {subject['group']}" if subject.get("group") else "everyone")


COLUMNS: Columns = {
    "id": "id",
    "who": _subject,
    "connection": "connection_name",
    "access": "access",
    "operations": lambda g: "all" if g["operations"] is None else g["operations"],
    "tools": lambda g: "all" if g["tools"] is None else g["tools"],
    "resources": lambda g: g["resources"] or "all",
    "until": "expires_at",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Stored authority: who may do what, through which connection.", no_args_is_help=True)
    for name, function in (("create", create), ("list", list_), ("delete", delete)):
        command(group, name)(function)
    app.add_typer(group, name="grants")


def create(
    cli: Cli,
    connection: Annotated[str, typer.Argument(help="The connection's name.")],
    access: Annotated[str, typer.Argument(help="read, write or destructive.")],
    identifier: Annotated[str | None, typer.Option("--identifier", "-i")] = None,
    group: Annotated[str | None, typer.Option("--group", "-g")] = None,
    everyone: Annotated[bool, typer.Option("--everyone")] = False,
    operation: Annotated[
        list[str] | None, typer.Option("--operation", help='An id, or "GET /zones/**". Repeatable; none: all.')
    ] = None,
    tool: Annotated[list[str] | None, typer.Option("--tool", help="Repeatable; none: all.")] = None,
    zone: Annotated[list[str] | None, typer.Option("--zone", help="A zone's id. Repeatable; none: all.")] = None,
    account: Annotated[
        list[str] | None, typer.Option("--account", help="An upstream account's id. Repeatable.")
    ] = None,
    shared: Annotated[bool, typer.Option("--shared", help="Through the tenant's shared account.")] = False,
    until: Annotated[str | None, typer.Option("--until", help="A time, or a span such as 2h or 7d.")] = None,
) -> None:
    """Give authority. It counts from the very next call on."""
    subjects: list[dict[str, Any]] = [
        {name: value}
        for name, value in (("identifier", identifier), ("group", group), ("everyone", everyone or None))
        if value is not None
    ]
    if len(subjects) != 1:
        raise Usage("to whom?", "--identifier, --group or --everyone, one of them")
    body: dict[str, Any] = {"subject": subjects[0], "connection_name": connection, "access": access}
    resources = {kind: ids for kind, ids in (("accounts", account), ("zones", zone)) if ids}
    given = {
        "operations": operation or None,
        "tools": tool or None,
        "resources": resources or None,
        "account": "shared" if shared else None,
        "expires_at": None if until is None else parse.moment(until, cli.now(), ahead=True),
    }
    cli.out.record(cli.api.post("/v1/grants", body | {k: v for k, v in given.items() if v is not None}))


def list_(
    cli: Cli,
    connection: Annotated[str | None, typer.Option("--connection", "-c")] = None,
    identifier: Annotated[str | None, typer.Option("--identifier", "-i")] = None,
    group: Annotated[str | None, typer.Option("--group", "-g")] = None,
) -> None:
    """List grants."""
    found = cli.api.pages("/v1/grants", connection_name=connection, identifier=identifier, group=group)
    cli.out.items(found, COLUMNS, none="No grants: nobody may do anything.")


def delete(
    cli: Cli,
    grant_id: Annotated[str, typer.Argument(help="The grant's id.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take authority away, at once."""
    cli.confirm(f"Delete grant {grant_id}?", yes=yes)
    cli.out.record(cli.api.ask("DELETE", f"/v1/grants/{seg(grant_id)}"))
