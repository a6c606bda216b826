"""What every page's answer says to the browser, and which form posts are ours."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from broker.endpoints.rest.deps import services_of
from broker.errors import Problem

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action {forms}; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    "X-Robots-Tag": "noindex, nofollow",
}


def harden(response: Response, *, forms: str = "'self'") -> Response:
    """The answer with every header that closes a leak. `forms` are the sources that forms may lead to (CSP 3 §
    6.4.2: browsers apply it to redirects after a form too, so an OAuth consent names its client's redirect there)."""
    response.headers.setdefault("Content-Security-Policy", _POLICY.format(forms=forms))
    response.headers.setdefault("Cache-Control", "no-store")
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def check_same_origin(request: Request) -> None:
    """Returns if a page of ours sent this form. Raises Problem `forbidden`.

    `Sec-Fetch-Site` is the browser's own word (W3C Fetch Metadata § 2.3); where a browser sends none, `Origin` must be
    ours. With neither, it is no browser's form.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site == "same-origin":
            return
        raise _foreign()
    parts = urlsplit(services_of(request).base_url)
    if request.headers.get("origin") != f"{parts.scheme}://{parts.netloc}":
        raise _foreign()


def _foreign() -> Problem:
    return Problem("forbidden", "another site sent this form", hint="open the page here and try again", fix="user")
