"""`keyreeve tools`, `keyreeve call` and `keyreeve exec`: the agent's view, from a shell."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from broker.cli import exits, parse
from broker.cli.errors import Usage
from broker.cli.output import Columns, Out
from broker.cli.session import Cli, command

Identifier = Annotated[
    str | None,
    typer.Option("--identifier", "-i", help="For which identity; default: KEYREEVE_IDENTIFIER, else your user name."),
]


MAX_PROGRAM = 262_144
"""Characters that the server takes of a program."""


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    command(app, "tools")(tools)
    command(app, "call")(call)
    command(app, "exec")(execute)


def tools(
    cli: Cli,
    connection: Annotated[str | None, typer.Option("--connection", "-c", help="Of this connection alone.")] = None,
    identifier: Identifier = None,
) -> None:
    """List the tools that the identity's agent may use, and what stands in the way of others."""
    found = list_tools(cli, connection, cli.identifier(identifier))
    if cli.out.as_json:
        cli.out.json(found)
        return
    columns: Columns = {
        "tool": "name",
        "effect": "effect",
        "what it does": lambda t: first_sentence(t["definition"]["description"]),
    }
    cli.out.items(found["tools"], columns, none="No tools: no grant covers any.")
    for line in found["unavailable"]:
        name = line.get("name") or line["connection_name"]
        cli.out.say(f"not available: {name} ({line['reason']}): {line['hint']}")


def list_tools(cli: Cli, connection: str | None, identifier: str | None) -> dict[str, Any]:
    """All pages of `list_scoped_tools`, as one answer."""
    shown: dict[str, Any] = {"tools": [], "unavailable": []}
    token: str | None = None
    while True:
        page = cli.api.get(
            "/v1/tools/scoped",
            identifier=identifier,
            connection_name=connection,
            page_size=1000,
            page_token=token,
        )
        shown["tools"] += page["tools"]
        shown["unavailable"] += page["unavailable"]
        token = page["next_page_token"]
        if token is None:
            return shown


def first_sentence(text: str, limit: int = 90) -> str:
    """The beginning of a description: its first sentence, at most `limit` characters."""
    head = text.split("\n", 1)[0].split(". ", 1)[0].rstrip(".")
    return head if len(head) <= limit else head[: limit - 1] + "…"


def call(
    cli: Cli,
    tool: Annotated[str, typer.Argument(help="A tool's name, as `keyreeve tools` lists it.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE…", help="Its input; `query.name=x` nests, `body=@file` reads."),
    ] = None,
    identifier: Identifier = None,
    account: Annotated[
        str | None, typer.Option("--account", help="The connected account's id, where there are several.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Repeating with it never runs twice.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what a write would be; send nothing.")] = False,
    intent: Annotated[str | None, typer.Option("--intent", help="Why, in a sentence, for the audit.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, max=30, help="Seconds to queue for budget.")] = 0,
    deadline: Annotated[
        float | None, typer.Option("--deadline", min=0.1, max=100, help="Seconds the call may take.")
    ] = None,
) -> None:
    """Run one tool as the identity, with its own credential.

    keyreeve call cloudflare_call operation="GET /zones" query.name=example.com
    """
    body: dict[str, Any] = {"tool_name": tool, "tool_input": parse.pairs(arguments or [])}
    given = {
        "identifier": cli.identifier(identifier),
        "connected_account_id": account,
        "idempotency_key": idempotency_key,
        "dry_run": dry_run or None,
        "intent": intent,
        "max_wait_seconds": wait or None,
        "deadline_seconds": deadline,
    }
    _execute(cli, body, given)


def execute(
    cli: Cli,
    file: Annotated[str, typer.Argument(metavar="FILE.js", help="The program; `-` reads standard input.")],
    connection: Annotated[
        str | None,
        typer.Option("--connection", "-c", help="Default: the only one, or cloudflare."),
    ] = None,
    search: Annotated[bool, typer.Option("--search", help="Over the description; makes no request.")] = False,
    account_id: Annotated[str | None, typer.Option("--account-id", help="What `accountId` is in the program.")] = None,
    identifier: Identifier = None,
    account: Annotated[
        str | None, typer.Option("--account", help="The connected account's id, where there are several.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Repeating with it never runs twice.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read, and stop at the first write.")] = False,
    intent: Annotated[str | None, typer.Option("--intent", help="Why, in a sentence, for the audit.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, max=30, help="Seconds to queue for budget.")] = 0,
    deadline: Annotated[
        float | None, typer.Option("--deadline", min=1, max=100, help="Seconds the program may take.")
    ] = None,
) -> None:
    """Run a JavaScript file as the identity's program (Code Mode).

    echo 'async () => (await cloudflare.request({path: "/zones"})).result.map(z => z.name)' | keyreeve exec -
    """
    inputs = {"code": _program(file)} | ({} if account_id is None else {"account_id": account_id})
    kind, person = "search" if search else "execute", cli.identifier(identifier)
    tool = f"{connection}_{kind}" if connection else _only_tool(cli, kind, person)
    body: dict[str, Any] = {"tool_name": tool, "tool_input": inputs}
    given = {
        "identifier": person,
        "connected_account_id": account,
        "idempotency_key": idempotency_key,
        "dry_run": dry_run or None,
        "intent": intent,
        "max_wait_seconds": wait or None,
        "deadline_seconds": deadline,
    }
    _execute(cli, body, given)


def _program(file: str) -> str:
    try:
        return parse.read_file(file).decode()[: MAX_PROGRAM + 1]
    except UnicodeDecodeError:
        raise Usage(f"{file} is no program: it is not UTF-8 text") from None


def _only_tool(cli: Cli, kind: str, identifier: str | None) -> str:
    """The one tool of this kind that the identity may use; cloudflare's where there are several, or none to be seen."""
    found = [str(tool["name"]) for tool in list_tools(cli, None, identifier)["tools"]]
    names = [name for name in found if name.partition("_")[2] == kind]
    usual = f"cloudflare_{kind}"
    if len(names) > 1 and usual not in names:
        told = ", ".join(name.partition("_")[0] for name in names)
        raise Usage("there are several connections", f"name one with --connection: {told}")
    return names[0] if len(names) == 1 else usual


def _execute(cli: Cli, body: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Asks for it with what was given, and shows the answer. Exits as the tool's own error where there is one."""
    body |= {name: value for name, value in given.items() if value is not None}
    answer = cli.api.post("/v1/tools/execute", body)
    if not isinstance(answer, dict):
        raise Usage("the server's answer is not one of execute_tool's", "is KEYREEVE_URL a Keyreeve server?")
    show(cli.out, answer)
    if answer["is_error"]:
        raise typer.Exit(exits.TOOL_ERROR)


def show(out: Out, answer: Mapping[str, Any]) -> None:
    """The answer of `execute_tool`: whole in a pipe; for people the data, and the rest as remarks."""
    if out.as_json:
        out.json(answer)
        return
    out.json(answer["data"])
    error = answer.get("error")
    if error is not None:
        out.note(f"{error['code']}: {error['detail']}")
        if error.get("hint"):
            out.note(f"→ {error['hint']}")
    for warning in answer["warnings"]:
        out.note(f"note: {warning}")
    if answer["replayed"]:
        out.note("This is the kept answer of the first run; nothing was sent now.")
    for line in answer["logs"]:
        out.note(f"{line['level']}: {line['text']}")
    for made in answer["calls"]:
        out.note(f"{made['method']} {made['path']} → {made['status']}")
    budget = answer.get("budget")
    if budget is not None:
        out.note(f"{budget['remaining']:,} of {budget['limit']:,} requests left ({budget['window_seconds']} s)")
