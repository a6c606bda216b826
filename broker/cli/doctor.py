"""`keyreeve doctor`: what an installation needs, one line each, one fix each. Works while the server is down."""

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from broker.cli import exits, parse
from broker.cli.errors import CommandError
from broker.cli.session import Cli, command

State = Literal["ok", "warn", "fail"]

OLD_ADMIN_KEY_HOURS: Final = 24
ROOM_BYTES: Final = 1024**3
SKEW_SECONDS: Final = 2.0
EGRESS_SECONDS: Final = 5.0
UPSTREAM: Final = "api.cloudflare.com:443"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is. `fix` says what to do where it is not well."""

    what: str
    state: State
    told: str
    fix: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"check": self.what, "state": self.state, "detail": self.told, "fix": self.fix}

    def line(self) -> str:
        """For people."""
        mark = {"ok": "✔", "warn": "!", "fail": "✘"}[self.state]
        return f"{mark} {self.what:<10} {self.told}" + ("" if self.fix is None else f"\n             → {self.fix}")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "doctor")(doctor)


def doctor(
    cli: Cli,
    upstream: Annotated[str, typer.Option("--upstream", metavar="HOST:PORT", help="What must be reachable with TLS.")] = UPSTREAM,
    no_egress: Annotated[bool, typer.Option("--no-egress", help="Do not try to reach an upstream.")] = False,
) -> None:
    """Check database, roles, key files, clock and egress: one line each, one fix each."""
    host, port = parse.host_port(upstream)
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        cli.out.say(finding.line())

    for finding in files(cli.data_dir, cli.environ, cli.now().timestamp()):
        tell(finding)
    tell(server(cli))

    async def rest() -> None:
        async for finding in database(cli.settings, cli.now):
            tell(finding)
        if not no_egress:
            tell(await egress(host, port))

    asyncio.run(rest())
    if cli.out.as_json:
        cli.out.json({"items": [f.as_json() for f in found]})
    if any(f.state == "fail" for f in found):
        raise typer.Exit(exits.FAILED)


def files(data_dir: Path, environ: Mapping[str, str], now: float) -> Iterator[Finding]:
    """The data directory and the key files in it. `now` in seconds since 1970."""
    try:
        mode = data_dir.stat().st_mode
    except OSError as error:
        yield Finding("data", "fail", f"{data_dir}: {error.strerror}", "`keyreeve up` makes it; or name it with --data-dir")
        return
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        yield Finding("data", "warn", f"{data_dir} is open to others", f"chmod 700 {data_dir}")
    else:
        yield Finding("data", "ok", str(data_dir))
    free = shutil.disk_usage(data_dir).free
    if free < ROOM_BYTES:
        yield Finding("disk", "warn", f"{free // 1024**2} MiB left beside {data_dir}", "make room: a full disk stops the database")
    else:
        yield Finding("disk", "ok", f"{free // 1024**3} GiB left")
    yield root_key(data_dir, environ)
    yield admin_key(data_dir / "admin.key", now)


def root_key(data_dir: Path, environ: Mapping[str, str]) -> Finding:
    """Whether the root key can be used. Its content goes nowhere."""
    from vault.errors import VaultError
    from vault.rootfile import FileRootKey

    if environ.get("KEYREEVE_ROOT_KEY"):
        return Finding("root key", "ok", "given by KEYREEVE_ROOT_KEY")
    path = Path(environ.get("KEYREEVE_ROOT_KEY_FILE") or data_dir / "root.key")
    try:
        held = FileRootKey(path)
    except VaultError as error:
        missing = not os.path.lexists(path)
        fix = "`keyreeve up` makes one on its first start" if missing else "restore it from its copy, owned by the server's user, mode 600"
        return Finding("root key", "fail", str(error), fix)
    return Finding("root key", "ok", f"{path}, {len(held.key_ids)} key(s), current {held.current_key_id}; keep a copy elsewhere")


def admin_key(path: Path, now: float) -> Finding:
    """The operator key of the first start: for beginning with, and to be put away."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return Finding("admin key", "ok", "the bootstrap key is put away")
    except OSError as error:
        return Finding("admin key", "warn", f"{path}: {error.strerror}", "run as the server's user")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("admin key", "fail", f"{path} is open to others", f"chmod 600 {path}, then replace the key")
    hours = int((now - found.st_mtime) // 3600)
    if hours >= OLD_ADMIN_KEY_HOURS:
        fix = "mint your own (`keyreeve keys create operator NAME --role platform_admin`), revoke it with --keep-minted, remove the file"
        return Finding("admin key", "warn", f"the bootstrap key has lain in {path} for {hours} h", fix)
    return Finding("admin key", "ok", f"{path}, for bootstrap; replace it within a day")


def server(cli: Cli) -> Finding:
    """Whether the server of this data directory answers that it is ready."""
    import httpx

    from broker.cli.place import local_url

    try:
        url = local_url(cli.data_dir)
    except CommandError as error:
        return Finding("server", "warn", error.what, error.hint)
    if url is None:
        return Finding("server", "warn", "not running on this data directory", "keyreeve up")
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        return Finding("server", "fail", f"{url} does not answer ({type(error).__name__})", "start it again: keyreeve up")
    if answer.status_code == 200:
        return Finding("server", "ok", f"ready at {url}")
    try:
        told = str(answer.json().get("detail"))
    except (ValueError, AttributeError):
        told = f"answered {answer.status_code}"
    return Finding("server", "fail", f"{url}: {told}", "its log says why")


async def database(settings: Any, now: Callable[[], Any]) -> AsyncIterator[Finding]:
    """The database as the server will see it: reachable, of a fit version, durable, with roles that hold back."""
    import asyncpg

    from broker.cli.database import running_embedded
    from broker.server.errors import CannotStart

    try:
        if settings.database_url is not None:
            from broker.server.privileges import Serving
            from broker.server.storage import open_storage

            async with open_storage(settings, Serving(None)) as storage:
                connect = storage.connect
        else:
            running = await running_embedded(settings)
            if running is None:
                from broker.db.embedded.binaries import find_binaries
                from broker.db.embedded.users import database_account

                binaries = await asyncio.to_thread(find_binaries, database_account())
                yield Finding("database", "ok", f"embedded PostgreSQL {binaries.major} is here, and not running now")
                return
            connect = running.connect
        connection = await asyncpg.connect(**connect, timeout=10)
    except CannotStart as error:
        yield Finding("database", "fail", error.what, error.fix)
        return
    except CommandError as error:
        yield Finding("database", "fail", error.what, error.hint)
        return
    except (OSError, TimeoutError, RuntimeError, asyncpg.PostgresError) as error:
        yield Finding("database", "fail", f"not usable: {type(error).__name__}", "check KEYREEVE_DATABASE_URL, and that it is running")
        return
    try:
        async for finding in _facts(connection, now):
            yield finding
    finally:
        await connection.close(timeout=5)


async def _facts(connection: Any, now: Callable[[], Any]) -> AsyncIterator[Finding]:
    from broker.db.migrate import CURRENT, head

    row = await connection.fetchrow(
        "select current_setting('server_version_num')::int as version, current_setting('fsync') as fsync,"
        " current_setting('synchronous_commit') as sync, r.rolname as role,"
        " r.rolsuper or r.rolbypassrls as mighty from pg_roles r where r.rolname = current_user"
    )
    major = row["version"] // 10000
    if not 15 <= major <= 18:
        yield Finding("database", "fail", f"PostgreSQL {major}", "use 15 to 18")
    elif row["fsync"] != "on" or row["sync"] == "off":
        yield Finding("database", "fail", "fsync or synchronous_commit is off: acknowledged calls could be lost", "set both to on")
    else:
        yield Finding("database", "ok", f"PostgreSQL {major}, durable")
    if row["mighty"]:
        yield Finding("roles", "fail", f"{row['role']} is a superuser or bypasses row security", "serve with a plain role: deploy/roles.sql")
    else:
        yield Finding("roles", "ok", f"{row['role']} is held by row security")
    revision = await connection.fetchval(CURRENT)
    if revision != head():
        yield Finding("schema", "fail", f"at {revision}, this release needs {head()}", "keyreeve migrate")
    else:
        yield Finding("schema", "ok", f"at {revision}")
    before = now()
    there = await connection.fetchval("select clock_timestamp()")
    skew = abs((there - before).total_seconds())
    if skew > SKEW_SECONDS:
        yield Finding("clock", "fail", f"{skew:.1f} s between this machine and the database", "keep both in time with NTP")
    else:
        yield Finding("clock", "ok", "agrees with the database's")


async def egress(host: str, port: int) -> Finding:
    """Whether an upstream can be reached with verified TLS."""
    import ssl

    try:
        async with asyncio.timeout(EGRESS_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    except ssl.SSLError as error:
        return Finding("egress", "fail", f"{host}: TLS cannot be verified ({error.reason})", "is a proxy breaking TLS open? install its CA")
    except TimeoutError:
        return Finding("egress", "fail", f"{host}:{port} does not answer", "let this machine reach it; outgoing proxies are not used")
    except OSError as error:
        return Finding("egress", "fail", f"{host}:{port}: {error.strerror or error}", "check DNS and the firewall")
    writer.close()
    return Finding("egress", "ok", f"{host}:{port} answers with verified TLS")


