"""The short way to what a test or a measurement needs in a running installation: clients, tenants, engineers."""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from bench.harness import Installed

SPEC_NAME = "simulator.json"

_INPUT = ("path_params", "query", "body", "account_id")

EVERYTHING = (
    "Account API Tokens Read",
    "Account Settings Read",
    "API Tokens Read",
    "API Tokens Write",
    "Cache Purge",
    "DNS Write",
    "Memberships Read",
    "User Details Read",
    "Workers KV Storage Write",
    "Workers Scripts Write",
    "Zone Read",
    "Zone Write",
)
"""What an engineer's token may do unless a test says otherwise."""


class Transcript:
    """Every reply that a run received, in one file, and every key and token it was shown: for the canary search."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.minted: set[str] = set()
        path.touch()

    def note(self, method: str, path: str, reply: httpx.Response) -> None:
        """Writes a reply down. The one field that is shown once, where a key is minted, is left out."""
        body = reply.content
        if reply.status_code == 201 and path.rstrip("/") in {"/v1/keys", "/v1/sessions", "/v1/tenants"}:
            shown: dict[str, Any] = reply.json()
            self.minted |= {shown.pop(field) for field in ("key", "token", "admin_key") if field in shown}
            body = json.dumps(shown).encode()
        head = "".join(f"{name}: {value}\n" for name, value in reply.headers.items())
        with self.path.open("ab") as file:
            # Without the path: what a test puts there is the client's own word, not the server's.
            file.write(f"\n=== {method} -> {reply.status_code}\n{head}\n".encode() + body)


class Api:
    """One caller's client. Every reply is also written to the transcript."""

    def __init__(self, url: str, key: str | None, transcript: Transcript, *, tenant: str | None = None) -> None:
        headers = {"user-agent": "keyreeve-harness"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        if tenant is not None:
            headers["x-keyreeve-tenant"] = tenant
        self.key = key
        self.tenant = tenant
        self.transcript = transcript
        # Loopback and plain http: without `verify` no certificates are loaded, which would cost 30 ms a client.
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False, verify=False)  # noqa: S501 - see above

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The reply, whatever it is. Options are httpx's."""
        reply = self.http.request(method, path, **options)
        self.transcript.note(method, path, reply)
        return reply

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """The reply's JSON. Raises AssertionError for any status of 400 or more, with what it says."""
        if body is not None:
            options["json"] = body
        reply = self.send(method, path, **options)
        assert reply.status_code < 400, f"{method} {path}: {reply.status_code} {reply.text[:2000]}"
        answered: dict[str, Any] = reply.json()
        return answered

    def call(self, operation: str, *, tool: str = "cloudflare_call", **fields: Any) -> httpx.Response:
        """One `execute_tool` of a connection's `_call`; `path_params`, `query`, `body` go into the tool's input."""
        inside: dict[str, Any] = {name: fields.pop(name) for name in _INPUT if name in fields}
        body = {"tool_name": tool, "tool_input": {"operation": operation, **inside}, **fields}
        return self.send("POST", "/v1/tools/execute", json=body)

    def close(self) -> None:
        """Gives the connections back."""
        self.http.close()


class TenantKit:
    """One tenant and the short way to what a test needs in it. `admin` is its own admin's client, `platform` the
    platform admin's acting in it (unofficial origins need that).
    """

    def __init__(self, stand: "Installed[Any]", name: str, admin_key: str) -> None:
        self.stand = stand
        self.name = name
        self.admin = stand.server.api(admin_key, tenant=name)
        self.platform = stand.server.api(stand.admin_key, tenant=name)
        self._engineers: list[Engineer] = []

    def identity(self, identifier: str | None = None, groups: Sequence[str] = ()) -> str:
        """A new identity; its identifier."""
        chosen = identifier or f"eng-{secrets.token_hex(5)}@acme.example"
        self.admin.ok("POST", "/v1/identities", {"identifier": chosen, "groups": list(groups)})
        return chosen

    def connection(self, name: str = "cloudflare", *, base_url: str | None = None, **config: Any) -> dict[str, Any]:
        """A Cloudflare connection to the simulator, its description from the spec folder."""
        wanted = {
            "name": name,
            "connector": "cloudflare",
            "config": {
                "base_url": base_url or self.stand.upstream.base_url,
                "spec": {"source": SPEC_NAME},
                **config,
            },
        }
        return self.platform.ok("POST", "/v1/connections", wanted)

    def account(self, identifier: str, token: str, connection: str = "cloudflare") -> dict[str, Any]:
        """Deposits a user API token; the connected account's metadata."""
        body = {
            "connection_name": connection,
            "identifier": identifier,
            "credential": {"kind": "api_token", "token": token},
        }
        return self.admin.ok("PUT", "/v1/connected_accounts", body)

    def grant(
        self, subject: Mapping[str, Any], access: str = "destructive", connection: str = "cloudflare", **more: Any
    ) -> dict[str, Any]:
        """A grant."""
        body = {"subject": dict(subject), "connection_name": connection, "access": access, **more}
        return self.admin.ok("POST", "/v1/grants", body)

    def session(self, identifier: str, **more: Any) -> dict[str, Any]:
        """A session token `{id, token, …}`, for a day."""
        return self.admin.ok("POST", "/v1/sessions", {"identifier": identifier, "ttl_seconds": 86_400, **more})

    def key(self, kind: str, **more: Any) -> dict[str, Any]:
        """A key `{id, key, …}`."""
        return self.admin.ok("POST", "/v1/keys", {"kind": kind, "name": f"k-{secrets.token_hex(4)}", **more})

    def engineer(
        self,
        *,
        access: str | None = "destructive",
        connection: str = "cloudflare",
        permissions: Sequence[str] = EVERYTHING,
        email: str | None = None,
        identifier: str | None = None,
    ) -> "Engineer":
        """An identity with a token of its own upstream user, deposited, granted and with a session."""
        chosen = self.identity(identifier)
        token = self.stand.upstream.token(email, permissions=permissions)
        account = self.account(chosen, token["value"], connection)
        if access is not None:
            self.grant({"identifier": chosen}, access, connection)
        session = self.session(chosen)
        made = Engineer(self, chosen, token, account, session)
        self._engineers.append(made)
        return made

    def close(self) -> None:
        """Gives its clients' connections back, and its engineers'."""
        for engineer in self._engineers:
            engineer.close()
        self.admin.close()
        self.platform.close()


class Engineer:
    """An identity that can work: `api` speaks with its session token."""

    def __init__(
        self,
        kit: "TenantKit",
        identifier: str,
        token: Mapping[str, Any],
        account: Mapping[str, Any],
        session: Mapping[str, Any],
    ) -> None:
        self.identifier = identifier
        self.token: str = token["value"]
        self.principal: str = token["principal"]
        self.account_id: str = account["id"]
        self.session_id: str = session["id"]
        self.session: str = session["token"]
        self.api = kit.stand.server.api(self.session)

    def close(self) -> None:
        """Gives its client's connections back."""
        self.api.close()
