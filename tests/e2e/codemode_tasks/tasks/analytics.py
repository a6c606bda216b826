# ruff: noqa: E501 - programs stand as a model would write them
"""Analytics over GraphQL."""

from tests.e2e.codemode_tasks.world import Task

_ZONE = 'const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];'
_SEARCH = """async () => find("analytics", {limit: 3}).map(o => o.product)"""

TASKS = (
    Task(
        name="analytics_requests_per_day",
        asked="Requests a day in the first week of January.",
        search=_SEARCH,
        execute=f"""async () => {{
          {_ZONE}
          const query = `query Daily($zoneTag: String!, $from: String!, $to: String!) {{
            viewer {{ zones(filter: {{ zoneTag: $zoneTag }}) {{
              httpRequests1dGroups(limit: 7, filter: {{ date_geq: $from, date_leq: $to }}) {{ dimensions {{ date }} sum {{ requests }} }}
            }} }} }}`;
          const answer = await cloudflare.request({{ method: "POST", path: "/graphql",
            body: {{ query, variables: {{ zoneTag: zone.id, from: "2026-01-01", to: "2026-01-07" }} }} }});
          return answer.data.viewer.zones[0].httpRequests1dGroups.map(g => [g.dimensions.date, g.sum.requests]).sort();
        }}""",
    ),
    Task(
        name="analytics_cache_ratio",
        asked="What share of requests came from the cache?",
        search="""async () => find("zone analytics dashboard", {limit: 2}).map(o => o.path)""",
        execute=f"""async () => {{
          {_ZONE}
          const {{ data }} = await cloudflare.request({{ method: "POST", path: "/client/v4/graphql", body: {{ query: `{{ viewer {{
            zones(filter: {{ zoneTag: "${{zone.id}}" }}) {{ httpRequests1dGroups(limit: 30) {{ sum {{ requests cachedRequests }} }} }} }} }}` }} }});
          const total = {{ requests: 0, cached: 0 }};
          for (const {{ sum }} of data.viewer.zones[0].httpRequests1dGroups) {{ total.requests += sum.requests; total.cached += sum.cachedRequests; }}
          return {{ ...total, percent: Math.round(1000 * total.cached / total.requests) / 10 }};
        }}""",
    ),
    Task(
        name="analytics_with_fragments",
        asked="Threats and visitors on the fifth of January.",
        search="""async () => Object.keys(spec.paths).filter(p => p.includes("analytics")).length > 0""",
        execute=f"""async () => {{
          {_ZONE}
          const query = `
            # one fragment for all sums
            fragment Sums on Day {{ sum {{ threats requests }} uniq {{ uniques }} }}
            query ($zone: String!) {{ viewer {{ zones(filter: {{ zoneTag: $zone }}) {{
              httpRequests1dGroups(limit: 1, filter: {{ date: "2026-01-05" }}) {{ ...Sums }} }} }} }}`;
          const response = await cloudflare.request("POST", "/graphql", {{ body: {{ query, variables: {{ zone: zone.id }} }} }});
          return response.result.viewer.zones[0].httpRequests1dGroups;
        }}""",
    ),
    Task(
        name="analytics_worker_invocations",
        asked="How often did each Worker run?",
        search="""async () => find("worker script usage metrics", {limit: 2}).length""",
        before="""async () => {
          for (const name of ["one", "two"]) await cloudflare.request({ method: "PUT", path: `/accounts/${accountId}/workers/scripts/${name}`,
            contentType: "application/javascript", rawBody: true, body: "addEventListener('fetch', () => {})" });
        }""",
        execute="""async () => {
          const answer = await cloudflare.request({ path: "/graphql", method: "POST", body: {
            query: "query ($account: String!) { viewer { accounts(filter: {accountTag: $account}) { workersInvocationsAdaptive(limit: 10) { dimensions { scriptName } sum { requests errors } } } } }",
            variables: { account: accountId } } });
          return Object.fromEntries(answer.data.viewer.accounts[0].workersInvocationsAdaptive.map(w => [w.dimensions.scriptName, w.sum.requests]));
        }""",
    ),
    Task(
        name="analytics_unknown_field",
        asked="(a slip in a field) Requests by country.",
        search="""async () => find("dns analytics report", {limit: 2}).map(o => o.path)""",
        execute=f"""async () => {{
          {_ZONE}
          return cloudflare.request({{ method: "POST", path: "/graphql", body: {{
            query: `{{ viewer {{ zones(filter: {{ zoneTag: "${{zone.id}}" }}) {{ requestsByCountry(limit: 1) {{ country }} }} }} }}` }} }});
        }}""",
        fails=True,
    ),
    Task(
        name="analytics_mutation_by_reader",
        asked="(by a reader) A mutation behind a comment and an alias.",
        search="""async () => typeof whoami().access""",
        execute="""async () => cloudflare.request({ method: "POST", path: "/graphql", body: {
          query: "# query { viewer }\\nmutation Nice { a: deleteEverything { ok } }", operationName: "Nice" } })""",
        access="read",
        fails=True,
    ),
)
