"""What a fault of the database means to whoever asked."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from broker.db.trouble import problem_of
from vault.errors import KeyDestroyed, KeyUnavailable


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.ConnectionDoesNotExistError("gone"),
        DBAPIError("commit", None, ConnectionResetError(), connection_invalidated=True),
    ],
)
def test_a_database_that_is_away_promises_nothing_of_what_was_asked(error: Exception) -> None:
    """The connection may have died while the transaction was committing."""
    problem = problem_of(error)
    assert problem is not None
    assert (problem.code, problem.fix, problem.retry_after) == ("unavailable", "wait", 2)
    assert problem.sent is None
    assert "nothing was done" not in problem.detail


def test_a_key_out_of_reach_is_no_fault_of_ours() -> None:
    problem = problem_of(KeyUnavailable("key store or root provider did not answer in time"))
    assert problem is not None
    assert (problem.code, problem.kind.status) == ("unavailable", 503)


@pytest.mark.parametrize("error", [ValueError("x"), KeyDestroyed("gone"), asyncpg.UniqueViolationError("twice")])
def test_other_faults_are_not_explained_away(error: Exception) -> None:
    assert problem_of(error) is None


def test_it_looks_behind_the_error_that_was_raised_last() -> None:
    try:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError as refused:
            raise RuntimeError("while reading") from refused
    except RuntimeError as error:
        problem = problem_of(error)
    assert problem is not None
    assert problem.code == "unavailable"
