"""`keyreeve keys`."""

from typing import Annotated, Any

import typer

from broker.cli import parse
from broker.cli.errors import Usage
from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

COLUMNS: Columns = {
    "id": "id",
    "kind": "kind",
    "name": "name",
    "role": "role",
    "identifiers": "identifiers",
    "until": "expires_at",
    "revoked": "revoked_at",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(
        help="Operator keys for people and programs that administer; agent keys for agents.", no_args_is_help=True
    )
    for name, function in (("create", create), ("list", list_), ("revoke", revoke)):
        command(group, name)(function)
    app.add_typer(group, name="keys")


def create(
    cli: Cli,
    kind: Annotated[str, typer.Argument(help="operator or agent.")],
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[str | None, typer.Option("--role", help="Operator: platform_admin, admin or auditor.")] = None,
    identifier: Annotated[
        list[str] | None, typer.Option("--identifier", "-i", help="Agent: whom it may act for; `*`: all. Repeatable.")
    ] = None,
    tenants: Annotated[
        list[str] | None, typer.Option("--in-tenant", help="Agent: where it may act. Repeatable.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="A time, or a span such as 90d.")] = None,
) -> None:
    """Mint a key, within your own authority and lifetime. It is shown this once."""
    if kind not in {"operator", "agent"}:
        raise Usage(f"{kind} is no kind of key", "operator or agent")
    body: dict[str, Any] = {"kind": kind, "name": name}
    given = {
        "role": role,
        "identifiers": identifier or None,
        "tenants": tenants or None,
        "expires_at": None if until is None else parse.moment(until, cli.now(), ahead=True),
    }
    made = cli.api.post("/v1/keys", body | {k: v for k, v in given.items() if v is not None})
    if cli.out.as_json:
        cli.out.json(made)
        return
    cli.out.say(f"Key {made['id']}, shown this once:")
    cli.out.say(made["key"])


def list_(cli: Cli, kind: Annotated[str | None, typer.Option("--kind", help="operator or agent.")] = None) -> None:
    """List keys, also the revoked ones. Nobody has their texts."""
    cli.out.items(cli.api.pages("/v1/keys", kind=kind), COLUMNS, none="No keys.")


def revoke(
    cli: Cli,
    key_id: Annotated[str, typer.Argument(help="The key's id.")],
    keep_minted: Annotated[
        bool, typer.Option("--keep-minted", help="Let what it minted live on: to replace a key.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Revoke a key, and all that was minted from it."""
    cli.confirm(f"Revoke key {key_id}{'' if keep_minted else ' and everything minted from it'}?", yes=yes)
    params = {"keep_minted": "true"} if keep_minted else None
    cli.out.record(cli.api.ask("DELETE", f"/v1/keys/{seg(key_id)}", params=params))
