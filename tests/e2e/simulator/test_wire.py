"""What the simulator says on the wire: envelope, headers, limits, journal, binary bodies, GraphQL."""

import httpx
import pytest

from connectors.simulators.cloudflare import CloudflareState, Demo, Running, serve


def codes(answer: httpx.Response) -> list[int]:
    return [error["code"] for error in answer.json()["errors"]]


async def test_envelope_and_headers(priya: httpx.AsyncClient) -> None:
    answer = await priya.get("/zones", params={"per_page": 5})
    assert answer.json().keys() == {"result", "success", "errors", "messages", "result_info"}
    assert answer.json()["result_info"] == {
        "page": 1,
        "per_page": 5,
        "count": 2,
        "total_count": 2,
        "total_pages": 1,
    }
    assert answer.headers["ratelimit"] == '"default";r=1199;t=300'
    assert answer.headers["ratelimit-policy"] == '"default";q=1200;w=300'
    assert answer.headers["cf-ray"] != (await priya.get("/zones")).headers["cf-ray"]


async def test_authentication_errors(running: Running, demo: Demo) -> None:
    async with httpx.AsyncClient(base_url=running.base_url) as client:
        assert codes(await client.get("/zones")) == [9106]
        bad = await client.get("/zones", headers={"authorization": "Bearer nope"})
        assert (bad.status_code, bad.json()["errors"][0]["error_chain"][0]["code"]) == (400, 6111)
        unknown = {"authorization": "Bearer " + "x" * 40}
        answer = await client.get("/zones", headers=unknown)
        assert (answer.status_code, codes(answer)) == (403, [9109])
        answer = await client.get("/user/tokens/verify", headers=unknown)
        assert (answer.status_code, codes(answer)) == (401, [1000])
        pipeline = {"authorization": f"Bearer {demo.pipeline.value}"}
        answer = await client.get("/user", headers=pipeline)
        assert (answer.status_code, codes(answer)) == (403, [9109])
        accounts = await client.get("/accounts", headers=pipeline)
        assert [account["name"] for account in accounts.json()["result"]] == ["acme"]


async def test_unknown_and_foreign_resources(priya: httpx.AsyncClient, demo: Demo) -> None:
    assert codes(await priya.get("/zones/nonsense/dns_records")) == [7003, 7000]
    assert codes(await priya.get(f"/zones/{'0' * 32}/dns_records")) == [10000]
    assert codes(await priya.get(f"/accounts/{'0' * 32}/members")) == [10000]
    answer = await priya.put(f"/zones/{demo.com.id}/purge_cache")
    assert (answer.status_code, codes(answer)) == (405, [7001])


async def test_token_of_other_owner_is_not_found(priya: httpx.AsyncClient, demo: Demo) -> None:
    answer = await priya.get(f"/user/tokens/{demo.marco_token.id}")
    assert answer.status_code == 404


async def test_limit_is_the_users_over_tokens_and_key() -> None:
    state = CloudflareState(limit=3, window=60, block=120)
    user = state.add_user("x@acme.example")
    other = state.add_user("y@acme.example")
    one, two = state.add_token(user), state.add_token(user)
    async with serve(state) as running, httpx.AsyncClient(base_url=running.base_url) as client:
        ways = [
            {"authorization": f"Bearer {one.value}"},
            {"authorization": f"Bearer {two.value}"},
            {"x-auth-email": user.email, "x-auth-key": user.global_key},
        ]
        left = [(await client.get("/accounts", headers=way)).headers["ratelimit"] for way in ways]
        assert [text.split(";")[1] for text in left] == ["r=2", "r=1", "r=0"]
        for way in ways:
            answer = await client.get("/accounts", headers=way)
            assert (answer.status_code, codes(answer)) == (429, [10100])
            assert int(answer.headers["retry-after"]) == 120
        key = {"x-auth-email": other.email, "x-auth-key": other.global_key}
        assert (await client.get("/accounts", headers=key)).status_code == 200
    assert state.limiter.max_in_window(f"user:{user.id}", 60) == 6


async def test_journal_names_who_and_what_but_no_secret(priya: httpx.AsyncClient, demo: Demo) -> None:
    await priya.get(f"/zones/{demo.com.id}/dns_records", params={"search": "mark-1"}, headers={"x-trace": "t"})
    (entry,) = demo.state.journal.find(contains="mark-1")
    assert entry.principal == f"user:{demo.priya.id}"
    assert (entry.method, entry.query, entry.status) == ("GET", "search=mark-1", 200)
    assert b"authorization" in entry.headers
    assert entry.extra == ((b"x-trace", b"t"),)
    assert demo.priya_token.value not in repr([e.wire() for e in demo.state.journal])


async def test_binary_bodies_both_ways(priya: httpx.AsyncClient, demo: Demo) -> None:
    blob = bytes(range(256)) * 40
    where = f"/accounts/{demo.account.id}/r2/buckets/acme-assets/objects/img/logo.png"
    made = await priya.put(where, content=blob, headers={"content-type": "image/png"})
    assert made.json()["result"]["size"] == len(blob)
    got = await priya.get(where)
    assert (got.content, got.headers["content-type"]) == (blob, "image/png")
    space = (await priya.post(f"/accounts/{demo.account.id}/storage/kv/namespaces", json={"title": "t"})).json()
    value = f"/accounts/{demo.account.id}/storage/kv/namespaces/{space['result']['id']}/values/k%2F1"
    for content in (b"", blob):
        await priya.put(value, content=content)
        assert (await priya.get(value)).content == content
    assert (await priya.delete(where)).status_code == 200
    assert codes(await priya.get(where)) == [10007]


async def test_kv_keys_are_paged(priya: httpx.AsyncClient, demo: Demo) -> None:
    base = f"/accounts/{demo.account.id}/storage/kv/namespaces"
    space = f"{base}/{(await priya.post(base, json={'title': 't'})).json()['result']['id']}"
    for n in range(23):
        await priya.put(f"{space}/values/k{n:02}", content=b"v")
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await priya.get(f"{space}/keys", params={"limit": 10, "cursor": cursor})).json()
        seen += [key["name"] for key in page["result"]]
        cursor = page["result_info"]["cursor"]
        if not cursor:
            break
    assert seen == [f"k{n:02}" for n in range(23)]


async def test_members(priya: httpx.AsyncClient, running: Running, demo: Demo) -> None:
    members = f"/accounts/{demo.account.id}/members"
    assert (await priya.get(members)).json()["result_info"]["total_count"] == 2
    body = {"email": "new@acme.example", "roles": ["Administrator"]}
    assert codes(await priya.post(members, json=body)) == [10000]
    key = {"x-auth-email": demo.marco.email, "x-auth-key": demo.marco.global_key}
    async with httpx.AsyncClient(base_url=running.base_url, headers=key) as owner:
        assert (await owner.post(members, json=body)).json()["result"]["status"] == "pending"
        assert codes(await owner.post(members, json=body)) == [1003]


QUERY = """query Days($zone: String!) {
  viewer { zones(filter: {zoneTag: $zone}) {
    zoneTag
    httpRequests1dGroups(limit: 3, filter: {date_geq: "2026-01-10"}) { dimensions { date } sum { requests } }
  } }
}"""


async def test_graphql_has_a_meter_of_its_own(priya: httpx.AsyncClient, demo: Demo) -> None:
    answer = await priya.post("/graphql", json={"query": QUERY, "variables": {"zone": demo.com.id}})
    assert answer.headers["ratelimit-policy"] == '"default";q=320;w=300'
    days = answer.json()["data"]["viewer"]["zones"][0]["httpRequests1dGroups"]
    assert [day["dimensions"]["date"] for day in days] == ["2026-01-30", "2026-01-29", "2026-01-28"]
    assert (await priya.get("/zones")).headers["ratelimit"].startswith('"default";r=1199')


@pytest.mark.parametrize(
    "query",
    [
        "mutation { x }",
        "subscription { x }",
        "{ nonsense }",
        "{",
        "{a" * 300,
        QUERY.replace("zoneTag:", "zoneTag_in:"),
    ],
)
async def test_graphql_refuses(priya: httpx.AsyncClient, query: str) -> None:
    answer = await priya.post("/graphql", json={"query": query, "variables": {"zone": "0" * 32}})
    assert answer.json()["data"] is None
    assert answer.json()["errors"][0]["message"]


async def test_graphql_needs_the_permission(running: Running, demo: Demo) -> None:
    marco = {"authorization": f"Bearer {demo.marco_token.value}"}
    async with httpx.AsyncClient(base_url=running.base_url, headers=marco) as client:
        assert codes(await client.post("/graphql", json={"query": "{ viewer { __typename } }"})) == [10000]


async def test_a_large_body_is_refused(demo: Demo, running: Running, priya: httpx.AsyncClient) -> None:
    demo.state.max_body = 1000
    answer = await priya.post(f"/zones/{demo.com.id}/purge_cache", content=b"x" * 5000)
    assert answer.status_code == 413


async def test_its_description_is_served(running: Running) -> None:
    async with httpx.AsyncClient() as client:
        document = (await client.get(running.spec_url)).json()
    assert document["servers"] == [{"url": "https://api.cloudflare.com/client/v4"}]
