"""`keyreeve sessions`."""

from typing import Annotated, Any

import typer

from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

COLUMNS: Columns = {
    "id": "id",
    "identifier": "identifier",
    "connections": lambda s: "all" if s["connections"] is None else s["connections"],
    "access": lambda s: (
        [f"{name}: {at}" for name, at in s["access_by"].items()] if s.get("access_by") else s["access"] or "as granted"
    ),
    "client": "client",
    "until": "expires_at",
    "revoked": "revoked_at",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Short-lived tokens for one identity: what an agent is handed.", no_args_is_help=True)
    for name, function in (("create", create), ("list", list_), ("revoke", revoke)):
        command(group, name)(function)
    app.add_typer(group, name="sessions")


def create(
    cli: Cli,
    identifier: Annotated[str | None, typer.Argument(help="For which identity; a session mints for its own.")] = None,
    connection: Annotated[
        list[str] | None, typer.Option("--connection", "-c", help="Only this one. Repeatable.")
    ] = None,
    access: Annotated[str | None, typer.Option("--access", help="At most read, write or destructive.")] = None,
    ttl: Annotated[int | None, typer.Option("--ttl", min=60, max=86400, help="Seconds to live; default 900.")] = None,
) -> None:
    """Mint a session token. It is shown this once."""
    given = {"identifier": identifier, "connections": connection or None, "access": access, "ttl_seconds": ttl}
    body: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    made = cli.api.post("/v1/sessions", body)
    if cli.out.as_json:
        cli.out.json(made)
        return
    cli.out.say(f"Session {made['id']} until {made['expires_at']}. Its token, shown this once:")
    cli.out.say(made["token"])


def list_(
    cli: Cli,
    identifier: Annotated[str | None, typer.Option("--identifier", "-i")] = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also the revoked and the expired.")] = False,
) -> None:
    """List sessions."""
    found = cli.api.pages("/v1/sessions", identifier=identifier, ended="true" if ended else None)
    cli.out.items(found, COLUMNS, none="No session lives.")


def revoke(cli: Cli, session_id: Annotated[str, typer.Argument(help="The session's id.")]) -> None:
    """Revoke a session and the children it minted."""
    cli.out.record(cli.api.ask("DELETE", f"/v1/sessions/{seg(session_id)}"))
