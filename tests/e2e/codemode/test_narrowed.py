"""What was read under more than is granted now is not shown again, by `previous` or by a replay."""

from typing import Any

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.e2e.codemode.conftest import Engineers
from tests.e2e.codemode.kit import PATH, body

READ = "async () => (await cloudflare.request({path: '/zones/%s/dns_records'})).result.map(r => r.name)"


def previous(engineer: Engineer, execution_id: str) -> dict[str, Any]:
    answer = engineer.api.ok("POST", PATH, body(f'async () => previous("{execution_id}")'))
    found: dict[str, Any] = answer["error"] if answer["is_error"] else {"data": answer["data"]}
    return found


def test_a_narrower_list_of_resources_hides_what_was_read(
    running_server: Stand, tenant: TenantKit, engineers: Engineers
) -> None:
    """The wide grant is a group's: it stays, and the engineer leaves the group."""
    tenant.connection()
    zones = running_server.simulator.zones
    tenant.grant({"group": "wide"}, "read", resources={"zones": list(zones.values())})
    engineer = engineers(tenant, access=None)
    path = f"/v1/identities/{engineer.identifier}"
    tenant.admin.ok("PATCH", path, {"groups": ["wide"]})
    read = READ % zones["example.org"]
    made = engineer.api.ok("POST", PATH, body(read, idempotency_key="one"))
    assert not made["is_error"], made
    assert previous(engineer, made["execution_id"]) == {"data": made["data"]}
    assert engineer.api.ok("POST", PATH, body(read, idempotency_key="one"))["replayed"]

    # More is granted: no matter. Less is: it is not shown again.
    tenant.grant({"identifier": engineer.identifier}, "read", resources={"zones": [zones["example.com"]]})
    assert previous(engineer, made["execution_id"]) == {"data": made["data"]}
    tenant.admin.ok("PATCH", path, {"groups": []})
    refused = previous(engineer, made["execution_id"])
    assert refused["code"] == "not_granted"
    assert "narrowed" in refused["detail"]
    reply = engineer.api.send("POST", PATH, json=body(read, idempotency_key="one"))
    assert (reply.status_code, reply.json()["code"]) == (403, "not_granted")
    assert engineer.api.ok("POST", PATH, body(read))["error"]["code"] == "not_granted"

    # What is made under what is granted now is shown.
    narrow = engineer.api.ok("POST", PATH, body(READ % zones["example.com"]))
    assert previous(engineer, narrow["execution_id"]) == {"data": narrow["data"]}
