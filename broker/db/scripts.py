"""Running a script of several statements in one round trip, inside the transaction that is already open."""

from typing import Any

from sqlalchemy import Connection, text


def run_script(connection: Connection, script: str) -> None:
    """Executes `script` (several statements; no parameters) on the connection's own transaction.

    Prepared statements hold one command each; PostgreSQL's simple protocol takes many, so the script goes straight to
    the driver. The `select 1` makes sure SQLAlchemy has begun its transaction first.
    """
    connection.execute(text("select 1"))

    async def execute(driver: Any) -> None:
        await driver.execute(script)

    adapted: Any = connection.connection.dbapi_connection
    adapted.run_async(execute)
