"""`keyreeve clients`: the editors and other programs that people sign in with."""

from typing import Annotated

import typer

from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

COLUMNS: Columns = {
    "client": "client_id",
    "name": "name",
    "kind": "source",
    "redirects": "redirect_uris",
    "last used": "last_used_at",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="OAuth clients: what people sign in with from their editors.", no_args_is_help=True)
    for name, function in (("add", add), ("list", list_), ("delete", delete)):
        command(group, name)(function)
    app.add_typer(group, name="clients")


def add(
    cli: Cli,
    client_id: Annotated[str, typer.Argument(help="What the client calls itself: letters, digits and . _ -")],
    redirect: Annotated[
        list[str], typer.Option("--redirect", "-r", help="Where answers go; a loopback port may differ. Repeatable.")
    ],
    name: Annotated[str | None, typer.Option("--name", help="What people are shown; default: its id.")] = None,
) -> None:
    """Register a client, for editors that do not register themselves."""
    body = {"client_id": client_id, "name": name or client_id, "redirect_uris": redirect}
    cli.out.record(cli.api.post("/v1/oauth_clients", body))


def list_(cli: Cli) -> None:
    """List the clients, also those that registered themselves."""
    cli.out.items(cli.api.pages("/v1/oauth_clients"), COLUMNS, none="No client is registered.")


def delete(cli: Cli, client_id: Annotated[str, typer.Argument(help="The client's id.")]) -> None:
    """Delete a client and end every sign-in with it."""
    cli.out.record(cli.api.ask("DELETE", f"/v1/oauth_clients/{seg(client_id)}"))
