"""What an API offers, of a small description and of the real one."""

import base64
from typing import Any

import pytest

from broker.errors import Problem
from broker.tools.codemode.portal.operations import Offer, Offers
from connectors import catalog
from connectors.base import Programmable
from connectors.openapi.index import SpecIndex
from tests.unit.openapi.support import index, param, real_index

NONE = {"not_permitted": 0, "not_granted": 0}


def op(name: str, tag: str, **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": name.replace("-", " "), "tags": [tag], **more}


ZONE = param("zone_id", {"type": "string"}, "path")
SMALL = {
    "/zones": {"get": op("list-zones", "Zone"), "post": op("create-zone", "Zone")},
    "/zones/{zone_id}": {"get": op("zone-details", "Zone", parameters=[ZONE])},
    "/zones/{zone_id}/dns_records": {
        "get": op("list-dns-records", "DNS", parameters=[ZONE]),
        "post": op("create-dns-record", "DNS", parameters=[ZONE], deprecated=True),
    },
}


async def offer(spec: SpecIndex, bits: int | None = None, **hidden: int) -> Offer:
    connector = catalog.get("cloudflare")
    assert isinstance(connector, Programmable)
    bitmap = None if bits is None else base64.b64encode(bits.to_bytes((len(spec.rows) + 7) // 8, "little")).decode()
    return await Offers().offer(spec.digest, spec, connector, bitmap, NONE | hidden)


def refs(found: list[dict[str, Any]]) -> list[str]:
    return [f"{one['method']} {one['path']}" for one in found]


async def test_words_and_filters() -> None:
    all_ = await offer(index(SMALL))
    assert refs(all_.find("list the dns records", {"limit": 1})) == ["GET /zones/{zone_id}/dns_records"]
    assert refs(all_.find("add record", {}))[0] == "POST /zones/{zone_id}/dns_records"
    assert refs(all_.find("", {"tag": "zone", "method": ["GET"]})) == ["GET /zones", "GET /zones/{zone_id}"]
    assert refs(all_.find("", {"product": "dns", "limit": 1})) == ["GET /zones/{zone_id}/dns_records"]
    assert all_.find("zone", {"limit": 0}) == []
    assert len(all_.operations({})) == 5
    assert all_.products() == [{"product": "Zone", "operations": 3}, {"product": "DNS", "operations": 2}]
    described = all_.operation("create-dns-record")()
    assert (described["deprecated"], described["effect"]) == (True, "write")
    assert described["inputSchema"]["required"] == ["zone_id"]
    assert all_.operation("GET /zones/023e")()["path"] == "/zones/{zone_id}"


async def test_what_is_hidden_is_nowhere() -> None:
    spec = index(SMALL)
    numbers = {row.ref: row.number for row in spec.rows}
    bits = sum(1 << number for ref, number in numbers.items() if "dns_records" not in ref)
    some = await offer(spec, bits, not_granted=2)
    assert all("dns" not in ref for ref in refs(some.operations({})))
    assert all("dns" not in ref for ref in refs(some.find("dns records", {})))
    assert [one["product"] for one in some.products()] == ["Zone"]
    with pytest.raises(Problem) as caught:
        some.operation("GET /zones/{zone_id}/dns_records")()
    assert "2 that no grant covers" in caught.value.detail
    assert "dns" not in (caught.value.hint or "")


@pytest.mark.parametrize("options", [{"limit": -1}, {"limit": "2"}, {"limit": True}, {"limit": 1.5}, {"nope": 1}])
async def test_options_are_checked(options: dict[str, Any]) -> None:
    all_ = await offer(index(SMALL))
    with pytest.raises(Problem):
        all_.find("x", options)
    with pytest.raises(Problem):
        all_.operations(options)


@pytest.mark.parametrize(
    ("words", "ref"),
    [
        ("list dns records", "GET /zones/{zone_id}/dns_records"),
        ("purge cache", "POST /zones/{zone_id}/purge_cache"),
        ("list zones", "GET /zones"),
        ("create kv namespace", "POST /accounts/{account_id}/storage/kv/namespaces"),
        ("upload worker script", "PUT /accounts/{account_id}/workers/scripts/{script_name}"),
        ("list r2 buckets", "GET /accounts/{account_id}/r2/buckets"),
        ("verify token", "GET /user/tokens/verify"),
        ("list account members", "GET /accounts/{account_id}/members"),
        ("create d1 database", "POST /accounts/{account_id}/d1/database"),
        ("get bot management", "GET /zones/{zone_id}/bot_management"),
    ],
)
async def test_the_real_description(words: str, ref: str) -> None:
    real = await offer(real_index("2026-07"))
    assert refs(real.find(words, {"limit": 3}))[0] == ref
