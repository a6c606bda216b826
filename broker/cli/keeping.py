"""`keyreeve vault`: rotation of keys, on the database itself. Every step can be stopped anywhere and run again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from broker.cli.errors import CommandError, Usage
from broker.cli.output import Columns
from broker.cli.session import Cli, command

if TYPE_CHECKING:
    from broker.db.database import Database
    from broker.server.storage import Storage
    from broker.settings import Settings
    from vault.keyring import Keyring
    from vault.keys import LocalRootKeys

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Keeper:
    """What the key commands work with. `tenants` are ids and names, the closed ones too."""

    settings: "Settings"
    db: "Database"
    root: "LocalRootKeys"
    keyring: "Keyring"
    tenants: Mapping[UUID, str]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(
        help="The keys that seal credentials: on the data directory, as the operator.", no_args_is_help=True
    )
    for name, function in (("status", status), ("rotate-kek", rotate_kek), ("rotate-root", rotate_root)):
        command(group, name)(function)
    app.add_typer(group, name="vault")


def _run(cli: Cli, work: Callable[[Keeper], Awaitable[Any]]) -> Any:
    """Runs `work` with the database and the root keys. Raises CommandError for a vault's refusal."""
    from broker.cli.database import run_with_storage
    from vault.errors import VaultError

    async def run(settings: "Settings", storage: "Storage") -> Any:
        async with _keeper(settings, storage) as keeper:
            return await work(keeper)

    try:
        return run_with_storage(cli, run)
    except VaultError as error:
        raise CommandError(f"the keys refuse: {error}", "`keyreeve vault status`, `keyreeve doctor`") from None


@asynccontextmanager
async def _keeper(settings: "Settings", storage: "Storage") -> AsyncIterator[Keeper]:
    from sqlalchemy import select

    from broker.db.database import Database
    from broker.identity.tables import tenants
    from vault.keyring import Keyring
    from vault.keystore import SqlKeyStore

    root = root_keys(settings)
    db = await Database.open(
        url=storage.app.url(),
        connect=storage.app.connect_kwargs(),
        engine_arguments=storage.app.engine_arguments(),
        hot=2,
        admin=2,
    )
    try:
        async with db.platform() as conn:
            rows = (await conn.execute(select(tenants.c.id, tenants.c.name).order_by(tenants.c.created_at))).all()
        named = {UUID(str(row.id)): str(row.name) for row in rows}
        yield Keeper(settings, db, root, Keyring(SqlKeyStore(db.tenant), root), named)
    finally:
        await db.close()


def root_keys(settings: "Settings") -> "LocalRootKeys":
    """The root keys that a server with these settings would use."""
    from vault.keys import EnvRootKey
    from vault.rootfile import FileRootKey

    if settings.root_key_value is not None:
        return EnvRootKey(settings.root_key_value)
    return FileRootKey(settings.root_key_path)


def status(cli: Cli) -> None:
    """Show which root keys are there and which each tenant's keys still need."""

    async def work(keeper: Keeper) -> dict[str, Any]:
        from broker.ids import NIL
        from vault.rotation import root_keys_in_use

        used: dict[str, list[str]] = {}
        for tenant_id, name in {NIL: "the platform", **keeper.tenants}.items():
            async with keeper.db.tenant(tenant_id) as conn:
                used[name] = sorted(await root_keys_in_use(conn, tenant_id))
        needed = {key for keys in used.values() for key in keys}
        return {
            "current": keeper.root.current_key_id,
            "held": list(keeper.root.key_ids),
            "missing": sorted(needed - set(keeper.root.key_ids)),
            "unused": [k for k in keeper.root.key_ids if k not in needed and k != keeper.root.current_key_id],
            "in_use": used,
        }

    cli.out.record(_run(cli, work))


def rotate_kek(
    cli: Cli,
    only: Annotated[str | None, typer.Option("--only", metavar="TENANT", help="This tenant alone.")] = None,
    purpose: Annotated[str, typer.Option("--purpose", help="credentials or evidence.")] = "credentials",
) -> None:
    """Give every tenant a new key-encryption key and re-wrap its credentials under it. Servers may go on running.

    After an interruption run it again: it goes on where it stopped, and rotates no tenant twice.
    """
    if purpose not in {"credentials", "evidence"}:
        raise Usage(f"{purpose} is no purpose", "credentials or evidence")

    async def work(keeper: Keeper) -> list[dict[str, Any]]:
        chosen = {i: n for i, n in keeper.tenants.items() if only in (None, n)}
        if not chosen:
            raise CommandError(f"there is no tenant {only}", "`keyreeve tenants list`")
        with _Begun(keeper.settings.data_dir / "run" / f"rotate-kek-{purpose}", cli.now()) as begun:
            return [await _rotate(keeper, i, n, purpose, begun, cli.now()) for i, n in chosen.items()]

    done = _run(cli, work)
    columns: Columns = {
        "tenant": "tenant",
        "version": "version",
        "re-wrapped": "rewrapped",
        "broken": "broken",
        "left": "remaining",
    }
    cli.out.items(done, columns, none="No tenants.")
    if any(line["broken"] for line in done):
        raise CommandError(
            "some credentials do not open and were left as they are", "their accounts must be connected again"
        )


async def _rotate(
    keeper: Keeper, tenant_id: UUID, name: str, purpose: Any, begun: datetime, now: datetime
) -> dict[str, Any]:
    from vault import rotation

    version = await rotation.rotate_kek(keeper.keyring, keeper.db.tenant, tenant_id, purpose, now, only_if_before=begun)
    line: dict[str, Any] = {"tenant": name, "version": version, "rewrapped": 0, "broken": [], "remaining": 0}
    if purpose != "credentials":
        return line
    after: UUID | None = None
    while True:
        async with keeper.db.tenant(tenant_id) as conn:
            batch = await rotation.rewrap_batch(keeper.keyring, conn, tenant_id, BATCH, after=after)
        line["rewrapped"] += batch.done
        line["broken"] += [str(i) for i in batch.broken]
        line["remaining"] = batch.remaining
        after = batch.after
        if after is None:
            break
    async with keeper.db.tenant(tenant_id) as conn:
        line["retired"] = list(await rotation.retire_unused(conn, tenant_id, now))
    return line


class _Begun:
    """When a rotation began, kept in a file until it is through: running it again is then the same rotation."""

    def __init__(self, path: Path, now: datetime) -> None:
        self._path = path
        self._now = now

    def __enter__(self) -> datetime:
        try:
            return datetime.fromisoformat(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.write_text(self._now.astimezone(UTC).isoformat(), encoding="ascii")
            return self._now

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._path.unlink(missing_ok=True)


def rotate_root(
    cli: Cli,
    begin: Annotated[bool, typer.Option("--begin", help="Only put the new key into the file.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Only re-wrap, and forget keys that nothing needs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Replace the root key: all at once while no server runs, else in two steps.

    With servers running: `--begin` on the key file, restart every server with the new file, then `--finish`.
    Keep a copy of the new file before the old one's copies are destroyed.
    """
    if begin and finish:
        raise Usage("--begin and --finish together are neither", "without both it does all, while no server runs")
    if not begin and not finish and _runs(cli):
        raise CommandError(
            "a server runs on this data directory and would not know the new key",
            "stop it first; or `vault rotate-root --begin`, restart every server, `vault rotate-root --finish`",
        )
    from vault.errors import VaultError
    from vault.rootfile import FileRootKey

    path = cli.settings.root_key_path
    if cli.settings.root_key_value is not None or not path.exists():
        raise CommandError(
            f"there is no root key file {path}", "a key given by KEYREEVE_ROOT_KEY is rotated where it comes from"
        )
    cli.confirm(f"Change the root keys in {path}?", yes=yes)
    told: dict[str, Any] = {"file": str(path)}
    if not finish and not _unfinished(cli):
        try:
            told["new"] = FileRootKey.rotate(path).current_key_id
        except VaultError as error:
            raise CommandError(f"the root key file refuses: {error}") from None
    if not begin:
        told |= _run(cli, lambda keeper: _finish(keeper, path))
    cli.out.record(told)
    if begin:
        cli.out.say("Restart every server with this file now, then run `keyreeve vault rotate-root --finish`.")


def _unfinished(cli: Cli) -> bool:
    """Whether an earlier rotation put a key into the file that not every tenant's keys are under yet."""

    async def work(keeper: Keeper) -> bool:
        from broker.ids import NIL
        from vault.rotation import root_keys_in_use

        for tenant_id in (NIL, *keeper.tenants):
            async with keeper.db.tenant(tenant_id) as conn:
                if await root_keys_in_use(conn, tenant_id) - {keeper.root.current_key_id}:
                    return True
        return False

    return bool(_run(cli, work))


async def _finish(keeper: Keeper, path: Path) -> dict[str, Any]:
    from broker.ids import NIL
    from vault.rootfile import FileRootKey
    from vault.rotation import rewrap_root, root_keys_in_use

    rewrapped, needed = 0, set[str]()
    for tenant_id in (NIL, *keeper.tenants):
        async with keeper.db.tenant(tenant_id) as conn:
            rewrapped += await rewrap_root(conn, tenant_id, keeper.root)
            needed |= await root_keys_in_use(conn, tenant_id)
    forgotten = [k for k in keeper.root.key_ids if k not in needed and k != keeper.root.current_key_id]
    for key_id in forgotten:
        FileRootKey.forget(path, key_id)
    return {"current": keeper.root.current_key_id, "rewrapped": rewrapped, "forgotten": forgotten}


def _runs(cli: Cli) -> bool:
    """Whether a server of this data directory answers."""
    import httpx

    from broker.cli.place import local_url

    url = local_url(cli.data_dir)
    if url is None:
        return False
    try:
        httpx.get(f"{url}/healthz", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return True
