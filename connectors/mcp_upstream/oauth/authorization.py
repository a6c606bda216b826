"""The address at which a person signs in, and the answer with which they come back. Pure."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlencode

from connectors.mcp_upstream.oauth.discovery import SignIn
from connectors.mcp_upstream.oauth.errors import NoSignIn, TokenRefused

CODE_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True)
class Proof:
    """A PKCE verifier and its S256 challenge (RFC 7636 § 4)."""

    verifier: str = field(repr=False)
    challenge: str

    @classmethod
    def make(cls) -> "Proof":
        """A new one, of 256 random bits."""
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode("ascii")).digest()
        return cls(verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"))


def address(sign_in: SignIn, *, client_id: str, redirect_uri: str, state: str, proof: Proof, scope: str | None) -> str:
    """Where the person's browser goes (OAuth 2.1 § 4.1.1; RFC 8707)."""
    fields = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": proof.challenge,
        "code_challenge_method": "S256",
        "resource": sign_in.resource,
    }
    if scope is not None:
        fields["scope"] = scope
        if "offline_access" in scope.split():
            fields["prompt"] = "consent"  # OpenID Connect Core § 11: else it is ignored
    joint = "&" if "?" in sign_in.authorization_endpoint else "?"
    return sign_in.authorization_endpoint + joint + urlencode(fields)


def read_answer(*, issuer: str, names_itself: bool, iss: str | None, code: str | None, error: str | None) -> str:
    """The code of an answer that came from `issuer` and from nobody else (RFC 9207 § 2.4, compared as text).

    Raises:
        NoSignIn: another issuer's answer, or one without the `iss` that was promised, or without a code.
        TokenRefused: the person or the server said no.
    """
    if iss is not None and iss != issuer:
        raise NoSignIn("the answer comes from another authorization server than the one you were sent to")
    if iss is None and names_itself:
        raise NoSignIn("the answer does not say which authorization server it comes from, as that one promised")
    if error is not None:
        raise TokenRefused(error)
    if not code or len(code) > CODE_CHARACTERS:
        raise NoSignIn("the authorization server sent no code")
    return code
