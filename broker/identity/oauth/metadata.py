"""What a client says of itself: a registration request (RFC 7591 § 2) or a client-id metadata document
(draft-ietf-oauth-client-id-metadata-document). Pure. All of it is hostile."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from broker.identity.oauth.redirects import BadRedirect, check

MAX_REDIRECTS: Final = 20
MAX_NAME: Final = 100
MAX_CLIENT_ID: Final = 500
_DOCUMENT: Final = re.compile(
    r"https://[a-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~!$&'()*+,;=:@%/-]+(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)


class BadMetadata(ValueError):
    """What a client says of itself cannot be taken. `error` is RFC 7591's word for it."""

    def __init__(self, told: str, error: str = "invalid_client_metadata") -> None:
        self.error = error
        super().__init__(told)


@dataclass(frozen=True, slots=True)
class About:
    """What is kept of it."""

    name: str
    uri: str | None
    redirect_uris: tuple[str, ...]


def is_document(client_id: str) -> bool:
    """Whether a client id is the address of a metadata document: https, a path, no fragment, no user name, no `.` or
    `..` segment."""
    if len(client_id) > MAX_CLIENT_ID or _DOCUMENT.fullmatch(client_id) is None:
        return False
    return not {".", "..", "%2e", "%2e%2e"} & set(urlsplit(client_id).path.lower().split("/"))


def read_about(given: Any, fallback: str) -> About:
    """What `given` says. `fallback` is its name where it gives none. Raises BadMetadata."""
    if not isinstance(given, Mapping):
        raise BadMetadata("must be a JSON object")
    uris = given.get("redirect_uris")
    if not isinstance(uris, list) or not 1 <= len(uris) <= MAX_REDIRECTS or not all(isinstance(u, str) for u in uris):
        raise BadMetadata(f"redirect_uris must be a list of 1 to {MAX_REDIRECTS} URIs", "invalid_redirect_uri")
    for n, uri in enumerate(uris):
        try:
            check(uri)
        except BadRedirect as bad:
            raise BadMetadata(f"redirect_uris.{n} {bad}", "invalid_redirect_uri") from None
    _must_hold(given, "grant_types", "authorization_code")
    _must_hold(given, "response_types", "code")
    return About(_name(given.get("client_name"), fallback), _uri(given.get("client_uri")), tuple(dict.fromkeys(uris)))


def read_document(given: Any, client_id: str) -> About:
    """What the document at `client_id` says. Raises BadMetadata also where it is another client's, or asks for a
    secret, which a public document cannot hold."""
    if not isinstance(given, Mapping) or given.get("client_id") != client_id:
        raise BadMetadata("the document's client_id is not its own address")
    if "client_secret" in given or given.get("token_endpoint_auth_method", "none") != "none":
        raise BadMetadata("the document asks for client authentication; we take public clients with PKCE")
    return read_about(given, urlsplit(client_id).netloc)


def plain_name(text: str) -> str:
    """A name as it may be shown beside others: normalised, printable, one line, at most 100 characters."""
    kept = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFKC", text[: MAX_NAME * 4]))
    return " ".join(kept.split())[:MAX_NAME]


def _name(given: object, fallback: str) -> str:
    return (plain_name(given) if isinstance(given, str) else "") or fallback[:MAX_NAME]


def _uri(given: object) -> str | None:
    fits = isinstance(given, str) and len(given) <= MAX_CLIENT_ID and given.isascii() and given.isprintable()
    return str(given) if fits and str(given).startswith("https://") else None


def _must_hold(given: Mapping[str, Any], field: str, value: str) -> None:
    """A list that is there must hold what every client of ours uses."""
    listed = given.get(field)
    if listed is not None and (not isinstance(listed, list) or len(listed) > 20 or value not in listed):
        raise BadMetadata(f"{field} must hold {value}")
