"""`keyreeve allow` and `keyreeve why`: mending a refusal, and understanding one."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from broker.cli.errors import CommandError, Refused, Usage
from broker.cli.session import Cli, command

_RESOURCE: Final = re.compile(r"/(accounts|zones)/([0-9a-f]{32})(?=/|$)")


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    command(app, "allow")(allow)
    command(app, "why")(why)


def allow(
    cli: Cli,
    execution_id: Annotated[str, typer.Argument(help="A refused execution: its answer and `keyreeve tail` name it.")],
    expires: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", help="Only for so long, such as 2h or 7d.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make the narrowest grant that covers a refused execution, after asking you."""
    items = cli.api.pages("/v1/audit/events", execution_id=execution_id, limit=100)
    grant = narrowest(items, execution_id)
    if expires is not None:
        from broker.cli.parse import moment

        grant["expires_at"] = moment(expires, cli.now(), ahead=True)
    cli.out.note("This grant would cover it:")
    for line in describe(grant):
        cli.out.note(f"  {line}")
    cli.confirm("Make it?", yes=yes)
    made = cli.api.post("/v1/grants", grant)
    if cli.out.as_json:
        cli.out.json(made)
    cli.out.say(f"Made. Repeat the call now; `keyreeve grants delete {made['id']}` takes it back.")


def narrowest(items: list[Mapping[str, Any]], execution_id: str) -> dict[str, Any]:
    """The body of the narrowest grant that covers the refusal among an execution's audit items. Raises CommandError.

    The refusal carries the grant that policy itself worked out; that is what is used.
    """
    refusal = next((i for i in items if i["kind"] == "refusal"), None)
    if refusal is None:
        raise CommandError(
            f"execution {execution_id} was not refused"
            if items
            else f"no execution {execution_id} is recorded in this tenant",
            "name the execution_id that a `not_granted` answer carries",
        )
    would = (refusal.get("summary") or {}).get("would_grant")
    if isinstance(would, Mapping):
        return dict(would)
    if refusal.get("code", refusal.get("reason")) != "not_granted":
        told = refusal.get("detail") or refusal.get("reason")
        raise CommandError(f"no grant would change that: {told}", "`keyreeve why` explains what would")
    return _rebuilt(refusal)


def _rebuilt(refusal: Mapping[str, Any]) -> dict[str, Any]:
    """The grant by the refusal's own facts, for one that was recorded without it."""
    needed = ("identifier", "connection_name", "tool_name", "operation", "effect")
    if any(not refusal.get(name) for name in needed):
        raise CommandError(
            "the refusal does not say enough to build a grant from it", "`keyreeve grants create` makes any"
        )
    grant: dict[str, Any] = {
        "subject": {"identifier": refusal["identifier"]},
        "connection_name": refusal["connection_name"],
        "tools": [refusal["tool_name"]],
        "access": refusal["effect"],
        "operations": [refusal["operation"]],
    }
    resources: dict[str, list[str]] = {}
    for kind, found in _RESOURCE.findall(refusal.get("path") or ""):
        resources.setdefault(kind, []).append(found)
    return grant | ({"resources": resources} if resources else {})


def describe(grant: Mapping[str, Any]) -> list[str]:
    """A grant in a few plain lines."""
    subject = grant["subject"]
    who = subject.get("identifier") or (f"group {subject['group']}" if "group" in subject else "everyone")
    lines = [f"{who} may {grant['access']} through {grant['connection_name']}"]
    if grant.get("operations") is not None:
        lines.append(f"only {', '.join(grant['operations']) or 'nothing'}")
    if grant.get("tools") is not None:
        lines.append(f"with the tools {', '.join(grant['tools']) or 'none'}")
    for kind, ids in (grant.get("resources") or {}).items():
        if ids is not None:
            lines.append(f"on {kind} {', '.join(ids) or 'none'}")
    if grant.get("account") == "shared":
        lines.append("through the shared account")
    lines.append(f"until {grant['expires_at']}" if grant.get("expires_at") else "without an end")
    return lines


def why(
    cli: Cli,
    identifier: Annotated[str, typer.Argument(help="The identity.")],
    operation: Annotated[str, typer.Argument(help='An operation id, or "METHOD /path/{template}".')],
    connection: Annotated[str | None, typer.Option("--connection", "-c", help="Where there are several.")] = None,
) -> None:
    """By which grant and token permission that would be allowed or refused."""
    name, told = _explained(cli, identifier, operation, connection)
    if cli.out.as_json:
        cli.out.json(told)
        return
    op = told["operation"]
    verdict = "may" if told["allowed"] else "may not"
    cli.out.say(f"{identifier} {verdict} {op['ref']} ({op['effect']}) through {name}.")
    if told.get("detail"):
        cli.out.say(f"  {told['detail']}")
    for grant in told["grants"]:
        cli.out.say(f"  {'✔' if grant['covers'] else '✘'} {grant['sentence']} ({grant['id']})")
    if not told["grants"]:
        cli.out.say("  ✘ no grant applies to this identity")
    cli.out.say(f"  {_permission(told)}")
    if not told["allowed"] and told.get("would_grant"):
        cli.out.say("This grant would cover it:")
        for line in describe(told["would_grant"]):
            cli.out.say(f"  {line}")


def _permission(told: Mapping[str, Any]) -> str:
    if told["permitted_upstream"] == "denied":
        missing = told.get("missing_permission")
        return f"✘ the credential lacks the permission {missing}" if missing else "✘ the credential does not allow it"
    if told["permitted_upstream"] == "allowed":
        return "✔ the credential's own permissions include it, at least for some accounts or zones"
    return "? what the credential may do is not known; the upstream will tell"


def _explained(cli: Cli, identifier: str, operation: str, connection: str | None) -> tuple[str, Any]:
    """The connection and the explanation: of the named one, else of the only one that knows the operation."""
    names = [connection] if connection else [str(c["name"]) for c in cli.api.pages("/v1/connections", limit=20)]
    if not names:
        raise CommandError("there is no connection yet", "`keyreeve connect cloudflare` makes one")
    found, refused = [], None
    for name in names:
        asked = {"identifier": identifier, "connection_name": name, "operation": operation}
        try:
            found.append((name, cli.api.get("/v1/policy/explain", **asked)))
        except Refused as error:
            if error.code != "unknown_operation":
                raise
            refused = refused or error
    if len(found) > 1:
        told = ", ".join(name for name, _ in found)
        raise Usage("several connections have this operation", f"name one with --connection: {told}")
    if not found and refused is not None:
        raise refused
    return found[0]
