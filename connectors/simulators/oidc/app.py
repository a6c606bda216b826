"""The provider's endpoints, as a plain ASGI application."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlencode

from connectors.simulators.oidc.lies import METADATA_SERVICE
from connectors.simulators.oidc.provider import Grant, Provider

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SLOW_SECONDS: Final = 60.0
_ELSEWHERE: Final = {
    "description redirects": "/.well-known/openid-configuration",
    "keys redirect": "/keys",
    "token endpoint redirects": "/token",
}


class Reply(Exception):
    """An answer: raised by whoever has one."""

    def __init__(self, status: int, body: Any = None, *, location: str | None = None, raw: bytes | None = None) -> None:
        self.status = status
        self.raw = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        self.location = location
        super().__init__(str(status))


def create_app(provider: Provider) -> App:
    """The application over `provider`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        with provider.seen:
            provider.asked.append(scope["path"])
        try:
            await _answer(provider, scope, body)
            reply = Reply(404)
        except Reply as made:
            reply = made
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        if reply.location is not None:
            headers.append((b"location", reply.location.encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.raw})

    return app


async def _answer(provider: Provider, scope: Scope, body: bytes) -> None:
    path, query = scope["path"], dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    for lie, where in _ELSEWHERE.items():
        if lie in provider.lies and path == where:
            raise Reply(302, location=METADATA_SERVICE)
    if path == "/.well-known/openid-configuration":
        await _description(provider)
    if path == "/keys":
        padding = {"padding": "x" * 200_000} if "keys are huge" in provider.lies else {}
        raise Reply(200, {"keys": provider.published()} | padding)
    if path == "/authorize":
        _authorize(provider, query)
    if path == "/token" and scope["method"] == "POST":
        _token(provider, scope, dict(parse_qsl(body.decode(), keep_blank_values=True)))
    if path == "/logout":
        await _logout(provider)
    if path == "/userinfo":
        told = provider.about(_header(scope, b"authorization").removeprefix("Bearer "))
        raise Reply(401 if told is None else 200, told)


async def _description(provider: Provider) -> None:
    base, lies = provider.issuer, provider.lies
    if "description is slow" in lies:
        await asyncio.sleep(SLOW_SECONDS)
    if "description is not json" in lies:
        raise Reply(200, raw=b"<html>")
    if "description is a list" in lies:
        raise Reply(200, [])
    told: dict[str, Any] = {
        "issuer": "https://other.example" if "description of another issuer" in lies else base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "userinfo_endpoint": f"{base}/userinfo",
        "end_session_endpoint": f"{base}/logout",
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "jwks_uri": f"{base}/keys",
        "response_types_supported": ["id_token"] if "description without code" in lies else ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [key.algorithm for key in provider.keys],
        "token_endpoint_auth_methods_supported": provider.methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": provider.announces_issuer,
    }
    if "token endpoint at the metadata service" in lies:
        told["token_endpoint"] = f"{METADATA_SERVICE}/token"
    if "keys at the metadata service" in lies:
        told["jwks_uri"] = f"{METADATA_SERVICE}/keys"
    if "description is huge" in lies:
        told["padding"] = "x" * 200_000
    raise Reply(200, told)


def _authorize(provider: Provider, query: dict[str, str]) -> None:
    client = provider.clients.get(query.get("client_id", ""))
    uri = query.get("redirect_uri", "")
    if client is None or uri not in client.redirect_uris:
        raise Reply(400, {"error": "invalid_request"})
    with provider.seen:
        provider.arrived.append(query)
    answer = {"state": query.get("state", "")}
    if provider.announces_issuer:
        other = "another issuer in the answer" in provider.lies
        answer["iss"] = "https://other.example" if other else provider.issuer
    if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
        answer["error"] = "invalid_request"
    elif "openid" not in query.get("scope", "").split():
        answer["error"] = "invalid_scope"
    elif provider.current is None:
        answer["error"] = "access_denied"
    else:
        grant = Grant(provider.current, client.client_id, uri, query.get("nonce"), query["code_challenge"])
        answer["code"] = provider.code(grant)
    raise Reply(302, location=f"{uri}?{urlencode(answer)}")


async def _logout(provider: Provider) -> None:
    """Ends the session of whoever is signed in, and tells every client that wants to hear of it."""
    raise Reply(200, provider.current and await asyncio.to_thread(provider.sign_out, provider.current))


def _token(provider: Provider, scope: Scope, fields: dict[str, str]) -> None:
    if "token answer is not json" in provider.lies:
        raise Reply(200, raw=b"<html>")
    client_id, secret = fields.get("client_id"), fields.get("client_secret")
    scheme, _, given = _header(scope, b"authorization").partition(" ")
    if scheme == "Basic":
        client_id, _, secret = base64.b64decode(given).decode().partition(":")
        client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    client = provider.clients.get(client_id or "")
    if client is None or client.secret != secret:
        raise Reply(401, {"error": "invalid_client"})
    wanted = (fields.get("code", ""), client.client_id, fields.get("redirect_uri", ""), fields.get("code_verifier", ""))
    told = provider.redeem(*wanted)
    raise Reply(400, {"error": "invalid_grant"}) if told is None else Reply(200, told)


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


async def _body(receive: Receive) -> bytes:
    whole: bytes = b""
    while True:
        message = await receive()
        whole += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return whole
