"""`keyreeve up` and `keyreeve migrate`: what runs on the data directory itself."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import parse
from broker.cli.errors import CommandError, Usage
from broker.cli.session import Cli, command
from broker.settings import Limits, Settings, take_secret

if TYPE_CHECKING:
    from broker.server.errors import CannotStart
    from broker.server.storage import Storage

MAX_WORKERS = 64

SandboxWorkers = Annotated[
    int, typer.Option(min=1, max=MAX_WORKERS, help="Processes that run programs (Code Mode), for each worker.")
]
SandboxIsolate = Annotated[
    bool, typer.Option("--sandbox-isolate", help="Give each run of a program a process of its own.")
]
AllowUnhardened = Annotated[
    bool, typer.Option("--allow-unhardened-sandbox", help="Run programs also where Landlock or seccomp is missing.")
]
RetentionDays = Annotated[
    int, typer.Option(min=1, max=3650, help="How long the audit is kept; older days are dropped for good.")
]
RequestsPerTenant = Annotated[
    int, typer.Option(min=1, max=100_000, help="Requests of one tenant in hand in a process; more answer 429.")
]
RequestsAtWork = Annotated[
    int, typer.Option(min=1, max=100_000, help="How many of them are worked on while other tenants ask as well.")
]

_LIMITS = Limits()


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    command(app, "up")(up)
    command(app, "migrate")(migrate)


def settings_of(
    data_dir: Path,
    environ: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int = 8700,
    public_url: str | None = None,
    allow_upstream: list[str] | None = None,
    trusted_proxy: bool = False,
    workers: int = 1,
    audit_retention_days: int = 90,
    requests_per_tenant: int = _LIMITS.requests_per_tenant,
    requests_at_work: int = _LIMITS.requests_at_work,
    json_logs: bool = True,
    sandbox_workers: int = 2,
    sandbox_isolate: bool = False,
    allow_unhardened_sandbox: bool = False,
) -> Settings:
    """The settings of a server on `data_dir`. Secrets are taken out of the environment. Raises Usage."""
    if not parse.is_loopback(host) and not trusted_proxy:
        raise Usage(
            f"--host {host} would take keys in the clear from other machines",
            "put a proxy that ends TLS in front and say --trusted-proxy; this release does not end TLS itself",
        )
    if public_url is None and not parse.is_loopback(host):
        raise Usage("a server for other machines needs --public-url", "the https URL that they will use")
    root_key_file = environ.get("KEYREEVE_ROOT_KEY_FILE")
    return Settings(
        data_dir=data_dir.absolute(),
        host="127.0.0.1" if host.lower() == "localhost" else host,
        port=port,
        public_url=None if public_url is None else parse.public_url(public_url),
        trusted_proxy=trusted_proxy,
        allow_upstream=frozenset(parse.host_port(text) for text in allow_upstream or ()),
        database_url=take_secret("KEYREEVE_DATABASE_URL"),
        database_owner_url=take_secret("KEYREEVE_DATABASE_OWNER_URL"),
        root_key_value=take_secret("KEYREEVE_ROOT_KEY"),
        root_key_file=None if root_key_file is None else Path(root_key_file),
        workers=workers,
        node=(environ.get("KEYREEVE_NODE") or socket.gethostname())[:100],
        json_logs=json_logs,
        sandbox_workers=sandbox_workers,
        sandbox_isolate=sandbox_isolate,
        allow_unhardened_sandbox=allow_unhardened_sandbox,
        limits=Limits(
            audit_retention_days=audit_retention_days,
            requests_per_tenant=requests_per_tenant,
            requests_at_work=requests_at_work,
        ),
    )


def up(
    cli: Cli,
    host: Annotated[
        str, typer.Option(help="Where to listen; other machines only behind --trusted-proxy.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8700,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="What clients call this server; other Hosts are refused.")
    ] = None,
    allow_upstream: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="A private or plain-http address connections may reach. Repeatable."),
    ] = None,
    trusted_proxy: Annotated[
        bool, typer.Option("--trusted-proxy", help="A proxy that ends TLS stands in front.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Serving processes.")] = 1,
    audit_retention_days: RetentionDays = 90,
    requests_per_tenant: RequestsPerTenant = _LIMITS.requests_per_tenant,
    requests_at_work: RequestsAtWork = _LIMITS.requests_at_work,
    sandbox_workers: SandboxWorkers = 2,
    sandbox_isolate: SandboxIsolate = False,
    allow_unhardened_sandbox: AllowUnhardened = False,
) -> None:
    """Start the server, and with it an embedded PostgreSQL unless KEYREEVE_DATABASE_URL names another.

    With --json the first line on standard output, once it serves, is
    {"event":"ready","url":…,"admin_key_file":…}. Logs go to standard error. SIGTERM drains and ends all of it.
    """
    if cli.tenant is not None:
        raise Usage("--tenant means nothing to `up`", "a server serves every tenant")
    json_logs = cli.json_asked or not cli.out.stderr.isatty()
    settings = settings_of(
        cli.data_dir,
        cli.environ,
        host=host,
        port=port,
        public_url=public_url,
        allow_upstream=allow_upstream,
        trusted_proxy=trusted_proxy,
        workers=workers,
        audit_retention_days=audit_retention_days,
        requests_per_tenant=requests_per_tenant,
        requests_at_work=requests_at_work,
        json_logs=json_logs,
        sandbox_workers=sandbox_workers,
        sandbox_isolate=sandbox_isolate,
        allow_unhardened_sandbox=allow_unhardened_sandbox,
    )
    raise typer.Exit(_serve(settings, json_ready=cli.json_asked))


def _serve(settings: Settings, *, json_ready: bool) -> int:
    """Runs the server to its end; the exit code. Raises CommandError where it does not start."""
    from broker.server.privileges import Beginning

    beginning = Beginning()  # first of all: it loads what the workers need while the rest is loaded here
    from broker.server.lean import absent

    with absent("rich"):
        from broker import logs
    from broker.server.errors import CannotStart
    from broker.server.up import up as run

    logs.configure(json=settings.json_logs, node=settings.node)
    try:
        return asyncio.run(run(settings, beginning, json_ready=json_ready))
    except CannotStart as error:
        raise cannot(error) from None


def cannot(error: "CannotStart") -> CommandError:
    """A server that does not start, as the end of a command."""
    return CommandError(error.what, error.fix)


def migrate(cli: Cli) -> None:
    """Bring the database to this release's schema, as the owner. `up` does it too, where it may."""
    from broker.cli.database import run_with_storage

    async def work(_: Settings, storage: "Storage") -> bool:
        from broker.db.migrate import migrate as bring

        if storage.owner is None:
            raise CommandError(
                "this environment does not hold the owner's role", "set KEYREEVE_DATABASE_OWNER_URL for this command"
            )
        return await bring(storage.owner.url(), storage.owner.engine_arguments())

    changed = run_with_storage(cli, work)
    if cli.out.as_json:
        cli.out.json({"changed": changed})
    cli.out.say("The schema is up to date now." if changed else "The schema was up to date already.")
