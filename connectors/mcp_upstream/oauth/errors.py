"""What can go wrong while signing in to an MCP server.

UpstreamFault
├── NoSignIn        the server offers no sign-in that we would use; the message says why
└── TokenRefused    its authorization server refused a code, a refresh token or us; `code` says which
"""

from typing import Final

from connectors.errors import UpstreamFault

KNOWN: Final = frozenset(
    {
        "access_denied",
        "invalid_client",
        "invalid_client_metadata",
        "invalid_grant",
        "invalid_redirect_uri",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
    }
)
"""Error codes of RFC 6749, 7591, 8707 and OpenID Connect that may be repeated."""


class NoSignIn(UpstreamFault):
    """There is no way to sign in that is offered and sound."""

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=True)


class TokenRefused(UpstreamFault):
    """`code` is one of `KNOWN`, or `other`."""

    def __init__(self, code: object) -> None:
        self.code = code if isinstance(code, str) and code in KNOWN else "other"
        super().__init__(f"the authorization server refused it ({self.code})", sent=True)
