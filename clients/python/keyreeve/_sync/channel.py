"""Sends requests and reads answers: the one place where this package meets the network.

Made from `_async` by unasync.py; edit that.
"""

import random
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any, TypeVar

import httpx

from keyreeve._sync import waiting
from keyreeve.ask import Ask
from keyreeve.config import CONNECT_SECONDS, SERVER_SECONDS, Target, TimeoutSeconds, TraceContext, trace_headers
from keyreeve.errors import (
    ApiError,
    ConnectionFailed,
    HandleClosed,
    KeyreeveError,
    Timeout,
    TransportError,
    UnexpectedAnswer,
)
from keyreeve.retry import Retries
from keyreeve.wire import decode, refusal

T = TypeVar("T")

_LINE = 16 * 1024 * 1024
"""Bytes of one line of a stream."""
_CACHED = 64


def limits(timeout: TimeoutSeconds) -> httpx.Timeout:
    """`timeout` as httpx knows it; a number bounds each of connecting, sending, and waiting for the answer."""
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if timeout is None:
        return httpx.Timeout(SERVER_SECONDS, connect=CONNECT_SECONDS, pool=SERVER_SECONDS)
    return httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))


class Channel:
    """One server over one connection pool. It holds no key: each request brings its own headers."""

    def __init__(
        self,
        target: Target,
        http: httpx.Client | None,
        *,
        timeout: TimeoutSeconds,
        retries: Retries,
        max_answer_bytes: int,
        trace_context: TraceContext | None,
    ) -> None:
        self.url = target.url
        self._user_agent = target.user_agent
        self._owned = http is None
        # Proxies of the environment are not for this machine's own addresses.
        self._http = http or httpx.Client(
            trust_env=not target.local, verify=target.url.startswith("https:"), follow_redirects=False
        )
        self._timeout = limits(timeout)
        self._extensions = {"timeout": self._timeout.as_dict()}
        self._retries = retries
        self._most = max_answer_bytes
        self._trace = trace_context
        self._urls: dict[str, httpx.URL] = {}

    def close(self) -> None:
        """Gives the connections back; a client that was handed in stays open."""
        if self._owned:
            self._http.close()

    def headers(self, bearer: str, tenant: str | None) -> httpx.Headers:
        """What every request with this bearer carries. Its repr hides the bearer."""
        named = {} if tenant is None else {"x-keyreeve-tenant": tenant}
        return httpx.Headers(
            {
                "authorization": f"Bearer {bearer}",
                "user-agent": self._user_agent,
                "accept": "application/json",
                "accept-encoding": "identity",
                **named,
            }
        )

    def ask(self, headers: httpx.Headers, ask: Ask[T], timeout: TimeoutSeconds = None) -> T:
        """The answer. Raises ApiError, TransportError, UnexpectedAnswer; sends again only what is safe to."""
        sent_again = 0
        while True:
            failure: KeyreeveError
            try:
                return decode(self._once(headers, ask, timeout), ask.answer)
            except (ApiError, TransportError) as error:
                failure = error
            wait = self._retries.wait(ask, failure, sent_again, random.random())  # noqa: S311 - spreads, hides nothing
            if wait is None:
                # Outside the `except`: nothing of httpx hangs on, whose requests hold the key.
                raise failure
            waiting.pause(wait)
            sent_again += 1

    def lines(self, headers: httpx.Headers, ask: Ask[Any]) -> Iterator[bytes]:
        """The lines of a streamed answer. Raises like `ask`; once the first line is there nothing is sent again."""
        failure: KeyreeveError | None = None
        try:
            response = self._http.send(
                self._request(headers, ask, None), stream=True, auth=None, follow_redirects=False
            )
            try:
                if response.status_code >= 300:
                    raw = self._body(response, None)
                    raise refusal(response.status_code, raw, response.headers.get("retry-after"))
                _check_plain(response)
                rest = b""
                for chunk in response.iter_bytes():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line
                    if len(rest) > _LINE:
                        raise UnexpectedAnswer(f"a line of more than {_LINE} bytes")
                if rest:
                    yield rest
            finally:
                response.close()
        except (httpx.HTTPError, httpx.StreamError) as error:
            failure = _failure(error, ask)
        if failure is not None:
            raise failure

    def _once(self, headers: httpx.Headers, ask: Ask[Any], timeout: TimeoutSeconds) -> bytes:
        failure: KeyreeveError
        try:
            request = self._request(headers, ask, timeout)
            response = self._http.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                raw = self._body(response, timeout)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            failure = _failure(error, ask)
        except RuntimeError as error:
            if "client has been closed" not in str(error):
                raise
            failure = HandleClosed("the client was closed")
        else:
            if response.status_code < 300:
                return raw
            failure = refusal(response.status_code, raw, response.headers.get("retry-after"))
        raise failure

    def _request(self, headers: httpx.Headers, ask: Ask[Any], timeout: TimeoutSeconds) -> httpx.Request:
        url = self._urls.get(ask.path)
        if url is None:
            url = httpx.URL(self.url + ask.path)
            if len(self._urls) < _CACHED and "?" not in ask.path:
                self._urls[ask.path] = url
        request = httpx.Request(
            ask.method,
            url,
            headers=headers,
            content=ask.body,
            extensions=self._extensions if timeout is None else {"timeout": limits(timeout).as_dict()},
        )
        if ask.body is not None:
            request.headers["content-type"] = "application/json"
        if self._trace is not None:
            request.headers.update(trace_headers(self._trace))
        return request

    def _body(self, response: httpx.Response, timeout: TimeoutSeconds) -> bytes:
        """The whole body. Raises UnexpectedAnswer where it is too large or compressed, ReadTimeout where it drips."""
        status = response.status_code
        _check_plain(response)
        chunks: list[bytes] = []
        left = self._most
        reading = self._timeout if timeout is None else limits(timeout)
        until = monotonic() + (reading.read or SERVER_SECONDS)
        for chunk in response.iter_bytes():
            left -= len(chunk)
            if left < 0:
                raise UnexpectedAnswer(f"the answer is longer than {self._most} bytes", status=status)
            if monotonic() > until:
                raise httpx.ReadTimeout("the answer came too slowly")
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_plain(response: httpx.Response) -> None:
    """Raises UnexpectedAnswer for a compressed answer: it was not asked for, and a few bytes may hold gigabytes."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnexpectedAnswer("the answer is compressed, which was not asked for", status=response.status_code)


_UNSENT: Sequence[type[Exception]] = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


def _failure(error: Exception, ask: Ask[Any]) -> KeyreeveError:
    """What an error of httpx amounts to. Its own text is not repeated: it may hold anything."""
    unsent = isinstance(error, tuple(_UNSENT))
    kind: type[TransportError] = ConnectionFailed
    told = "the connection broke before the answer was there"
    if isinstance(error, httpx.TimeoutException):
        kind, told = Timeout, "no connection in time" if unsent else "no answer in time"
    elif unsent:
        told = "the server cannot be reached"
    elif isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError):
        return UnexpectedAnswer("the request could not be made", sent=False)
    return kind(
        f"{told} ({type(error).__name__})", sent=False if unsent else "unknown", idempotency_key=ask.idempotency_key
    )
