"""What an agent sees and does, against the simulator: listing, hints, replays, dry runs, lessons."""

import asyncio
from typing import Any
from uuid import UUID

import orjson
import pytest

from broker.tools.results import Result
from tests.integration.accounts.world import MARCO, PRIYA, World
from tests.integration.identity.world import refused

RECORDS = "/zones/{zone_id}/dns_records"


def plain(result: Result) -> Any:
    return orjson.loads(orjson.dumps(result.data))


async def _ready(world: World, **config: Any) -> str:
    await world.connect(**config)
    await world.put(world.demo.priya_token.value)
    await world.grant()
    return await world.session()


# --- listing


async def test_without_a_grant_nothing_is_listed_and_no_name_is_told(world: World) -> None:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    token = await world.session()
    assert await world.listed(token) == {"tools": [], "unavailable": [], "next_page_token": None}
    problem = await refused(world.listing_of(token, "cloudflare"), "unknown_connection")
    assert problem.hint is None


async def test_a_connected_identity_sees_its_tools_with_its_account(world: World) -> None:
    token = await _ready(world, tools=["GET /zones", f"DELETE {RECORDS}/{{dns_record_id}}"])
    made = await world.listed(token)
    names = [tool["name"] for tool in made["tools"]]
    assert names == sorted(names)
    assert "cloudflare_call" in names
    assert {"cloudflare_execute", "cloudflare_search"} < set(names)
    assert len(names) == 5
    assert len({tool["connected_account_id"] for tool in made["tools"]}) == 1
    assert {tool["effect"] for tool in made["tools"]} == {"read", "destructive"}
    assert made["unavailable"] == []


async def test_unconnected_revoked_and_needing_reauth_are_explained(world: World) -> None:
    token = await _ready(world)
    marco = await world.session(MARCO)

    async def reason(of: str) -> list[str]:
        listed = await world.listed(of)
        assert listed["tools"] == []
        return [u["reason"] for u in listed["unavailable"]]

    assert await reason(marco) == ["not_connected"]
    await world.execute("update broker.accounts set status = 'needs_reauth' where tenant_id = :t")
    assert await reason(token) == ["needs_reauth"]
    await world.execute("update broker.accounts set status = 'revoked', revoked_at = now() where tenant_id = :t")
    assert await reason(token) == ["revoked"]


async def test_several_accounts_are_named_and_one_has_to_be_chosen(world: World) -> None:
    token = await _ready(world)
    second = world.demo.state.add_token(world.demo.marco, name="x", permissions=("User Details Read", "Zone Read"))
    other = await world.put(second.value, label="work")
    listed = await world.listed(token)
    assert [u["reason"] for u in listed["unavailable"]] == ["ambiguous_account"]
    assert listed["tools"][0]["connected_account_id"] is None
    problem = await refused(world.call(token, "GET /zones"), "ambiguous_account")
    assert {a["connected_account_id"] for a in problem.extra["accounts"]} >= {other["id"]}
    result = await world.call(token, "GET /zones", connected_account_id=UUID(other["id"]))
    assert not result.is_error


async def test_a_shared_account_takes_a_grant_that_says_so(world: World) -> None:
    await world.connect()
    pipeline = {"kind": "account_token", "token": world.demo.pipeline.value, "account_id": world.demo.account.id}
    shared = await world.put(pipeline, shared=True)
    await world.grant("read")
    token = await world.session(MARCO)
    assert [u["reason"] for u in (await world.listed(token))["unavailable"]] == ["not_connected"]
    await refused(world.call(token, "GET /zones"), "not_connected")
    await refused(world.call(token, "GET /zones", connected_account_id=UUID(shared["id"])), "not_granted")
    await world.grant("read", account="shared")
    assert (await world.listed(token))["tools"][0]["connected_account_id"] == shared["id"]
    assert not (await world.call(token, "GET /zones")).is_error
    # Whoever has an account of their own, even a revoked one, never falls back to the shared one.
    own = await world.put(world.demo.marco_token.value, identifier=MARCO)
    await world.accounts.revoke(await world.admin(), own["id"], reason="x", upstream=False, drain_seconds=0)
    await refused(world.call(token, "GET /zones"), "revoked")


async def test_anothers_account_is_not_even_known(world: World) -> None:
    await _ready(world)
    (priyas,) = await world.rows("select id from broker.accounts where tenant_id = :t")
    await world.put(world.demo.marco_token.value, identifier=MARCO)
    marco = await world.session(MARCO)
    await refused(world.call(marco, "GET /zones", connected_account_id=priyas.id), "not_connected")


async def test_a_tool_that_the_credential_cannot_do_is_hidden_and_explained(world: World) -> None:
    await world.connect(tools=["GET /zones", f"POST {RECORDS}"])
    await world.put(world.demo.marco_token.value, identifier=MARCO)
    await world.grant()
    listed = await world.listed(await world.session(MARCO))
    (hidden,) = listed["unavailable"]
    assert hidden["reason"] == "not_permitted_upstream"
    assert "DNS Write" in hidden["hint"]
    assert hidden["name"] not in [tool["name"] for tool in listed["tools"]]
    await world.change(tools=["GET /zones", f"POST {RECORDS}"], permission_check="advise")
    assert (await world.listed(await world.session(MARCO)))["unavailable"] == []


async def test_pages_are_whole_and_nothing_is_repeated(world: World) -> None:
    token = await _ready(world, tools=["GET /zones", f"GET {RECORDS}", f"POST {RECORDS}", "GET /accounts"])
    whole = [tool["name"] for tool in (await world.listed(token))["tools"]]
    seen: list[str] = []
    page: str | None = None
    for _ in range(10):
        listed = await world.listed(token, size=2, page=page)
        seen += [tool["name"] for tool in listed["tools"]]
        page = listed["next_page_token"]
        if page is None:
            break
    assert seen == whole
    for bad in ("=", "\x00", "é", "x" * 400):
        await refused(world.listed(token, page=bad), "invalid_input", "page_token")


async def test_an_expired_grant_lists_nothing(world: World) -> None:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    await world.grant()
    await world.execute("update broker.grants set expires_at = now() - interval '1 hour' where tenant_id = :t")
    assert await world.listed(await world.session()) == {"tools": [], "unavailable": [], "next_page_token": None}


# --- hints


async def test_hints_name_only_what_the_caller_may_use(world: World) -> None:
    await world.connect("cloudflare")
    await world.connect("cloudflare-secret")
    await world.put(world.demo.priya_token.value)
    await world.grant("read", identifier=PRIYA, operations=(f"GET {RECORDS}",))
    await world.grant("read", connection="cloudflare-secret", identifier=MARCO)
    token = await world.session()
    problem = await refused(world.run(token, "cloudflare-secre_call", {}), "unknown_connection")
    assert problem.hint == "you may use `cloudflare`"
    problem = await refused(world.run(token, "cloudflare_cal", {}), "unknown_tool")
    assert problem.hint is not None
    assert "`cloudflare_call`" in problem.hint
    problem = await refused(world.call(token, f"GET {RECORDS}s"), "unknown_operation")
    assert f"`GET {RECORDS}`" in (problem.hint or "") or "dns-records" in (problem.hint or "")
    problem = await refused(world.call(token, f"PUT {RECORDS}/{{dns_record_id}}x"), "unknown_operation")
    assert "PUT" not in (problem.hint or "")
    nobody = await world.session(MARCO)
    problem = await refused(world.run(nobody, "cloudflare_cal", {}), "unknown_tool")
    assert problem.hint is None


async def test_a_restricted_session_is_told_of_its_own_connections_alone(world: World) -> None:
    await world.connect("cloudflare")
    await world.connect("other")
    await world.grant("read")
    await world.grant("read", connection="other")
    token = await world.session(connections=["other"])
    problem = await refused(world.run(token, "othe_call", {}), "unknown_connection")
    assert problem.hint == "you may use `other`"


# --- execution


async def test_an_idempotency_key_runs_once_and_replays_the_very_bytes(world: World) -> None:
    token = await _ready(world)
    zone = {"zone_id": world.demo.com.id}
    body = {"type": "TXT", "name": "once.example.com", "content": "ünïcode ✓", "ttl": 300}

    async def create() -> Result:
        return await world.call(token, f"POST {RECORDS}", path_params=zone, body=body, idempotency_key="k-1")

    first = await create()
    again = await create()
    assert (first.replayed, again.replayed) == (False, True)
    assert again.execution_id == first.execution_id
    assert orjson.dumps(again.data) == orjson.dumps(first.data)
    assert [c.path for c in again.calls] == [c.path for c in first.calls]
    assert sum(line.startswith("POST") for line in world.reached()) == 1
    body["content"] = "other"
    await refused(create(), "idempotency_conflict")


async def test_a_replay_takes_todays_authority(world: World) -> None:
    token = await _ready(world)
    await world.call(token, "GET /zones", idempotency_key="k")
    await world.execute("update broker.grants set deleted_at = now() where tenant_id = :t")
    await refused(world.call(token, "GET /zones", idempotency_key="k"), "not_granted")


async def test_a_client_that_leaves_after_the_answer_finds_its_result(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await _ready(world)
    idempotency, leaving = world.runner._idempotency, asyncio.Event()
    finish = type(idempotency).finish

    async def slow(self: Any, claim: Any, result: Any) -> None:
        leaving.set()
        await asyncio.sleep(0.05)
        await finish(self, claim, result)

    monkeypatch.setattr(type(idempotency), "finish", slow)
    running = asyncio.ensure_future(world.call(token, "GET /zones", idempotency_key="k"))
    await leaving.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.2)
    assert (await world.call(token, "GET /zones", idempotency_key="k")).replayed


@pytest.mark.parametrize("operation", ["GET /zones/{zone_id}", f"POST {RECORDS}"])
async def test_a_dry_run_sends_nothing_and_says_what_would_be(world: World, operation: str) -> None:
    token = await _ready(world)
    before = world.reached()
    result = await world.call(
        token,
        operation,
        path_params={"zone_id": world.demo.com.id},
        **({"body": {"type": "A", "name": "x", "content": "192.0.2.1", "ttl": 1}} if "POST" in operation else {}),
        dry_run=True,
    )
    assert result.data["verdict"]["allowed"] is True
    assert (result.data["method"], result.data["dry_run"]) == (operation.split()[0], True)
    assert world.demo.com.id in result.data["path"]
    assert result.calls == ()
    assert world.reached() == before


async def test_a_dry_run_says_what_stands_in_the_way(world: World) -> None:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    await world.grant("read")
    result = await world.call(
        await world.session(),
        "DELETE /zones/{zone_id}/dns_records/{dns_record_id}",
        path_params={"zone_id": world.demo.com.id, "dns_record_id": "0" * 32},
        dry_run=True,
    )
    assert result.data["verdict"]["allowed"] is False


async def test_a_schema_that_has_changed_is_told(world: World) -> None:
    token = await _ready(world)
    tool = next(t for t in (await world.listed(token))["tools"] if t["name"] == "cloudflare_call")
    wanted = tool["schema_hash"]
    assert not (await world.call(token, "GET /zones", expected_schema_hash=wanted)).is_error
    problem = await refused(world.call(token, "GET /zones", expected_schema_hash="0" * 64), "schema_changed")
    assert problem.extra["schema_hash"] == wanted


async def test_an_expected_refusal_is_recorded_once_and_a_failed_call_is_no_refusal(world: World) -> None:
    token = await _ready(world)
    await refused(world.call(token, "GET /nothing"), "unknown_operation")
    await refused(world.call(token, "GET /zones/{zone_id}", path_params={"zone_id": "no such id!"}), "invalid_input")
    world.upstream.state.faults.add({"path": "/zones"}, "reset")
    await refused(world.call(token, "GET /zones"), "upstream_unreachable")
    found = await world.rows(
        "select body->>'reason' as reason from audit.events where tenant_id = :t and kind = 'refusal'"
    )
    assert sorted(row.reason for row in found) == ["invalid_input", "unknown_operation"]
    assert (await world.outcomes())[-1] == "unknown"


# --- lessons


async def test_a_403_teaches_and_verifying_forgets(world: World) -> None:
    await world.connect()
    mute = world.demo.state.add_token(world.demo.priya, name="mute", permissions=("User Details Read", "Zone Read"))
    made = await world.put(mute.value)
    assert made["permissions"]["source"] == "unknown"
    await world.grant()
    token = await world.session()
    zone = {"zone_id": world.demo.com.id}

    first = await world.call(token, f"GET {RECORDS}", path_params=zone)
    assert (first.is_error, first.error is not None and first.error["status"]) == (True, 403)
    await world.settled()
    learned = (await world.accounts.get(await world.admin(), made["id"]))["permissions"]["learned"]
    assert len(learned) == 1
    before = world.reached()
    problem = await refused(world.call(token, f"GET {RECORDS}", path_params=zone), "not_permitted_upstream")
    assert "DNS" in problem.detail
    assert world.reached() == before
    # Elsewhere the same permission may be held.
    await world.call(token, f"GET {RECORDS}", path_params={"zone_id": world.demo.org.id})

    world.demo.state.faults.add({"path": "dns_records"}, "permission_flip", times=None)
    assert (await world.accounts.verify(await world.admin(), made["id"]))["permissions"]["learned"] == {}
    assert not (await world.call(token, f"GET {RECORDS}", path_params=zone)).is_error


async def test_lessons_at_once_are_all_kept_and_none_overwrites_a_new_credential(world: World) -> None:
    await world.connect()
    made = await world.put(world.demo.priya_token.value)
    caller, account = await world.admin(), UUID(made["id"])
    await asyncio.gather(*(world.learning.learn(caller.tenant_id, account, f"op-{n}", "DNS Write") for n in range(4)))
    row = await world.account_of(made["id"])
    assert set(row.permissions["learned"]) == {f"op-{n}" for n in range(4)}
    assert row.permissions_version == 6
    await world.learning.learn(caller.tenant_id, account, "op-1", "DNS Write")
    assert (await world.account_of(made["id"])).permissions_version == 6


async def test_a_verification_beside_a_new_credential_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.connect()
    made = await world.put(world.demo.priya_token.value)
    reverify = world.deposit.reverify

    async def meanwhile(*asked: Any) -> Any:
        found = await reverify(*asked)
        mute = world.demo.state.add_token(world.demo.priya, name="m", permissions=("User Details Read",))
        await world.put(mute.value)
        return found

    monkeypatch.setattr(world.deposit, "reverify", meanwhile)
    await refused(world.accounts.verify(await world.admin(), made["id"]), "version_conflict")
    assert (await world.account_of(made["id"])).permissions["source"] == "unknown"


async def test_a_credential_no_longer_accepted_needs_another(world: World) -> None:
    await world.connect()
    made = await world.put(world.demo.priya_token.value)
    world.demo.priya_token.enabled = False
    problem = await refused(world.accounts.verify(await world.admin(), made["id"]), "needs_reauth")
    assert problem.fields == ()
