"""Where people come back to: an address of its own for each authorization server (RFC 9700 § 4.4.2.2).

A hostile authorization server may pass the person on to an honest one and hope to be handed what that answers. The
honest one sends people to addresses that were registered with it, and none of them is the hostile one's.

Our client document is one for each server too, with a redirect of its own: anybody may name a document, so what it may
lead to is only taken from servers that name themselves in their answers (`clients`). Both are functions of the issuer
alone: nothing is kept of them, and an admin can be told the address before anybody signed in.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import Problem
from connectors.mcp_upstream.oauth.registration import document

CALLBACK: Final = "/upstream/callback/{issuer_id}"
DOCUMENT: Final = "/upstream/client/{issuer_id}.json"
DOCUMENT_CALLBACK: Final = "/upstream/client/{issuer_id}/callback"
"""All three are registered elsewhere, and stay."""

_ID = re.compile(r"[0-9a-f]{32}")


def issuer_id(issuer: str) -> str:
    """128 bits of an issuer's SHA-256, in hexadecimal: none is the beginning of another's."""
    return hashlib.sha256(issuer.encode("utf-8", "replace")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Redirects:
    """The addresses of an installation at `base_url`."""

    base_url: str

    def registered(self, issuer: str) -> str:
        """Where an issuer's answers come for a client that was registered there, by us or by an admin."""
        return self.base_url + CALLBACK.format(issuer_id=issuer_id(issuer))

    def documented(self, issuer: str) -> str:
        """Where its answers come for the client that our document describes."""
        return self.base_url + DOCUMENT_CALLBACK.format(issuer_id=issuer_id(issuer))

    def document(self, issuer: str) -> str | None:
        """The client id that is our document for an issuer, None where nobody outside could fetch it."""
        return self._document(issuer_id(issuer))

    def published(self, id_: str) -> dict[str, Any]:
        """The document for the issuer of an id. Raises Problem `not_found`."""
        client_id = self._document(id_)
        if client_id is None or _ID.fullmatch(id_) is None:
            raise Problem("not_found", "this installation publishes no such document")
        return document(client_id, self.base_url + DOCUMENT_CALLBACK.format(issuer_id=id_))

    def _document(self, id_: str) -> str | None:
        return self.base_url + DOCUMENT.format(issuer_id=id_) if self.base_url.startswith("https://") else None
