"""The calls about how people and their editors sign in, for the role matrix (test_roles.py): all are an admin's."""

from collections.abc import Callable
from typing import Any, Protocol


class Fresh(Protocol):
    """Makes names that nothing has."""

    def fresh(self) -> str: ...


PROVIDER = {"issuer": "http://idp.acme.example", "client_id": "keyreeve"}
SUBJECT = {"issuer": PROVIDER["issuer"], "subject": "s"}
SIGN_IN: dict[tuple[str, str], Callable[[Fresh], tuple[str, Any]]] = {
    ("PUT", "/v1/sign_in_provider"): lambda w: ("/v1/sign_in_provider", PROVIDER),
    ("GET", "/v1/sign_in_provider"): lambda w: ("/v1/sign_in_provider", None),
    ("DELETE", "/v1/sign_in_provider"): lambda w: ("/v1/sign_in_provider", None),
    ("GET", "/v1/sign_ins"): lambda w: ("/v1/sign_ins", None),
    ("PUT", "/v1/identities/{identifier}/sign_in"): lambda w: (f"/v1/identities/{w.fresh()}/sign_in", SUBJECT),
    ("DELETE", "/v1/identities/{identifier}/sign_in"): lambda w: (f"/v1/identities/{w.fresh()}/sign_in", None),
    ("POST", "/v1/oauth_clients"): lambda w: (
        "/v1/oauth_clients",
        {"client_id": w.fresh(), "name": "An editor", "redirect_uris": ["http://127.0.0.1/callback"]},
    ),
    ("GET", "/v1/oauth_clients"): lambda w: ("/v1/oauth_clients", None),
    ("DELETE", "/v1/oauth_clients/{client_id}"): lambda w: (f"/v1/oauth_clients/{w.fresh()}", None),
}
