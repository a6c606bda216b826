"""The demo's acts, in order. Each does one thing through the REST API and asserts what came of it."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.cli.client import Api
from broker.cli.demo.stage import SPEC_NAME, Stage, fingerprint_of
from broker.cli.demo.telling import Otherwise, Told, line, must, refused, short
from broker.cli.errors import Refused
from broker.cli.place import Place
from broker.cli.sentences import sentence

CONNECTION: Final = "cloudflare"
TOOL: Final = f"{CONNECTION}_call"
PRIYA: Final = "priya"
MARCO: Final = "marco"
TYPED: Final = ("dns-records-for-a-zone-create-dns-record", "zone-purge")
SLOW_SECONDS: Final = 3.0
NEW_ADDRESS: Final = "203.0.113.77"


class World:
    """What earlier acts leave to later ones."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.finished = False
        self.platform: Api
        self.admin: Api
        self.agent: Api
        self.tokens: dict[str, str] = {}
        self.zones: dict[str, str] = {}
        self.slow_execution = ""
        self.records: list[dict[str, Any]] = []
        self._open: list[Api] = []

    def api(self, key: str, tenant: str | None = None) -> Api:
        """A client with this key, closed with the world."""
        made = Api(Place(self.stage.url, key), tenant=tenant)
        self._open.append(made)
        return made

    def call(self, who: str, operation: str, path: Mapping[str, str] | None = None, **rest: Any) -> dict[str, Any]:
        """One `execute_tool` by the agent for `who`. The upstream must have answered well."""
        tool_input = {"operation": operation, **({} if path is None else {"path_params": dict(path)}), **rest}
        answer = self.agent.post(
            "/v1/tools/execute", {"tool_name": TOOL, "identifier": who, "tool_input": tool_input, "agent": "demo agent"}
        )
        must(answer["is_error"] is False, f"{operation} for {who} answered an error: {short(answer.get('error'))}")
        return dict(answer)

    def close(self) -> None:
        """Closes every client."""
        for api in self._open:
            api.close()


def start(world: World) -> Told:
    """PostgreSQL, the server, and the upstream that it will call."""
    stage = world.stage
    stage.start_simulator()
    stage.start_server()
    database = stage.logged("database ready") or {}
    took = f"ready after {database['seconds']} s, " if "seconds" in database else ""
    told = Told("Started an embedded PostgreSQL, migrated it, and a server on it; beside them a simulated Cloudflare.")
    told.add(
        "keyreeve up --json --port 0 --allow-upstream …",
        f"PostgreSQL {took}serving after {stage.seconds:.1f} s at {stage.url}",
    )
    world.platform = world.api(stage.admin_key, "acme")
    catalogue = world.api(stage.admin_key).get("/v1/connectors")["items"]
    must(any(c["name"] == "cloudflare" for c in catalogue), "the server knows no connector cloudflare")
    return told


def tenant(world: World) -> Told:
    """A customer with keys of its own."""
    body = {"name": "acme"}
    made = world.api(world.stage.admin_key).post("/v1/tenants", body)
    world.admin = world.api(made["admin_key"])
    must(made["tenant"]["name"] == "acme", f"the tenant is called {made['tenant']['name']}")
    return Told("Made a tenant: its own encryption keys, and an operator key for its admin.").add(
        line("POST", "/v1/tenants", body), f"tenant {made['tenant']['name']}, admin_key {made['admin_key'][:7]}…"
    )


def connection(world: World) -> Told:
    """Where calls go, and by which description they are checked."""
    body = {
        "name": CONNECTION,
        "connector": "cloudflare",
        "config": {"base_url": world.stage.simulator.base_url, "spec": {"source": SPEC_NAME}, "tools": list(TYPED)},
    }
    made = world.platform.post("/v1/connections", body)
    must(made["spec"] and made["spec"]["operations"] > 40, f"the pinned description has {short(made['spec'])}")
    return Told("Connected Cloudflare's API (the simulated one) and pinned its description by content hash.").add(
        line("POST", "/v1/connections", body),
        f"{made['spec']['operations']} operations pinned, sha256 {made['spec']['digest'][:12]}…",
    )


def engineers(world: World) -> Told:
    """Two people, each with a token of their own."""
    held = world.stage.simulator.control("GET", "credentials")
    emails = {u["id"]: u["email"] for u in held["users"]}
    for name in (PRIYA, MARCO):
        world.tokens[name] = next(t["value"] for t in held["tokens"] if emails.get(t["owner"], "").startswith(name))
    world.zones = {z["name"]: z["id"] for z in held["zones"]}
    told = Told("Made two identities and deposited each one's own token: verified upstream, sealed, never shown again.")
    fingerprints = set()
    for name, token in world.tokens.items():
        world.admin.post("/v1/identities", {"identifier": name, "groups": ["engineers"]})
        body = {"connection_name": CONNECTION, "identifier": name, "credential": {"kind": "api_token", "token": token}}
        account = world.admin.ask("PUT", "/v1/connected_accounts", body=body)
        must(account["status"] == "active", f"{name}'s account is {account['status']}")
        must(token not in json.dumps(account), f"the answer about {name}'s account holds the token")
        fingerprints.add(account["credential"]["fingerprint"])
        told.add(
            line("PUT", f"/v1/connected_accounts  ({name}'s token in the body)"),
            f"verified: {account['upstream'].get('display') or account['upstream']['principal']},"
            f" fingerprint {account['credential']['fingerprint'][:16]}",
        )
    must(len(fingerprints) == 2, "both credentials have one fingerprint")
    return told


def grants(world: World) -> Told:
    """What each may do through the broker."""
    told = Told("Granted: engineers may read; priya may write; marco may write DNS records. Nobody may delete.")
    for body in (
        {"subject": {"group": "engineers"}, "connection_name": CONNECTION, "access": "read"},
        {"subject": {"identifier": PRIYA}, "connection_name": CONNECTION, "access": "write"},
        {
            "subject": {"identifier": MARCO},
            "connection_name": CONNECTION,
            "access": "write",
            "operations": ["* /zones/*/dns_records/**"],
        },
    ):
        made = world.admin.post("/v1/grants", body)
        told.add(line("POST", "/v1/grants", body), f"grant {made['id']}")
    key = {"kind": "agent", "name": "demo agent", "identifiers": [PRIYA, MARCO]}
    world.agent = world.api(world.admin.post("/v1/keys", key)["key"])
    return told.add(line("POST", "/v1/keys", key), "one agent key; it may act for these two, and for nobody else")


def listing(world: World) -> Told:
    """The same question for two people."""
    told = Told("Asked what each engineer's agent may do. The answers differ: by their grants and by their tokens.")
    names: dict[str, set[str]] = {}
    for who in (PRIYA, MARCO):
        found = world.agent.get("/v1/tools/scoped", identifier=who)
        names[who] = {t["name"] for t in found["tools"]}
        missing = [f"{u.get('name', u['connection_name'])}: {u['reason']}" for u in found["unavailable"]]
        told.add(
            line("GET", f"/v1/tools/scoped?identifier={who}"),
            f"tools: {len(names[who])}" + (f"; not available: {', '.join(missing)}" if missing else ", all available"),
        )
    must(TOOL in names[PRIYA] and TOOL in names[MARCO], f"{TOOL} is not listed for both")
    must(
        names[MARCO] < names[PRIYA],
        f"marco's tools {sorted(names[MARCO])} are no part of priya's {sorted(names[PRIYA])}",
    )
    return told


def as_priya(world: World) -> Told:
    """Reading and changing, as the right engineer."""
    seen = world.stage.simulator.arrivals()
    told = Told("As priya: read the records, pointed api.example.com elsewhere, purged the cache.")
    zones = world.call(PRIYA, "GET /zones", query={"name": "example.com"})
    zone = {"zone_id": zones["data"]["result"][0]["id"]}
    must(zone["zone_id"] == world.zones["example.com"], "GET /zones answered another zone")
    told.add("execute_tool cloudflare_call: GET /zones", f"example.com is {zone['zone_id']}")
    records = world.call(PRIYA, "GET /zones/{zone_id}/dns_records", zone)["data"]["result"]
    world.records = records
    record = next((r for r in records if (r["type"], r["name"]) == ("A", "api.example.com")), None)
    if record is None:
        raise Otherwise("the zone has no A record api.example.com")
    told.add("execute_tool cloudflare_call: GET /zones/{zone_id}/dns_records", f"{len(records)} records")
    at = {**zone, "dns_record_id": record["id"]}
    changed = world.call(
        PRIYA,
        "PATCH /zones/{zone_id}/dns_records/{dns_record_id}",
        at,
        body={"type": "A", "name": "api.example.com", "content": NEW_ADDRESS},
    )
    must(changed["data"]["result"]["content"] == NEW_ADDRESS, f"it answered {short(changed['data'])}")
    told.add(
        "execute_tool cloudflare_call: PATCH …/dns_records/{dns_record_id}", f"{record['content']} is {NEW_ADDRESS} now"
    )
    world.call(PRIYA, "POST /zones/{zone_id}/purge_cache", zone, body={"purge_everything": True})
    told.add("execute_tool cloudflare_call: POST /zones/{zone_id}/purge_cache", "the cache is purged")
    return _whose(world, told, seen, PRIYA, 4)


def as_marco(world: World) -> Told:
    """The same tool, another person's credential."""
    seen = world.stage.simulator.arrivals()
    told = Told("As marco: the same tool reads the zone that his token reaches.")
    zone = {"zone_id": world.zones["example.org"]}
    answer = world.call(MARCO, "GET /zones/{zone_id}/dns_records", zone)
    told.add(
        "execute_tool cloudflare_call: GET /zones/{zone_id}/dns_records", f"{len(answer['data']['result'])} records"
    )
    return _whose(world, told, seen, MARCO, 1)


def _whose(world: World, told: Told, seen: int, who: str, count: int) -> Told:
    """What the simulator saw: so many requests, every one with this engineer's token and with none of Keyreeve's."""
    entries = world.stage.simulator.journal(seen)
    wanted = fingerprint_of(world.tokens[who])
    must(len(entries) == count, f"{len(entries)} requests reached the simulator, not {count}")
    other = [e["path"] for e in entries if e["token_fingerprint"] != wanted]
    must(not other, f"these arrived with another token than {who}'s: {other}")
    return told.add("at the simulator", f"{count} arrived, every one with {who}'s own token (sha256 {wanted})")


def token_lacks(world: World) -> Told:
    """A grant alone is not enough."""
    seen = world.stage.simulator.arrivals()
    body = {"type": "TXT", "name": "note.example.org", "content": "hello", "ttl": 300}
    zone = {"zone_id": world.zones["example.org"]}
    refusal = refused(
        lambda: world.call(MARCO, "POST /zones/{zone_id}/dns_records", zone, body=body), "not_permitted_upstream"
    )
    must("DNS Write" in refusal.what, f"the refusal does not name the permission: {refusal.what}")
    must(world.stage.simulator.arrivals() == seen, "something reached the simulator")
    return Told("marco's grant covers DNS writes, his token does not: refused before anything was sent.").add(
        "execute_tool cloudflare_call: POST /zones/{zone_id}/dns_records",
        f"{refusal.status} {refusal.code}: {refusal.what}",
    )


def grant_lacks(world: World) -> Told:
    """A token alone is not enough either."""
    seen = world.stage.simulator.arrivals()
    at = {"zone_id": world.zones["example.com"], "dns_record_id": world.records[0]["id"]}
    refusal = refused(
        lambda: world.call(PRIYA, "DELETE /zones/{zone_id}/dns_records/{dns_record_id}", at), "not_granted"
    )
    must(world.stage.simulator.arrivals() == seen, "something reached the simulator")
    execution = refusal.problem.get("execution_id")
    must(execution, "the refusal names no execution")
    told = Told("priya's token could delete records, no grant lets her agent: refused before anything was sent.")
    told.add(
        "execute_tool cloudflare_call: DELETE …/dns_records/{dns_record_id}",
        f"{refusal.status} {refusal.code}: {refusal.what}",
    )
    return told.add("what an admin would type", f"keyreeve allow {execution}")


def budget(world: World) -> Told:
    """Cloudflare allows 1,200 requests in five minutes, per user."""
    told = Told("Every call takes one slot of its upstream user's budget; it is counted before anything is sent.")
    left: list[int] = []
    for _ in range(3):
        view = world.call(PRIYA, "GET /zones")["budget"]
        must(view, "the answer says nothing of the budget")
        left.append(view["remaining"])
        told.add("execute_tool cloudflare_call: GET /zones", f"{view['remaining']:,} of {view['limit']:,} left")
    must(left == [left[0], left[0] - 1, left[0] - 2], f"it went {left}")
    return told


def revocation(world: World) -> Told:
    """Somebody leaves while their agent is at work."""
    simulator = world.stage.simulator
    seen = simulator.arrivals()
    fault = {"match": {"path": "/dns_records$", "method": "GET"}, "kind": "latency", "times": 1}
    simulator.control("POST", "faults", fault | {"params": {"seconds": SLOW_SECONDS}})
    ended: dict[str, Any] = {}
    zone = {"zone_id": world.zones["example.com"]}
    thread = threading.Thread(target=lambda: ended.update(_slow(world, zone)))
    thread.start()
    _until(lambda: simulator.arrivals() > seen, "the slow call never reached the simulator")
    body = {"reason": "left the company", "drain_seconds": 10}
    told = Told("Offboarded priya while a call of hers was on its way. It is named, stopped, and nothing follows it.")
    report = world.admin.post(f"/v1/identities/{PRIYA}:offboard", body)
    thread.join(SLOW_SECONDS + 10)
    world.slow_execution = str(ended.get("execution_id"))
    must(world.slow_execution in report["in_flight"], f"in flight was {report['in_flight']}, the call {short(ended)}")
    must(report["drained"], "the call in flight has not ended")
    accounts = report["connected_accounts"]
    told.add(
        line("POST", f"/v1/identities/{PRIYA}:offboard", body),
        f"{len(accounts)} account revoked, in flight {report['in_flight'][0]}, drained; report {report['report_id']}",
    )
    told.add("the call that was on its way", f"ended: {ended['told']}")
    after = simulator.arrivals()
    for _ in range(5):
        refusal = refused(lambda: world.call(PRIYA, "GET /zones"), "identity_disabled")
    told.add("5 × execute_tool for priya", f"{refusal.status} {refusal.code}: {refusal.what}")
    must(simulator.arrivals() == after, "something reached the simulator after the revocation returned")
    world.call(MARCO, "GET /zones/{zone_id}", {"zone_id": world.zones["example.org"]})
    return told.add("execute_tool for marco", "works as before")


def _slow(world: World, zone: Mapping[str, str]) -> dict[str, Any]:
    """The call that is interrupted: how it ended, whatever that is."""
    try:
        answer = world.call(PRIYA, "GET /zones/{zone_id}/dns_records", zone)
    except Refused as refusal:
        return {"execution_id": refusal.problem.get("execution_id"), "told": f"{refusal.code}: {refusal.what}"}
    except Otherwise as other:
        return {"told": str(other)}
    return {"execution_id": answer["execution_id"], "told": "it got its answer"}


def _until(reached: Callable[[], bool], otherwise: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        must(time.monotonic() < deadline, otherwise)
        time.sleep(0.02)


def audit(world: World) -> Told:
    """Who did what."""
    items = world.admin.pages("/v1/audit/events", limit=1000)
    told = Told("Read the audit trail: every call, refusal and change, with who acted for whom.")
    wanted: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
        ("priya's change", lambda i: i["identifier"] == PRIYA and i.get("method") == "PATCH" and i["outcome"] == "ok"),
        (
            "priya's purge",
            lambda i: i["identifier"] == PRIYA and i.get("operation") == "zone-purge" and i["outcome"] == "ok",
        ),
        ("marco's refusal", lambda i: i["identifier"] == MARCO and i["kind"] == "refusal"),
        (
            "priya's refusal",
            lambda i: i["identifier"] == PRIYA and i["kind"] == "refusal" and i.get("reason") == "not_granted",
        ),
        ("the offboarding", lambda i: i["kind"] == "change" and i.get("operation") == "identity.offboarded"),
        ("the interrupted call", lambda i: i.get("execution_id") == world.slow_execution and i["kind"] == "call"),
    )
    for what, fits in wanted:
        item = next((i for i in items if fits(i)), None)
        if item is None:
            raise Otherwise(f"the audit does not hold {what}")
        must(item["outcome"] != "open", f"{what} is still open in the audit")
        told.add(f"{item['at'][11:23]}  {item['actor']}", sentence(item))
    return told


def no_secret(world: World) -> Told:
    """Where the tokens are not."""
    log = (world.stage.folder / "server.log").read_text("utf-8", "replace")
    trail = json.dumps(world.admin.pages("/v1/audit/events"))
    for who, token in world.tokens.items():
        must(token not in log, f"{who}'s token is in the server's log")
        must(token not in trail, f"{who}'s token is in the audit")
    world.finished = True
    return Told("Searched the server's log and the audit for both tokens.").add("found", "nowhere")


ACTS: Final[tuple[tuple[str, Callable[[World], Told]], ...]] = (
    ("Start", start),
    ("A tenant", tenant),
    ("A connection", connection),
    ("Two engineers, two tokens", engineers),
    ("Grants and an agent's key", grants),
    ("list_scoped_tools differs", listing),
    ("execute_tool as priya", as_priya),
    ("execute_tool as marco", as_marco),
    ("Refused: the token lacks the permission", token_lacks),
    ("Refused: no grant covers it", grant_lacks),
    ("The budget counts down", budget),
    ("Revoked in mid-flight", revocation),
    ("The audit trail", audit),
    ("No secret leaks", no_secret),
)
"""Titles and acts, in order."""
