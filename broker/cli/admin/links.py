"""`keyreeve sign-in-link` and `keyreeve connect-link`: addresses to give to one person."""

from typing import Annotated, Any

import typer

from broker.cli.session import Cli, command


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    command(app, "sign-in-link")(sign_in_link)
    command(app, "connect-link")(connect_link)


def sign_in_link(cli: Cli, identifier: Annotated[str, typer.Argument(help="Who is to be signed in.")]) -> None:
    """Make a link that signs somebody in to their page, once, within 10 minutes."""
    _show(cli, cli.api.post("/v1/sign_in_links", {"identifier": identifier}), f"signs {identifier} in")


def connect_link(
    cli: Cli,
    connection: Annotated[str, typer.Argument(help="The connection's name.")],
    identifier: Annotated[str | None, typer.Argument(help="Whose account; a session links for its own.")] = None,
) -> None:
    """Make a link to a page where somebody deposits their own token, once, within 15 minutes."""
    body = {"connection_name": connection} | ({} if identifier is None else {"identifier": identifier})
    whose = "an account" if identifier is None else f"an account of {identifier}"
    _show(cli, cli.api.post("/v1/connect_links", body), f"connects {whose} on {connection}")


def _show(cli: Cli, made: dict[str, Any], does: str) -> None:
    if cli.out.as_json:
        cli.out.json(made)
        return
    cli.out.say(f"This link {does}, once, until {made['expires_at']}. Give it to nobody else.")
    cli.out.say(made["url"])
