"""A PostgreSQL of the operator's own: reading its URL strictly, and looking whether it keeps what Keyreeve promises."""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

OLDEST, NEWEST = 15, 18
"""Supported major versions."""

_URL_CHARS = 4096
_SCHEMES = ("postgresql", "postgres")
_QUERY = ("host", "port", "sslmode", "sslrootcert")
_SKEW_WARN, _SKEW_FAIL = 2.0, 30.0
"""Seconds between the database's clock and this machine's: expiries are judged by both."""


class DatabaseUrlRefused(ValueError):
    """A database URL that is malformed or would be unsafe. The message names the setting and never quotes the URL."""


@dataclass(frozen=True, slots=True)
class ExternalDatabase:
    """A checked URL, in the two spellings that connecting needs. `host` is a name, an address or a socket folder."""

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(repr=False)
    verified: bool
    root_certificates: Path | None = None

    def _tls(self) -> ssl.SSLContext | None:
        if not self.verified:
            return None
        made = ssl.create_default_context(
            cafile=None if self.root_certificates is None else str(self.root_certificates)
        )
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        return made

    def connect_kwargs(self) -> dict[str, Any]:
        """Arguments for `asyncpg.connect` or `create_pool`. Raises `OSError` if the certificates cannot be read."""
        made: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "database": self.database,
            "ssl": self._tls() or False,
        }
        if self.password is not None:
            made["password"] = self.password
        return made

    def url(self) -> str:
        """SQLAlchemy's spelling, password included. TLS is not in it: pass `engine_arguments` as well."""
        from sqlalchemy import URL  # heavy, and `up` comes by without it

        if self.host.startswith("/"):
            query = {"host": self.host, "port": str(self.port)}
            made = URL.create("postgresql+asyncpg", self.user, self.password, database=self.database, query=query)
        else:
            made = URL.create("postgresql+asyncpg", self.user, self.password, self.host, self.port, self.database)
        return made.render_as_string(hide_password=False)

    def engine_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `create_async_engine` beside the URL. Raises `OSError` as `connect_kwargs` does."""
        return {"connect_args": {"ssl": self._tls() or False}}


def _is_local(host: str) -> bool:
    """Whether traffic to `host` stays on this machine: a socket folder, `localhost` or a loopback address."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _query(setting: str, text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=8)
    except ValueError:
        raise DatabaseUrlRefused(f"{setting}: the part after ? is malformed") from None
    made = dict(pairs)
    if len(made) != len(pairs):
        raise DatabaseUrlRefused(f"{setting}: a parameter is given twice")
    if any(name not in _QUERY for name in made):
        raise DatabaseUrlRefused(f"{setting}: only these parameters are known: {', '.join(_QUERY)}")
    return made


def _port(setting: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise DatabaseUrlRefused(f"{setting}: the port must be a number from 1 to 65535")
    return int(text)


def parse_database_url(url: str, setting: str = "KEYREEVE_DATABASE_URL") -> ExternalDatabase:
    """Reads `postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=FILE]`.

    A socket folder goes into `?host=/run/postgresql`. A database on another machine needs `sslmode=verify-full`: the
    connection carries sealed credentials and the right to write policy. One host only; for several, put their
    common name or address here. Pure. Raises `DatabaseUrlRefused`, never quoting the URL, which may hold a password.
    """
    if len(url) > _URL_CHARS or any(ord(char) < 33 or ord(char) == 127 for char in url):
        raise DatabaseUrlRefused(
            f"{setting}: longer than {_URL_CHARS} characters, or with spaces or control characters"
        )
    try:
        parts = urlsplit(url)
        host_port = parts.netloc.rpartition("@")[2]
        host = parts.hostname or ""
    except ValueError:
        raise DatabaseUrlRefused(f"{setting}: the host is malformed") from None
    if parts.scheme not in _SCHEMES:
        raise DatabaseUrlRefused(f"{setting}: must start with postgresql:// (PostgreSQL is the only database)")
    if parts.fragment or "," in host_port:
        raise DatabaseUrlRefused(f"{setting}: one host, and no #: percent-encode special characters of the password")
    query = _query(setting, parts.query)
    user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    if not user or not database or "/" in database:
        raise DatabaseUrlRefused(f"{setting}: must name a user and a database, as postgresql://USER@HOST/DATABASE")
    host = unquote(host) or query.get("host", "")
    if not host or (parts.hostname and "host" in query):
        raise DatabaseUrlRefused(f"{setting}: must name one host, in the address or as ?host=/SOCKET/FOLDER")
    port_text = host_port.rpartition("]")[2].partition(":")[2] or query.get("port", "5432")
    verified, roots = _tls_choice(setting, host, query)
    return ExternalDatabase(
        host=host,
        port=_port(setting, port_text),
        user=user,
        database=database,
        password=None if parts.password is None else unquote(parts.password),
        verified=verified,
        root_certificates=roots,
    )


def _tls_choice(setting: str, host: str, query: dict[str, str]) -> tuple[bool, Path | None]:
    mode = query.get("sslmode", "disable" if _is_local(host) else "prefer")
    if mode == "verify-full":
        if host.startswith("/"):
            raise DatabaseUrlRefused(f"{setting}: sslmode=verify-full makes no sense over a Unix socket")
        named = query.get("sslrootcert", "system")
        return True, None if named == "system" else Path(named)
    if not _is_local(host):
        raise DatabaseUrlRefused(
            f"{setting}: the database is on another machine, so it needs ?sslmode=verify-full "
            f"(and &sslrootcert=FILE where its certificate is not publicly trusted)"
        )
    if mode != "disable":
        raise DatabaseUrlRefused(f"{setting}: sslmode is verify-full, or for this machine disable; nothing between")
    return False, None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `fail` means: do not serve. `fix` is what to do, in one sentence."""

    level: Literal["warn", "fail"]
    check: str
    message: str
    fix: str


_FACTS = """
select current_setting('server_version_num')::int as version,
       current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('synchronous_standby_names') as standbys,
       current_setting('server_encoding') as encoding,
       current_setting('data_checksums') as checksums,
       pg_is_in_recovery() as standby,
       current_user::text as role,
       current_database()::text as database,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       (select rolbypassrls from pg_roles where rolname = current_user) as bypass,
       has_database_privilege(current_database(), 'CREATE') as may_create,
       exists (select from pg_auth_members m join pg_roles r on r.oid = m.member
               where r.rolname = current_user) as member_of_others,
       exists (select from pg_class c
               join pg_namespace n on n.oid = c.relnamespace
               join pg_roles r on r.oid = c.relowner
               where r.rolname = current_user and c.relkind in ('r', 'p') and n.nspname !~ '^pg_') as owns_tables
"""


def judge(facts: dict[str, Any], skew_seconds: float) -> list[Finding]:
    """What is wrong with a server of these facts (the columns of `_FACTS`), as the serving role sees it. Pure."""
    return [*_judge_server(facts), *_judge_role(facts), *_judge_clock(skew_seconds)]


def _judge_server(facts: dict[str, Any]) -> list[Finding]:
    made = []
    major = facts["version"] // 10000
    if not OLDEST <= major <= NEWEST:
        fix = f"use PostgreSQL {OLDEST} to {NEWEST}"
        made.append(Finding("fail", "version", f"the server is PostgreSQL {major}", fix))
    for name in ("fsync", "full_page_writes"):
        if facts[name] != "on":
            message = f"{name} is {facts[name]}: a crash would lose or tear what was acknowledged"
            made.append(Finding("fail", name, message, f"set {name} = on in postgresql.conf"))
    commit = facts["synchronous_commit"]
    if commit == "off":
        message = "synchronous_commit is off: a crash would lose calls and revocations that were acknowledged"
        made.append(Finding("fail", "synchronous_commit", message, "set synchronous_commit = on"))
    elif commit == "local" and facts["standbys"]:
        message = "synchronous_commit is local: a failover would bring revoked credentials back"
        made.append(Finding("fail", "synchronous_commit", message, "set synchronous_commit = on"))
    if facts["encoding"] != "UTF8":
        fix = "create the database with encoding 'UTF8'"
        made.append(Finding("fail", "encoding", f"the database's encoding is {facts['encoding']}", fix))
    if facts["standby"]:
        made.append(Finding("fail", "standby", "the server is a read-only standby", "name the primary in the URL"))
    if facts["checksums"] != "on":
        fix = "run pg_checksums --enable while the server is stopped"
        made.append(Finding("warn", "checksums", "data checksums are off: damage on disk goes unseen", fix))
    return made


def _judge_role(facts: dict[str, Any]) -> list[Finding]:
    role = facts["role"]
    wrong = {
        "superuser": (f"the role {role} is a superuser, so tenants' rows are not separated", "nosuperuser"),
        "bypass": (f"the role {role} may bypass row-level security", "nobypassrls"),
    }
    made = [
        Finding("fail", "role", text, f"alter role {role} {fix}") for key, (text, fix) in wrong.items() if facts[key]
    ]
    if facts["owns_tables"]:
        message, fix = (
            f"the role {role} owns tables, so it could lift their row-level security",
            "serve as keyreeve_app",
        )
        made.append(Finding("fail", "role", message, fix))
    if facts["member_of_others"]:
        message = f"the role {role} is a member of other roles and could act as them"
        made.append(Finding("fail", "role", message, f"revoke its memberships: revoke OTHER from {role}"))
    if facts["may_create"]:
        fix = f"revoke create on database {facts['database']} from {role} (and from public)"
        made.append(Finding("warn", "role", f"the role {role} may create schemas", fix))
    return made


def _judge_clock(skew_seconds: float) -> list[Finding]:
    if abs(skew_seconds) < _SKEW_WARN:
        return []
    level: Literal["warn", "fail"] = "fail" if abs(skew_seconds) >= _SKEW_FAIL else "warn"
    ahead = "ahead of" if skew_seconds > 0 else "behind"
    message = f"the database's clock is {abs(skew_seconds):.1f} s {ahead} this machine's"
    return [Finding(level, "clock", message, "synchronise both clocks (NTP)")]


async def check_server(connection: asyncpg.Connection, now: Callable[[], datetime]) -> list[Finding]:
    """Looks at the server through `connection`, opened as the role that serves; two short queries.

    `now` is this machine's clock (`broker.clock`). Returns nothing for a sound server. Raises what asyncpg raises.
    """
    facts = dict(await connection.fetchrow(_FACTS))
    before = now()
    theirs: datetime = await connection.fetchval("select clock_timestamp()")
    after = now()
    # Within the round trip the two clocks cannot be told apart; only what lies outside it is skew.
    late, early = (theirs - after).total_seconds(), (theirs - before).total_seconds()
    skew = late if late > 0 else min(0.0, early)
    return judge(facts, skew)
