"""`Cli`: what every command is handed, and `command`, which registers a function as one.

A command is a function whose first parameter is a `Cli`; `command` gives it the options that all have (`--json`,
`--data-dir`, `--tenant`) and turns `CommandError` into a sentence on standard error and an exit code.
"""

import inspect
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.errors import CommandError, Usage
from broker.cli.output import Out
from broker.settings import Settings, environment, take_secret

if TYPE_CHECKING:
    from broker.cli.client import Api

AsJson = Annotated[bool, typer.Option("--json", help="JSON also on a terminal.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="The server's data directory.", show_default=False)
]
Tenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="The tenant to act in (platform admins).", show_default=False),
]
_COMMON = {"as_json": (AsJson, False), "data_dir": (DataDir, None), "tenant": (Tenant, None)}


class Cli:
    """One run of one command: where its results go, and on request the server."""

    def __init__(self, out: Out, data_dir: Path | None, tenant: str | None, *, json_asked: bool = False) -> None:
        from broker.cli.place import data_dir_of

        self.out = out
        self.json_asked = json_asked
        """Whether `--json` was said, whatever standard output is."""
        self.environ = environment()
        self.data_dir = data_dir_of(data_dir, self.environ)
        self.tenant = tenant
        self._api: Api | None = None
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings of this data directory, for commands that work on it themselves. The environment's secrets are
        taken out of it by the first use, so this is the one place to ask."""
        if self._settings is None:
            from broker.cli.serving import settings_of

            self._settings = settings_of(self.data_dir, self.environ, json_logs=False)
        return self._settings

    @property
    def api(self) -> "Api":
        """The server's API, found at the first use. Raises Unreachable, NoKey."""
        if self._api is None:
            from broker.cli.client import Api
            from broker.cli.place import find

            self._api = Api(find(self.data_dir, self.environ, take_secret), tenant=self.tenant)
        return self._api

    def close(self) -> None:
        """Gives the connection back, if there is one."""
        if self._api is not None:
            self._api.close()

    def now(self) -> datetime:
        """The time, for what is asked of a person's clock."""
        from broker.clock import SystemClock

        return SystemClock().now()

    def identifier(self, given: str | None) -> str | None:
        """For which identity tools are asked: as given, else `KEYREEVE_IDENTIFIER`, else this user's name. None with a
        session token, which is of one identity."""
        named = given or self.environ.get("KEYREEVE_IDENTIFIER")
        if named is not None:
            return named
        return user_name() if self.api.place.needs_identifier else None

    def confirm(self, question: str, *, yes: bool) -> None:
        """Returns if the person agrees. Raises Usage where nobody can be asked, and Abort on a no."""
        if yes:
            return
        import sys

        if not sys.stdin.isatty():
            raise Usage("there is nobody to ask", "--yes agrees beforehand")
        typer.confirm(question, abort=True, err=True)


def user_name() -> str:
    """The name of whoever runs this."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise Usage("this user has no name", "name the identity with --identifier") from None


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers `function(cli, …)` as the command `name` of `app`. Its docstring is the help."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        common = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for n, (kind, default) in _COMMON.items()
        ]

        def run(*, as_json: bool, data_dir: Path | None, tenant: str | None, **given: Any) -> None:
            out = Out.standard(force_json=as_json)
            try:
                cli = Cli(out, data_dir, tenant, json_asked=as_json)
                try:
                    function(cli, **given)
                finally:
                    cli.close()
            except CommandError as error:
                report(out, error)
                raise typer.Exit(error.exit_code) from None
            except BrokenPipeError:
                raise typer.Exit(0) from None

        # typer reads a command's parameters from its signature and annotations.
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        vars(run)["__signature__"] = inspect.Signature([*keyword, *common])
        run.__annotations__ = {p.name: p.annotation for p in [*keyword, *common]}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        app.command(name, help=function.__doc__, **settings)(run)
        return function

    return register


def report(out: Out, error: CommandError) -> None:
    """Tells standard error why a command ended: people in sentences, machines (JSON) in one line."""
    if out.as_json and not out.stderr.isatty():
        import json

        out.stderr.write(json.dumps(error.as_json(), ensure_ascii=False) + "\n")
        return
    for line in error.lines():
        out.note(line)
