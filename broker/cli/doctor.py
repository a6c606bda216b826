"""`keyreeve doctor`: what an installation needs, one line each, one fix each. Works while the server is down."""

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from broker.cli import exits, parse
from broker.cli.errors import CommandError
from broker.cli.session import Cli, command

if TYPE_CHECKING:
    from broker.db.server_checks import ExternalDatabase
    from broker.settings import Settings

State = Literal["ok", "warn", "fail"]

OLD_ADMIN_KEY_HOURS: Final = 24
ROOM_BYTES: Final = 1024**3
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
    upstream: Annotated[
        str, typer.Option("--upstream", metavar="HOST:PORT", help="What must be reachable with TLS.")
    ] = UPSTREAM,
    no_egress: Annotated[bool, typer.Option("--no-egress", help="Do not try to reach an upstream.")] = False,
) -> None:
    """Check database, roles, key files, clock, sandbox and egress: one line each, one fix each."""
    host, port = parse.host_port(upstream)
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        cli.out.say(finding.line())

    for finding in files(cli.data_dir, cli.environ, cli.now().timestamp()):
        tell(finding)
    tell(server(cli))

    async def rest() -> None:
        from broker.cli.database import quiet

        quiet(cli)
        async for finding in database(cli.settings, cli.now):
            tell(finding)
        tell(await sandbox())
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
        yield Finding(
            "data", "fail", f"{data_dir}: {error.strerror}", "`keyreeve up` makes it; or name it with --data-dir"
        )
        return
    if mode & (stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):  # passing through (x) is for who serves
        yield Finding("data", "warn", f"{data_dir} is open to others", f"chmod 700 {data_dir}")
    else:
        yield Finding("data", "ok", str(data_dir))
    free = shutil.disk_usage(data_dir).free
    if free < ROOM_BYTES:
        yield Finding(
            "disk", "warn", f"{free // 1024**2} MiB left beside {data_dir}", "make room: a full disk stops the database"
        )
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
        fix = (
            "`keyreeve up` makes one on its first start"
            if missing
            else "restore it from its copy, owned by the server's user, mode 600"
        )
        return Finding("root key", "fail", str(error), fix)
    return Finding(
        "root key", "ok", f"{path}, {len(held.key_ids)} key(s), current {held.current_key_id}; keep a copy elsewhere"
    )


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
        fix = (
            "mint your own (`keyreeve keys create operator NAME --role platform_admin`), "
            "revoke this one with --keep-minted, remove the file"
        )
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
        return Finding(
            "server", "fail", f"{url} does not answer ({type(error).__name__})", "start it again: keyreeve up"
        )
    if answer.status_code == 200:
        return Finding("server", "ok", f"ready at {url}")
    try:
        told = str(answer.json().get("detail"))
    except (ValueError, AttributeError):
        told = f"answered {answer.status_code}"
    return Finding("server", "fail", f"{url}: {told}", "its log says why")


async def database(settings: "Settings", now: Callable[[], datetime]) -> AsyncIterator[Finding]:
    """The database as the server will see it: reachable, durable, of a fit version, with a role that holds back."""
    import asyncpg

    from broker.db.server_checks import DatabaseUrlRefused

    try:
        place = await _place(settings)
        if isinstance(place, Finding):
            yield place
            return
        connection = await asyncpg.connect(**place.connect_kwargs(), timeout=10)
    except (DatabaseUrlRefused, RuntimeError) as error:
        yield Finding("database", "fail", str(error), "correct it, and run this again")
        return
    except CommandError as error:
        yield Finding("database", "fail", error.what, error.hint)
        return
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        told = f"cannot be reached ({type(error).__name__})"
        yield Finding("database", "fail", told, "check KEYREEVE_DATABASE_URL, and that it runs")
        return
    try:
        async for finding in _judged(connection, now):
            yield finding
    finally:
        await connection.close(timeout=5)


async def _place(settings: "Settings") -> "ExternalDatabase | Finding":
    """Where the database is; a Finding where the embedded one does not run now. Raises CommandError and its kin."""
    from broker.cli.database import running_embedded
    from broker.db.embedded.binaries import find_binaries
    from broker.db.embedded.users import database_account
    from broker.db.server_checks import parse_database_url

    if settings.database_url is not None:
        return parse_database_url(settings.database_url)
    running = await running_embedded(settings)
    if running is not None:
        return running.app
    binaries = await asyncio.to_thread(find_binaries, database_account())
    return Finding("database", "ok", f"embedded PostgreSQL {binaries.major} is here; it does not run now")


async def _judged(connection: Any, now: Callable[[], datetime]) -> AsyncIterator[Finding]:
    from asyncpg import PostgresError

    from broker.db.migrate import CURRENT, head
    from broker.db.server_checks import check_server

    found = await check_server(connection, now)
    topics = {"database": "durable and of a fit version", "role": "held by row security", "clock": "agrees with ours"}
    for topic, well in topics.items():
        wrong = [f for f in found if (f.check if f.check in topics else "database") == topic]
        for f in wrong:
            yield Finding(topic, f.level, f.message, f.fix)
        if not wrong:
            yield Finding(topic, "ok", well)
    try:
        revision = await connection.fetchval(CURRENT)
    except PostgresError:
        revision = None
    if revision == head():
        yield Finding("schema", "ok", f"at {revision}")
    else:
        yield Finding("schema", "fail", f"at {revision or 'nothing'}, this release needs {head()}", "keyreeve migrate")


async def sandbox() -> Finding:
    """Whether programs can be run, locked in as they must be: by running one, in a folder of its own."""
    import tempfile

    from broker.ids import NIL
    from broker.tools.codemode.sandbox.errors import SandboxError
    from broker.tools.codemode.sandbox.images import Images
    from broker.tools.codemode.sandbox.pool import Sandbox
    from broker.tools.codemode.sandbox.program import Program

    async def nobody(_name: str, _argument: bytes) -> bytes:
        return b"null"

    with tempfile.TemporaryDirectory(prefix="keyreeve-") as folder:
        images = Images(Path(folder) / "images")
        try:
            async with Sandbox(images, workers=1) as running:
                program = Program(await images.execute_image(), "async () => 6 * 7", b'{"kind":"execute"}')
                ran = await running.run(program, nobody, tenant=NIL)
                walls = ", ".join(running.stats().hardening)
        except SandboxError as error:
            advice = "Landlock and seccomp need Linux 5.13 or later; else `keyreeve up --allow-unhardened-sandbox`"
            return Finding("sandbox", "fail", str(error), advice)
    if ran.value != b"42":
        told = "it does not answer" if ran.error is None else str(ran.error.get("message"))
        return Finding("sandbox", "fail", told, "install Keyreeve again: its sandbox does not run")
    return Finding("sandbox", "ok", f"runs programs behind {walls or 'WebAssembly alone'}")


async def egress(host: str, port: int) -> Finding:
    """Whether an upstream can be reached with verified TLS."""
    import ssl

    try:
        async with asyncio.timeout(EGRESS_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    except ssl.SSLError as error:
        return Finding(
            "egress",
            "fail",
            f"{host}: TLS cannot be verified ({error.reason})",
            "is a proxy breaking TLS open? install its CA",
        )
    except TimeoutError:
        return Finding(
            "egress",
            "fail",
            f"{host}:{port} does not answer",
            "let this machine reach it; outgoing proxies are not used",
        )
    except OSError as error:
        return Finding("egress", "fail", f"{host}:{port}: {error.strerror or error}", "check DNS and the firewall")
    writer.close()
    return Finding("egress", "ok", f"{host}:{port} answers with verified TLS")
