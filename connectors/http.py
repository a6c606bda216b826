"""The one HTTP client for upstreams, and the only user of aiohttp.

Promises, for every request:
- nothing leaves unless the origin is among those sealed with the credential and the egress rule allows it;
  every address is checked when it is resolved, and the connection is made to exactly that address (no
  rebinding gap);
- redirects, cookies, proxies from the environment and authentication from URLs are off; the path and query
  go out byte for byte as given;
- one `send` is at most one request: there is no retry inside. (A pooled connection that is known to be
  closed is discarded before use; one that dies later may have delivered the request, so the caller is told
  `sent="unknown"`.)
- the body is bounded as it streams, after decompression, and everything ends by one deadline;
- a failure says truthfully whether anything was sent, and its text holds nothing from the answer.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import aiohttp
import certifi
from aiohttp import ClientRequest, ClientTimeout
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.tracing import Trace
from yarl import URL

from connectors.base import RawAnswer, Watch
from connectors.egress import EgressPolicy, Origin, check_address, check_origin, check_target
from connectors.errors import (
    EgressRefused,
    ResponseTooLarge,
    UpstreamFault,
    UpstreamTimeout,
    UpstreamUnreachable,
)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → addresses as text. The seam that tests replace."""

CONNECT_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 30.0
DNS_SECONDS: Final = 20
LINGER_SECONDS: Final = 0.02
"""How long a watched answer may take to end once there is enough of it: most end at once, and their connection is used
again."""
PER_ORIGIN_CONNECTIONS: Final = 256
MAX_CONNECTIONS: Final = 1_024
MAX_ADDRESSES: Final = 16

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}")
_OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
     "expect", "cookie", "user-agent", "accept-encoding", "proxy-authorization", "proxy-connection"}
)  # fmt: skip


class _Attempt:
    """What is known of one request so far. `connected`: a connection was had, so bytes may have left."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


_attempt: ContextVar[_Attempt] = ContextVar("keyreeve_http_attempt")


class _SecondAttempt(aiohttp.ClientConnectionError):
    """aiohttp was about to repeat a request on a new connection."""


class _Connector(aiohttp.TCPConnector):
    """Notes when a request gets its connection, and lets no request have a second one."""

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Any:
        attempt = _attempt.get()
        if attempt.connected:
            raise _SecondAttempt("the connection was lost")
        connection = await super().connect(req, traces, timeout)
        attempt.connected = True
        return connection


class _CheckedResolver(AbstractResolver):
    """Resolves, and refuses the whole name if any of its addresses is one we may not talk to."""

    def __init__(self, policy: EgressPolicy, scheme: str, resolve: Resolve) -> None:
        self._policy = policy
        self._scheme = scheme
        self._resolve = resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 (aiohttp's signature)
    ) -> list[ResolveResult]:
        addresses = list(dict.fromkeys(await self._resolve(host, port)))[:MAX_ADDRESSES]
        if not addresses:
            raise OSError(socket.EAI_NONAME, "the name has no address")
        for address in addresses:
            check_address(address, host, port, policy=self._policy, scheme=self._scheme)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """The operating system's resolver, off the event loop. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


def tls_context() -> ssl.SSLContext:
    """Verified TLS, 1.2 or newer, with the system's roots, or certifi's where the system has none."""
    paths = ssl.get_default_verify_paths()
    has_roots = any(Path(path).exists() for path in (paths.cafile, paths.openssl_cafile) if path)
    context = ssl.create_default_context(cafile=None if has_roots else certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class HttpClient:
    """Implements `connectors.base.HttpSender`. One per process; close it when the process drains."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        version: str = "0",
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        per_origin_connections: int = PER_ORIGIN_CONNECTIONS,
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._usual_timeout = ClientTimeout(total=None, connect=connect_seconds, sock_connect=connect_seconds)
        self._per_origin = per_origin_connections
        self._base_headers = {"User-Agent": f"keyreeve/{version}", "Accept-Encoding": "gzip"}
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._origins: dict[str, Origin] = {}

    async def __aenter__(self) -> "HttpClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection. A later `send` opens new ones."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    async def send(
        self,
        *,
        method: str,
        origin: str,
        path: str,
        query: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeout_seconds: float,
        max_response_bytes: int,
        allowed_origins: Sequence[str],
        watch: Watch | None = None,
    ) -> RawAnswer:
        """Sends one request and reads its whole answer, whatever its status; with `watch`, as much of it as that wants
        (the bound holds all the same, and what was watched is not in the answer's body).

        Raises:
            EgressRefused: nothing was sent.
            UpstreamUnreachable: DNS, connection or TLS failure (`sent` False), a reset afterwards
                (`"unknown"`), or an answer that breaks HTTP (True).
            UpstreamTimeout: before a connection was had (`sent` False) or later (`"unknown"`).
            ResponseTooLarge: the decompressed body passed `max_response_bytes`; the connection is dropped.
        """
        if origin not in allowed_origins:
            raise EgressRefused("sealed_origin", "The credential was deposited for another origin; deposit it again.")
        target = self._target(origin, path, query)
        _check_headers(method, headers)
        session = self._session(target.scheme)
        attempt = _Attempt()
        token = _attempt.set(attempt)
        try:
            async with asyncio.timeout(max(0.0, timeout_seconds)):
                async with session.request(
                    method,
                    target,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=self._timeout(timeout_seconds),
                ) as response:
                    return await _answer(response, max_response_bytes, watch)
        except TimeoutError as exc:
            raise _timed_out(attempt) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _fault(exc, attempt) from exc
        finally:
            _attempt.reset(token)

    def _timeout(self, seconds: float) -> ClientTimeout:
        connect = max(0.001, min(self._connect_seconds, seconds))
        if connect == self._connect_seconds:
            return self._usual_timeout
        return ClientTimeout(total=None, connect=connect, sock_connect=connect)

    def _target(self, origin: str, path: str, query: str) -> URL:
        checked = self._origins.get(origin)
        if checked is None:
            checked = check_origin(origin, policy=self._policy)
            if str(checked) != origin:
                raise EgressRefused("origin", "The origin is not in its canonical form.")
            if len(self._origins) >= 1_024:
                self._origins.clear()
            self._origins[origin] = checked
        check_target(path, query)
        return URL(f"{origin}{path}?{query}" if query else origin + path, encoded=True)

    def _session(self, scheme: str) -> aiohttp.ClientSession:
        session = self._sessions.get(scheme)
        if session is None:
            if scheme == "https" and self._tls is None:
                self._tls = tls_context()
            connector = _Connector(
                resolver=_CheckedResolver(self._policy, scheme, self._resolve),
                ssl=self._tls if scheme == "https" and self._tls is not None else True,
                ttl_dns_cache=DNS_SECONDS,
                keepalive_timeout=KEEPALIVE_SECONDS,
                limit=MAX_CONNECTIONS,
                limit_per_host=self._per_origin,
            )
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._base_headers,
                skip_auto_headers=("Content-Type",),
                trust_env=False,
                auto_decompress=True,
                raise_for_status=False,
            )
            self._sessions[scheme] = session
        return session


def _check_headers(method: str, headers: Sequence[tuple[str, str]]) -> None:
    if method not in _METHODS:
        raise EgressRefused("method", "The method is not one that can be sent.")
    for name, value in headers:
        if _NAME.fullmatch(name) is None or name.lower() in _OURS:
            raise EgressRefused("header", "A header has a name that may not be sent.")
        if _VALUE.fullmatch(value) is None:
            raise EgressRefused("header", f"The header {name} holds characters that may not be sent.")


async def _answer(response: aiohttp.ClientResponse, most: int, watch: Watch | None) -> RawAnswer:
    found = _headers(response)
    if watch is not None and watch.begins(response.status, found):
        await _watch(response, most, watch)
        return RawAnswer(response.status, found, b"")
    return RawAnswer(response.status, found, await _read(response, most))


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > most and response.method != "HEAD":
        response.close()
        raise ResponseTooLarge(most)
    content = response.content
    chunks: list[bytes] = []
    size = 0
    while True:
        chunk = await content.readany()
        if not chunk:
            break
        size += len(chunk)
        if size > most:
            response.close()
            raise ResponseTooLarge(most)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _watch(response: aiohttp.ClientResponse, most: int, watch: Watch) -> None:
    """Feeds `watch` until it has enough or the body ends. The connection is kept only where the body has ended.

    Once there is enough, nothing that the upstream still does takes it back: what was answered was done.
    """
    size = 0
    enough = False
    try:
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > most:
                raise ResponseTooLarge(most)
            if watch.feed(chunk):
                enough = True
                break
        if enough:
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await response.content.readany()
    finally:
        if not response.content.at_eof():
            response.close()


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.headers.items():
        found.setdefault(name.lower(), value)
    found.pop("set-cookie", None)
    return found


def _timed_out(attempt: _Attempt) -> UpstreamTimeout:
    if attempt.connected:
        return UpstreamTimeout("the upstream did not answer in time", sent="unknown")
    return UpstreamTimeout("no connection to the upstream could be made in time", sent=False)


def _fault(exc: Exception, attempt: _Attempt) -> UpstreamFault:
    """The fault that an aiohttp or socket error means. Its own text is dropped: it may quote the answer."""
    refused = _egress_cause(exc)
    if refused is not None:
        raise refused
    if not attempt.connected:
        return UpstreamUnreachable(_unconnected(exc), sent=False)
    if isinstance(exc, (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, ValueError)):
        return UpstreamUnreachable("the upstream's answer was cut short or malformed", sent=True)
    return UpstreamUnreachable("the connection was lost before the answer came", sent="unknown")


def _unconnected(exc: Exception) -> str:
    if isinstance(exc, aiohttp.ClientSSLError):
        return "the upstream's TLS certificate or handshake failed"
    what = "its name could not be resolved" if isinstance(exc, aiohttp.ClientConnectorDNSError) else "no connection"
    return f"the upstream could not be reached: {what}"


def _egress_cause(exc: BaseException | None) -> EgressRefused | None:
    for _ in range(8):
        if exc is None or isinstance(exc, EgressRefused):
            return exc
        exc = exc.__cause__ or exc.__context__
    return None
