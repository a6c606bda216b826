"""An MCP server that wants people to sign in, and the authorization server that it names, for upstream.py.

/oauth/NAME/mcp                   takes the access tokens that issuer NAME has given out and that still stand
/issuer/NAME/…                    authorize (says yes at once), token, register, revoke; its metadata and the server's
                                  at their well-known places
POST /issuer-control/NAME {...}   how both behave from now on; empties what was noted
/issuer-journal/NAME              what the token endpoint was asked, and what it had to refuse

A refresh token works once. Using one again ends everything that came of its sign-in, as RFC 9700 § 4.14.2 has it.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class Family:
    """What came of one sign-in."""

    scope: str
    alive: bool = True


@dataclass
class Issuer:
    """One authorization server."""

    how: dict[str, Any]
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: dict[str, Family] = field(default_factory=dict)
    refresh: dict[str, Family] = field(default_factory=dict)
    spent: dict[str, Family] = field(default_factory=dict)
    journal: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)


ISSUERS: dict[str, Issuer] = {}


def here(request: Request) -> tuple[Issuer, str, str]:
    """(the issuer, its name, this process's address)."""
    name = request.path_params["name"]
    return ISSUERS[name], name, f"http://{request.headers['host']}"


async def control(request: Request) -> Response:
    name, how = request.path_params["name"], await request.json()
    clients = how.pop("clients", {})
    if how.pop("keep", False):
        ISSUERS[name].how = {**ISSUERS[name].how, **how}
    else:
        ISSUERS[name] = Issuer(how)
    ISSUERS[name].clients |= clients
    return JSONResponse({})


async def journal(request: Request) -> Response:
    issuer, _, _ = here(request)
    found = {"asked": issuer.journal, "clients": list(issuer.clients.values()), "secrets": issuer.secrets}
    return JSONResponse(found)


async def resource_metadata(request: Request) -> Response:
    issuer, name, url = here(request)
    if "metadata_redirect" in issuer.how:
        return RedirectResponse(issuer.how["metadata_redirect"], 302)
    found = {
        "resource": issuer.how.get("resource", f"{url}/oauth/{name}/mcp"),
        "authorization_servers": [issuer.how.get("server", f"{url}/issuer/{name}")],
        "scopes_supported": ["mcp:read"],
    }
    return JSONResponse(found)


async def server_metadata(request: Request) -> Response:
    issuer, name, url = here(request)
    base = f"{url}/issuer/{name}"
    if issuer.how.get("metadata_megabytes"):
        return StreamingResponse(megabytes(), media_type="application/json")
    if issuer.how.get("metadata_hang"):
        await asyncio.sleep(60)
    found = {
        "issuer": base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "registration_endpoint": f"{base}/register",
        "revocation_endpoint": f"{base}/revoke",
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
        "authorization_response_iss_parameter_supported": True,
        "scopes_supported": ["mcp:use", "offline_access"],
    }
    found |= issuer.how.get("metadata", {})
    return JSONResponse({k: v for k, v in found.items() if v is not None})


async def register(request: Request) -> Response:
    issuer, _, _ = here(request)
    asked = await request.json()
    client_id = secrets.token_urlsafe(8)
    made = {**asked, "client_id": client_id}
    if asked["token_endpoint_auth_method"] != "none":
        made["client_secret"] = secrets.token_urlsafe(32)
        issuer.secrets.append(made["client_secret"])
    issuer.clients[client_id] = made
    return JSONResponse(made, 201)


async def authorize(request: Request) -> Response:
    issuer, name, url = here(request)
    asked = dict(request.query_params)
    client = issuer.clients[asked["client_id"]]
    assert asked["redirect_uri"] in client["redirect_uris"]
    assert asked["code_challenge_method"] == "S256"
    answer = {"state": asked["state"], "iss": f"{url}/issuer/{name}", **issuer.how.get("answer", {})}
    if "error" not in answer:
        code = secrets.token_urlsafe(32)
        issuer.codes[code] = asked
        issuer.secrets.append(code)
        answer = {"code": code, **answer}
    return RedirectResponse(asked["redirect_uri"] + "?" + urlencode({k: v for k, v in answer.items() if v}), 302)


async def token(request: Request) -> Response:
    issuer, _, _ = here(request)
    asked = dict(parse_qsl((await request.body()).decode()))
    noted = {k: v for k, v in asked.items() if k in ("grant_type", "resource", "redirect_uri")}
    issuer.journal.append({**noted, "at": request.url.path})
    if issuer.how.get("token_hang"):
        await asyncio.sleep(60)
    if issuer.how.get("token_megabytes"):
        return StreamingResponse(megabytes(), media_type="application/json")
    if "token_redirect" in issuer.how:
        return RedirectResponse(issuer.how["token_redirect"], 307)
    if not authenticated(request, issuer, asked):
        issuer.journal[-1]["refused"] = "invalid_client"
        return JSONResponse({"error": "invalid_client"}, 401)
    await asyncio.sleep(issuer.how.get("token_seconds", 0.0))
    family = code_of(issuer, asked) if asked["grant_type"] == "authorization_code" else refreshed(issuer, asked)
    if family is None:
        issuer.journal[-1]["refused"] = "invalid_grant"
        return JSONResponse({"error": "invalid_grant"}, 400)
    issuer.secrets += [asked.get("code_verifier", ""), access := secrets.token_urlsafe(32)]
    issuer.secrets.append(again := secrets.token_urlsafe(32))
    issuer.access[access] = family
    made: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "scope": family.scope}
    if issuer.how.get("refresh", True):
        issuer.refresh[again] = family
        made["refresh_token"] = again
    made["expires_in"] = issuer.how.get("expires_in", 3600)
    return JSONResponse({**made, **issuer.how.get("tokens", {})})


def authenticated(request: Request, issuer: Issuer, asked: dict[str, str]) -> bool:
    """Whether the client showed who it is, in the way it was registered for."""
    header = request.headers.get("authorization", "")
    if header.startswith("Basic "):
        client_id, _, secret = base64.b64decode(header[6:]).decode().partition(":")
        client = issuer.clients.get(unquote(client_id), {})
        return client.get("client_secret") == unquote(secret)
    client = issuer.clients.get(asked.get("client_id", ""), {})
    return client.get("token_endpoint_auth_method") == "none"


def code_of(issuer: Issuer, asked: dict[str, str]) -> Family | None:
    """The sign-in that a code stands for, once, for whoever has the verifier."""
    given = issuer.codes.pop(asked["code"], None)
    if given is None:
        return None
    digest = base64.urlsafe_b64encode(hashlib.sha256(asked["code_verifier"].encode()).digest()).rstrip(b"=").decode()
    same = all(asked.get(name) == given.get(name) for name in ("redirect_uri", "resource"))
    return Family(given.get("scope", "")) if same and digest == given["code_challenge"] else None


def refreshed(issuer: Issuer, asked: dict[str, str]) -> Family | None:
    """The sign-in of a refresh token, which is spent by it."""
    again = asked["refresh_token"]
    if again in issuer.spent:
        issuer.spent[again].alive = False
        return None
    family = issuer.refresh.pop(again, None)
    if family is None or not family.alive:
        return None
    issuer.spent[again] = family
    if issuer.how.get("one_token", True):
        issuer.access = {text: of for text, of in issuer.access.items() if of is not family}
    return family


async def revoke(request: Request) -> Response:
    issuer, _, _ = here(request)
    asked = dict(parse_qsl((await request.body()).decode()))
    issuer.journal.append({"at": request.url.path, "hint": asked.get("token_type_hint")})
    await asyncio.sleep(issuer.how.get("revoke_seconds", 0.0))
    if issuer.how.get("revoke_status", 200) != 200 or not authenticated(request, issuer, asked):
        return JSONResponse({"error": "unsupported_token_type"}, issuer.how.get("revoke_status", 401))
    for held in (issuer.access, issuer.refresh):
        family = held.get(asked["token"])
        if family is not None:
            family.alive = False
    return Response(status_code=200)


async def server(request: Request) -> Response:
    issuer, name, url = here(request)
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    family = issuer.access.get(bearer)
    if family is None or not family.alive or issuer.how.get("refuses_all"):
        where = issuer.how.get("challenge", f"{url}/.well-known/oauth-protected-resource/oauth/{name}/mcp")
        told = f'Bearer realm="x", scope="mcp:use", resource_metadata="{where}"'
        return Response(status_code=401, headers={"WWW-Authenticate": told})
    message = await request.json()
    method, id_ = message["method"], message.get("id")
    if method == "tools/call" and "mcp:write" not in family.scope and issuer.how.get("step_up"):
        told = 'Bearer error="insufficient_scope", scope="mcp:use mcp:write"'
        return Response(status_code=403, headers={"WWW-Authenticate": told})
    found: dict[str, Any] = {
        "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"},
        "tools/list": {"tools": [{"name": "ping", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": f"pong {bearer}"}]},
    }
    return JSONResponse({"jsonrpc": "2.0", "id": id_, "result": found[method]})


async def megabytes() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield b" " * 1_000_000


WELL_KNOWN = "/.well-known"
ROUTES = [
    Route("/issuer-control/{name}", control, methods=["POST"]),
    Route("/issuer-journal/{name}", journal),
    Route(WELL_KNOWN + "/oauth-protected-resource/oauth/{name}/mcp", resource_metadata),
    Route(WELL_KNOWN + "/oauth-authorization-server/issuer/{name}", server_metadata),
    Route("/issuer/{name}/register", register, methods=["POST"]),
    Route("/issuer/{name}/authorize", authorize),
    Route("/issuer/{name}/token", token, methods=["POST"]),
    Route("/issuer/{name}/revoke", revoke, methods=["POST"]),
    Route("/oauth/{name}/mcp", server, methods=["POST"]),
]
