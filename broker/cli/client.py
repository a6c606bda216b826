"""A small client of the REST API: problems become `Refused`, silence becomes `Unreachable`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from broker.cli.errors import Refused, Unreachable
from broker.cli.parse import is_loopback
from broker.cli.place import Place

SECONDS = 130.0
"""Longer than the server's own bound on a request, so that its answer is always heard."""


class Api:
    """One server, one key, perhaps a tenant. Close it, or use it in a `with`."""

    def __init__(
        self, place: Place, *, tenant: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.place = place
        headers = {"Authorization": f"Bearer {place.key}", "User-Agent": f"keyreeve-cli/{version('keyreeve')}"}
        if tenant is not None:
            headers["X-Keyreeve-Tenant"] = tenant
        local = is_loopback(urlsplit(place.url).hostname or "")
        self._http = httpx.Client(
            base_url=place.url,
            headers=headers,
            timeout=httpx.Timeout(SECONDS, connect=5.0),
            transport=transport,
            follow_redirects=False,
            trust_env=not local,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """`GET`; parameters that are None are left out."""
        return self.ask("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """`POST`."""
        return self.ask("POST", path, body=body)

    def ask(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        """One request's JSON answer. Raises Refused, Unreachable."""
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = None if content is None else {"Content-Type": "application/json"}
        with self._reaching():
            answer = self._http.request(method, path, params=params, content=content, headers=headers)
        return read(answer)

    def pages(self, path: str, *, limit: int | None = None, **params: Any) -> list[Any]:
        """The items of a list, page by page: all of them, or the first `limit`."""
        items: list[Any] = []
        token: str | None = None
        while True:
            size = 1000 if limit is None else min(1000, limit - len(items))
            page = self.get(path, page_size=size, page_token=token, **params)
            items += page["items"]
            token = page.get("next_page_token")
            if token is None or (limit is not None and len(items) >= limit):
                return items

    def lines(self, path: str, **params: Any) -> Iterator[bytes]:
        """A streamed answer, line by line. Raises Refused before the first."""
        wanted = {k: v for k, v in params.items() if v is not None}
        with self._reaching(), self._http.stream("GET", path, params=wanted) as answer:
            if answer.status_code >= 400:
                answer.read()
                read(answer)
            rest = b""
            # Not `iter_lines`: to that a line also ends at U+2028 and the like, which stand in JSON as they are.
            for chunk in answer.iter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
            if rest:
                yield rest

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError:
            raise Unreachable(
                f"nothing answers at {self.place.url}", "is the server running? `keyreeve doctor`"
            ) from None
        except httpx.TimeoutException:
            raise Unreachable(f"{self.place.url} did not answer in time") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.place.url} did not answer properly: {type(error).__name__}") from None


def read(answer: httpx.Response) -> Any:
    """An answer's JSON. Raises Refused for every status that is no success, Unreachable for what is no JSON."""
    try:
        found = answer.json() if answer.content else None
    except ValueError:
        found = None
        if answer.is_success:
            raise Unreachable(f"{answer.request.url.host} answered something that is not JSON") from None
    if answer.is_success:
        return found
    raise Refused(found if isinstance(found, dict) else {}, answer.status_code)
