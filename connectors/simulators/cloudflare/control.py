"""The control plane, `/_sim/…`: what tests in another process ask of the simulator.

Guarded by `X-Sim-Control: <token>`. JSON in and out: `GET counters`, `GET
journal?since=&principal=&method=&contains=&limit=`, `GET arrivals?principal=&meter=`, `GET
max_in_window?principal=&seconds=&meter=`, `GET credentials`, `POST reset {what: [journal|limits|faults]}`,
`POST limits {limit?, window?, block?, graphql_limit?}`, `POST spend {principal, count}`, `GET|POST|DELETE
faults` (`{match?, kind, times?, params?}`; `?id=` removes one), `POST users {email}`, `POST accounts
{name, members?, buckets?}`, `POST zones {name, account, records?}`, `POST tokens {user|account, …}`, `PATCH tokens {id,
status?}`, `DELETE tokens?id=`.
"""

import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson

from connectors.simulators.cloudflare.answers import Answer
from connectors.simulators.cloudflare.limiter import Limiter
from connectors.simulators.cloudflare.load import add_account, add_token, add_zone
from connectors.simulators.cloudflare.state import CloudflareState

Query = dict[str, str]
Body = dict[str, Any]
_PREFIX = "/_sim/"


class Control:
    """Answers the control plane's requests over one state."""

    def __init__(self, state: CloudflareState) -> None:
        self._state = state
        self._calls: dict[tuple[str, str], Callable[[Query, Body], Any]] = {
            ("GET", "counters"): self._counters,
            ("GET", "journal"): self._journal,
            ("GET", "arrivals"): self._arrivals,
            ("GET", "max_in_window"): self._max_in_window,
            ("GET", "credentials"): self._credentials,
            ("POST", "reset"): self._reset,
            ("POST", "limits"): self._limits,
            ("POST", "spend"): self._spend,
            ("GET", "faults"): lambda _q, _b: self._state.faults.wire(),
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._remove_faults,
            ("POST", "users"): self._add_user,
            ("POST", "accounts"): self._add_account,
            ("POST", "zones"): self._add_zone,
            ("POST", "tokens"): self._add_token,
            ("PATCH", "tokens"): self._change_token,
            ("DELETE", "tokens"): self._delete_token,
        }

    def answer(self, scope: dict[str, Any], path: str, body: bytes) -> Answer:
        """One control request's answer: 403 without the token, 404, 400 with the reason, or 200."""
        given = next((value for name, value in scope["headers"] if name == b"x-sim-control"), b"")
        if not hmac.compare_digest(given, self._state.control_token.encode()):
            return _json({"error": "the control token is missing or wrong"}, 403)
        call = self._calls.get((scope["method"], path.removeprefix(_PREFIX)))
        if call is None:
            return _json({"error": "no such control call"}, 404)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=20))
        try:
            arguments = orjson.loads(body) if body else {}
            if not isinstance(arguments, dict):
                raise TypeError("expected a JSON object")
            return _json(call(query, arguments))
        except (KeyError, TypeError, ValueError) as problem:
            return _json({"error": f"{type(problem).__name__}: {problem}"}, 400)

    def _meter(self, query: Query) -> Limiter:
        return self._state.graphql_limiter if query.get("meter") == "graphql" else self._state.limiter

    def _counters(self, _query: Query, _body: Body) -> Any:
        state = self._state
        return {
            "requests": state.journal.total,
            "kept": len(state.journal),
            "now": state.clock(),
            "principals": state.limiter.counts(),
            "graphql": state.graphql_limiter.counts(),
            "limits": {
                "limit": state.limiter.limit,
                "window": state.limiter.window,
                "block": state.limiter.block,
            },
        }

    def _journal(self, query: Query, _body: Body) -> Any:
        found = self._state.journal.find(
            since=int(query.get("since", 0)),
            principal=query.get("principal"),
            method=query.get("method"),
            contains=query.get("contains"),
            limit=int(query.get("limit", 1000)),
        )
        return {"total": self._state.journal.total, "items": [entry.wire() for entry in found]}

    def _arrivals(self, query: Query, _body: Body) -> Any:
        return list(self._meter(query).arrivals(query["principal"]))

    def _max_in_window(self, query: Query, _body: Body) -> Any:
        seconds = float(query.get("seconds", self._state.limiter.window))
        return {"max": self._meter(query).max_in_window(query["principal"], seconds)}

    def _credentials(self, _query: Query, _body: Body) -> Any:
        state = self._state
        users = [
            {
                "email": u.email,
                "id": u.id,
                "principal": state.principal_of(u, None),
                "global_key": u.global_key,
            }
            for u in state.users.values()
        ]
        tokens = [
            {
                "id": t.id,
                "name": t.name,
                "owner": t.owner.id,
                "principal": state.principal_of(t.owner, t),
                "value": t.value,
            }
            for t in state.tokens.values()
        ]
        accounts = [{"id": a.id, "name": a.name} for a in state.accounts.values()]
        zones = [{"id": z.id, "name": z.name, "account": z.account.id} for z in state.zones.values()]
        return {"users": users, "tokens": tokens, "accounts": accounts, "zones": zones}

    def _reset(self, _query: Query, body: Body) -> Any:
        what = body.get("what", ["journal", "limits", "faults"])
        if "journal" in what:
            self._state.journal.reset()
        if "limits" in what:
            self._state.limiter.reset()
            self._state.graphql_limiter.reset()
        if "faults" in what:
            self._state.faults.clear()
        return {"reset": what}

    def _limits(self, _query: Query, body: Body) -> Any:
        state = self._state
        for meter in (state.limiter, state.graphql_limiter):
            meter.window = float(body.get("window", meter.window))
            meter.block = float(body.get("block", meter.block))
        state.limiter.limit = int(body.get("limit", state.limiter.limit))
        state.graphql_limiter.limit = int(body.get("graphql_limit", state.graphql_limiter.limit))
        return self._counters({}, {})["limits"]

    def _spend(self, query: Query, body: Body) -> Any:
        count = min(int(body["count"]), 1_000_000)
        self._meter(query).spend(str(body["principal"]), count, self._state.clock())
        return {"spent": count}

    def _add_fault(self, _query: Query, body: Body) -> Any:
        return self._state.faults.add(**body).wire()

    def _remove_faults(self, query: Query, _body: Body) -> Any:
        if "id" in query:
            self._state.faults.remove(int(query["id"]))
        else:
            self._state.faults.clear()
        return self._state.faults.wire()

    def _add_user(self, _query: Query, body: Body) -> Any:
        user = self._state.add_user(str(body["email"]))
        for name in body.get("accounts", []):
            account = next((a for a in self._state.accounts.values() if a.name == name), None)
            if account is None:
                raise ValueError(f"no account {name}")
            self._state.add_member(account, user)
        principal = self._state.principal_of(user, None)
        return {"id": user.id, "email": user.email, "global_key": user.global_key, "principal": principal}

    def _add_account(self, _query: Query, body: Body) -> Any:
        account = add_account(self._state, body)
        return {"id": account.id, "name": account.name}

    def _add_zone(self, _query: Query, body: Body) -> Any:
        zone = add_zone(self._state, body)
        return {"id": zone.id, "name": zone.name}

    def _add_token(self, _query: Query, body: Body) -> Any:
        token = add_token(self._state, body)
        return {
            "id": token.id,
            "value": token.value,
            "principal": self._state.principal_of(token.owner, token),
        }

    def _change_token(self, _query: Query, body: Body) -> Any:
        token = self._state.tokens[str(body["id"])]
        token.enabled = body.get("status", "active") != "disabled"
        return token.wire(self._state.wall())

    def _delete_token(self, query: Query, _body: Body) -> Any:
        self._state.delete_token(self._state.tokens[query["id"]])
        return {"deleted": query["id"]}


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(orjson.dumps(value), status)
