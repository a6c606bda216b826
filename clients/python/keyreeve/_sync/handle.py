"""What an agent run holds.

Made from `_async` by unasync.py; edit that.
"""

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from keyreeve._sync.asker import SessionAsker
from keyreeve._sync.listing import list_scoped_tools
from keyreeve.config import TimeoutSeconds
from keyreeve.errors import KeyreeveError
from keyreeve.models import ToolList, ToolResult
from keyreeve.records import ConnectLink, Execution
from keyreeve.slot import Token
from keyreeve.tools import chosen_key, connect_link, execute, execution


class IdentityHandle:
    """One identity's tools, by a session token that is minted at first use and renewed before it ends.

    What holds a handle can act as this one identity, as narrowly as the handle was made, until it is closed. It cannot
    reach the key that it was made with, nor another identity: no attribute, public or private, leads there, and the
    server knows nothing of this token but that identity. Python hides nothing from code that searches its own
    interpreter, so run a model's own code in another process and hand it a session token.

    A session that the server says was revoked ends the handle: every further call raises that same `Unauthenticated`.
    Made by `Keyreeve.for_identity`. Close it (or use it in a `with`): that revokes the session.
    """

    __slots__ = ("__weakref__", "_agent", "_asker", "_idempotent", "_identifier", "_run_id")

    def __init__(
        self, asker: SessionAsker, identifier: str, run_id: str | None, agent: str | None, idempotent: bool
    ) -> None:
        self._asker = asker
        self._identifier = identifier
        self._run_id = run_id
        self._agent = agent
        self._idempotent = idempotent

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._identifier}>"

    def __reduce__(self) -> str:
        raise TypeError("a handle is not pickled: it holds a session token")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            # What went wrong inside is what matters; the session ends by itself.
            with suppress(KeyreeveError):
                self.close()

    @property
    def identifier(self) -> str:
        """Whom it acts for."""
        return self._identifier

    @property
    def run_id(self) -> str | None:
        """What the calls of this run are grouped by, unless a call names another."""
        return self._run_id

    def list_scoped_tools(self, connection_name: str | None = None) -> ToolList:
        """What this identity's agent may do now, all pages of it. Raises KeyreeveError."""
        return list_scoped_tools(self._asker, None, connection_name)

    def tools(self, connection_name: str | None = None) -> ToolList:
        """`list_scoped_tools`."""
        return self.list_scoped_tools(connection_name)

    def execute_tool(
        self,
        tool_name: str,
        tool_input: Mapping[str, Any] | None = None,
        *,
        connection_name: str | None = None,
        connected_account_id: str | None = None,
        run_id: str | None = None,
        agent: str | None = None,
        intent: str | None = None,
        idempotency_key: str | None = None,
        expected_schema_hash: str | None = None,
        deadline_seconds: float | None = None,
        max_wait_seconds: float | None = None,
        dry_run: bool = False,
        as_content: bool = False,
        timeout: TimeoutSeconds = None,
    ) -> ToolResult:
        """Runs one tool as this identity: see `Keyreeve.execute_tool`. Raises KeyreeveError."""
        ask = execute(
            tool_name,
            tool_input,
            dry_run=dry_run,
            as_content=as_content,
            connection_name=connection_name,
            connected_account_id=connected_account_id,
            run_id=run_id or self._run_id,
            agent=agent or self._agent,
            intent=intent,
            idempotency_key=chosen_key(idempotency_key, self._idempotent and not dry_run),
            expected_schema_hash=expected_schema_hash,
            deadline_seconds=deadline_seconds,
            max_wait_seconds=max_wait_seconds,
        )
        return self._asker.ask(ask, timeout)

    def execution(self, execution_id: str) -> Execution:
        """What became of one of this identity's executions. Raises KeyreeveError."""
        return self._asker.ask(execution(execution_id))

    def connect_link(self, connection_name: str) -> ConnectLink:
        """A page on which this identity's person deposits a credential. Raises KeyreeveError."""
        return self._asker.ask(connect_link(connection_name, self._identifier))

    def session(self) -> Token:
        """The session as of now, for another client of the same identity (an MCP client): `key.reveal()` is the
        bearer, `mcp_url` where it is taken. Ask for it again for each request: it is renewed. Raises KeyreeveError."""
        return self._asker.token()

    def close(self) -> None:
        """Revokes the session. Raises TransportError where the server cannot be told; the session then ends at its
        time."""
        self._asker.end()
