"""The client."""

from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from keyreeve._async import waiting
from keyreeve._async.admin import (
    AsyncConnections,
    AsyncGrants,
    AsyncIdentities,
    AsyncKeys,
    AsyncTenants,
)
from keyreeve._async.asker import AsyncKeyAsker, AsyncSessionAsker
from keyreeve._async.handle import AsyncIdentityHandle
from keyreeve._async.listing import list_scoped_tools
from keyreeve._async.resources import (
    AsyncAccounts,
    AsyncAudit,
    AsyncBudgets,
    AsyncConnectLinks,
    AsyncExecutions,
    AsyncSessions,
)
from keyreeve.config import MAX_ANSWER, Key, TimeoutSeconds, TraceContext, target
from keyreeve.models import ToolList, ToolResult
from keyreeve.retry import Retries
from keyreeve.slot import PATIENCE, Mint, Renewer, Token, Wanted
from keyreeve.tools import chosen_key, execute, mint

if TYPE_CHECKING:
    import httpx

_MINT_SECONDS = 15.0


class AsyncKeyreeve:
    """A client of one Keyreeve server, with one key.

    `url` and `api_key` come from KEYREEVE_URL and KEYREEVE_API_KEY where they are left out, read here and never
    again. `tenant` is for keys that may act in several. `timeout` is httpx's, or seconds; without it five seconds to
    connect and a little longer than the server's own bound to answer. `client_name` stands before this package's name
    in the `User-Agent`, and in the audit. `max_retries` and `max_retry_wait` (seconds of one wait) bound what is sent
    again: requests that read or carry an idempotency key, and such as certainly did not arrive or were refused for
    the moment. `idempotent` makes a key for every `execute_tool` that has none: then a lost answer is asked for again
    too, at the price of about two more milliseconds a call. `trace_context` is asked at each request for
    `traceparent` and `tracestate`. `http_client` brings proxies and certificates of your own; it stays yours to
    close, and should hold no headers. Plain http is for this machine, unless `allow_http`. Raises ConfigurationError.

    Close it, or use it in a `with`. Handles end with it.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        tenant: str | None = None,
        timeout: TimeoutSeconds = None,
        http_client: "httpx.AsyncClient | None" = None,
        client_name: str | None = None,
        max_retries: int = 2,
        max_retry_wait: float = 8.0,
        max_answer_bytes: int = MAX_ANSWER,
        idempotent: bool = False,
        trace_context: TraceContext | None = None,
        allow_http: bool = False,
    ) -> None:
        # Half of what importing everything would take is httpx; who makes no client does not wait for it.
        from keyreeve._async.channel import AsyncChannel

        self._target = target(url, api_key, tenant=tenant, client_name=client_name, allow_http=allow_http)
        self._channel = AsyncChannel(
            self._target,
            http_client,
            timeout=timeout,
            retries=Retries(max_retries, max_retry_wait),
            max_answer_bytes=max_answer_bytes,
            trace_context=trace_context,
        )
        self._idempotent = idempotent
        self._asker = AsyncKeyAsker(self._channel, self._target)
        self._renewer = Renewer(_minter(self._asker))
        self.sessions = AsyncSessions(self._asker)
        self.connect_links = AsyncConnectLinks(self._asker)
        self.accounts = AsyncAccounts(self._asker)
        self.executions = AsyncExecutions(self._asker)
        self.audit = AsyncAudit(self._asker)
        self.budgets = AsyncBudgets(self._asker)
        self.identities = AsyncIdentities(self._asker)
        self.connections = AsyncConnections(self._asker)
        self.grants = AsyncGrants(self._asker)
        self.keys = AsyncKeys(self._asker)
        self.tenants = AsyncTenants(self._asker)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target.url}>"

    def __reduce__(self) -> str:
        raise TypeError("a client is not pickled: it holds a key")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the handles and gives the connections back. Sessions that were not closed end at their time."""
        self._renewer.close()
        await self._channel.close()

    def for_identity(
        self,
        identifier: str,
        *,
        connections: Sequence[str] | None = None,
        access: str | None = None,
        ttl_seconds: int = 900,
        run_id: str | None = None,
        agent: str | None = None,
    ) -> AsyncIdentityHandle:
        """A handle for one run of an agent, which can act as `identifier` and as nobody else.

        `connections` and `access` (`read`, `write`, `destructive`) narrow it further; `ttl_seconds` (60 to 86,400) is
        the life of each session it mints. Nothing is sent before the handle is used.
        """
        narrow = None if connections is None else tuple(connections)
        slot = self._renewer.slot(Wanted(identifier, narrow, access, ttl_seconds))
        asker = AsyncSessionAsker(self._channel, slot)
        return AsyncIdentityHandle(asker, identifier, run_id, agent, self._idempotent)

    async def list_scoped_tools(self, identifier: str | None = None, connection_name: str | None = None) -> ToolList:
        """What may this identity's agent do now? All pages of it, and what is unavailable and why. `identifier` is
        needed unless the key is a session token. Raises KeyreeveError."""
        return await list_scoped_tools(self._asker, identifier, connection_name)

    async def execute_tool(
        self,
        tool_name: str,
        tool_input: Mapping[str, Any] | None = None,
        *,
        identifier: str | None = None,
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
        """Runs one tool with the identity's credential.

        An upstream's own error, and a program that threw, are results with `is_error`; every refusal is raised.
        `run_id`, `agent` and `intent` are for the audit. `idempotency_key`: the call runs once in 24 h however often
        it is sent, so it is sent again where an answer is lost; `new_idempotency_key()` makes one. `deadline_seconds`
        (1 to 100) bounds the server's work, `max_wait_seconds` (0 to 30) how long it queues for budget, `timeout` how
        long this client waits. `as_content` answers MCP content blocks. Raises KeyreeveError.
        """
        ask = execute(
            tool_name,
            tool_input,
            dry_run=dry_run,
            as_content=as_content,
            identifier=identifier,
            connection_name=connection_name,
            connected_account_id=connected_account_id,
            run_id=run_id,
            agent=agent,
            intent=intent,
            idempotency_key=chosen_key(idempotency_key, self._idempotent and not dry_run),
            expected_schema_hash=expected_schema_hash,
            deadline_seconds=deadline_seconds,
            max_wait_seconds=max_wait_seconds,
        )
        return await self._asker.ask(ask, timeout)


def _minter(asker: AsyncKeyAsker) -> Mint:
    """Mints from the renewer's thread. It stands outside every handle: only it and the client hold the key."""

    async def minted(wanted: Wanted) -> Token:
        asked_at = monotonic()
        ask = mint(wanted.identifier, wanted.connections, wanted.access, wanted.ttl_seconds)
        made = await asker.ask(ask, _MINT_SECONDS)
        # Counted from before it was asked for, by this machine's steady clock: no two clocks are compared.
        lifetime = wanted.ttl_seconds if made.ttl_seconds is None else min(wanted.ttl_seconds, made.ttl_seconds)
        return Token.lasting(made.id, Key(made.token), made.mcp_url, asked_at, float(lifetime))

    def mint_now(wanted: Wanted, loop: Any) -> Token:
        token: Token = waiting.run_there(minted(wanted), loop, PATIENCE)
        return token

    return mint_now
