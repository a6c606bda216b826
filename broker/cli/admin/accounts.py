"""`keyreeve accounts` and `keyreeve budgets`."""

from typing import Annotated, Any

import typer

from broker.cli.connecting import kind_of, read_token
from broker.cli.errors import Usage
from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

AccountId = Annotated[str, typer.Argument(help="The connected account's id.")]

COLUMNS: Columns = {
    "id": "id",
    "connection": "connection_name",
    "whose": lambda a: "shared" if a["shared"] else a["identifier"],
    "status": "status",
    "kind": "kind",
    "upstream": lambda a: a["upstream"].get("display") or a["upstream"]["principal"],
    "fingerprint": "credential.fingerprint",
    "last used": "last_used_at",
}
BUDGETS: Columns = {
    "connection": "connection_name",
    "principal": "principal",
    "meter": "meter",
    "left": "remaining",
    "of": "limit",
    "used by us": "used",
    "by others": "foreign",
    "window (s)": "window_seconds",
    "blocked until": "blocked_until",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Connected accounts: whose credential a call uses.", no_args_is_help=True)
    for name, function in (
        ("list", list_),
        ("show", show),
        ("deposit", deposit),
        ("revoke", revoke),
        ("verify", verify),
    ):
        command(group, name)(function)
    app.add_typer(group, name="accounts")
    command(app, "budgets")(budgets)


def list_(
    cli: Cli,
    connection: Annotated[str | None, typer.Option("--connection", "-c")] = None,
    identifier: Annotated[str | None, typer.Option("--identifier", "-i")] = None,
    status: Annotated[str | None, typer.Option("--status", help="pending, active, needs_reauth or revoked.")] = None,
) -> None:
    """List connected accounts: metadata alone, never a credential."""
    found = cli.api.pages("/v1/connected_accounts", connection_name=connection, identifier=identifier, status=status)
    cli.out.items(found, COLUMNS, none="No accounts yet: `keyreeve connect cloudflare`.")


def show(cli: Cli, account_id: AccountId) -> None:
    """Show one account."""
    cli.out.record(cli.api.get(f"/v1/connected_accounts/{seg(account_id)}"))


def deposit(
    cli: Cli,
    connection: Annotated[str, typer.Argument(help="The connection's name.")],
    identifier: Annotated[str | None, typer.Option("--identifier", "-i", help="Whose account it is to be.")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="The tenant's own, for whom a grant says so.")] = False,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="FILE", help="Read the token there; `-`: stdin.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Where the token's prefix does not tell.")] = None,
    account_id: Annotated[str | None, typer.Option("--account-id", help="With an account_token.")] = None,
    email: Annotated[str | None, typer.Option("--email", help="With a global_key.")] = None,
    permission: Annotated[
        list[str] | None, typer.Option("--permission", help="A permission group that the token has. Repeatable.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Tells several accounts apart.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also when it belongs to another upstream principal.")
    ] = False,
) -> None:
    """Deposit a credential. It is verified with the upstream first; one that does not verify is not kept."""
    if shared == (identifier is not None):
        raise Usage("whose account is it?", "--identifier NAME or --shared, one of them")
    secret = read_token(token_file)
    chosen = kind or kind_of(secret, ["api_token", "account_token", "global_key"])
    credential: dict[str, Any] = {"kind": chosen, "key" if chosen == "global_key" else "token": secret}
    beside = {"account_id": account_id, "email": email, "permissions": permission}
    credential |= {k: v for k, v in beside.items() if v}
    body: dict[str, Any] = {"connection_name": connection, "credential": credential}
    body |= {"shared": True} if shared else {"identifier": identifier}
    body |= {k: v for k, v in {"label": label, "replace": replace or None}.items() if v is not None}
    cli.out.record(cli.api.ask("PUT", "/v1/connected_accounts", body=body))


def revoke(
    cli: Cli,
    account_id: AccountId,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the audit.")],
    drain: Annotated[float, typer.Option("--drain", min=0, max=60, help="Seconds to wait for calls in flight.")] = 0,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Also give a sign-in's tokens back to the server that issued them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Revoke an account: once this answers, nothing new is sent with its credential."""
    cli.confirm(f"Revoke account {account_id}?", yes=yes)
    body = {"reason": reason, "upstream": upstream, "drain_seconds": drain}
    cli.out.record(cli.api.post(f"/v1/connected_accounts/{seg(account_id)}:revoke", body))


def verify(cli: Cli, account_id: AccountId) -> None:
    """Ask the upstream again about an account's credential."""
    cli.out.record(cli.api.post(f"/v1/connected_accounts/{seg(account_id)}:verify"))


def budgets(cli: Cli) -> None:
    """Show what is left of each upstream principal's request budget."""
    cli.out.items(cli.api.get("/v1/budgets")["items"], BUDGETS, none="No budget was touched yet.")
