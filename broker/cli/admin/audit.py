"""`keyreeve audit` and `keyreeve executions`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from broker.cli import parse
from broker.cli.errors import CommandError, Usage
from broker.cli.parse import seg
from broker.cli.sentences import sentence
from broker.cli.session import Cli, command

Since = Annotated[str | None, typer.Option("--since", help="A time, or a span ago such as 15m or 7d.")]
Until = Annotated[str | None, typer.Option("--until", help="Before this time.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Who did what, on whose behalf.", no_args_is_help=True)
    command(group, "list")(list_)
    command(group, "export")(export)
    app.add_typer(group, name="audit")
    executions = typer.Typer(help="What became of an execution.", no_args_is_help=True)
    command(executions, "show")(show)
    app.add_typer(executions, name="executions")


def list_(
    cli: Cli,
    since: Since = None,
    until: Until = None,
    identifier: Annotated[str | None, typer.Option("--identifier", "-i")] = None,
    connection: Annotated[str | None, typer.Option("--connection", "-c")] = None,
    tool: Annotated[str | None, typer.Option("--tool")] = None,
    operation: Annotated[str | None, typer.Option("--operation", help="An id, or METHOD /template.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="An upstream status, or an outcome.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="call, refusal or change.")] = None,
    execution: Annotated[str | None, typer.Option("--execution", help="An execution's id.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="An agent's run id.")] = None,
    actor: Annotated[str | None, typer.Option("--actor")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000)] = 50,
) -> None:
    """List calls, refusals and changes, newest first."""
    items = cli.api.pages(
        "/v1/audit/events",
        limit=limit,
        since=None if since is None else parse.moment(since, cli.now(), ahead=False),
        until=None if until is None else parse.moment(until, cli.now(), ahead=False),
        identifier=identifier,
        connection_name=connection,
        tool_name=tool,
        operation=operation,
        status=status,
        kind=kind,
        execution_id=execution,
        run_id=run,
        actor=actor,
    )
    cli.out.items(items, {"at": "at", "what": sentence, "execution": "execution_id"}, none="Nothing recorded.")


def export(
    cli: Cli,
    since: Since = None,
    until: Until = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file; default: standard output.")] = None,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on from an earlier export's last line.")] = None,
) -> None:
    """Stream the audit as NDJSON, oldest first. The last line tells that it is whole."""
    lines = cli.api.lines(
        "/v1/audit/export",
        format="native",
        since=None if since is None else parse.moment(since, cli.now(), ahead=False),
        until=None if until is None else parse.moment(until, cli.now(), ahead=False),
        cursor=cursor,
    )
    if output is None:
        whole = _written(lines, sys.stdout.buffer)
    else:
        try:
            file = output.open("xb")
        except OSError as error:
            raise Usage(f"{output} cannot be made: {error.strerror}") from None
        whole = False
        try:
            with file:
                whole = _written(lines, file)
        finally:
            if not whole:  # what is not whole must not pass for an export, nor stand in the way of the next one
                output.unlink()
    if not whole:
        raise CommandError("the export was cut off: its last line is missing", "run it again")


def _written(lines: Iterator[bytes], file: BinaryIO) -> bool:
    """Writes the lines; whether the last one says that they are all."""
    import json

    last = b"{}"
    for line in lines:
        file.write(line + b"\n")
        last = line
    file.flush()
    try:
        told = json.loads(last)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("kind") == "end"


def show(cli: Cli, execution_id: Annotated[str, typer.Argument(help="The execution's id.")]) -> None:
    """Did it happen? What an execution sent, and how each call ended."""
    cli.out.record(cli.api.get(f"/v1/executions/{seg(execution_id)}"))
