"""Logs: one JSON object a line on standard error, secret-shaped text masked, one canonical line per call.

Promises: no line holds a token of ours or one of Cloudflare's marked formats, an `Authorization` value or a
traceback with local variables; nothing that is logged can begin a line of its own (JSON escapes it; the
console form escapes control characters).
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import orjson
import structlog

from broker.clock import SystemClock
from connectors.frozen import quick

MASK: Final = "[redacted]"

# They are looked for in rendered JSON. So a shape may follow a letter (a line break before a token is spelled `\n`, and
# no word ends there), and none begins inside an escape (`\u001c`, `\b`), which masking would cut in two.
_SHAPES: Final = re.compile(
    r"(?<!\\u00[01])cf(?:k|ut|at|oat)_[A-Za-z0-9_-]{8,}"
    r"|krv_(?:op|ag|st)_[A-Za-z0-9]{8,}"
    r"|krv_(?:lg|cl|si|ac|rt)_[A-Za-z0-9_-]{8,}"
    r"|(?:(?<=(?i:bearer) )|(?<=(?i:basic) ))[A-Za-z0-9._~+/-]{16,}=*"
)
_HINTS: Final = ("krv_", "cfk_", "cfut_", "cfat_", "cfoat_", "earer ", "EARER ", "asic ", "ASIC ")
"""Cheap to look for; without one of these there is nothing to mask (mixed-case schemes such as `BeArEr`
aside).
"""
_URL_PASSWORD: Final = re.compile(r"(://[^/\s:@\"\\]{0,100}:)[^@/\s\"\\]{1,200}(?=@)")
_NAMES: Final = frozenset(
    {
        "api_key",
        "apikey",
        "authorization",
        "cookie",
        "credential",
        "password",
        "private_key",
        "proxy-authorization",
        "secret",
        "set-cookie",
        "token",
        "x-auth-email",
        "x-auth-key",
    }
)
_MAX_DEPTH: Final = 6
_MAX_TEXT: Final = 4000


def redact(text: str) -> str:
    """`text` with every secret-shaped word masked. Valid JSON stays valid JSON."""
    if any(hint in text for hint in _HINTS):
        text = _SHAPES.sub(MASK, text)
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(r"\1" + MASK, text)
    return text


def _masked(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "…"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if value is None or isinstance(value, bool | int | float | UUID):
        return value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(k)[:100]: MASK if str(k).lower() in _NAMES else _masked(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(v, depth + 1) for v in list(value)[:100]]
    return str(value)[:_MAX_TEXT]


def mask_names(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: masks values by their names, bounds texts, and leaves only what JSON knows."""
    return {k: MASK if k.lower() in _NAMES else _masked(v, 0) for k, v in event.items()}


def one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor for the console: control characters in every text but a traceback are spelled out."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode()
    return event


class Console:
    """Processor: the console form of an event, masked."""

    def __init__(self) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)

    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        return redact(self._render(logger, name, event))


def _json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return redact(orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


def _processors(node: str) -> list[Any]:
    def where(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["node"] = node
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        where,
    ]


def _ending(*, json: bool) -> list[Any]:
    if not json:
        return [structlog.processors.format_exc_info, mask_names, one_line, Console()]
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20, use_rich=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), mask_names, _json]


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...


QUIET: Final = ("asyncio", "sqlalchemy", "alembic", "aiohttp", "httpx", "httpcore", "asyncpg")
_UVICORN: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def configure(*, json: bool, node: str, level: int = logging.INFO, stream: Stream | None = None) -> None:
    """Sets up logging for this process, structlog's and the standard library's. Called once, before anything
    logs.

    `stream` defaults to standard error: standard output belongs to commands' answers.
    """
    out: Any = sys.stderr if stream is None else stream
    structlog.configure(
        processors=[*_processors(node), *_ending(json=json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=stream is None,
    )
    _calls.go_to(out if json and level <= logging.INFO else None, node)
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_processors(node), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_ending(json=json)],
            keep_exc_info=False,
            keep_stack_info=False,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    # Every request that matters has its own line; the access log would repeat paths with ids and queries.
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


@quick
@dataclass(frozen=True, slots=True)
class CallLine:
    """The one line of a call. Times in milliseconds. Templates and ids only: no argument, path value or
    query.
    """

    tenant: str
    identity: str | None
    actor: str
    tool: str
    operation: str | None
    outcome: str
    status: int | None
    execution_id: UUID
    n: int = 1
    code: str | None = None
    ms: float | None = None
    db_ms: float | None = None
    upstream_ms: float | None = None
    wait_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None

    def fields(self) -> dict[str, Any]:
        """The members of the line that have something to say, none longer than any logged text may be."""
        found: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if type(value) is float:
                found[name] = round(value, 3)
            elif type(value) is str and len(value) > _MAX_TEXT:
                found[name] = value[:_MAX_TEXT] + "…"
            elif value is not None:
                found[name] = value
        return found


_call_log = structlog.get_logger("keyreeve.call")


class _Calls:
    """Writes the JSON form of `call` without structlog's chain, which costs more than the line: its members are known,
    so nothing has to be masked by its name. The text is redacted like any other line's."""

    def __init__(self) -> None:
        self._out: Stream | None = None
        self._node = ""
        self._clock = SystemClock()

    def go_to(self, out: Stream | None, node: str) -> None:
        """Where lines go from now on; None: through structlog."""
        self._out = out
        self._node = node

    def write(self, line: CallLine) -> None:
        """One line."""
        if self._out is None:
            _call_log.info("call", **line.fields())
            return
        event = line.fields()
        event["event"] = "call"
        event["level"] = "info"
        event["at"] = self._clock.now()
        event["node"] = self._node
        text = redact(orjson.dumps(event, default=str, option=orjson.OPT_UTC_Z).decode())
        self._out.write(text + "\n")
        self._out.flush()


_calls: Final = _Calls()


def log_call(line: CallLine) -> None:
    """Writes the canonical line `call`."""
    _calls.write(line)
