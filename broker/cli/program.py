"""The tree of commands. Their modules import nothing heavy before they run."""

import typer

from broker.cli import asking, connecting, doctor, granting, keeping, serving, tailing
from broker.cli.admin import accounts, audit, connections, grants, identities, keys, sessions, tenants
from broker.cli.demo import command as demo

HELP = "Credential vault and scoped-tool broker for agents: they call tools, and never see a token."


def program() -> typer.Typer:
    """Every command of API.md."""
    app = typer.Typer(
        help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.callback()(_version)
    for module in (serving, demo, connecting, asking, granting, tailing, doctor):
        module.add_to(app)
    for module in (tenants, identities, connections, accounts, grants, keys, sessions, audit):
        module.add_to(app)
    keeping.add_to(app)
    return app


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        from importlib.metadata import version

        typer.echo(f"keyreeve {version('keyreeve')}")
        raise typer.Exit


def _version(
    version: bool = typer.Option(  # noqa: FBT001 - typer's signature
        False, "--version", callback=_show_version, is_eager=True, help="The version, and nothing else."  # noqa: FBT003
    ),
) -> None:
    del version
