"""Looks for everything that was secret in a run in everything that the run left behind.

Canaries: every upstream token and key that the simulator knows, every key and session token minted, the platform
admin's key, the root key, the database's passwords. Places: logs, replies and their headers, every table, every file of
the data directory (PostgreSQL's own files, WAL included) but those whose purpose is to hold one, and what any process
of the installation shows of itself (`/proc/PID/cmdline`, `environ`). Forms: as is, hex, base64 at each alignment, JSON
escapes, and only the middle of it, so that a truncated one is found too.
"""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg

from bench.harness import Stand
from bench.processes import family

KEY_FILES = frozenset({"root.key", "admin.key", "postgres/connection.json"})
_CORE = 24


def core(secret: str) -> str:
    """The part of a secret that nothing else has: its random digits, without prefix, tenant and check digits."""
    if secret.startswith("krv_"):
        return secret[-38:-6][:_CORE]
    middle = secret.removeprefix("cfut_").removeprefix("cfat_").removeprefix("cfk_")
    return middle[:_CORE]


def forms(secret: str) -> Iterator[bytes]:
    """How a secret may be spelled where it was carelessly put."""
    raw = core(secret).encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield "".join(f"\\u{byte:04x}" for byte in raw).encode()
    for shift in range(3):
        spelled = base64.b64encode(b"\0" * shift + raw)
        # What depends on the neighbours is cut off; three bytes are four digits.
        yield spelled[4 if shift else 0 : len(spelled) // 4 * 4 - 4]


def find(places: Mapping[str, bytes | Path], secrets: Iterable[str]) -> list[str]:
    """`place: form` of every hit, the secret itself shortened to four characters; at most 50."""
    needles = sorted({form for secret in secrets for form in forms(secret)})
    hits: list[str] = []
    with tempfile.TemporaryDirectory(prefix="krv-canary-") as folder:
        listed = Path(folder) / "needles"
        listed.write_bytes(b"\n".join(needles) + b"\n")
        for name, place in places.items():
            where = place
            if isinstance(where, bytes):
                (Path(folder) / "place").write_bytes(where)
                where = Path(folder) / "place"
            hits += [f"{name}: {hit[:4].decode('latin-1')}… ({len(hit)} bytes)" for hit in _grep(listed, where)]
    return hits[:50]


def _grep(needles: Path, place: Path) -> set[bytes]:
    """The needles found in a file. GNU grep looks for thousands at once; without one each is looked for."""
    grep = shutil.which("grep")
    if grep is None:
        content = place.read_bytes()
        return {needle for needle in needles.read_bytes().splitlines() if needle in content}
    command = [grep, "-a", "-o", "-F", "-f", str(needles), str(place)]
    done = subprocess.run(command, capture_output=True, check=False, env={"LC_ALL": "C"})
    assert done.returncode in (0, 1) or b"No such file" in done.stderr, done.stderr
    return set(done.stdout.splitlines())


def search(stand: Stand) -> list[str]:
    """Every hit in a run that is still up. Raises AssertionError where there was nothing to look for or in."""
    canaries = secrets_of(stand)
    assert len(canaries) >= 4, "no canaries were planted"
    places: dict[str, bytes | Path] = {
        "logs": stand.server.logs(),
        "replies": stand.server.transcript.path,
        **_processes(stand),
        **_files(stand.data_dir),
        **_in_thread(dump(stand.server.database())),
    }
    assert any(name.startswith("table vault.credentials") for name in places)
    assert stand.server.transcript.path.stat().st_size > 0
    return find(places, canaries) + _root_key_hits(stand, places)


def secrets_of(stand: Stand) -> set[str]:
    """Everything that was secret in a run."""
    known = stand.simulator.control("GET", "/credentials")
    upstream = {token["value"] for token in known["tokens"]} | {user["global_key"] for user in known["users"]}
    passwords = json.loads((stand.data_dir / "postgres/connection.json").read_bytes())
    kept = {value for name, value in passwords.items() if name.endswith("_password")}
    return upstream | kept | stand.server.transcript.minted | {stand.admin_key} | set(root_keys(stand.data_dir))


def root_keys(data_dir: Path) -> list[str]:
    """The long words of the root key's file: the key as it is spelled there."""
    return re.findall(r"[A-Za-z0-9+/_=-]{32,}", (data_dir / "root.key").read_text())


def _root_key_hits(stand: Stand, places: Mapping[str, bytes | Path]) -> list[str]:
    """The root key's own bytes, and their hex: a key in memory has no spelling."""
    hits = []
    for spelled in root_keys(stand.data_dir):
        raw = base64.urlsafe_b64decode(spelled.replace("+", "-").replace("/", "_") + "=" * (-len(spelled) % 4))
        for needle in (raw[4:20], raw[4:20].hex().encode()):
            for name, place in places.items():
                content = place if isinstance(place, bytes) else _content(place)
                hits += [f"{name}: root key"] * (needle in content)
    return hits


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # a process may end while it is looked at
        return b""


def _files(data_dir: Path) -> dict[str, Path]:
    found = (path for path in data_dir.rglob("*") if path.is_file() and not path.is_symlink())
    named = {str(path.relative_to(data_dir)): path for path in found}
    return {f"file {name}": path for name, path in named.items() if name not in KEY_FILES}


def _processes(stand: Stand) -> dict[str, bytes]:
    return {
        f"process {pid} {what}": _content(Path(f"/proc/{pid}/{what}"))
        for pid in family(stand.server.process.pid)
        for what in ("cmdline", "environ")
    }


async def dump(connect: Mapping[str, Any]) -> dict[str, bytes]:
    """Every table as COPY writes it, and what the database remembers of its sessions' statements."""
    conn = await asyncpg.connect(**connect)
    try:
        tables = await conn.fetch(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema')"
        )
        made = {
            f"table {name}": await _copied(conn, f'select * from "{schema}"."{table}"')
            for schema, table in tables
            for name in (f"{schema}.{table}",)
        }
        made["pg_stat_activity"] = await _copied(conn, "select query from pg_stat_activity")
        return made
    finally:
        await conn.close()


async def _copied(conn: Any, query: str) -> bytes:
    parts: list[bytes] = []

    async def keep(part: bytes) -> None:
        parts.append(part)

    await conn.copy_from_query(query, output=keep)
    return b"".join(parts)


def _in_thread(work: Any) -> Any:
    """Runs a coroutine apart from any loop of the test session's."""
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(asyncio.run(work)))
    thread.start()
    thread.join()
    assert made, "the database could not be read"
    return made[0]
