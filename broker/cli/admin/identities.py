"""`keyreeve identities`."""

from typing import Annotated, Any

import typer

from broker.cli.errors import Usage
from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

Identifier = Annotated[str, typer.Argument(help="The tenant's own name for the identity.")]
Groups = Annotated[list[str] | None, typer.Option("--group", "-g", help="A group it is in. Repeatable.")]
Email = Annotated[str | None, typer.Option("--email")]
DisplayName = Annotated[str | None, typer.Option("--display-name")]

COLUMNS: Columns = {
    "identifier": "identifier",
    "status": "status",
    "groups": "groups",
    "e-mail": "email",
    "since": "created_at",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Users and service principals whose credentials agents borrow.", no_args_is_help=True)
    for name, function in (
        ("create", create),
        ("list", list_),
        ("show", show),
        ("update", update),
        ("offboard", offboard),
    ):
        command(group, name)(function)
    app.add_typer(group, name="identities")


def create(
    cli: Cli, identifier: Identifier, email: Email = None, display_name: DisplayName = None, group: Groups = None
) -> None:
    """Make an identity. It can do nothing until a grant says so."""
    given = {"email": email, "display_name": display_name, "groups": group}
    body = {"identifier": identifier} | {k: v for k, v in given.items() if v}
    cli.out.record(cli.api.post("/v1/identities", body))


def list_(
    cli: Cli,
    group: Annotated[str | None, typer.Option("--group", "-g", help="Of this group.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="active or disabled.")] = None,
) -> None:
    """List the tenant's identities."""
    cli.out.items(cli.api.pages("/v1/identities", group=group, status=status), COLUMNS, none="No identities yet.")


def show(cli: Cli, identifier: Identifier) -> None:
    """Show one identity."""
    cli.out.record(cli.api.get(f"/v1/identities/{seg(identifier)}"))


def update(
    cli: Cli,
    identifier: Identifier,
    email: Email = None,
    display_name: DisplayName = None,
    group: Groups = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="Take it out of every group.")] = False,
    reactivate: Annotated[
        bool, typer.Option("--reactivate", help="Bring an offboarded one back, without what it lost.")
    ] = False,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Only if it is still at this version.")
    ] = None,
) -> None:
    """Change an identity; other groups count from the very next call on."""
    if group and no_groups:
        raise Usage("--group and --no-groups contradict each other")
    body: dict[str, Any] = {"email": email, "display_name": display_name, "groups": [] if no_groups else group or None}
    body |= {"status": "active" if reactivate else None}
    body = {k: v for k, v in body.items() if v is not None}
    if not body:
        raise Usage("nothing to change", "--email, --display-name, --group, --no-groups or --reactivate")
    if version is not None:
        body["version"] = version
    cli.out.record(cli.api.ask("PATCH", f"/v1/identities/{seg(identifier)}", body=body))


def offboard(
    cli: Cli,
    identifier: Identifier,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the audit.")],
    drain: Annotated[float, typer.Option("--drain", min=0, max=60, help="Seconds to wait for calls in flight.")] = 10,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Also give sign-ins' tokens back to the servers that issued them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End everything done in an identity's name, in one act; answers what that was."""
    cli.confirm(f"Offboard {identifier}: revoke every session, key and account of it?", yes=yes)
    body = {"reason": reason, "revoke_upstream": upstream, "drain_seconds": drain}
    told = cli.api.post(f"/v1/identities/{seg(identifier)}:offboard", body)
    if cli.out.as_json:
        cli.out.json(told)
        return
    cli.out.say(f"{identifier} is out since {told['at']}. Report {told['report_id']}.")
    counts = {name: len(told[name]) for name in ("sessions", "keys", "connected_accounts")}
    cli.out.say("Ended: {sessions} sessions, {keys} keys, {connected_accounts} accounts.".format(**counts))
    for account in told["connected_accounts"]:
        running = account["in_flight"]
        ended = (
            "none was running"
            if not running
            else f"{len(running)} running: {'ended' if account['drained'] else 'NOT ended yet'}"
        )
        cli.out.say(f"  {account['connection_name']}: {ended}; the token itself is {account['upstream']} upstream")
