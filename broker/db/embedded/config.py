"""How the embedded server is set: on the command line, which beats every file and `ALTER SYSTEM`."""

from collections.abc import Mapping

PORT = 5432
"""Only part of the socket's name; nothing listens on TCP."""

_COMMON: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0777",  # the socket's folder says who reaches it, and the passwords who gets in
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "replica",
    "max_wal_size": "512MB",
    # Under load several calls' commits share one flush; with fewer than 4 transactions open nobody waits. Durability is
    # the same: a commit is answered when its flush is done.
    "commit_delay": "600",
    "commit_siblings": "4",
    "jit": "off",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "track_functions": "none",
    "update_process_title": "off",  # twice a statement, for the eyes of ps alone
    "idle_in_transaction_session_timeout": "60s",
    "restart_after_crash": "on",
    # Statements may hold personal data: none is logged, nor parameter, nor DETAIL. Errors go to the client.
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_checkpoints": "off",
    "log_connections": "",
}


def server_arguments(socket_dir: str, *, major: int, durable: bool) -> list[str]:
    """The arguments after `postgres -D DIR`. `durable=False` gives up crash safety for speed: tests only."""
    switch = "on" if durable else "off"
    settings = {**_COMMON, "unix_socket_directories": socket_dir}
    settings |= dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), switch)
    if major >= 18:
        settings["io_method"] = "sync"  # one machine, small caches: helper processes would only cost memory
    else:
        settings["log_connections"] = "off"
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def initdb_arguments(*, major: int, durable: bool) -> list[str]:
    """The arguments after `initdb -D DIR`. The access rules it writes are replaced before anything starts."""
    locale = ["--locale=C"]
    if major >= 17:  # sorting and case that no change of the machine's C library can alter
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    speed = [] if durable else ["--no-sync"]
    if major >= 16:
        speed.append("--no-instructions")
    return ["--username=postgres", "--encoding=UTF8", "--data-checksums", "--auth=reject", *locale, *speed]


ACCESS_RULES = """# Written by Keyreeve. Unix socket and password only; what no line allows is refused.
local  all  all  scram-sha-256
"""
