"""`keyreeve mcp add` and `keyreeve mcp token`: setting an editor up, and what it then asks for.

Claude Code and Codex beside a local server need no browser: before they connect they run a script (`headersHelper`,
`http_headers_helper`) that mints a session of 15 minutes. The script holds no secret; it runs this program, which finds
the key where the server keeps it. Every other editor is told the address alone, and signs in with the browser.
"""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from broker.cli.editing import Unreadable, put
from broker.cli.errors import Usage
from broker.cli.place import local_url
from broker.cli.session import Cli, command
from broker.cli.tables import put_table

Identifier = Annotated[
    str | None,
    typer.Option("--identifier", "-i", help="For which identity; default: KEYREEVE_IDENTIFIER, else your user name."),
]
Connection = Annotated[str | None, typer.Option("--connection", "-c", help="The tools of this connection alone.")]
Access = Annotated[str | None, typer.Option("--access", help="At most read, write or destructive.")]
Editor = Literal["claude-code", "claude-desktop", "codex", "cursor", "vscode"]
EDITORS: Final[tuple[Editor, ...]] = ("claude-code", "claude-desktop", "codex", "cursor", "vscode")
SECONDS: Final = 900
HELPERS: Final[dict[Editor, str]] = {"claude-code": "headersHelper", "codex": "http_headers_helper"}
"""How an editor that runs a script for its headers calls that. Both give the text to a shell."""
HOMES: Final[dict[Editor, str]] = {"claude-code": "CLAUDE_CONFIG_DIR", "codex": "CODEX_HOME"}
"""The variable that moves an editor's own folder."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an editor's servers stand: the file, and the member of it that holds them."""

    file: Path
    section: str

    def put(self, name: str, entry: dict[str, Any], replace: Callable[[], None]) -> None:
        """Puts an entry there. Raises Unreadable."""
        write = put_table if self.file.suffix == ".toml" else put
        write(self.file, self.section, name, entry, replace=replace)


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(help="Editors: set one up, and mint what it signs in with.", no_args_is_help=True)
    command(group, "add")(add)
    command(group, "token")(token)
    app.add_typer(group, name="mcp")


def token(cli: Cli, identifier: Identifier = None, connection: Connection = None, access: Access = None) -> None:
    """Mint a session of 15 minutes; print it as the JSON object of headers that an editor's helper answers."""
    made = _session(cli, identifier, connection, access, SECONDS)
    cli.out.stdout.write(json.dumps({"Authorization": f"Bearer {made['token']}"}) + "\n")


def add(
    cli: Cli,
    editor: Annotated[
        str, typer.Argument(metavar="EDITOR", help="claude-code, claude-desktop, codex, cursor or vscode.")
    ],
    identifier: Identifier = None,
    connection: Connection = None,
    access: Access = None,
    name: Annotated[str, typer.Option("--name", help="What the editor calls it.")] = "keyreeve",
    project: Annotated[bool, typer.Option("--project", help="For the folder you are in, not for all.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace an entry of that name.")] = False,
) -> None:
    """Write an editor's configuration, so that it finds your tools."""
    chosen = next((known for known in EDITORS if known == editor), None)
    if chosen is None:
        raise Usage(f"no editor {editor!r} is known", f"choose one of {', '.join(EDITORS)}")
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 40:
        raise Usage("the name must be at most 40 letters, digits, - and _", "leave --name out")
    made = _session(cli, identifier, connection, access, 60)
    url = str(made["mcp_url"]) + ("" if connection is None else f"/{connection}")
    moved = cli.environ.get(HOMES[chosen]) if chosen in HOMES else None
    place = _place(chosen, Path(moved) if moved else None, Path.cwd() if project else None, sys.platform)
    entry = _entry(chosen, url)
    helper = HELPERS.get(chosen) if cli.api.place.url == local_url(cli.data_dir) else None
    if helper is not None:
        script = cli.data_dir.absolute() / "mcp" / f"{name}.sh"
        _write_script(script, _helper(cli, made["identifier"], connection, access))
        entry[helper] = shlex.quote(str(script))
    try:
        place.put(name, entry, lambda: cli.confirm(f"{place.file} has another {name!r}. Replace it?", yes=yes))
    except Unreadable as problem:
        raise Usage(str(problem), f"add it yourself, in {place.section!r}: {json.dumps({name: entry})}") from None
    if cli.out.as_json:
        cli.out.json({"file": str(place.file), "name": name, "entry": entry, "signs_in": helper is None})
        return
    cli.out.say(f"{editor} knows {url} as {name!r} now ({place.file}).")
    if helper is not None:
        cli.out.say(f"It needs no sign-in: before it connects it mints a session for {made['identifier']}.")
    else:
        cli.out.say(f"It signs in with the browser. To be let in there: keyreeve sign-in-link {made['identifier']}")


def _session(
    cli: Cli, identifier: str | None, connection: str | None, access: str | None, seconds: int
) -> dict[str, Any]:
    given = {
        "identifier": cli.identifier(identifier),
        "connections": None if connection is None else [connection],
        "access": access,
        "ttl_seconds": seconds,
    }
    made: dict[str, Any] = cli.api.post("/v1/sessions", {k: v for k, v in given.items() if v is not None})
    return made


def _entry(editor: Editor, url: str) -> dict[str, Any]:
    if editor == "claude-desktop":
        return {"command": "npx", "args": ["-y", "mcp-remote", url]}
    return {"url": url} if editor in ("codex", "cursor") else {"type": "http", "url": url}


def _place(editor: Editor, moved: Path | None, project: Path | None, platform: str) -> Place:
    """The editor's place. `moved`: its own folder, where a variable says so; `project`: the folder it is to hold for,
    None for all. Raises Usage."""
    home = Path.home()
    apps = {"darwin": home / "Library/Application Support", "win32": home / "AppData/Roaming"}
    settings = apps.get(platform, home / ".config")
    if editor == "claude-code":
        return Place(project / ".mcp.json" if project else (moved or home) / ".claude.json", "mcpServers")
    if editor == "codex":
        return Place((project / ".codex" if project else moved or home / ".codex") / "config.toml", "mcp_servers")
    if editor == "claude-desktop":
        if project:
            raise Usage("Claude Desktop has no settings of a folder", "leave --project out")
        return Place(settings / "Claude/claude_desktop_config.json", "mcpServers")
    if editor == "cursor":
        return Place((project or home) / ".cursor" / "mcp.json", "mcpServers")
    return Place(project / ".vscode/mcp.json" if project else settings / "Code/User/mcp.json", "servers")


def _helper(cli: Cli, identifier: str, connection: str | None, access: str | None) -> str:
    """The script. It names whom it is for, and where the server keeps its key; not the key."""
    options = {
        "--data-dir": str(cli.data_dir.absolute()),
        "--identifier": identifier,
        "--tenant": cli.tenant,
        "--connection": connection,
        "--access": access,
    }
    words = [sys.executable, "-m", "broker.cli", "mcp", "token"]
    for option, value in options.items():
        words += [] if value is None else [f"{option}={value}"]
    return f"#!/bin/sh\n# Mints a session for an editor: keyreeve mcp add\nexec {shlex.join(words)}\n"


def _write_script(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700)
    except OSError as error:
        raise Usage(f"{path} cannot be written: {error.strerror}", "run as the user whose folder that is") from None
