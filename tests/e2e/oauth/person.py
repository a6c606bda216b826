"""A person with a browser, and an editor that signs in with them: what no SDK would send must be tried too."""

import base64
import hashlib
import html
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from bench.kit import TenantKit

OURS = {"sec-fetch-site": "same-origin"}
CALLBACK = "http://127.0.0.1:33418/callback"


def field(page: str, name: str) -> str:
    """A hidden field's value."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return html.unescape(found[1])


def answer_of(reply: httpx.Response) -> dict[str, str]:
    """The parameters that a redirect carries."""
    assert reply.status_code == 303, reply.text
    return {name: values[0] for name, values in parse_qs(urlsplit(reply.headers["location"]).query).items()}


def client(kit: TenantKit) -> httpx.Client:
    """Follows nothing by itself, and keeps no connection open."""
    limits = httpx.Limits(max_keepalive_connections=0)
    # Loopback and plain http: without `verify` no certificates are loaded, which would cost 30 ms a client.
    return httpx.Client(base_url=kit.stand.server.url, trust_env=False, timeout=30, verify=False, limits=limits)  # noqa: S501


class Person:
    """A browser that follows nothing by itself."""

    def __init__(self, kit: TenantKit, identifier: str | None = None) -> None:
        self.kit = kit
        self.identifier = identifier
        self.http = client(kit)
        if identifier is not None:
            self.sign_in(identifier)

    def sign_in(self, identifier: str) -> httpx.Response:
        """By a link that the admin makes."""
        link = self.kit.admin.ok("POST", "/v1/sign_in_links", {"identifier": identifier})["url"]
        self.http.get(link)
        csrf = field(self.http.get("/signin/link").text, "csrf")
        return self.http.post("/signin/link", data={"csrf": csrf}, headers=OURS)

    def consent(
        self,
        url: str,
        *,
        access: str = "read",
        decision: str = "allow",
        only: str | None = None,
        by: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Opens an authorization request and answers its page: `access` on every connection, or on `only`, or as `by`
        says, else nothing."""
        page = self.http.get(url)
        assert page.status_code == 200, page.text
        names = re.findall(r'name="c\.([^"]+)"', page.text)
        given = by or dict.fromkeys(names if only is None else [only], access)
        fields = {"csrf": field(page.text, "csrf"), "request": field(page.text, "request"), "access": access}
        chosen = {f"c.{name}": given.get(name, "none") for name in {*names, *given}}
        return self.http.post(urlsplit(url).path, data={**fields, **chosen, "decision": decision}, headers=OURS)


class Editor:
    """An OAuth client of one tenant, registered dynamically unless it has an id."""

    def __init__(self, kit: TenantKit, client_id: str | None = None, redirect_uri: str = CALLBACK) -> None:
        self.base = kit.stand.server.url
        self.issuer = f"{self.base}/t/{kit.name}"
        self.resource = f"{self.issuer}/mcp"
        self.redirect_uri = redirect_uri
        self.http = client(kit)
        self.verifier = secrets.token_urlsafe(48)
        self.state = secrets.token_urlsafe(9)
        self.client_id = client_id or self.register().json()["client_id"]

    def register(self, **more: Any) -> httpx.Response:
        body = {"client_name": "An editor", "redirect_uris": [self.redirect_uri], **more}
        return self.http.post(f"{self.issuer}/oauth/register", json=body)

    def url(self, **more: str | None) -> str:
        """The authorization request; a parameter that is None is left out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        fields: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "resource": self.resource,
            "scope": "tools:read",
            **more,
        }
        return f"/t/{self.issuer.rpartition('/')[2]}/oauth/authorize?" + urlencode(
            {name: value for name, value in fields.items() if value is not None}
        )

    def token(self, **fields: str | None) -> httpx.Response:
        """The token endpoint's answer."""
        given = {"client_id": self.client_id, **fields}
        return self.http.post(f"{self.issuer}/oauth/token", data={k: v for k, v in given.items() if v is not None})

    def redeem(self, code: str, **more: str | None) -> httpx.Response:
        """Fetches the tokens of a code."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            "resource": self.resource,
        }
        return self.token(**{**fields, **more})

    def refresh(self, refresh_token: str, **more: str | None) -> httpx.Response:
        fields: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self.token(**{**fields, **more})

    def signed_in(self, person: Person, *, scope: str | None = None, **more: Any) -> dict[str, Any]:
        """The tokens that a person lets it have. It asks for `scope`, or for what the person is about to allow."""
        url = self.url(scope=scope or f"tools:{more.get('access', 'read')}")
        code = answer_of(person.consent(url, **more))["code"]
        reply = self.redeem(code)
        assert reply.status_code == 200, reply.text
        tokens: dict[str, Any] = reply.json()
        return tokens

    def tools(self, token: str, path: str | None = None) -> httpx.Response:
        """`tools/list` with a bearer."""
        version = "2026-07-28"
        meta = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
        headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": version,
            "mcp-method": "tools/list",
        }
        return self.http.post(path or urlsplit(self.resource).path, json=body, headers=headers)
