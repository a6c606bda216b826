"""The command `keyreeve demo`."""

from typing import Annotated

import typer

from broker.cli.session import Cli, command


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "demo")(demo)


def demo(
    cli: Cli,
    once: Annotated[bool, typer.Option("--once", help="End and clean up afterwards, instead of staying up.")] = False,
) -> None:
    """Play the whole main job against a simulated Cloudflare; no account is needed.

    Starts PostgreSQL, a server and a simulator of their own, and removes them afterwards. Exit code 1 says that a step
    went otherwise than it must; what differed is printed.
    """
    from broker.cli.demo.story import play

    play(cli.out, once=once, as_json=cli.json_asked)
