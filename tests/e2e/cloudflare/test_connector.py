"""The main job of the connector, end to end over HTTP."""

import base64
import importlib
from typing import Any

import orjson
import pytest

from connectors.cloudflare.redact import MARK
from connectors.errors import (
    CredentialRejected,
    EgressRefused,
    ResponseTooLarge,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tests.e2e.cloudflare.conftest import World, content, plain

RECORD = {"type": "TXT", "name": "note.example.com", "content": "zoë 🦉", "ttl": 300}


async def test_a_user_token_is_verified_and_its_policies_read(world: World) -> None:
    desk = world.priya
    found = await desk.verify()
    assert found.principal == f"user:{world.demo.priya.id}"
    assert found.display == world.demo.priya.email
    assert found.token_id == world.demo.priya_token.id
    assert [a["id"] for a in found.accounts] == [world.demo.account.id]
    assert found.permissions is not None
    assert found.permissions.source == "policies"
    assert len(desk.maintenance) <= 4
    assert all(p.operation.id.startswith("maintenance:") and p.effect == "read" for p in desk.maintenance)


async def test_a_token_that_may_read_nothing_of_itself_falls_back(world: World) -> None:
    token = world.demo.state.add_token(world.demo.priya, permissions=["DNS Write"])
    bare = await world.desk({"kind": "api_token", "token": token.value}).verify()
    assert bare.principal == f"token:{token.id}"
    assert bare.permissions is None
    desk = world.desk({"kind": "api_token", "token": token.value, "permissions": ["DNS Edit"]})
    found = await desk.verify()
    assert found.permissions is not None
    assert found.permissions.source == "declared"
    zone = {"zone_id": world.demo.com.id}
    assert (
        desk.permit(desk.prepare("POST /zones/{zone_id}/dns_records", path_params=zone, body=RECORD)).verdict
        == "allowed"
    )
    denied = desk.permit(desk.prepare("zone-purge", path_params=zone, body={"purge_everything": True}))
    assert (denied.verdict, denied.missing) == ("denied", "Cache Purge")


async def test_an_account_token_is_verified_at_its_account(world: World) -> None:
    given = {"kind": "account_token", "token": world.demo.pipeline.value, "account_id": world.demo.account.id}
    found = await world.desk(given).verify()
    assert found.principal == f"account-token:{world.demo.account.id}:{world.demo.pipeline.id}"
    assert found.account_id == world.demo.account.id


async def test_the_global_key_is_its_user_and_may_do_everything(world: World) -> None:
    given = {"kind": "global_key", "email": world.demo.marco.email, "key": world.demo.marco.global_key}
    desk = world.desk(given)
    found = await desk.verify()
    assert found.principal == f"user:{world.demo.marco.id}"
    assert desk.permit(desk.prepare("zones-get")).verdict == "allowed"
    assert plain(await desk.call("zones-get"))["success"] is True


async def test_an_expiry_is_recorded(world: World) -> None:
    from datetime import UTC, datetime

    ends = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
    token = world.demo.state.add_token(world.demo.priya, permissions=["Zone Read"], expires_on=ends.timestamp())
    found = await world.desk({"kind": "api_token", "token": token.value}).verify()
    assert found.expires_at == ends


@pytest.mark.parametrize("state", ["disabled", "expired", "unknown", "account", "user"])
async def test_a_credential_that_does_not_work_is_rejected_with_advice(world: World, state: str) -> None:
    demo, given = world.demo, {"kind": "api_token"}
    if state == "disabled":
        given["token"] = demo.state.add_token(demo.priya, status="disabled").value
    elif state == "expired":
        given["token"] = demo.state.add_token(demo.priya, expires_on=1_000_000.0).value
    elif state == "unknown":
        given["token"] = "Zx" * 20
    elif state == "account":
        given["token"] = demo.state.add_token(demo.account, value="Qy" * 20).value
    else:
        token = demo.state.add_token(demo.priya, value="Wv" * 20).value
        given = {"kind": "account_token", "token": token, "account_id": demo.account.id}
    with pytest.raises(CredentialRejected) as rejected:
        await world.desk(given).verify()
    assert rejected.value.hint
    assert given["token"] not in f"{rejected.value} {rejected.value.hint}"


async def test_an_upstream_that_fails_rejects_no_credential(world: World) -> None:
    world.fault("status", "/user/tokens/verify", status=503)
    with pytest.raises(UpstreamUnreachable):
        await world.priya.verify()


async def test_the_two_engineers_differ(world: World) -> None:
    priya, marco = world.priya, world.marco
    await priya.verify()
    await marco.verify()
    org, com = {"zone_id": world.demo.org.id}, {"zone_id": world.demo.com.id}
    assert marco.permit(marco.prepare("dns-records-for-a-zone-list-dns-records", path_params=org)).verdict == "allowed"
    elsewhere = marco.permit(marco.prepare("dns-records-for-a-zone-list-dns-records", path_params=com))
    assert (elsewhere.verdict, "other accounts or zones" in elsewhere.reason) == ("denied", True)
    write = marco.prepare("dns-records-for-a-zone-create-dns-record", path_params=org, body=RECORD)
    assert marco.permit(write).missing == "DNS Write"
    assert priya.permit(write).verdict != "denied"
    answer = await marco.send(write)
    assert answer.status == 403
    assert answer.is_error
    assert answer.error is not None
    assert "DNS Write" in answer.error["hint"]
    assert marco.connector.learn(write, answer) == f"DNS Write (zone {world.demo.org.id})"


async def test_records_are_made_read_changed_and_deleted(world: World) -> None:
    desk, zone = world.priya, {"zone_id": world.demo.com.id}
    listed = plain(await desk.call("zones-get", query={"name": "example.com"}))
    assert listed["result"][0]["id"] == world.demo.com.id
    made = plain(await desk.call("dns-records-for-a-zone-create-dns-record", path_params=zone, body=RECORD))
    assert made["result"]["content"] == RECORD["content"]
    one = {**zone, "dns_record_id": made["result"]["id"]}
    changed = await desk.call("PATCH /zones/{z}/dns_records/{d}", path_params=one, body={"content": "v2"})
    assert plain(changed)["result"]["content"] == "v2"
    assert changed.rate.limit == 1200
    assert changed.ray
    gone = await desk.call("DELETE /zones/{z}/dns_records/{d}", path_params=one)
    assert gone.status == 200
    assert (await desk.call("GET /zones/{z}/dns_records/{d}", path_params=one)).status == 404
    purged = await desk.call("zone-purge", path_params=zone, body={"purge_everything": True})
    assert plain(purged)["success"] is True


async def test_what_upstream_refuses_comes_back_with_what_differed_from_the_description(world: World) -> None:
    body = {"type": "NOPE", "name": "x.example.com", "content": "y"}
    answer = await world.priya.call(
        "dns-records-for-a-zone-create-dns-record", path_params={"zone_id": world.demo.com.id}, body=body
    )
    assert answer.status == 400
    assert answer.error is not None
    assert "body.type" in answer.error["hint"]


@pytest.mark.parametrize("value", [b"", b"\x00\xff\xfe", "zoë".encode(), b'{"success":false}', bytes(range(256)) * 40])
async def test_values_and_objects_are_exact_both_ways(world: World, value: bytes) -> None:
    desk, account = world.priya, world.demo.account.id
    made = plain(await desk.call("workers-kv-namespace-create-a-namespace", account_id=account, body={"title": "t"}))
    binary = {"$binary": {"base64": base64.b64encode(value).decode()}}
    key = {"namespace_id": made["result"]["id"], "key_name": "a/b ?#%2e é"}
    put = "PUT /accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}"
    sent = await desk.call(
        put, account_id=account, path_params=key, body=binary, content_type="application/octet-stream"
    )
    assert not sent.is_error
    got = await desk.call(put.replace("PUT", "GET"), account_id=account, path_params=key)
    assert not got.is_error
    assert (b"" if got.data is None else content(got)) == value

    where = {"bucket_name": "acme-assets", "object_key": "dir/sub dir/ü.bin"}
    assert not (await desk.call("r2-put-object", account_id=account, path_params=where, body=binary)).is_error
    got = await desk.call("r2-get-object", account_id=account, path_params=where)
    assert (b"" if got.data is None else content(got)) == value


async def test_a_worker_is_uploaded_as_multipart_and_read_back(world: World) -> None:
    desk, account = world.priya, world.demo.account.id
    source = "export default { fetch() { return new Response('zoë') } }"
    module = {"$file": {"text": source, "filename": "w.js", "content_type": "application/javascript+module"}}
    answer = await desk.call(
        "worker-script-upload-worker-module",
        account_id=account,
        path_params={"script_name": "hello"},
        body={"metadata": {"main_module": "w.js"}, "w.js": module},
    )
    assert plain(answer)["result"]["id"] == "hello"
    got = await desk.call("worker-script-download-worker", account_id=account, path_params={"script_name": "hello"})
    assert got.data == source


async def test_graphql_reads(world: World) -> None:
    desk = world.priya
    query = f'{{ viewer {{ zones(filter: {{zoneTag: "{world.demo.com.id}"}}) {{ zoneTag }} }} }}'
    prepared = desk.prepare("graphql", body={"query": query})
    assert prepared.resources.zones == (world.demo.com.id,)
    answer = await desk.send(prepared)
    assert plain(answer)["data"]["viewer"]["zones"] == [{"zoneTag": world.demo.com.id}]
    assert answer.rate.limit is None  # those were GraphQL's own counts, not the REST meter's
    assert not answer.is_error


async def test_a_token_that_an_agent_makes_never_reaches_it(world: World) -> None:
    demo = world.demo
    maker = demo.state.add_token(demo.priya, permissions=["API Tokens Write", "Zone Read"])
    desk = world.desk({"kind": "api_token", "token": maker.value})
    groups = plain(await desk.call("permission-groups-list-permission-groups"))["result"]
    group = next(g for g in groups if g["name"] == "Zone Read")
    policy = {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{demo.account.id}": {"com.cloudflare.api.account.zone.*": "*"}},
        "permission_groups": [{"id": group["id"]}],
    }
    prepared = desk.prepare("POST /user/tokens", body={"name": "backdoor", "policies": [policy]})
    assert prepared.operation.guarded
    made = await desk.send(prepared)
    assert not made.is_error, made.error
    assert plain(made)["result"]["value"] == MARK
    new = next(t for t in demo.state.tokens.values() if t.name == "backdoor")
    assert new.value not in orjson.dumps(made.data).decode()
    rolled = await desk.call("PUT /user/tokens/{t}/value", path_params={"token_id": new.id}, body={})
    assert plain(rolled)["result"] == MARK


@pytest.mark.parametrize("where", ["message", "header", "escaped"])
@pytest.mark.parametrize("kind", ["api_token", "global_key"])
async def test_a_credential_echoed_by_the_upstream_is_redacted(world: World, where: str, kind: str) -> None:
    demo = world.demo
    old = demo.state.add_token(demo.priya, permissions=["Zone Read"], value="Old-_" * 8)
    given = {"kind": "api_token", "token": old.value}
    if kind == "global_key":
        given = {"kind": "global_key", "email": demo.priya.email, "key": demo.priya.global_key}
    secret = given.get("token") or given["key"]
    world.fault("echo", "/zones", where=where)
    answer = await world.desk(given).call("zones-get")
    assert answer.is_error
    shown = f"{answer!r} {orjson.dumps(answer.data).decode()} {plain(answer)}"
    assert secret not in shown


async def test_a_redirect_leaks_nothing(world: World, spec: Any) -> None:
    server = importlib.import_module("connectors.simulators.cloudflare")
    async with server.serve() as thief:
        world.fault("redirect", "/zones", location=f"{thief.url}/client/v4/zones", status=307)
        answer = await world.priya.call("zones-get")
        assert answer.status == 307
        assert answer.is_error
        assert len(thief.state.journal) == 0


@pytest.mark.parametrize(
    ("kind", "params", "fault", "sent"),
    [
        ("reset", {}, UpstreamUnreachable, "unknown"),
        ("hang", {}, UpstreamTimeout, "unknown"),
        ("slow", {"chunk": 1, "seconds": 0.2}, UpstreamTimeout, "unknown"),
        ("wrong_length", {"delta": 10}, UpstreamUnreachable, True),
        ("truncated", {"keep": 0.5}, UpstreamUnreachable, True),
        ("garbage", {}, UpstreamUnreachable, True),
        ("huge", {"megabytes": 16}, ResponseTooLarge, True),
        ("bomb", {"megabytes": 32}, ResponseTooLarge, True),
    ],
)
async def test_an_upstream_that_misbehaves_is_a_fault_told_truthfully(
    world: World, kind: str, params: dict[str, Any], fault: type[Exception], sent: object
) -> None:
    desk = world.priya
    desk.timeout = 1.0
    world.fault(kind, "/zones", **params)
    before = world.demo.state.journal.total
    with pytest.raises(fault) as raised:
        await desk.call("zones-get")
    assert getattr(raised.value, "sent") == sent  # noqa: B009
    assert world.demo.state.journal.total - before == 1
    assert world.demo.priya_token.value not in f"{raised.value!r} {raised.value.__cause__!r}"
    assert not (await desk.call("zones-get")).is_error


async def test_limits_are_read_and_a_429_says_how_long(world: World) -> None:
    world.fault("rate_limit", "/zones", seconds=120)
    answer = await world.priya.call("zones-get")
    assert answer.status == 429
    assert answer.rate.retry_after_seconds is not None
    assert 0 < answer.rate.retry_after_seconds <= 300
    assert answer.error is not None
    assert answer.error["retry_after"] == answer.rate.retry_after_seconds


async def test_a_server_error_page_is_an_upstream_error(world: World) -> None:
    world.fault("status", "/zones", status=502)
    answer = await world.priya.call("zones-get")
    assert (answer.status, answer.is_error) == (502, True)
    assert answer.data.startswith("<!DOCTYPE html>")


async def test_a_credential_goes_only_where_it_was_sealed_for(world: World) -> None:
    desk = world.priya
    prepared = desk.prepare("zones-get")
    _, sealed, _ = desk.connector.check_credential(desk.credential)
    secrets = importlib.import_module("vault.secret")
    before = world.demo.state.journal.total
    with pytest.raises(EgressRefused):
        await desk.connector.send(
            desk.http,
            prepared,
            desk.kind,
            secrets.Secret(sealed),
            allowed_origins=("https://api.cloudflare.com",),
            timeout_seconds=2,
        )
    assert world.demo.state.journal.total == before


async def test_every_operation_of_the_simulators_description_is_understood(world: World) -> None:
    desk = world.priya
    for row in world.spec.rows:
        operation = desk.connector.operation(desk.view, row.ref)
        assert operation.id == row.id
        assert operation.effect in ("read", "write", "destructive")
