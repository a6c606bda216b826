"""Every way a deposit goes: what it keeps, what it leaves alone, and that a failed one leaves nothing behind."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from broker.accounts.pending import PENDING_FOR, Owner
from tests.integration.accounts.world import ALL, MARCO, PRIYA, World, while_asked
from tests.integration.identity.world import refused


async def _nothing_left(world: World, reason: str) -> None:
    assert await world.everything() == (0, 0)
    (change,) = await world.changed("account.deposit_refused")
    assert change["body"]["summary"]["reason"] == reason


async def test_the_first_deposit_is_verified_and_says_whose_it_is(world: World) -> None:
    await world.connect()
    made = await world.put(world.demo.priya_token.value)
    assert (made["status"], made["identifier"], made["shared"], made["kind"]) == ("active", PRIYA, False, "api_token")
    assert made["upstream"]["principal"] == f"user:{world.demo.priya.id}"
    assert made["upstream"]["account_id"] == world.demo.account.id
    assert made["credential"]["version"] == 1
    assert made["permissions"] == {"source": "policies", "learned": {}}
    assert world.demo.priya_token.value not in str(made)
    assert await world.credentials() == [(1, "active")]
    assert [c["account_id"] for c in await world.changed("account.connected")] == [
        (await world.account_of(made["id"])).id
    ]


async def test_the_same_principal_renews_the_account_that_is_there(world: World) -> None:
    await world.connect()
    first = await world.put(world.demo.priya_token.value)
    other = world.demo.state.add_token(world.demo.priya, name="new", permissions=("User Details Read", "Zone Read"))
    second = await world.put(other.value)
    assert second["id"] == first["id"]
    assert second["credential"]["version"] == 2
    assert second["credential"]["fingerprint"] != first["credential"]["fingerprint"]
    assert await world.credentials() == [(1, "superseded"), (2, "active")]
    assert (await world.everything())[0] == 1
    assert len(await world.changed("account.credential_replaced")) == 1


async def test_another_principal_needs_replace_and_the_old_one_goes_on_till_then(world: World) -> None:
    await world.connect()
    await world.grant()
    first = await world.put(world.demo.priya_token.value)
    problem = await refused(world.put(world.demo.marco_token.value), "principal_changed")
    assert "replace" in (problem.hint or "")
    assert await world.credentials() == [(1, "active")]
    token = await world.session()
    assert not (await world.call(token, "GET /zones")).is_error
    second = await world.put(world.demo.marco_token.value, replace=True)
    assert second["id"] != first["id"]
    assert second["upstream"]["principal"] == f"user:{world.demo.marco.id}"
    old = await world.account_of(first["id"])
    assert (old.status, old.revoked_reason) == ("revoked", "replaced by another principal")
    assert await world.credentials() == [(1, "revoked"), (1, "active")]
    assert len(await world.changed("account.replaced")) == 1
    result = await world.call(token, "GET /zones")
    assert [z["name"] for z in _plain(result)["result"]] == ["example.org"]


def _plain(result: Any) -> Any:
    return orjson.loads(orjson.dumps(result.data))


@pytest.mark.parametrize("token", ["cfut_" + "x" * 40, "a" * 40])
async def test_a_rejected_token_leaves_nothing_behind(world: World, token: str) -> None:
    await world.connect()
    problem = await refused(world.put(token), "invalid_input", "credential.token")
    assert token not in str(problem.as_wire())
    await _nothing_left(world, "invalid_input")


async def test_a_disabled_and_an_expired_token_are_rejected(world: World) -> None:
    await world.connect()
    world.demo.priya_token.enabled = False
    assert "disabled" in (await refused(world.put(world.demo.priya_token.value), "invalid_input")).detail
    assert await world.everything() == (0, 0)


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"kind": "password", "password": "hunter2-hunter2"},
        {"kind": "api_token"},
        {"kind": "api_token", "token": "too short"},
        {"kind": "api_token", "token": "cfat_" + "s" * 40},
        {"kind": "api_token", "token": "s" * 40, "sekret": "s" * 40},
        {"kind": "account_token", "token": "s" * 40, "account_id": "../.."},
    ],
)
async def test_a_malformed_credential_is_never_stored_nor_quoted(world: World, credential: dict[str, Any]) -> None:
    await world.connect()
    code = "unknown_field" if "sekret" in credential else "invalid_input"
    problem = await refused(world.put(credential), code)
    assert all(f.path.startswith("credential") for f in problem.fields)
    shown = str(problem.as_wire())
    assert "s" * 40 not in shown
    assert "hunter2" not in shown
    assert await world.everything() == (0, 0)
    assert world.reached() == []


async def test_an_account_token_and_a_global_key(world: World) -> None:
    await world.connect()
    pipeline = {"kind": "account_token", "token": world.demo.pipeline.value, "account_id": world.demo.account.id}
    made = await world.put(pipeline, shared=True, label="ci")
    assert (made["shared"], made["identifier"], made["label"]) == (True, None, "ci")
    assert made["upstream"]["principal"] == f"account-token:{world.demo.account.id}:{world.demo.pipeline.id}"
    key = {"kind": "global_key", "email": world.demo.marco.email, "key": world.demo.marco.global_key}
    made = await world.put(key, identifier=MARCO)
    assert made["upstream"]["principal"] == f"user:{world.demo.marco.id}"
    assert made["permissions"]["source"] == "all"
    problem = await refused(world.put({**pipeline, "account_id": "f" * 32}, shared=True, label="x"), "invalid_input")
    assert problem.fields[0].path == "credential.token"
    wrong = {**key, "key": "0" * 40}
    assert (await refused(world.put(wrong, identifier=PRIYA), "invalid_input")).fields[0].path == "credential.key"


async def test_declared_permissions_stand_in_where_the_token_cannot_say(world: World) -> None:
    await world.connect()
    mute = world.demo.state.add_token(world.demo.priya, name="mute", permissions=("User Details Read", "Zone Read"))
    made = await world.put({"kind": "api_token", "token": mute.value, "permissions": ["Zone Read"]})
    assert made["permissions"]["source"] == "declared"
    again = await world.accounts.verify(await world.admin(), made["id"])
    assert again["permissions"]["source"] == "declared"


@pytest.mark.parametrize(
    ("fault", "params", "code"),
    [
        ("reset", {}, "upstream_unreachable"),
        ("status", {"status": 503}, "upstream_unreachable"),
        ("garbage", {}, "upstream_unreachable"),
        ("redirect", {"location": "http://127.0.0.1:1/"}, "upstream_unreachable"),
        ("rate_limit", {"seconds": 300}, "upstream_unreachable"),
    ],
)
async def test_an_upstream_in_trouble_leaves_nothing_behind(
    world: World, fault: str, params: dict[str, Any], code: str
) -> None:
    await world.connect()
    world.upstream.state.faults.add({"path": "verify"}, fault, params=params)
    await refused(world.put(world.demo.priya_token.value), code)
    await _nothing_left(world, code)


async def test_a_hanging_upstream_times_out_and_leaves_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.accounts.verification.VERIFY_SECONDS", 0.5)
    await world.connect()
    world.upstream.state.faults.add({"path": "verify"}, "hang")
    await refused(world.put(world.demo.priya_token.value), "upstream_timeout")
    await _nothing_left(world, "upstream_timeout")
    assert await world.outcomes() == ["timeout"]


async def test_a_failed_renewal_leaves_the_account_as_it_was(world: World) -> None:
    await world.connect()
    first = await world.put(world.demo.priya_token.value)
    await refused(world.put("x" * 40), "invalid_input")
    assert await world.accounts.get(await world.admin(), first["id"]) | {"last_used_at": None} == first | {
        "last_used_at": None
    }
    assert await world.credentials() == [(1, "active")]


async def test_whoever_is_offboarded_meanwhile_gets_no_account(world: World) -> None:
    await world.connect()

    async def offboard() -> None:
        await world.base.offboarding.offboard(await world.admin(), PRIYA, reason="left", drain_seconds=0)

    problem = await refused(while_asked(world, world.put(world.demo.priya_token.value), offboard), "revoked")
    assert problem.code == "revoked"
    await _nothing_left(world, "revoked")


async def test_a_deposit_sealed_for_another_origin_is_never_kept(world: World) -> None:
    await world.connect()

    async def redirect() -> None:
        await world.connections.change(
            await world.platform(),
            "cloudflare",
            config=world.config() | {"base_url": world.second.base_url},
            version=None,
        )

    deposit = world.put(world.demo.priya_token.value)
    problem = await refused(while_asked(world, deposit, redirect), "unavailable")
    assert problem.fix == "wait"
    await _nothing_left(world, "unavailable")
    assert world.reached(world.second) == []


async def test_a_connection_deleted_meanwhile_takes_the_deposit_with_it(world: World) -> None:
    await world.connect()

    async def delete() -> None:
        await world.connections.delete(await world.admin(), "cloudflare", "no longer needed")

    with pytest.raises(Exception, match=r"revoked|inactive|changed"):
        await while_asked(world, world.put(world.demo.priya_token.value), delete)
    assert await world.everything() == (0, 0)


async def test_a_key_revoked_meanwhile_deposits_nothing(world: World) -> None:
    await world.connect()
    session = await world.base.session(identifier=PRIYA)
    by = await world.base.caller(session["token"])

    async def revoke() -> None:
        await world.base.sessions.revoke(await world.admin(), session["id"])

    await refused(while_asked(world, world.put(world.demo.priya_token.value, by=by), revoke), "unauthenticated")
    assert await world.everything() == (0, 0)


async def test_a_cancelled_deposit_leaves_nothing_behind(world: World) -> None:
    await world.connect()
    world.upstream.state.faults.add({"path": "verify"}, "hang")
    running = asyncio.ensure_future(world.put(world.demo.priya_token.value))
    while not world.reached():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _nothing_left(world, "CancelledError")


async def test_a_session_deposits_for_itself_only(world: World) -> None:
    await world.connect()
    await world.connect("other")
    by = await world.base.caller(await world.session())
    token = world.demo.priya_token.value
    await refused(world.put(token, identifier=MARCO, by=by), "forbidden")
    await refused(world.put(token, shared=True, by=by), "forbidden")
    await refused(world.put(token, by=by, replace=True), "forbidden")
    narrow = await world.base.caller(await world.session(connections=["other"]))
    await refused(world.put(token, by=narrow), "forbidden")
    assert world.reached() == []
    made = await world.put(token, by=by)
    marco = await world.base.caller(await world.session(MARCO))
    await refused(world.accounts.get(marco, made["id"]), "not_found")
    assert list((await world.accounts.list(marco, ALL)).items) == []
    assert [a["id"] for a in (await world.accounts.list(by, ALL)).items] == [made["id"]]
    agent = await world.base.caller((await world.base.key(identifiers=["*"]))["key"], identifier=PRIYA)
    await refused(world.put(token, by=agent), "forbidden")


async def test_two_first_deposits_at_once_make_one_account(world: World) -> None:
    await world.connect()
    more = [
        world.demo.state.add_token(world.demo.priya, name=f"t{n}", permissions=("User Details Read",)) for n in range(4)
    ]
    made = await asyncio.gather(*(world.put(token.value) for token in more))
    assert len({account["id"] for account in made}) == 1
    assert (await world.everything())[0] == 1
    statuses = [status for _, status in await world.credentials()]
    assert sorted(statuses) == ["active", "superseded", "superseded", "superseded"]


async def test_two_principals_at_once_leave_one_and_refuse_the_other(world: World) -> None:
    await world.connect()
    tokens = (world.demo.priya_token.value, world.demo.marco_token.value)
    found = await asyncio.gather(*(world.put(token) for token in tokens), return_exceptions=True)
    kept = [f for f in found if isinstance(f, dict)]
    (problem,) = [f for f in found if not isinstance(f, dict)]
    assert len(kept) == 1
    assert getattr(problem, "code", None) == "principal_changed"
    assert await world.everything() == (1, 1)


async def test_a_revocation_beside_a_renewal_never_leaves_a_live_credential(world: World) -> None:
    await world.connect()
    first = await world.put(world.demo.priya_token.value)
    admin = await world.admin()
    revoking = world.accounts.revoke(admin, first["id"], reason="x", upstream=False, drain_seconds=0)
    await asyncio.gather(world.put(world.demo.priya_token.value), revoking, return_exceptions=True)
    live = await world.rows(
        "select a.status from vault.credentials k join broker.accounts a on a.tenant_id = k.tenant_id and a.id ="
        " k.account_id where k.tenant_id = :t and k.status = 'active' and a.status = 'revoked'"
    )
    assert live == []


async def test_what_a_crash_left_is_removed_and_what_is_under_way_is_not(world: World) -> None:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    caller = await world.admin()
    (connection,) = (await world.base.resolve(await world.session(MARCO), connection="cloudflare")).connections
    view = await world.views.connection(caller.tenant_id, connection)
    owner = Owner(None, None, "left")
    for n in range(2):
        await world.deposit.pendings.seal(
            caller, connection, view, owner, {"kind": "api_token", "token": f"{n}" + "c" * 45}
        )
    await world.execute(
        "update broker.accounts set status = 'revoked' where tenant_id = :t and id ="
        " (select id from broker.accounts where label = 'left' limit 1)"
    )
    await world.deposit.pendings.remove_stale()
    assert await world.everything() == (3, 3)
    world.base.clock.forward(seconds=(PENDING_FOR + timedelta(seconds=1)).total_seconds())
    assert await world.deposit.pendings.remove_stale() >= 2
    assert await world.everything() == (1, 1)
