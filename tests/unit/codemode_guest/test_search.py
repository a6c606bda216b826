"""`spec`, `find`, `operation`, `products`, `whoami`: what a search sees, and that it sees nothing else."""

import base64
from collections.abc import Iterable
from typing import Any

import pytest

from tests.unit.codemode_guest.documents import chunks, document, rows
from tests.unit.codemode_guest.guest import Ran, run

RECORD = {
    "type": "object",
    "required": ["name", "type"],
    "properties": {
        "id": {"type": "string", "readOnly": True},
        "name": {"type": "string", "description": "The full name.\nOf the record.", "example": "a.example.com"},
        "type": {"enum": ["A", "AAAA"], "type": "string"},
        "ttl": {"type": "integer", "nullable": True},
        "parent": {"$ref": "#/components/schemas/Record"},
    },
}
ZONE = {"name": "zone_id", "in": "path", "required": True, "schema": {"type": "string"}}
BODY = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Record"}}}}
PATHS = {
    "/zones": {
        "get": {"operationId": "zones-get", "summary": "List Zones", "tags": ["Zone"]},
        "post": {"operationId": "zones-post", "summary": "Create Zone", "tags": ["Zone"]},
    },
    "/zones/{zone_id}/dns_records": {
        "parameters": [ZONE],
        "get": {
            "operationId": "dns-list",
            "summary": "List DNS Records",
            "tags": ["DNS Records"],
            "parameters": [{"name": "type", "in": "query", "schema": {"enum": ["A", "AAAA"]}, "description": "Kind"}],
        },
        "post": {
            "operationId": "dns-create",
            "summary": "Create DNS Record",
            "tags": ["DNS Records"],
            "requestBody": BODY,
        },
    },
    "/zones/{zone_id}/dns_records/{id}": {
        "parameters": [ZONE],
        "delete": {"operationId": "dns-delete", "summary": "Delete DNS Record", "tags": ["DNS Records"]},
        "patch": {
            "operationId": "dns-update",
            "summary": "Update DNS Record",
            "tags": ["DNS Records"],
            "requestBody": BODY,
        },
    },
    "/accounts/{account_id}/workers/scripts/{name}": {
        "put": {"operationId": "workers-upload", "summary": "Upload Worker Module", "tags": ["Worker Script"]}
    },
    "/user/tokens": {"post": {"operationId": "token-create", "summary": "Create Token", "deprecated": True}},
}
ROOT = document(PATHS, {"Record": RECORD})
CHUNKS = chunks(ROOT)
ROWS = rows(ROOT)


def bitmap(shown: Iterable[int]) -> str:
    bits = bytearray(-(-len(ROWS) // 8))
    for number in shown:
        bits[number >> 3] |= 1 << (number & 7)
    return base64.b64encode(bytes(bits)).decode()


def search(code: str, shown: Iterable[int] | None = None, **more: Any) -> Ran:
    context = {"kind": "search", "visible": None if shown is None else bitmap(shown), **more}
    return run(code, kind="search", chunks=CHUNKS, context=context)


READS = [number for number, row in enumerate(ROWS) if row.effect == "read"]


def test_an_operation_as_programs_see_it() -> None:
    op = search("spec.paths['/zones/{zone_id}/dns_records'].post").value
    assert list(op) == [
        "summary", "description", "tags", "operationId", "parameters", "requestBody", "responses",
        "permissions", "effect",
    ]  # fmt: skip
    assert op["tags"] == ["dns_records", "DNS Records"]
    assert op["parameters"] == [ZONE]
    properties = op["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert properties["name"] == RECORD["properties"]["name"]
    assert properties["parent"] == {"$circular": "#/components/schemas/Record"}
    assert (op["permissions"], op["effect"]) == (["A Read"], "write")
    token = search("spec.paths['/user/tokens'].post").value
    assert (token["deprecated"], token["guarded"]) == (True, True)


def test_what_cloudflares_own_examples_do_works() -> None:
    code = """async () => {
      const results = [];
      for (const [path, methods] of Object.entries(spec.paths)) {
        for (const [method, op] of Object.entries(methods)) {
          if (op.tags?.some(t => t.toLowerCase() === 'dns_records')) {
            results.push({ method: method.toUpperCase(), path, summary: op.summary });
          }
        }
      }
      return results;
    }"""
    assert [found["method"] for found in search(code).value] == ["GET", "POST", "PATCH", "DELETE"] or len(
        search(code).value
    ) == 4


def test_all_text_is_there_to_be_searched_and_not_to_be_listed() -> None:
    code = """const out = [];
      for (const [path, item] of Object.entries(spec.paths)) for (const [m, op] of Object.entries(item))
      if (op.$text.includes('the full name')) out.push(m + ' ' + path); return out"""
    assert search(code).value == ["post /zones/{zone_id}/dns_records", "patch /zones/{zone_id}/dns_records/{id}"]
    assert "$text" not in search("Object.keys(spec.paths['/zones'].get)").value


@pytest.mark.parametrize("shown", [[], READS, [0], [1, 3], list(range(len(ROWS))), list(range(1, len(ROWS)))])
def test_only_what_is_visible_is_there_by_any_road(shown: list[int]) -> None:
    visible = {(ROWS[n].method, ROWS[n].path) for n in shown}
    code = """const all = []; for (const [path, item] of Object.entries(spec.paths)) {
        if (Object.keys(item).length === 0) all.push(['EMPTY', path]);
        for (const [m, op] of Object.entries(item)) all.push([m.toUpperCase(), path]); }
      const listed = find('', { limit: 200 }).map(f => [f.method, f.path]);
      const asked = ['zone', 'dns record', 'worker', 'token', 'create', 'list', 'delete'];
      const words = asked.flatMap(w => find(w)).map(f => [f.method, f.path]);
      const reached = REFS.filter(ref => { try { operation(ref); return true } catch { return false } });
      const ids = IDS.filter(id => { try { operation(id); return true } catch { return false } });
      return { all, listed, words, reached, ids, json: JSON.stringify(spec),
        n: products().reduce((t, p) => t + p.operations, 0) }"""
    code = code.replace("REFS", str([f"{row.method} {row.path}" for row in ROWS])).replace(
        "IDS", str([row.id for row in ROWS])
    )
    value = search(code, shown).value
    assert {tuple(pair) for pair in value["all"]} == visible
    assert {tuple(pair) for pair in value["listed"]} == visible
    assert {tuple(pair) for pair in value["words"]} <= visible
    assert set(value["reached"]) == {f"{method} {path}" for method, path in visible}
    assert set(value["ids"]) == {ROWS[n].id for n in shown}
    assert value["n"] == len(visible)
    for number, row in enumerate(ROWS):
        assert (f'"{row.id}"' in value["json"]) == (number in shown)


def test_a_bitmap_too_short_hides() -> None:
    context = {"kind": "search", "visible": base64.b64encode(b"\x01").decode()[:4]}
    code = "Object.values(spec.paths).reduce((n, i) => n + Object.keys(i).length, 0)"
    assert run(code, kind="search", chunks=CHUNKS, context=context).value == 1
    context["visible"] = ""
    assert run(code, kind="search", chunks=CHUNKS, context=context).value == 0


def test_what_is_hidden_is_counted_and_explained() -> None:
    hidden = {"not_permitted": 3, "not_granted": 4}
    assert search("spec.hidden", READS, hidden=hidden).value == hidden
    message = search("operation('DELETE /zones/{zone_id}/dns_records/{id}')", READS, hidden=hidden).error["message"]
    assert "7 operations are hidden" in message
    assert "did you mean" in message
    assert "DELETE /" not in message.partition("did you mean")[2]


FINDS = [
    ("create dns record", "POST /zones/{zone_id}/dns_records"),
    ("list the zones", "GET /zones"),
    ("domains", "GET /zones"),
    ("remove a dns record", "DELETE /zones/{zone_id}/dns_records/{id}"),
    ("edit record", "PATCH /zones/{zone_id}/dns_records/{id}"),
    ("deploy worker", "PUT /accounts/{account_id}/workers/scripts/{name}"),
    ("dnsRecords creating", "POST /zones/{zone_id}/dns_records"),
]


@pytest.mark.parametrize(("words", "first"), FINDS)
def test_find_ranks(words: str, first: str) -> None:
    found = search(f"find({words!r})").value[0]
    assert f"{found['method']} {found['path']}" == first


def test_find_filters() -> None:
    assert {f["method"] for f in search("find('record', { method: 'DELETE' })").value} == {"DELETE"}
    assert {f["product"] for f in search("find('create', { product: 'zones' })").value} == {"zones"}
    assert len(search("find('', { tag: 'dns records' })").value) == 4
    assert len(search("find({ product: 'dns_records', limit: 2 })").value) == 2
    assert search("find('nosuchword')").value == []
    assert "limit" in search("find('x', { max: 2 })").error["message"]


def test_find_results_lead_to_the_operation() -> None:
    assert search("find('create dns record')[0].op.requestBody.required").value is True
    assert set(search("find('create dns record')[0]").value) == {"method", "path", "summary", "product", "effect"}


OPERATIONS = [
    "dns-create", "POST /zones/{zone_id}/dns_records", "post /zones/{other}/dns_records/",
    "POST /client/v4/zones/{z}/dns_records",
    "POST /zones/023e105f4ecef8ad9ca31a8372d0c353/dns_records?x=1",
]  # fmt: skip


@pytest.mark.parametrize("ref", OPERATIONS)
def test_operation_is_compact_and_whole(ref: str) -> None:
    told = search(f"operation({ref!r})").value
    assert (told["method"], told["path"], told["operationId"]) == ("POST", "/zones/{zone_id}/dns_records", "dns-create")
    assert told["body"]["contentType"] == "application/json"
    assert told["body"]["type"].splitlines()[:4] == [
        "{", "  name: string; // The full name. Of the record.", '  type: "A" | "AAAA";', "  ttl?: number | null;",
    ]  # fmt: skip
    assert "id" not in told["body"]["type"].replace("void", "").split("//")[0]
    assert told["body"]["example"] == {"name": "a.example.com", "type": "A"}
    assert told["call"].startswith(
        'await cloudflare.request({ method: "POST", path: `/zones/${zone_id}/dns_records`, body: {"name"'
    )
    assert told["parameters"] == [{"name": "zone_id", "in": "path", "type": "string", "required": True}]


def test_misspelt_operations_are_guessed() -> None:
    assert (
        "did you mean POST /zones/{zone_id}/dns_records,"
        in search("operation('POST /zones/{zone_id}/dns_recrods')").error["message"]
    )
    assert "did you mean dns-create," in search("operation('dns-record-create')").error["message"]
    assert "several methods: GET /zones, POST /zones" in search("operation('/zones')").error["message"]
    assert "takes an operation id" in search("operation()").error["message"]


def test_the_rest_of_the_helpers() -> None:
    assert search("products()").value[0] == {"product": "dns_records", "operations": 4}
    assert search("whoami()", whoami={"identity": "priya"}).value == {"identity": "priya"}
    assert "execute tool" in search("await cloudflare.request({ path: '/zones' })").error["message"]


def test_nothing_of_one_run_stays() -> None:
    assert search("spec.paths['/zones'].get.summary = 'x'; delete spec.paths['/zones']; find = 1; return 1").value == 1
    assert search("spec.paths['/zones'].get.summary").value == "List Zones"
