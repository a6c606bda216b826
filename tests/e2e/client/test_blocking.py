"""`Keyreeve` against a running installation."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from keyreeve import Keyreeve, errors, new_idempotency_key

from bench.harness import free_port
from tests.e2e.client.conftest import CALL, ZONES, World

RECORD = {"type": "TXT", "name": "big", "content": "x", "ttl": 300}


def test_list_execute_and_look_it_up(world: World) -> None:
    with world.client(client_name="ci") as kr:
        listed = kr.list_scoped_tools(world.engineer.identifier)
        tool = next(tool for tool in listed if tool.name == CALL)
        assert (tool.name, tool.connection_name, tool.effect) == (CALL, "cloudflare", "destructive")
        assert tool.connected_account_id == world.engineer.account_id
        assert tool.input_schema["type"] == "object"
        assert tool.description
        assert not listed.unavailable
        result = kr.execute_tool(
            tool.name,
            ZONES,
            identifier=world.engineer.identifier,
            run_id="run-1",
            agent="bot",
            intent="look",
            expected_schema_hash=tool.schema_hash,
        )
        assert {zone["name"] for zone in result.data["result"]} == {"example.com", "example.org"}
        assert json.loads(result.text()) == result.data
        assert [(c.method, c.status, c.sent) for c in result.calls] == [("GET", 200, True)]
        assert result.budget is not None
        assert result.budget.remaining == result.budget.limit - 1 - _spent(world)
        found = kr.executions.get(result.execution_id)
        assert (found.state, found.sent, found.run_id, found.calls[0].outcome) == ("done", True, "run-1", "ok")
        events = list(kr.audit.events(run_id="run-1"))
        assert [(e.execution_id, e.agent, e.intent, e.upstream_status) for e in events] == [
            (result.execution_id, "bot", "look", 200)
        ]
        assert events[0].client is not None
        assert events[0].client.startswith("ci keyreeve-python/")


def _spent(world: World) -> int:
    """What verifying the deposited token cost."""
    return len(world.stand.simulator.journal(principal=world.engineer.principal)) - 1


def test_an_engineer_who_has_no_account_is_unavailable_not_absent(world: World) -> None:
    identifier = world.kit.identity()
    world.kit.grant({"identifier": identifier})
    with world.client() as kr:
        listed = kr.list_scoped_tools(identifier)
        assert [(one.connection_name, one.reason, one.fix) for one in listed.unavailable] == [
            ("cloudflare", "not_connected", "user")
        ]
        with pytest.raises(errors.NotConnected) as caught:
            kr.execute_tool(CALL, ZONES, identifier=identifier)
    assert isinstance(caught.value, errors.NeedsUser)
    assert caught.value.execution_id


def test_refusals_are_exceptions_and_upstream_errors_results(world: World) -> None:
    me = world.engineer.identifier
    with world.client() as kr:
        with pytest.raises(errors.UnknownTool) as unknown:
            kr.execute_tool("cloudflare_cal", ZONES, identifier=me)
        assert CALL in (unknown.value.hint or "")
        with pytest.raises(errors.UnknownOperation):
            kr.execute_tool(CALL, {"operation": "GET /zoness"}, identifier=me)
        with pytest.raises(errors.InvalidInput) as wrong:
            kr.execute_tool(CALL, {"operation": "GET /zones", "query": {"per_page": "many"}}, identifier=me)
        assert wrong.value.fields
        with pytest.raises(errors.SchemaChanged):
            kr.execute_tool(CALL, ZONES, identifier=me, expected_schema_hash="0" * 16)
        with pytest.raises(errors.InvalidInput):
            kr.execute_tool(CALL, ZONES)
        with pytest.raises(errors.UnknownIdentity):
            kr.list_scoped_tools("nobody@acme.example")
        with pytest.raises(errors.Forbidden):
            list(kr.grants.list())
        with pytest.raises(errors.NotFound):
            kr.executions.get("01938a1e-7c1b-7e0a-9c55-3f0f5f0a9b11")
        missing = {
            "operation": "GET /zones/{zone_id}/dns_records/{dns_record_id}",
            "path_params": {"zone_id": world.stand.simulator.zones["example.com"], "dns_record_id": "0" * 32},
        }
        result = kr.execute_tool(CALL, missing, identifier=me)
        assert result.is_error
        assert result.error is not None
        assert (result.error.code, result.error.status) == ("upstream_error", 404)
        with pytest.raises(errors.ToolFailed):
            result.raise_for_error()
        content = kr.execute_tool(CALL, missing, identifier=me, as_content=True)
        assert content.data is None
        assert json.loads(content.text())["error"]["status"] == 404


def test_a_key_that_is_none(world: World) -> None:
    with Keyreeve(world.stand.url, "krv_ag_nonsense") as kr, pytest.raises(errors.Unauthenticated) as caught:
        kr.list_scoped_tools("a")
    assert "nonsense" not in str(caught.value)


def test_an_idempotency_key_runs_once(world: World) -> None:
    zone = world.stand.simulator.zones["example.com"]
    create = {"operation": "POST /zones/{zone_id}/dns_records", "path_params": {"zone_id": zone}}
    record = {**RECORD, "name": f"once-{new_idempotency_key()[:8]}", "content": '"x"'}
    key = new_idempotency_key()
    with world.client() as kr:
        handle = kr.for_identity(world.engineer.identifier)
        first = handle.execute_tool(CALL, {**create, "body": record}, idempotency_key=key)
        assert not first.is_error, first.text()
        # A renewed session is the same client: the key still counts.
        handle._asker._slot.spoil(handle.session())
        second = handle.execute_tool(CALL, {**create, "body": record}, idempotency_key=key)
        assert (second.replayed, second.execution_id, second.data) == (True, first.execution_id, first.data)
        with pytest.raises(errors.IdempotencyConflict):
            handle.execute_tool(CALL, {**create, "body": {**record, "ttl": 600}}, idempotency_key=key)
        handle.close()
    assert world.calls(f"/{zone}/dns_records") == 1


def test_a_lost_answer_with_a_key_is_asked_for_again_and_the_call_made_once(world: World) -> None:
    world.latency(1.2)
    with world.client(timeout=0.6, max_retries=6) as kr, pytest.raises(errors.OutcomeUnknown) as caught:
        # Hanging up cancelled the first call; asked again, the server says that it does not know, and repeats nothing.
        kr.execute_tool(CALL, ZONES, identifier=world.engineer.identifier, idempotency_key="k1")
    assert caught.value.sent == "unknown"
    assert world.calls("/zones") == 1


def test_a_slow_answer_without_a_key_is_not_asked_for_again(world: World) -> None:
    world.latency(1.5)
    began = time.monotonic()
    with world.client(timeout=0.5) as kr, pytest.raises(errors.Timeout) as caught:
        kr.execute_tool(CALL, ZONES, identifier=world.engineer.identifier, run_id="lost")
    assert time.monotonic() - began < 1.2
    assert (caught.value.sent, caught.value.idempotency_key) == ("unknown", None)
    assert world.calls("/zones") == 1
    with world.client() as kr:
        for _ in range(50):
            found = list(kr.audit.events(run_id="lost"))
            if found and found[0].outcome != "open":
                break
            time.sleep(0.1)
        assert found[0].outcome in ("cancelled", "unknown", "timeout")
        assert found[0].execution_id is not None
        assert kr.executions.get(found[0].execution_id).sent in ("unknown", True)


def test_nobody_there(world: World) -> None:
    with Keyreeve(f"http://127.0.0.1:{free_port()}", world.key, max_retries=1) as kr:
        with pytest.raises(errors.ConnectionFailed) as caught:
            kr.execute_tool(CALL, ZONES, identifier="a")
        assert caught.value.sent is False
        with pytest.raises(errors.ConnectionFailed):
            kr.for_identity("a").tools()


def test_the_upstreams_own_time_is_the_servers_matter(world: World) -> None:
    world.latency(3.0)
    with world.client() as kr, pytest.raises(errors.UpstreamTimeout) as caught:
        kr.execute_tool(CALL, ZONES, identifier=world.engineer.identifier, deadline_seconds=1)
    assert caught.value.sent in (True, "unknown")
    assert world.calls("/zones") == 1


def test_a_handle_is_its_identity_and_nobody_else(world: World) -> None:
    other = world.kit.engineer()
    with world.client() as kr, kr.for_identity(world.engineer.identifier, access="read", run_id="r") as handle:
        assert {tool.effect for tool in handle.tools()} == {"read"}
        result = handle.execute_tool(CALL, ZONES)
        assert handle.execution(result.execution_id).run_id == "r"
        purge = {
            "operation": "POST /zones/{zone_id}/purge_cache",
            "path_params": {"zone_id": world.stand.simulator.zones["example.com"]},
            "body": {"purge_everything": True},
        }
        with pytest.raises(errors.Forbidden):
            handle.execute_tool(CALL, purge)
        token = handle.session().key.reveal()
        sessions = list(kr.sessions.list(identifier=world.engineer.identifier))
        assert [session.access for session in sessions] == ["read"]
        with Keyreeve(world.stand.url, token) as thief:
            with pytest.raises(errors.Forbidden):
                thief.list_scoped_tools(other.identifier)
            with pytest.raises(errors.Forbidden):
                thief.sessions.create(other.identifier)
            with pytest.raises(errors.Forbidden):
                thief.for_identity(other.identifier).tools()
    # Leaving the handle revoked its session.
    assert not list(kr_sessions(world))
    with Keyreeve(world.stand.url, token) as late, pytest.raises(errors.Unauthenticated):
        late.list_scoped_tools()
    other.close()


def kr_sessions(world: World) -> list[str]:
    with world.client() as kr:
        return [session.id for session in kr.sessions.list()]


async def test_a_session_that_expires_mid_run_is_renewed(world: World) -> None:
    with world.client() as kr, kr.for_identity(world.engineer.identifier) as handle:
        handle.execute_tool(CALL, ZONES)
        first = handle.session()
        await world.expire(first.id)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: handle.execute_tool(CALL, ZONES), range(8)))
        assert not any(result.is_error for result in results)
        assert handle.session().id != first.id
        assert len(kr_sessions(world)) == 1


def test_a_session_that_is_revoked_mid_run_ends_the_run(world: World) -> None:
    with world.client() as kr:
        handle = kr.for_identity(world.engineer.identifier)
        handle.execute_tool(CALL, ZONES)
        kr.sessions.revoke(handle.session().id)
        for _ in range(2):
            with pytest.raises(errors.Unauthenticated):
                handle.execute_tool(CALL, ZONES)
        assert not kr_sessions(world)
        handle.close()


def test_offboarding_ends_handles_for_good(world: World) -> None:
    with world.client() as kr, Keyreeve(world.stand.url, world.kit.admin.key) as admin:
        handle = kr.for_identity(world.engineer.identifier)
        handle.execute_tool(CALL, ZONES)
        session_id = handle.session().id
        proof = admin.identities.offboard(world.engineer.identifier, "left", drain_seconds=1)
        assert session_id in proof.sessions
        assert [account.id for account in proof.connected_accounts] == [world.engineer.account_id]
        with pytest.raises((errors.Unauthenticated, errors.IdentityDisabled)):
            handle.execute_tool(CALL, ZONES)
        with pytest.raises(errors.IdentityDisabled):
            kr.for_identity(world.engineer.identifier).tools()


def test_an_account_revoked_mid_run(world: World) -> None:
    with (
        world.client() as kr,
        Keyreeve(world.stand.url, world.kit.admin.key) as admin,
        kr.for_identity(world.engineer.identifier) as handle,
    ):
        handle.execute_tool(CALL, ZONES)
        gone = admin.accounts.revoke(world.engineer.account_id, "leaked")
        assert gone.in_flight == ()
        with pytest.raises(errors.Revoked):
            handle.execute_tool(CALL, ZONES)
        assert admin.accounts.get(world.engineer.account_id).status == "revoked"


def test_a_tenant_and_its_connection(world: World) -> None:
    stand = world.stand
    with Keyreeve(stand.url, stand.admin_key) as root:
        made = root.tenants.create(f"t{new_idempotency_key()[:10]}")
        assert made.admin_key not in repr(made)
    with Keyreeve(stand.url, stand.admin_key, tenant=made.tenant.name) as platform:
        assert "cloudflare" in {kind["name"] for kind in platform.connections.connectors()}
        config = {"base_url": stand.upstream.base_url, "spec": {"source": "simulator.json"}}
        connection = platform.connections.create("cf", "cloudflare", config)
        assert connection.spec is not None
        assert platform.connections.get("cf") == connection
        assert platform.connections.change("cf", config, version=connection.version).version > connection.version
        with pytest.raises(errors.VersionConflict):
            platform.connections.change("cf", config, version=connection.version)
    with Keyreeve(stand.url, made.admin_key) as admin:
        assert [one.name for one in admin.connections.list()] == ["cf"]
        assert admin.connections.delete("cf").in_flight == ()
        with pytest.raises(errors.UnknownConnection):
            admin.connections.get("cf")


def test_an_engineer_from_nothing_to_a_call_and_back(world: World) -> None:
    token = world.stand.upstream.token()["value"]
    with Keyreeve(world.stand.url, world.kit.admin.key) as admin:
        priya = admin.identities.create("priya@acme.example", groups=["dns"])
        assert admin.identities.change(priya.identifier, {"display_name": "Priya"}).display_name == "Priya"
        with pytest.raises(errors.AlreadyExists):
            admin.identities.create(priya.identifier)
        account = admin.accounts.deposit(
            "cloudflare", {"kind": "api_token", "token": token}, identifier=priya.identifier
        )
        assert account.status == "active"
        assert admin.accounts.verify(account.id).id == account.id
        soon = datetime.now(UTC) + timedelta(hours=1)
        grant = admin.grants.create({"group": "dns"}, "cloudflare", "read", operations=["GET /zones"], expires_at=soon)
        key = admin.keys.create("agent", "bot", identifiers=[priya.identifier])
        assert key.key not in repr(key)
        with Keyreeve(world.stand.url, key.key) as bot:
            assert not bot.execute_tool(CALL, ZONES, identifier=priya.identifier).is_error
            session = bot.sessions.create(priya.identifier, ttl_seconds=60)
            assert session.token not in repr(session)
            assert session.ttl_seconds == 60
            with pytest.raises(errors.Forbidden):
                list(bot.budgets.list())
            assert grant.id in {one.id for one in admin.grants.list(group="dns")}
            admin.grants.delete(grant.id)
            with pytest.raises(errors.NotGranted):
                bot.execute_tool(CALL, ZONES, identifier=priya.identifier)
        assert session.id in admin.keys.revoke(key.id).also_revoked
        assert next(iter(admin.budgets.list())).meter == "rest"
        assert {one.id for one in admin.accounts.list(identifier=priya.identifier)} == {account.id}
        assert [one.identifier for one in admin.identities.list(group="dns")] == [priya.identifier]


def test_the_export_streams_to_its_end_and_goes_on_from_there(world: World) -> None:
    with Keyreeve(world.stand.url, world.kit.admin.key) as admin:
        export = admin.audit.export()
        lines = [line.item() for line in export]
        assert len(lines) == export.items
        assert all("records" in line for line in lines)
        assert export.cursor is not None
        assert {line["operation"] for line in lines if line["kind"] == "change"} >= {"grant.created", "key.created"}
        assert [line.item()["operation"] for line in admin.audit.export(cursor=export.cursor)] == ["audit.exported"]


def test_lists_of_several_pages(world: World) -> None:
    with Keyreeve(world.stand.url, world.kit.admin.key) as admin:
        for n in range(7):
            admin.identities.create(f"p{n}@acme.example", groups=["paged"])
        # The server's own page of two, through the client's own transport.
        http = httpx.Client(event_hooks={"request": [_pages_of_two]}, trust_env=False)
        with Keyreeve(world.stand.url, world.kit.admin.key, http_client=http) as paged:
            found = [one.identifier for one in paged.identities.list(group="paged")]
        http.close()
    assert found == [f"p{n}@acme.example" for n in range(7)]


def _pages_of_two(request: httpx.Request) -> None:
    request.url = request.url.copy_set_param("page_size", "2")


def test_exact_integers_to_the_upstream_and_back(world: World) -> None:
    """A value's metadata is kept and answered as it came: an integer that no double holds."""
    huge = 2**53 + 1
    at = {"account_id": world.stand.simulator.account_id}
    namespaces = "/accounts/{account_id}/storage/kv/namespaces"
    with world.client() as kr, kr.for_identity(world.engineer.identifier) as handle:
        made = handle.execute_tool(
            CALL, {"operation": f"POST {namespaces}", "path_params": at, "body": {"title": "n"}}
        ).raise_for_error()
        at |= {"namespace_id": made.data["result"]["id"], "key_name": "n"}
        key = f"{namespaces}/{{namespace_id}}"
        handle.execute_tool(
            CALL,
            {
                "operation": f"PUT {key}/values/{{key_name}}",
                "path_params": at,
                "body": {"value": "v", "metadata": {"n": huge}},
            },
        ).raise_for_error()
        got = handle.execute_tool(CALL, {"operation": f"GET {key}/metadata/{{key_name}}", "path_params": at})
        assert got.data["result"] == {"n": huge}, got.text()
        assert f'{{"n":{huge}}}' in got.text()


def test_a_connect_link_is_for_the_handles_own_identity(world: World) -> None:
    with world.client() as kr, kr.for_identity(world.engineer.identifier) as handle:
        for link in (handle.connect_link("cloudflare"), kr.connect_links.create("cloudflare", handle.identifier)):
            assert link.url.startswith(world.stand.url)
            assert link.expires_at is not None
        with pytest.raises(errors.UnknownConnection):
            handle.connect_link("cloudflair")
