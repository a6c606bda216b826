"""The tree of commands. Their modules import nothing heavy before they run."""

from typing import Annotated

import typer

from broker.cli import asking, connecting, doctor, editors, granting, keeping, serving, tailing
from broker.cli.admin import (
    accounts,
    audit,
    clients,
    connections,
    grants,
    identities,
    keys,
    links,
    sessions,
    sign_in,
    tenants,
)
from broker.cli.demo import command as demo

HELP = "Credential vault and scoped-tool broker for agents: they call tools, and never see a token."


def program() -> typer.Typer:
    """Every command of API.md."""
    app = typer.Typer(
        help=HELP,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback(invoke_without_command=True)(_version)
    for module in (serving, demo, connecting, editors, asking, granting, tailing, doctor):
        module.add_to(app)
    for module in (tenants, identities, connections, accounts, grants, keys, sessions, links, sign_in, clients, audit):
        module.add_to(app)
    keeping.add_to(app)
    return app


Version = Annotated[bool, typer.Option("--version", is_eager=True, help="The version, and nothing else.")]


def _version(context: typer.Context, version: Version = False) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"keyreeve {installed('keyreeve')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
