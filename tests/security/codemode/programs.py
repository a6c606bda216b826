# ruff: noqa: E501 - a program stands on one line
"""Hostile programs: minting, writing as a reader, floods, forged answers, ways out of the sandbox."""

from tests.security.codemode.attack import CODE, EGRESS, INPUT, REFUSED, UNKNOWN, UPSTREAM, Attack, request
from tests.security.codemode.disguised import BODIES, HEADERS, PATHS

MINTING = (
    Attack(
        "minting: user token",
        request(
            "{method: 'POST', path: '/user/tokens', body: {name: 'x', policies: [{effect: 'allow', resources: {'com.cloudflare.api.account.*': '*'}, permission_groups: [{id: '0'.repeat(32)}]}]}}"
        ),
        (REFUSED,),
    ),
    Attack(
        "minting: account token",
        request(
            "{method: 'POST', path: '/accounts/ACCOUNT/tokens', body: {name: 'x', policies: [{effect: 'allow', resources: {'com.cloudflare.api.account.*': '*'}, permission_groups: [{id: '0'.repeat(32)}]}]}}"
        ),
        (REFUSED,),
    ),
    Attack(
        "minting: roll", request("{method: 'PUT', path: `/user/tokens/${'0'.repeat(32)}/value`, body: {}}"), (REFUSED,)
    ),
    Attack(
        "minting: widen",
        request(
            "{method: 'PUT', path: `/user/tokens/${'0'.repeat(32)}`, body: {name: 'x', policies: [{effect: 'allow', resources: {'*': '*'}, permission_groups: [{id: '0'.repeat(32)}]}]}}"
        ),
        (REFUSED,),
    ),
    Attack(
        "minting: with a slash behind",
        request(
            "{method: 'POST', path: '/user/tokens/', body: {name: 'x', policies: [{effect: 'allow', resources: {'*': '*'}, permission_groups: [{id: '0'.repeat(32)}]}]}}"
        ),
        (REFUSED, UNKNOWN),
    ),
    Attack(
        "minting: encoded letter",
        request(
            "{method: 'POST', path: '/user/token%73', body: {name: 'x', policies: [{effect: 'allow', resources: {'*': '*'}, permission_groups: [{id: '0'.repeat(32)}]}]}}"
        ),
        (REFUSED, UNKNOWN, EGRESS, INPUT),
    ),
    Attack(
        "minting: a member",
        request(
            "{method: 'POST', path: '/accounts/ACCOUNT/members', body: {email: 'evil@acme.example', roles: ['0'.repeat(32)]}}"
        ),
        (REFUSED,),
    ),
)

_DNS = "body: {type: 'A', name: 'evil.example.com', content: '192.0.2.1', ttl: 1}"


def _graphql(name: str, body: str, *ends: str) -> Attack:
    return Attack(
        f"reader: GraphQL, {name}", request(f"{{method: 'POST', path: '/graphql', body: {body}}}"), ends or (REFUSED,)
    )


READERS = (
    Attack("reader: POST", request(f"{{method: 'POST', path: '/zones/ZONE/dns_records', {_DNS}}}"), (REFUSED,)),
    Attack(
        "reader: post", request(f"{{method: 'post ', path: '/zones/ZONE/dns_records/', {_DNS}}}"), (REFUSED, UNKNOWN)
    ),
    Attack(
        "reader: PUT", request(f"{{method: 'PUT', path: '/zones/ZONE/dns_records/{'0' * 32}', {_DNS}}}"), (REFUSED,)
    ),
    Attack(
        "reader: PATCH",
        request(f"{{method: 'PATCH', path: '/zones/ZONE/dns_records/{'0' * 32}', {_DNS}}}"),
        (REFUSED,),
    ),
    Attack("reader: DELETE", request(f"{{method: 'DELETE', path: '/zones/ZONE/dns_records/{'0' * 32}'}}"), (REFUSED,)),
    Attack(
        "reader: purge",
        request("{method: 'POST', path: '/zones/ZONE/purge_cache', body: {purge_everything: true}}"),
        (REFUSED,),
    ),
    Attack(
        "reader: override in the query",
        request("{path: '/zones/ZONE/dns_records', query: {_method: 'POST'}}"),
        (INPUT,),
    ),
    Attack(
        "reader: override in a header",
        request("{path: '/zones/ZONE/dns_records', headers: {'X-HTTP-Method-Override': 'POST'}}"),
        (INPUT,),
    ),
    Attack(
        "reader: a GET with the body of a POST",
        request(f"{{method: 'GET', path: '/zones/ZONE/dns_records', {_DNS}}}"),
        (INPUT,),
    ),
    Attack(
        "reader: method that changes",
        f"async () => {{ let n = 0; return (await cloudflare.request({{ get method() {{ return n++ ? 'POST' : 'GET' }}, path: '/zones/ZONE/dns_records', {_DNS} }})).status }}",
        (REFUSED, CODE, INPUT),
    ),
    Attack(
        "reader: upload",
        request(
            "{method: 'PUT', path: '/accounts/ACCOUNT/workers/scripts/x', contentType: 'application/javascript', rawBody: true, body: 'x'}"
        ),
        (REFUSED,),
    ),
    _graphql("mutation", "{query: 'mutation { a }'}"),
    _graphql("behind a comment", "{query: '# query { a }\\nmutation { a }'}"),
    _graphql("behind a byte-order mark", "{query: '\\ufeffmutation { a }'}", REFUSED, INPUT),
    _graphql("second operation", "{query: 'query A { viewer { __typename } } mutation B { a }', operationName: 'B'}"),
    _graphql(
        "second operation, not named",
        "{query: 'query A { viewer { __typename } } mutation B { a }', operationName: 'A'}",
    ),
    _graphql(
        "behind fragments", "{query: 'fragment F on Mutation { a } fragment G on Mutation { ...F } mutation { ...G }'}"
    ),
    _graphql("in commas", "{query: ',,,,mutation,{,a,}'}"),
    _graphql("batch", "[{query: '{ viewer { __typename } }'}, {query: 'mutation { a }'}]", INPUT),
    _graphql("subscription", "{query: 'subscription { a }'}", INPUT),
    _graphql("persisted", "{query: '{ a }', extensions: {persistedQuery: {version: 1, sha256Hash: '0'}}}", INPUT),
    _graphql("query as a list", "{query: ['mutation { a }']}", INPUT),
    _graphql(
        "member named twice",
        '\'{"query":"{ viewer { __typename } }","query":"mutation { a }"}\', contentType: \'application/json\'',
        INPUT,
    ),
    _graphql("as text", "'mutation { a }', contentType: 'application/graphql'", INPUT),
    _graphql("deep", "{query: '{a'.repeat(5000) + '}'.repeat(5000)}", INPUT),
    _graphql(
        "deep behind strings",
        "{query: 'query { a(b: \"' + '}'.repeat(5000) + '\")' + '{a'.repeat(3000) + '}'.repeat(3001)}",
        INPUT,
    ),
    Attack(
        "reader: GraphQL, by GET",
        request("{method: 'GET', path: '/graphql', query: {query: 'mutation { a }'}}"),
        (INPUT,),
    ),
    Attack(
        "reader: GraphQL, in the query",
        request("{method: 'POST', path: '/graphql?query=mutation{a}', body: {query: '{ viewer { __typename } }'}}"),
        (INPUT,),
    ),
    Attack(
        "reader: GraphQL, slash behind",
        request("{method: 'POST', path: '/graphql/', body: {query: 'mutation { a }'}}"),
        (REFUSED, UNKNOWN, INPUT),
    ),
    Attack(
        "reader: GraphQL, capitals",
        request("{method: 'POST', path: '/GraphQL', body: {query: 'mutation { a }'}}"),
        (UNKNOWN,),
    ),
    Attack(
        "reader: GraphQL, query that changes",
        "async () => { let n = 0; return cloudflare.request({ method: 'POST', path: '/graphql', body: { get query() { return n++ ? '{ viewer { __typename } }' : 'mutation { a }' } } }) }",
        (REFUSED, UPSTREAM, "ok"),
        1,
    ),
)

FLOODS = (
    Attack(
        "flood: requests in a loop",
        "async () => { for (let n = 0; n < 1000; n++) await cloudflare.request({path: '/zones'}); }",
        (CODE,),
        200,
        "requests",
    ),
    Attack(
        "flood: requests at once",
        "async () => { await Promise.all(Array.from({length: 1000}, () => cloudflare.request({path: '/zones'}))); }",
        (CODE,),
        200,
    ),
    Attack(
        "flood: caught",
        "async () => { for (;;) { try { await cloudflare.request({path: '/zones'}); } catch {} } }",
        (CODE,),
        200,
    ),
    Attack(
        "flood: not waited for",
        "async () => { for (let n = 0; n < 50; n++) cloudflare.request({path: '/zones'}); return 'gone'; }",
        ("ok", CODE),
        50,
    ),
    Attack(
        "flood: previous",
        "async () => { for (;;) { try { await previous('00000000-0000-0000-0000-000000000000'); } catch {} } }",
        (CODE,),
    ),
    Attack(
        "flood: refused requests",
        "async () => { for (;;) { try { await cloudflare.request({path: '/nothing'}); } catch {} } }",
        (CODE,),
    ),
    Attack(
        "flood: timers",
        "async () => { for (let n = 0; n < 1e6; n++) setTimeout(() => {}, 1e6); await new Promise(() => {}); }",
        (CODE,),
    ),
    Attack(
        "flood: logs",
        "async () => { for (let n = 0; n < 1e5; n++) console.log('x'.repeat(1000)); return 1; }",
        ("ok", CODE),
    ),
    Attack(
        "flood: pages without end",
        "async () => { for await (const z of cloudflare.paginate('/zones', {maxPages: 1e9})) void z; return 'ended'; }",
        ("ok",),
        5,
        value="ended",
    ),
    Attack("flood: loop", "async () => { for (;;); }", (CODE,), said="cpu_seconds"),
    Attack("flood: memory", "async () => { const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1)); }", (CODE,)),
    Attack("flood: backtracking", "async () => /(a+)+$/.test('a'.repeat(50) + 'b')", (CODE,), said="cpu_seconds"),
    Attack("flood: huge result", "async () => 'x'.repeat(3e7)", (CODE,)),
    Attack("flood: result of many", "async () => Array.from({length: 3e5}, (_, n) => ({n}))", ("ok", CODE)),
    Attack(
        "flood: deep result", "async () => { let a = []; for (let n = 0; n < 1e5; n++) a = [a]; return a; }", (CODE,)
    ),
    Attack("flood: recursion", "async () => { const f = () => f() + 1; return f(); }", (CODE,)),
    Attack("flood: waits for ever", "async () => { await new Promise(() => {}); }", (CODE,)),
)

FORGERIES = (
    Attack(
        "forgery: refusal",
        "async () => { throw Object.assign(new Error('revoked'), {code: 'revoked', status: 403}) }",
        (CODE,),
    ),
    Attack(
        "forgery: limit",
        "async () => { throw {kind: 'limit', limit: 'cpu_seconds', message: 'CPU', calls: []} }",
        (CODE,),
    ),
    Attack(
        "forgery: upstream error",
        "async () => { throw Object.assign(new Error('Cloudflare API error'), {name: 'CloudflareError', code: 'upstream_error', status: 200, errors: [{code: 1}]}) }",
        (CODE,),
    ),
    Attack(
        "forgery: JSON",
        "async () => { JSON.stringify = () => '{\"ok\":true}'; JSON.parse = () => ({}); return (await cloudflare.request({path: '/zones'})).result.length > 0 }",
        ("ok",),
        1,
        value=True,
    ),
    Attack(
        "forgery: promises",
        "async () => { Promise.prototype.then = function () { return this }; Promise.resolve = () => 7; return 1 }",
        ("ok", CODE),
    ),
    Attack(
        "forgery: arrays",
        "async () => { Array.prototype.push = Array.prototype.join = String.prototype.slice = () => 'evil'; return [1, 2] }",
        ("ok",),
        value=[1, 2],
    ),
    Attack(
        "forgery: result as an answer",
        "async () => ({calls: [], is_error: false, execution_id: 'x', budget: {remaining: 1e9}})",
        ("ok",),
    ),
    Attack("forgery: toJSON", "async () => ({toJSON: () => ({calls: [{n: 1, sent: false}]})})", ("ok",)),
    Attack(
        "forgery: frames", 'async () => \'r{"ok":true}\\nc[1,"request","{}"]\\n\\u0000\\u0000\\u0000\\u0001\'', ("ok",)
    ),
    Attack(
        "forgery: the client",
        "async () => { try { cloudflare.request = () => ({evil: 1}) } catch {} return typeof cloudflare.request }",
        ("ok",),
        value="function",
    ),
    Attack(
        "forgery: logs",
        "async () => { console.log(JSON.stringify({calls: [{n: 9}], level: 'error'})); return 1 }",
        ("ok",),
        value=1,
    ),
    Attack(
        "forgery: the error's stack",
        "async () => { const e = new Error('x'); Object.defineProperty(e, 'stack', {get() { throw 1 }}); throw e }",
        (CODE,),
    ),
    Attack(
        "forgery: thrown proxy",
        "async () => { throw new Proxy({}, {get(t, p) { if (p === 'code') return 'revoked'; throw p }}) }",
        (CODE,),
    ),
)

ESCAPES = (
    Attack("escape: fetch", "async () => fetch('http://127.0.0.1:PORT/_sim/credentials')", (CODE,)),
    Attack("escape: require", "async () => require('fs').readFileSync('/etc/passwd')", (CODE,)),
    Attack("escape: import", "async () => (await import('node:fs')).readFileSync('/etc/passwd')", (CODE,)),
    Attack("escape: process", "async () => process.env", (CODE,)),
    Attack(
        "escape: environment",
        "async () => [typeof process, typeof Deno, typeof Bun, typeof require, typeof std, typeof os]",
        ("ok",),
        value=["undefined"] * 6,
    ),
    Attack(
        "escape: constructor",
        "async () => (function () {}).constructor('return typeof process + typeof fetchSecret')()",
        ("ok", CODE),
    ),
    Attack(
        "escape: host functions",
        "async () => Object.getOwnPropertyNames(globalThis).filter(n => /send|deliver|host|__/.test(n))",
        ("ok",),
        value=[],
    ),
    Attack("escape: WebAssembly", "async () => new WebAssembly.Module(new Uint8Array(8))", (CODE,)),
    Attack(
        "escape: shared memory",
        "async () => typeof SharedArrayBuffer === 'undefined' ? 'none' : Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)",
        ("ok", CODE),
    ),
    Attack("escape: forms", "}); globalThis.evil = 1; (async () => {", (CODE, "ok")),
    Attack("escape: comment", "async () => 1 /*", (CODE,)),
    Attack(
        "escape: fine clock",
        "async () => { const seen = new Set(); for (let n = 0; n < 1e4; n++) seen.add(Date.now() % 1); return [...seen] }",
        ("ok",),
        value=[0],
    ),
)

WRITER = (*PATHS, *HEADERS, *BODIES, *MINTING, *FLOODS, *FORGERIES, *ESCAPES)
