"""A program may start from a look-up of the last second; nothing is shown or refused on the strength of it alone."""

from typing import Any

import pytest

from bench.kit import Engineer, TenantKit
from tests.e2e.codemode.conftest import Engineers
from tests.e2e.codemode.test_execute import PATH, run, value

LIST = 'async () => (await cloudflare.request({path: "/zones"})).result.length'


def sent(engineer: Engineer, code: str) -> Any:
    return engineer.api.http.post(PATH, json={"tool_name": "cloudflare_execute", "tool_input": {"code": code}})


@pytest.mark.parametrize("code", ["async () => 1", "async () => previous('{id}')", LIST, "async () => { throw 1 }"])
def test_a_revoked_session_is_told_nothing(tenant: TenantKit, engineer: Engineer, code: str) -> None:
    before = run(engineer, LIST)  # the look-up that the next one could start from
    tenant.admin.ok("DELETE", f"/v1/sessions/{engineer.session_id}")
    refused = sent(engineer, code.replace("{id}", before["execution_id"]))
    assert refused.status_code == 401, refused.text
    assert not {"data", "logs"} & refused.json().keys()


def test_a_grant_counts_at_once_and_so_does_its_end(tenant: TenantKit, engineers: Engineers) -> None:
    tenant.connection()
    engineer = engineers(tenant, access="read")
    zone = value(engineer, 'async () => (await cloudflare.request({path: "/zones"})).result[0].id')
    write = f"""async () => (await cloudflare.request({{method: "POST", path: "/zones/{zone}/dns_records",
        body: {{type: "A", name: "recent.example.com", content: "192.0.2.7", ttl: 1}}}})).status"""
    refused = run(engineer, write)
    assert refused["is_error"]
    assert refused["error"]["code"] == "not_granted"
    grant = tenant.grant({"identifier": engineer.identifier}, "destructive")
    assert value(engineer, write) == 200
    tenant.admin.ok("DELETE", f"/v1/grants/{grant['id']}")
    again = run(engineer, write)
    assert again["is_error"]
    assert again["error"]["code"] == "not_granted"
    assert [call["sent"] for call in again["calls"]] == [False]


def test_without_any_grant_a_program_is_not_run(tenant: TenantKit, engineers: Engineers) -> None:
    tenant.connection()
    engineer = engineers(tenant, access=None)
    grant = tenant.grant({"identifier": engineer.identifier}, "read")
    assert value(engineer, LIST) == 2
    tenant.admin.ok("DELETE", f"/v1/grants/{grant['id']}")
    refused = sent(engineer, "async () => 1")
    assert refused.status_code == 403, refused.text
    assert refused.json()["code"] == "not_granted"


def test_every_execution_is_one_item_of_the_audit(tenant: TenantKit, engineer: Engineer) -> None:
    for code, kinds in (("async () => 1", ["execution"]), (LIST, ["call", "execution"])):
        for _ in range(2):
            answer = run(engineer, code)
            events = tenant.admin.ok("GET", "/v1/audit/events", params={"execution_id": answer["execution_id"]})
            assert sorted(item["kind"] for item in events["items"]) == kinds
