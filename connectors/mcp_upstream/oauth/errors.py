"""What can go wrong while signing in to an MCP server.

UpstreamFault
├── NoSignIn        the server offers no sign-in that we would use; the message says why
│   └── NoRegistration  its authorization server takes no new clients by itself; `issuer` says which it is
├── NoRevocation    it offers no way to give tokens back; nothing was sent
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
        "unsupported_token_type",
    }
)
"""Error codes of RFC 6749, 7009, 7591, 8707 and OpenID Connect that may be repeated."""


class NoSignIn(UpstreamFault):
    """There is no way to sign in that is offered and sound."""

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=True)


class NoRegistration(NoSignIn):
    """An admin has to register a client first."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        super().__init__("the authorization server takes no new clients; an admin must register one there first")


class NoRevocation(UpstreamFault):
    """There is nobody to give tokens back to."""

    def __init__(self) -> None:
        super().__init__("the authorization server offers no revocation (RFC 7009)", sent=False)


class TokenRefused(UpstreamFault):
    """`code` is one of `KNOWN`, or `other`."""

    def __init__(self, code: object) -> None:
        self.code = code if isinstance(code, str) and code in KNOWN else "other"
        super().__init__(f"the authorization server refused it ({self.code})", sent=True)
