"""`keyreeve sign-in-provider`: the OIDC provider by which people sign in, and who of it is which identity."""

import sys
from typing import Annotated, Any

import typer

from broker.cli.connecting import read_token
from broker.cli.output import Columns
from broker.cli.parse import seg
from broker.cli.session import Cli, command

COLUMNS: Columns = {
    "identity": "identifier",
    "issuer": "issuer",
    "subject": "subject",
    "linked by": "linked_by",
    "last used": "last_used_at",
}
Identifier = Annotated[str, typer.Argument(help="The identity.")]
PATH = "/v1/sign_in_provider"


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="The organisation's OIDC provider, by which people sign in.", no_args_is_help=True)
    for name, function in (
        ("set", set_),
        ("show", show),
        ("delete", delete),
        ("link", link),
        ("unlink", unlink),
        ("list", list_),
    ):
        command(group, name)(function)
    app.add_typer(group, name="sign-in-provider")


def set_(
    cli: Cli,
    issuer: Annotated[str, typer.Argument(help="Its issuer, exactly as it spells it: https://login.acme.example")],
    client_id: Annotated[str, typer.Argument(help="The client id that it gave you.")],
    from_file: Annotated[
        str | None,
        typer.Option("--secret-file", metavar="FILE", help="Read the client secret there; `-`: asked for, or stdin."),
    ] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Instead of openid email profile.")] = None,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", help="A domain whose verified addresses are yours. Repeatable.")
    ] = None,
    link_by_email: Annotated[
        bool, typer.Option("--link-by-email", help="At first sign-in, link the identity with that verified address.")
    ] = False,
    create_identities: Annotated[
        bool, typer.Option("--create-identities", help="At first sign-in, make the identity where there is none.")
    ] = False,
) -> None:
    """Set the provider, in place of any before. Prints the redirect URI to register there."""
    body: dict[str, Any] = {
        "issuer": issuer,
        "client_id": client_id,
        "allowed_domains": domain or [],
        "link_by_email": link_by_email,
        "create_identities": create_identities,
    }
    if scope:
        body["scopes"] = scope
    if from_file is not None:
        body["client_secret"] = read_token(None if from_file == "-" and sys.stdin.isatty() else from_file)
    cli.out.record(cli.api.ask("PUT", PATH, body=body))


def show(cli: Cli) -> None:
    """Show the provider, without its secret."""
    cli.out.record(cli.api.get(PATH))


def delete(cli: Cli, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Take the provider away; logins begun with it, and editors let in by them, end."""
    cli.confirm("Delete the sign-in provider and sign everybody out who came by it?", yes=yes)
    cli.out.record(cli.api.ask("DELETE", PATH))


def link(
    cli: Cli,
    identifier: Identifier,
    subject: Annotated[str, typer.Argument(help="`sub` of their ID tokens; the page that refuses them shows it.")],
    issuer: Annotated[str | None, typer.Option("--issuer", help="Default: the provider's.")] = None,
) -> None:
    """Say which person at the provider an identity is."""
    body = {"subject": subject} | ({} if issuer is None else {"issuer": issuer})
    cli.out.record(cli.api.ask("PUT", f"/v1/identities/{seg(identifier)}/sign_in", body=body))


def unlink(cli: Cli, identifier: Identifier) -> None:
    """Take an identity's link away; logins begun with it, and editors let in by them, end."""
    cli.out.record(cli.api.ask("DELETE", f"/v1/identities/{seg(identifier)}/sign_in"))


def list_(cli: Cli) -> None:
    """List who is linked to whom."""
    cli.out.items(cli.api.pages("/v1/sign_ins"), COLUMNS, none="Nobody is linked yet.")
