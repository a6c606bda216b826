"""What was kept of a program is shown while the authority stands that it was made under; nothing it did is lost."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from bench.kit import Engineer, TenantKit
from broker.errors import Problem
from broker.gate.types import CallRecord
from broker.tools.codemode.reporting import tell_done
from broker.tools.codemode.shrink import OMITTED, shrink

EXECUTE = "/v1/tools/execute"
ZONES = 'async () => (await cloudflare.request({path: "/zones"})).result.map(z => z.id)'


def _body(code: str, tool: str = "execute", **more: Any) -> dict[str, Any]:
    return {"tool_name": f"cloudflare_{tool}", "tool_input": {"code": code}, **more}


@pytest.fixture
def granted(tenant: TenantKit) -> tuple[Engineer, list[str]]:
    """An engineer with two grants, and their ids."""
    tenant.connection()
    made = tenant.engineer(access=None)
    subject = {"identifier": made.identifier}
    return made, [tenant.grant(subject, access)["id"] for access in ("write", "read")]


def test_an_earlier_result_goes_with_the_grant_it_was_made_under(
    granted: tuple[Engineer, list[str]], tenant: TenantKit
) -> None:
    engineer, (grant, _) = granted
    made = engineer.api.ok("POST", EXECUTE, _body(ZONES, idempotency_key="one"))
    again = _body(f'async () => await previous("{made["execution_id"]}")')
    assert engineer.api.ok("POST", EXECUTE, again)["data"] == made["data"]
    assert engineer.api.ok("POST", EXECUTE, _body(ZONES, idempotency_key="one"))["replayed"]

    tenant.admin.ok("DELETE", f"/v1/grants/{grant}")
    assert engineer.api.ok("POST", EXECUTE, again)["error"]["code"] == "not_granted"
    reply = engineer.api.send("POST", EXECUTE, json=_body(ZONES, idempotency_key="one"))
    assert (reply.status_code, reply.json()["code"]) == (403, "not_granted")
    # What is made now stands under the grant that is left.
    made = engineer.api.ok("POST", EXECUTE, _body(ZONES, idempotency_key="two"))
    assert engineer.api.ok("POST", EXECUTE, _body(ZONES, idempotency_key="two"))["replayed"]


def test_a_refusal_after_writes_does_not_free_the_key() -> None:
    """`sent` decides whether a key is freed and whether a client repeats."""
    problem = Problem("unavailable", "the execution could not be written to the audit")
    tell_done(problem, [CallRecord(1, "POST", "/client/v4/zones", 200, "write", True)])
    assert problem.sent is True
    assert "POST /client/v4/zones" in problem.detail
    problem = Problem("unavailable", "…")
    tell_done(problem, [CallRecord(1, "GET", "/client/v4/zones", 200, "read", True)])
    assert problem.sent is None


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 58 + b"[" + b",".join([b"12345678901234567890123"] * 300_000) + b"]" + b"]" * 58,
        b"[" + b",".join([b"9" * 4_000] * 2_000) + b"]",
        b"[" + b",".join([b'{"a":[1,2,3,4]}'] * 450_000) + b"]",
        b"{" + b",".join(b'"k%d":1' % n for n in range(600_000)) + b"}",
        b'{"a":' * 58 + b"[" + b",".join([b'"' + b"x" * 40 + b'"'] * 170_000) + b"]" + b"}" * 58,
    ],
)
def test_no_result_is_dear_to_shrink(raw: bytes) -> None:
    """The first of these took 22 s, most of it holding up every other call of the process."""
    started = time.perf_counter()
    shown, cut = shrink(raw, 24_000)
    assert time.perf_counter() - started < 4
    assert cut
    assert len(shown) <= 24_000
    json.loads(shown)


def test_what_is_not_looked_into_says_so() -> None:
    shown, _ = shrink(b"[" + b"{}," * 400_000 + b"{}]", 1_000)
    assert "too many" in json.loads(shown)[OMITTED]["because"]


@pytest.mark.parametrize("tool", ["search", "execute"])
def test_a_program_whose_client_left_is_in_the_audit(tenant: TenantKit, tool: str) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    engineer.api.ok("POST", EXECUTE, _body("async () => 1", tool))  # warm
    started = datetime.now(UTC).isoformat()
    code = "async () => { for (;;); }" if tool == "search" else "async () => new Promise(r => setTimeout(r, 20000))"
    with pytest.raises(httpx.ReadTimeout):
        engineer.api.send("POST", EXECUTE, json=_body(code, tool), timeout=0.7)
    until = time.monotonic() + 15
    while time.monotonic() < until:
        found = tenant.admin.ok("GET", "/v1/audit/events", params={"kind": "execution", "since": started})["items"]
        if found:
            break
        time.sleep(0.3)
    assert [item["summary"].get("error") for item in found] == ["cancelled"]
    engineer.close()
