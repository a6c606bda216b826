"""The cookies of the pages: which there are, and how they are set.

All are HttpOnly and SameSite=Lax (a link opened from a message must find the cookie that its first answer set; forms
are checked by `hardening` and by their own token). Over https they are Secure, with a prefix that no other host or
plain connection can set (RFC 6265bis § 4.1.3).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from broker.endpoints.rest.deps import services_of

MAX_VALUE: Final = 2100


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie, and the only paths that see it."""

    name: str
    path: str

    def named(self, *, secure: bool) -> str:
        """Its name on the wire. `__Host-` asks for the path `/`."""
        if not secure:
            return self.name
        return f"__Host-{self.name}" if self.path == "/" else f"__Secure-{self.name}"


LOGIN: Final = Cookie("krv_login", "/")
RETURN: Final = Cookie("krv_return", "/")
CONNECT_LINK: Final = Cookie("krv_connect", "/connect/link")
SIGN_IN_LINK: Final = Cookie("krv_sign_in", "/signin/link")
OIDC: Final = Cookie("krv_oidc", "/")
UPSTREAM: Final = Cookie("krv_upstream", "/")
"""For `/`, as those of `/` alone no neighbouring host can set: the GET that brings it connects an account."""


def read(request: Request, cookie: Cookie) -> str | None:
    """The cookie's value, or None."""
    value = request.cookies.get(cookie.named(secure=_secure(request)))
    return value if value and len(value) <= MAX_VALUE else None


def put(request: Request, response: Response, cookie: Cookie, value: str, until: datetime) -> None:
    """Sets a cookie that the browser drops at `until`."""
    seconds = max(1, int((until - services_of(request).clock.now()).total_seconds()))
    secure = _secure(request)
    response.set_cookie(
        cookie.named(secure=secure),
        value,
        max_age=seconds,
        path=cookie.path,
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def drop(request: Request, response: Response, cookie: Cookie) -> None:
    """Has the browser forget a cookie."""
    secure = _secure(request)
    response.delete_cookie(cookie.named(secure=secure), path=cookie.path, secure=secure, httponly=True, samesite="lax")


def _secure(request: Request) -> bool:
    return services_of(request).base_url.startswith("https://")
