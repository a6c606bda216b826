"""SQL functions: written once, in `.sql` files beside their callers, installed under versioned names.

Each file writes `{v}` after a function's name. Installing replaces it by a suffix made from the content of all files,
so processes of two releases can run side by side against one database, each with the functions it was written against.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ROOT = Path(__file__).resolve().parent.parent
FILES: tuple[str, ...] = (
    "identity/resolve.sql",
    "audit/record.sql",
    "gate/budget.sql",
    "gate/usage.sql",
    "gate/admit.sql",
    "gate/settle.sql",
    "gate/revoke.sql",
    "gate/executions.sql",
    "gate/idempotency.sql",
    "gate/egress.sql",
    "identity/family.sql",
    "jobs/forget.sql",
    "tools/watching.sql",
    "tools/codemode/keeping.sql",
)
"""In dependency order, relative to the package."""


def _source() -> str:
    return "\n".join((_ROOT / name).read_text(encoding="utf-8") for name in FILES)


@cache
def suffix() -> str:
    """The version suffix of the functions this code calls: `_` and 10 hex digits of the sources' SHA-256."""
    return "_" + hashlib.sha256(_source().encode()).hexdigest()[:10]


@cache
def call(statement: str) -> str:
    """`statement` with `{v}` replaced: `call("select * from broker.admit{v}($1)")`."""
    return statement.replace("{v}", suffix())


def install(connection: "Connection") -> bool:
    """Installs the functions unless this very version is there. Returns whether anything was done.

    Runs as the owner, inside the migration's lock. EXECUTE goes to `keyreeve_app` alone.
    """
    from sqlalchemy import text  # a start that finds nothing to install does without

    from broker.db.scripts import run_script

    probe = text("select count(*) from pg_proc where proname = :name and pronamespace = 'broker'::regnamespace")
    if connection.execute(probe, {"name": f"resolve{suffix()}"}).scalar_one():
        return False
    run_script(connection, _source().replace("{v}", suffix()))
    run_script(
        connection,
        f"""
        do $$ declare f regprocedure; begin
            for f in select oid::regprocedure from pg_proc
                     where pronamespace = 'broker'::regnamespace and proname like '%\\{suffix()}' loop
                execute format('revoke all on function %s from public', f);
                execute format('grant execute on function %s to keyreeve_app', f);
            end loop;
        end $$""",  # noqa: S608 - the suffix is ours: hex digits of a hash
    )
    return True
