"""`keyreeve connect CONNECTOR`: from a token to a tool that works, in one command."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from broker.cli import parse
from broker.cli.errors import CommandError, Refused, Usage
from broker.cli.parse import seg
from broker.cli.session import Cli, command, user_name

PREFIXES: Final[Mapping[str, str]] = {"cfut_": "api_token", "cfat_": "account_token", "cfk_": "global_key"}
"""How Cloudflare marks its credentials, and the kind each is deposited as."""


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "connect")(connect)


def connect(
    cli: Cli,
    connector: Annotated[str, typer.Argument(help="One of `keyreeve connectors`.")],
    name: Annotated[str | None, typer.Option("--name", help="The connection's name; default: the connector's.")] = None,
    identifier: Annotated[
        str | None, typer.Option("--identifier", "-i", help="Whose account; default: your user name.")
    ] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="FILE", help="Read the token there; `-`: standard input.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="The credential's kind, where its prefix does not tell.")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="NAME=VALUE", help="account_id or email, instead of being asked."),
    ] = None,
    access: Annotated[str, typer.Option("--access", help="The grant to make: read, write or destructive.")] = "read",
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Another address of the API (platform admins).")
    ] = None,
    spec: Annotated[
        str | None, typer.Option("--spec", help="A file in DIR/specs instead of the published description.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Connect an upstream: give a token, have it verified, and call tools with it.

    Makes an identity for you, a connection, your account on it and a grant to read. The token is asked for without
    being shown; it is never an argument, and nobody can read it again.
    """
    if access not in {"read", "write", "destructive"}:
        raise Usage(f"--access {access} is none", "read, write or destructive")
    offered = _connector(cli, connector)
    who = identifier or cli.environ.get("KEYREEVE_IDENTIFIER") or user_name()
    connection = name or connector
    credential = _credential(cli, offered, token_file, kind, field or [])
    config = ({} if base_url is None else {"base_url": base_url}) | ({} if spec is None else {"spec": {"source": spec}})
    cli.out.note(f"This makes, in tenant {cli.tenant or 'default'}, where it is not there yet:")
    for line in (
        f"  identity    {who}",
        f"  connection  {connection} ({offered['title']})",
        f"  account     {who}'s {credential['kind']} on {connection}, verified with {offered['title']} first",
        f"  grant       {who} may {access} through {connection}",
    ):
        cli.out.note(line)
    cli.confirm("Go on?", yes=yes)
    _make(cli, who, connection, connector, config, credential, access)


def _make(
    cli: Cli,
    who: str,
    connection: str,
    connector: str,
    config: Mapping[str, Any],
    credential: Mapping[str, Any],
    access: str,
) -> None:
    """Makes what is missing. Running it again after a failure goes on where it stopped."""
    api = cli.api
    _once(cli, "/v1/identities", {"identifier": who})
    made = _once(cli, "/v1/connections", {"name": connection, "connector": connector, "config": dict(config)})
    if made is None:
        there = api.get(f"/v1/connections/{seg(connection)}")
        if there["connector"] != connector:
            raise CommandError(
                f"connection {connection} is of connector {there['connector']}", "choose another with --name"
            )
    account = api.ask(
        "PUT",
        "/v1/connected_accounts",
        body={"connection_name": connection, "identifier": who, "credential": dict(credential)},
    )
    grant = {"subject": {"identifier": who}, "connection_name": connection, "access": access}
    held = [g for g in api.pages("/v1/grants", connection_name=connection, identifier=who) if _covers(g, access)]
    kept = held[0] if held else api.post("/v1/grants", grant)
    if cli.out.as_json:
        cli.out.json(
            {"identifier": who, "connection_name": connection, "connected_account": account, "grant_id": kept["id"]}
        )
        return
    upstream = account["upstream"]
    whose = upstream.get("display") or upstream["principal"]
    cli.out.say(f"Verified: {whose}, fingerprint {account['credential']['fingerprint']}.")
    if upstream.get("expires_at"):
        cli.out.say(f"The token expires at {upstream['expires_at']}.")
    if account.get("permissions", {}).get("source") == "unknown":
        cli.out.say(
            "What the token may do is not known; your grants decide, and the upstream's refusals are remembered."
        )
    cli.out.say(f"{who} may {access} through {connection}. Try:")
    cli.out.say(
        f'  keyreeve call {connection}_call operation="GET /zones"' if connector == "cloudflare" else "  keyreeve tools"
    )


def _once(cli: Cli, path: str, body: Mapping[str, Any]) -> Any:
    """Makes it; None where it is there already."""
    try:
        return cli.api.post(path, body)
    except Refused as refused:
        if refused.code == "already_exists":
            return None
        raise


def _covers(grant: Mapping[str, Any], access: str) -> bool:
    limits = (grant.get("tools"), grant.get("operations"), grant.get("resources"), grant.get("expires_at"))
    return grant["access"] == access and grant.get("account", "own") == "own" and not any(limits)


def _connector(cli: Cli, name: str) -> Mapping[str, Any]:
    offered: Sequence[Mapping[str, Any]] = cli.api.get("/v1/connectors")["items"]
    for one in offered:
        if one["name"] == name:
            return one
    raise Usage(f"there is no connector {name}", f"one of: {', '.join(o['name'] for o in offered)}")


def kind_of(token: str, kinds: Sequence[str]) -> str:
    """The kind of a credential by its prefix; an unmarked one is of the connector's first kind."""
    for prefix, kind in PREFIXES.items():
        if token.startswith(prefix) and kind in kinds:
            return kind
    return kinds[0]


def _credential(
    cli: Cli, offered: Mapping[str, Any], token_file: str | None, kind: str | None, given: Sequence[str]
) -> dict[str, Any]:
    """The credential's wire form: the secret, and the fields that its kind needs beside it."""
    kinds = {k["name"]: k for k in offered["credential_kinds"]}
    if kind is not None and kind not in kinds:
        raise Usage(f"{offered['name']} takes no {kind}", f"one of: {', '.join(kinds)}")
    fields = {name: value for name, equals, value in (f.partition("=") for f in given) if equals}
    if len(fields) != len(given):
        raise Usage("--field is NAME=VALUE", "for example --field email=you@example.com")
    if token_file is None and sys.stdin.isatty():
        _explain(cli, offered)
    secret = read_token(token_file)
    chosen = kinds[kind or kind_of(secret, list(kinds))]
    secret_field = (chosen["secret_fields"] or ["token"])[0]
    unknown = [name for name in fields if name not in chosen["fields"] or name in chosen["secret_fields"]]
    if unknown:
        raise Usage(f"{chosen['name']} has no field {unknown[0]}", f"its fields: {', '.join(chosen['fields'])}")
    credential: dict[str, Any] = {"kind": chosen["name"], **fields, secret_field: secret}
    for name, what in chosen["fields"].items():
        if name not in credential and "optional" not in what:
            credential[name] = _ask(name, what)
    if isinstance(credential.get("permissions"), str):
        credential["permissions"] = [p.strip() for p in credential["permissions"].split(",")]
    return credential


def _explain(cli: Cli, offered: Mapping[str, Any]) -> None:
    cli.out.note(f"{offered['title']}: {offered['permissions_needed']}")
    for one in offered["credential_kinds"]:
        cli.out.note(f"  {one['name']}: {one['help']}")


def read_token(token_file: str | None) -> str:
    """The secret: from a file, from a hidden prompt, or from standard input where that is no terminal. Raises Usage."""
    if token_file is None and sys.stdin.isatty():
        text = typer.prompt("Token (not shown)", hide_input=True, err=True)
    else:
        text = parse.read_file(token_file or "-")[:20_000].decode("utf-8", "replace")
    text = text.strip()
    if not text or not text.isprintable() or any(c.isspace() for c in text):
        raise Usage("that is no token: it must be one word")
    return str(text)


def _ask(name: str, what: str) -> str:
    if not sys.stdin.isatty():
        raise Usage(f"{name} is needed too: {what}", f"--field {name}=…")
    return str(typer.prompt(f"{name} ({what})", err=True)).strip()
