"""Telling that the database or a key is away, or that a text was refused, from every other fault: one judgement for
all edges."""

from collections.abc import Iterator
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from broker.errors import Problem
from vault.errors import KeyUnavailable

_AWAY: Final = (
    ConnectionError,
    FileNotFoundError,  # the socket of an embedded server that is starting again
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    PoolTimeout,
)
_UNTAKEN_TEXT: Final = frozenset({"22021", "22P05"})
"""PostgreSQL's words for a character that no text of it holds: NUL."""


def problem_of(error: BaseException) -> Problem | None:
    """What a fault of the database or the key store means for the caller, or None for a fault of another kind."""
    for cause in _chain(error):
        if isinstance(cause, KeyUnavailable):
            return Problem("unavailable", "a key that this needs cannot be had at this moment", retry_after=5)
        if getattr(cause, "sqlstate", None) in _UNTAKEN_TEXT:
            return Problem("invalid_input", "a text holds a character that cannot be stored (NUL)", sent=False)
        if isinstance(cause, DBAPIError) and cause.connection_invalidated:
            return _away()
        if isinstance(cause, _AWAY):
            return _away()
    return None


def _away() -> Problem:
    # A connection that dies during a commit leaves open whether it was done: no promise either way.
    told = "the database is away; what was asked may not have been done"
    return Problem("unavailable", told, hint="ask again, and look first whether it was done", fix="wait", retry_after=2)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = 0
    cause: BaseException | None = error
    while cause is not None and seen < 10:
        yield cause
        original = getattr(cause, "orig", None)
        if isinstance(original, BaseException):
            yield original
        cause, seen = cause.__cause__ or cause.__context__, seen + 1
