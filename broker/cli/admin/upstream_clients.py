"""`keyreeve connections client …`: the OAuth client of a connection to an MCP server, where an admin registers it."""

from typing import Annotated, Any

import typer

from broker.cli.connecting import read_token
from broker.cli.parse import seg
from broker.cli.session import Cli, command

Name = Annotated[str, typer.Argument(help="The connection's name.")]


def add_to(group: typer.Typer) -> None:
    """Registers the commands, below `keyreeve connections`."""
    clients = typer.Typer(help="The OAuth client of a connection to an MCP server.", no_args_is_help=True)
    for name, function in (("show", show), ("set", set_), ("remove", remove)):
        command(clients, name)(function)
    group.add_typer(clients, name="client")


def show(cli: Cli, name: Name) -> None:
    """Show where to register a client, and with which redirect; and the one that is set."""
    cli.out.record(cli.api.get(_path(name)))


def set_(
    cli: Cli,
    name: Name,
    issuer: Annotated[str, typer.Option("--issuer", help="The authorization server's, letter by letter.")],
    client_id: Annotated[str, typer.Option("--client-id", help="As it was registered there.")],
    secret_file: Annotated[
        str | None, typer.Option("--secret-file", metavar="FILE", help="Read its secret there; `-`: stdin.")
    ] = None,
) -> None:
    """Set the client by which people sign in. Its secret is sealed, and goes to that issuer alone."""
    body: dict[str, Any] = {"issuer": issuer, "client_id": client_id}
    if secret_file is not None:
        body["client_secret"] = read_token(secret_file)
    cli.out.record(cli.api.ask("PUT", _path(name), body=body))


def remove(cli: Cli, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Forget it. Accounts that were connected by it stay."""
    cli.confirm(f"Forget the client of connection {name}?", yes=yes)
    cli.out.record(cli.api.ask("DELETE", _path(name)))


def _path(name: str) -> str:
    return f"/v1/connections/{seg(name)}/oauth_client"
