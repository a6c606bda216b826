"""Keyreeve's upstream client as the conformance suite runs it: `python -m tests.clients.upstream_client SERVER_URL`.

What the product does with an MCP server, without the product around it: definitions fetched, every tool called, and
where the server wants it, a sign-in whose person says yes to everything (the authorization server's redirect is
followed here). Scenario and context come in `MCP_CONFORMANCE_SCENARIO` and `MCP_CONFORMANCE_CONTEXT`.
"""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from connectors.base import Answer, Prepared
from connectors.egress import EgressPolicy
from connectors.errors import ConnectorError, CredentialRejected
from connectors.http import HttpClient
from connectors.mcp_upstream.config import check_config, split_url
from connectors.mcp_upstream.connector import McpConnector
from connectors.mcp_upstream.definitions import Pinned
from connectors.mcp_upstream.oauth import authorization, discovery, registration, tokens
from connectors.mcp_upstream.oauth.challenge import Challenge, union
from connectors.mcp_upstream.rounds import MCP_INPUT, ROUND, Round
from vault.secret import Secret

REDIRECT = "http://localhost:39871/upstream/callback"
DOCUMENT = "https://conformance-test.local/client-metadata.json"
TRIES = 3
SECONDS = 20.0


class Loopback(EgressPolicy):
    """Every port of this machine: the suite takes free ones."""

    def allows(self, host: str, port: int) -> bool:
        return port > 0 and host in ("localhost", "127.0.0.1")


@dataclass
class View:
    """A connection."""

    config: Mapping[str, Any]
    spec: Any = None
    name: str = "up"


class Person:
    """Somebody who connects an account and says yes to everything."""

    def __init__(self, http: HttpClient, url: str, context: Mapping[str, Any]) -> None:
        self.http = http
        self.url = url
        self.context = context
        self.clients: dict[str, tokens.OAuthClient] = {}
        self.scope: str | None = None

    async def sign_in(self, challenge: Challenge | None) -> tokens.Tokens:
        """The tokens of a sign-in, with every scope that was ever asked for."""
        server = split_url(self.url)
        if challenge is None:
            challenge = await discovery.challenge_of(
                self.http, origin=server.origin, path=server.path, query=server.query
            )
        sign_in = await discovery.discover(self.http, self.url, challenge)
        client = await self.client(sign_in)
        self.scope = union(self.scope, sign_in.scope)
        proof, state = authorization.Proof.make(), secrets.token_urlsafe(24)
        address = authorization.address(
            sign_in, client_id=client.client_id, redirect_uri=REDIRECT, state=state, proof=proof, scope=self.scope
        )
        answer = await self.approve(address)
        assert answer.get("state") == state, "another state"
        code = authorization.read_answer(
            issuer=sign_in.issuer,
            names_itself=sign_in.names_itself,
            iss=answer.get("iss"),
            code=answer.get("code"),
            error=answer.get("error"),
        )
        return await tokens.redeem(
            self.http,
            sign_in,
            client,
            code=code,
            verifier=proof.verifier,
            redirect_uri=REDIRECT,
            scope=self.scope,
        )

    async def client(self, sign_in: discovery.SignIn) -> tokens.OAuthClient:
        """As whom: an admin's client, our document, or a registration; one for each issuer."""
        if "client_id" in self.context:
            secret = self.context.get("client_secret")
            method = registration.method_of(sign_in) if secret is not None else "none"
            return tokens.OAuthClient(self.context["client_id"], secret, method)
        published = registration.as_document(sign_in, DOCUMENT)
        if published is not None:
            return published
        if sign_in.issuer not in self.clients:
            made = await registration.register(self.http, sign_in, REDIRECT)
            self.clients[sign_in.issuer] = made.client
        return self.clients[sign_in.issuer]

    async def approve(self, address: str) -> dict[str, str]:
        """Where the authorization server sends the browser."""
        parts = urlsplit(address)
        origin = f"{parts.scheme}://{parts.netloc}"
        raw = await self.http.send(
            method="GET",
            origin=origin,
            path=parts.path,
            query=parts.query,
            headers=(),
            body=None,
            timeout_seconds=SECONDS,
            max_response_bytes=65_536,
            allowed_origins=(origin,),
        )
        back = urlsplit(raw.headers["location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == REDIRECT, back
        return {name: values[0] for name, values in parse_qs(back.query).items()}


class Client:
    """One account on one server."""

    def __init__(self, http: HttpClient, url: str, person: Person) -> None:
        self.http = http
        self.person = person
        self.connector = McpConnector()
        self.view = View(check_config({"url": url, "asks_while_waiting": True}))
        self.kind = "none"
        self.secret = Secret(b"none")

    async def perform(self, prepared: Prepared) -> Answer:
        """One request, and what a refusal of it makes of the account."""
        for _ in range(TRIES):
            answer = await self.send(prepared)
            if answer.status == 401:
                await self.sign_in(None)
            elif answer.status == 403 and isinstance((answer.error or {}).get("scope"), str):
                await self.sign_in(Challenge(scope=(answer.error or {})["scope"]))
            else:
                return answer
        return answer

    async def sign_in(self, challenge: Challenge | None) -> None:
        held = await self.person.sign_in(challenge)
        self.kind, self.secret = "oauth", Secret(held.dump())

    async def send(self, prepared: Prepared) -> Answer:
        """Once."""
        return await self.connector.send(
            self.http,
            prepared,
            self.kind,
            self.secret,
            allowed_origins=(prepared.origin,),
            timeout_seconds=SECONDS,
        )

    async def run(self) -> None:
        """Fetches the definitions, then calls every tool."""
        definitions = await self.connector.fetch(self.view, self.perform)
        self.view.spec = Pinned(definitions)
        named = {tool.operation.id: tool.name for tool in self.connector.tools(self.view) if tool.operation}
        wanted = [(f"tool:{call['name']}", call["arguments"]) for call in self.person.context.get("toolCalls", ())]
        if not wanted:
            wanted = [(f"tool:{t.name}", arguments(t.input_schema)) for t in definitions.tools]
        for operation, given in wanted:
            answer = await self.call(named[operation], given)
            print(operation, answer.status, answer.error or "ok")

    async def call(self, name: str, given: Mapping[str, Any]) -> Answer:
        """One tool, with the answers of a client that agrees to whatever is asked."""
        round_ = Round(name, {"elicitation": {"form": {}, "url": {}}}, put=agree)
        for _ in range(TRIES):
            ROUND.set(round_)
            answer = await self.perform(self.connector.prepare(self.view, name, given))
            if answer.media_type != MCP_INPUT:
                break
            asked = answer.data.get("inputRequests") or {}
            responses = {key: {"action": "accept", "content": {"ok": True}} for key in asked}
            round_ = Round(name, round_.capabilities, responses, answer.data.get("requestState"))
        return answer


async def agree(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a person says who leaves a form as it is shown: its defaults."""
    fields = request["params"].get("requestedSchema", {}).get("properties", {})
    return {"action": "accept", "content": {name: f["default"] for name, f in fields.items() if "default" in f}}


def arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Something that fits a schema's top."""
    simple = {"string": "text", "number": 1, "integer": 1, "boolean": True, "array": [], "object": {}}
    found = {}
    for name, inner in schema.get("properties", {}).items():
        kind = inner.get("type") if isinstance(inner, dict) else None
        found[name] = (
            inner["enum"][0] if isinstance(inner, dict) and inner.get("enum") else simple.get(str(kind), "text")
        )
    return found


async def main() -> int:
    url = sys.argv[-1]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    async with HttpClient(Loopback()) as http:
        try:
            await Client(http, url, Person(http, url, context)).run()
        except (ConnectorError, CredentialRejected) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
