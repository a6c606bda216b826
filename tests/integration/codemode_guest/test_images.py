"""The guest and the real description in the real sandbox: images, workers, limits."""

import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.limits import EXECUTE, SEARCH
from broker.tools.codemode.sandbox.pool import Sandbox
from broker.tools.codemode.sandbox.program import ImageRef, Outcome, Program
from broker.tools.codemode.spec.prepare import PREPARE, order
from connectors.cloudflare.operations import operation_of
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex
from connectors.openapi.model import OperationRow

DATA = Path(__file__).parents[4] / "shared" / "data" / "cloudflare-openapi-2026-07.json.gz"
TENANT = UUID(int=1)


def facts(row: OperationRow) -> Mapping[str, Any]:
    operation = operation_of(row)
    return {"permissions": operation.permissions, "effect": operation.effect, "guarded": operation.guarded}


async def host(name: str, argument: bytes) -> bytes:
    if name == "previous":
        return b"[1,2,3]"
    told = json.loads(argument)
    return json.dumps(
        {"status": 200, "body": {"success": True, "errors": [], "messages": [], "result": told["path"]}}
    ).encode()


class Kit:
    def __init__(self, sandbox: Sandbox, execute: ImageRef, search: ImageRef, rows: list[OperationRow]) -> None:
        self.sandbox, self.execute_image, self.search_image, self.rows = sandbox, execute, search, rows

    async def search(self, code: str, **context: Any) -> Outcome:
        told = json.dumps({"kind": "search", "visible": None, **context}).encode()
        return await self.sandbox.run(Program(self.search_image, code, told), host, tenant=TENANT, limits=SEARCH)

    async def execute(self, code: str) -> Outcome:
        return await self.sandbox.run(Program(self.execute_image, code), host, tenant=TENANT, limits=EXECUTE)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kit]:
    if not DATA.exists():
        pytest.skip(f"needs the description {DATA.name} beside the repository")
    raw = gzip.decompress(DATA.read_bytes())
    rows = list(SpecIndex.load(compile_spec(raw)).rows)
    asked = order(zlib.compress(raw, 1), rows, facts)
    images = Images(tmp_path_factory.mktemp("guest") / "images")

    async def load() -> tuple[bytes, ...]:
        return asked.parts

    search = await images.search_image(asked.digest, load, prepare=PREPARE)
    execute = await images.execute_image()
    async with Sandbox(images, workers=1, require_hardening=False) as sandbox:
        yield Kit(sandbox, execute, search, rows)


def value(outcome: Outcome) -> Any:
    assert outcome.ok, outcome.error
    assert outcome.value is not None
    return json.loads(outcome.value)


COUNT = "Object.values(spec.paths).reduce((n, item) => n + Object.keys(item).length, 0)"


async def test_every_operation_is_there_and_wholly_resolved(kit: Kit) -> None:
    assert value(await kit.search(COUNT)) == len(kit.rows)
    code = """let refs = 0, circular = 0; const seen = new Set();
      const walk = (v) => { if (typeof v !== 'object' || v === null || seen.has(v)) return; seen.add(v);
        if (typeof v.$ref === 'string') refs++; if (v.$circular) circular++; for (const k in v) walk(v[k]) };
      walk(spec.paths); return [refs, circular]"""
    refs, circular = value(await kit.search(code))
    assert refs == 0
    assert 0 < circular < 100


async def test_numbers_mean_the_rows_of_the_index(kit: Kit) -> None:
    shown = [7, 100, 1500, len(kit.rows) - 1]
    bits = bytearray(-(-len(kit.rows) // 8))
    for number in shown:
        bits[number >> 3] |= 1 << (number & 7)
    code = "find('', { limit: 50 }).map(f => [f.method, f.path, f.op.operationId, f.effect, f.op.permissions.length])"
    found = value(await kit.search(code, visible=base64.b64encode(bytes(bits)).decode()))
    assert found == [
        [
            kit.rows[n].method,
            kit.rows[n].path,
            kit.rows[n].id,
            facts(kit.rows[n])["effect"],
            len(kit.rows[n].groups or ()),
        ]
        for n in shown
    ]


FINDS = [
    ("create dns record", "POST /zones/{zone_id}/dns_records"),
    ("list zones", "GET /zones"),
    ("purge cache", "POST /zones/{zone_id}/purge_cache"),
    ("upload worker script", "PUT /accounts/{account_id}/workers/scripts/{script_name}"),
    ("list r2 buckets", "GET /accounts/{account_id}/r2/buckets"),
    ("zero trust gateway rules", "GET /accounts/{account_id}/gateway/rules"),
    ("delete dns record", "DELETE /zones/{zone_id}/dns_records/{dns_record_id}"),
    ("d1 query", "POST /accounts/{account_id}/d1/database/{database_id}/query"),
    ("create api token", "POST /user/tokens"),
    ("workers routes", "GET /zones/{zone_id}/workers/routes"),
    ("create cloudflare tunnel", "POST /accounts/{account_id}/cfd_tunnel"),
    ("read kv value", "GET /accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}"),
    ("page rules", "GET /zones/{zone_id}/pagerules"),
    ("create waf ruleset", "POST /zones/{zone_id}/rulesets"),
]


async def test_find_finds_what_people_look_for(kit: Kit) -> None:
    asked = json.dumps([words for words, _ in FINDS])
    code = f"{asked}.map(w => find(w, {{ limit: 3 }}).map(f => f.method + ' ' + f.path))"
    found = value(await kit.search(code))
    missed = [(words, first, found[n]) for n, (words, first) in enumerate(FINDS) if first not in found[n]]
    assert not missed
    assert sum(found[n][0] == first for n, (_, first) in enumerate(FINDS)) >= len(FINDS) - 2


async def test_every_operation_can_be_described(kit: Kit) -> None:
    code = """const long = []; let n = 0; const from = %d;
      const all = Object.entries(spec.paths).flatMap(([p, i]) => Object.keys(i).map(m => m.toUpperCase() + ' ' + p));
      for (const f of all.slice(from, from + 300)) {
        const told = JSON.stringify(operation(f)); n++; if (told.length > 24000) long.push(f) }
      return [n, long]"""
    done = 0
    for start in range(0, len(kit.rows), 300):
        n, long = value(await kit.search(code % start))
        done += n
        assert long == []
    assert done == len(kit.rows)


async def test_execute_asks_and_answers(kit: Kit) -> None:
    code = """const [a, b] = await Promise.all([cloudflare.get('/zones'), previous('x')]);
      return [a.result, a.status, b.length]"""
    assert value(await kit.execute(code)) == ["/zones", 200, 3]
    outcome = await kit.execute("console.log('kept'); for (;;) {}")
    assert outcome.error is not None
    assert outcome.error["kind"] == "limit"
    assert [line.text for line in outcome.logs] == ["kept"]


async def test_typescript_runs_without_its_types(kit: Kit) -> None:
    code = """interface Zone { id: string; name: string }
const list = async (path: string): Promise<Zone[]> => (await cloudflare.request<Zone[]>({ path })).result as Zone[]

async () => {
  const found: Record<string, unknown> = { path: await list('/zones') }
  return found!.path
}"""
    outcome = await kit.execute(code)
    assert (value(outcome), outcome.host_calls) == ("/zones", 1)
    assert value(await kit.search("const n: number = find('dns').length as number\nreturn n > 0")) is True
    fenced = "```ts\nasync (): Promise<number> => 7\n```"
    assert value(await kit.execute(fenced)) == 7


async def test_lines_of_typescript_are_those_that_were_written(kit: Kit) -> None:
    code = "type A = {\n  x: string\n}\n\nconst a: A = { x: 'y' }\n  ;(a as any).b.c()"
    error = (await kit.execute(code)).error or {}
    assert (error["kind"], error["line"]) == ("thrown", 6)
    refused = (await kit.execute("enum A { X }\nreturn A.X")).error or {}
    assert (refused["kind"], refused["line"]) == ("syntax", 1)


async def test_a_program_that_was_begun_is_not_begun_again(kit: Kit) -> None:
    code = "const n = 1; await cloudflare.request({ path: '/zones' }); throw new SyntaxError('mine: ' + n)"
    outcome = await kit.execute(code)
    assert (outcome.host_calls, (outcome.error or {})["kind"]) == (1, "thrown")
    later = "await cloudflare.request({ path: '/zones' }); return eval('const a: number = 1')"
    assert (await kit.execute(later)).host_calls == 1
