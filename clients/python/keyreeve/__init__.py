"""Keyreeve's client: scoped tools for agents, without the credentials behind them.

    from keyreeve import Keyreeve, errors

    with Keyreeve() as kr, kr.for_identity("priya@acme.example") as priya:   # KEYREEVE_URL, KEYREEVE_API_KEY
        for tool in priya.tools():
            print(tool.name, tool.effect)
        result = priya.execute_tool("cloudflare_call", {"operation": "GET /zones"})
        print(result.text())

`AsyncKeyreeve` is the same with `await`. Every refusal is an exception of `keyreeve.errors`; an upstream's own error
is a result with `is_error`. Nothing here is shared between clients.
"""

from typing import TYPE_CHECKING, Any

from keyreeve import errors
from keyreeve._sync.client import Keyreeve
from keyreeve._sync.handle import IdentityHandle
from keyreeve.config import VERSION
from keyreeve.models import Budget, Call, Tool, ToolError, ToolList, ToolResult, Unavailable
from keyreeve.records import ConnectLink, Execution, MadeSession, Session
from keyreeve.tools import new_idempotency_key

if TYPE_CHECKING:
    from keyreeve._async.client import AsyncKeyreeve
    from keyreeve._async.handle import AsyncIdentityHandle

__version__ = VERSION


def __getattr__(name: str) -> Any:
    """The async names, imported when they are asked for: a blocking program loads no asyncio."""
    if name == "AsyncKeyreeve":
        from keyreeve._async.client import AsyncKeyreeve

        return AsyncKeyreeve
    if name == "AsyncIdentityHandle":
        from keyreeve._async.handle import AsyncIdentityHandle

        return AsyncIdentityHandle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AsyncIdentityHandle",
    "AsyncKeyreeve",
    "Budget",
    "Call",
    "ConnectLink",
    "Execution",
    "IdentityHandle",
    "Keyreeve",
    "MadeSession",
    "Session",
    "Tool",
    "ToolError",
    "ToolList",
    "ToolResult",
    "Unavailable",
    "__version__",
    "errors",
    "new_idempotency_key",
]
