# ruff: noqa: E501 - programs stand as a model would write them
"""DNS: the tasks that most conversations with Cloudflare are about."""

from tests.e2e.codemode_tasks.world import Task

OLD, NEW = "203.0.113.10", "203.0.113.99"

TASKS = (
    Task(
        name="dns_list_by_type",
        asked="How many DNS records of each type does our zone have?",
        search="""async () => find("list dns records", {method: "get", limit: 3}).map(o => `${o.method} ${o.path}`)""",
        execute="""async () => {
          const zones = await cloudflare.request({ method: "GET", path: "/zones", query: { name: "ZONE" } });
          const zoneId = zones.result[0].id;
          const counts = {};
          for await (const record of cloudflare.paginate(`/zones/${zoneId}/dns_records`, { query: { per_page: 5 } })) {
            counts[record.type] = (counts[record.type] ?? 0) + 1;
          }
          return counts;
        }""",
        records=(
            *({"type": "A", "name": f"h{n}", "content": f"203.0.113.{n}"} for n in range(1, 9)),
            *({"type": "TXT", "name": f"t{n}", "content": f"text {n}"} for n in range(4)),
            {"type": "CNAME", "name": "www", "content": "dns-list-by-type.example"},
        ),
    ),
    Task(
        name="dns_add_record",
        asked="Point staging at 104.18.2.44, proxied.",
        search="""async () => {
          const op = spec.paths["/zones/{zone_id}/dns_records"].post;
          return { summary: op.summary, effect: op.effect, permissions: op.permissions, body: Object.keys(op.requestBody.content) };
        }""",
        execute="""async () => {
          const { result: [zone] } = await cloudflare.request({ path: "/zones", query: { name: "ZONE" } });
          const made = await cloudflare.request({
            method: "POST",
            path: `/zones/${zone.id}/dns_records`,
            body: { type: "A", name: "staging.ZONE", content: "104.18.2.44", ttl: 1, proxied: true },
          });
          return { id: made.result.id, name: made.result.name, content: made.result.content, proxied: made.result.proxied };
        }""",
    ),
    Task(
        name="dns_bulk_import",
        asked="Create these twelve host records.",
        search="""async () => Object.entries(spec.paths)
          .filter(([path]) => path.startsWith("/zones/{zone_id}/dns_records"))
          .flatMap(([path, methods]) => Object.keys(methods).map(m => m.toUpperCase() + " " + path))""",
        execute="""async () => {
          const zoneId = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0].id;
          const hosts = Array.from({ length: 12 }, (_, n) => ({ name: `node-${n}.ZONE`, content: `198.51.100.${n + 1}` }));
          const made = await Promise.all(hosts.map(host => cloudflare.request({
            method: "POST", path: `/zones/${zoneId}/dns_records`, body: { type: "A", ttl: 300, ...host } })));
          return made.map(answer => `${answer.result.name} ${answer.result.content}`);
        }""",
    ),
    Task(
        name="dns_move_address",
        asked=f"Our server moved from {OLD} to {NEW}: change every record that points to the old address.",
        search="""async () => operation("PATCH /zones/{zone_id}/dns_records/{dns_record_id}").parameters""",
        execute=f"""async () => {{
          const zone = (await cloudflare.request({{ path: "/zones", query: {{ name: "ZONE" }} }})).result[0];
          const moved = [];
          for await (const record of cloudflare.paginate({{ path: `/zones/${{zone.id}}/dns_records`, query: {{ type: "A" }} }})) {{
            if (record.content !== "{OLD}") continue;
            const changed = await cloudflare.request("PATCH", `/zones/${{zone.id}}/dns_records/${{record.id}}`, {{
              body: {{ content: "{NEW}" }} }});
            moved.push(`${{changed.result.name}} -> ${{changed.result.content}}`);
          }}
          return moved.sort();
        }}""",
        records=(
            {"type": "A", "name": "app", "content": OLD},
            {"type": "A", "name": "api", "content": OLD},
            {"type": "A", "name": "mail", "content": "203.0.113.11"},
        ),
    ),
    Task(
        name="dns_dangling_names",
        asked="Which CNAMEs point to names in this zone that do not exist?",
        search="""async () => find("dns record details").slice(0, 2).map(o => o.path)""",
        execute="""async () => {
          const [{ id }] = (await cloudflare.request({ path: "/zones?name=ZONE" })).result;
          const records = await cloudflare.paginate(`/zones/${id}/dns_records`).all();
          const names = new Set(records.map(r => r.name));
          return records.filter(r => r.type === "CNAME" && r.content.endsWith("ZONE") && !names.has(r.content))
            .map(({ name, content }) => ({ name, content }));
        }""",
        records=(
            {"type": "A", "name": "origin", "content": "203.0.113.7"},
            {"type": "CNAME", "name": "www", "content": "origin.dns-dangling-names.example"},
            {"type": "CNAME", "name": "old", "content": "gone.dns-dangling-names.example"},
            {"type": "CNAME", "name": "shop", "content": "shops.example.net"},
        ),
    ),
    Task(
        name="dns_dmarc_upsert",
        asked="Make sure that DMARC is p=reject.",
        search="""async () => find("update dns record").filter(o => o.effect === "write").map(o => o.method + " " + o.path).slice(0, 3)""",
        execute="""async () => {
          const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];
          const base = `/zones/${zone.id}/dns_records`;
          const wanted = { type: "TXT", name: "_dmarc.ZONE", content: "v=DMARC1; p=reject; rua=mailto:dmarc@ZONE", ttl: 3600 };
          const existing = (await cloudflare.request({ path: base, query: { type: "TXT", name: wanted.name } })).result;
          const answer = existing.length === 0
            ? await cloudflare.request({ method: "POST", path: base, body: wanted })
            : await cloudflare.request({ method: "PUT", path: `${base}/${existing[0].id}`, body: wanted });
          return { replaced: existing.length === 1, content: answer.result.content, ttl: answer.result.ttl };
        }""",
        records=({"type": "TXT", "name": "_dmarc", "content": "v=DMARC1; p=none"},),
    ),
    Task(
        name="dns_proxy_everything",
        asked="Turn the proxy on wherever it is off.",
        search="""async () => {
          const body = operation("dns-records-for-a-zone-patch-dns-record").body;
          return JSON.stringify(body).includes("proxied");
        }""",
        execute="""async () => {
          const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];
          const records = await cloudflare.paginate(`/zones/${zone.id}/dns_records`).toArray();
          const off = records.filter(r => ["A", "AAAA", "CNAME"].includes(r.type) && !r.proxied);
          const done = await Promise.allSettled(off.map(r =>
            cloudflare.request({ method: "PATCH", path: `/zones/${zone.id}/dns_records/${r.id}`, body: { proxied: true } })));
          return { before: off.length, changed: done.filter(d => d.status === "fulfilled" && d.value.result.proxied).length };
        }""",
        records=(
            {"type": "A", "name": "a", "content": "104.18.2.1", "proxied": False},
            {"type": "AAAA", "name": "b", "content": "2606:4700::1", "proxied": False},
            {"type": "CNAME", "name": "c", "content": "a.dns-proxy-everything.example", "proxied": True},
            {"type": "TXT", "name": "d", "content": "not an address"},
        ),
    ),
    Task(
        name="dns_delete_by_prefix",
        asked="Delete the review-* records of closed pull requests.",
        search="""async () => find("delete dns record", {limit: 1}).map(({ method, path, effect }) => ({ method, path, effect }))""",
        execute="""async () => {
          const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];
          const all = await cloudflare.paginate(`/zones/${zone.id}/dns_records`).all();
          const closed = all.filter(r => /^review-\\d+\\./.test(r.name));
          console.log("deleting", closed.map(r => r.name).sort());
          for (const record of closed) {
            await cloudflare.request({ method: "DELETE", path: `/zones/${zone.id}/dns_records/${record.id}` });
          }
          return (await cloudflare.paginate(`/zones/${zone.id}/dns_records`).all()).map(r => r.name);
        }""",
        records=(
            {"type": "A", "name": "review-1", "content": "203.0.113.1"},
            {"type": "A", "name": "review-22", "content": "203.0.113.2"},
            {"type": "A", "name": "production", "content": "203.0.113.3"},
        ),
    ),
    Task(
        name="dns_delete_rehearsed",
        asked="What would happen if you deleted the apex record? Do not do it.",
        search="""async () => operation("DELETE /zones/{zone_id}/dns_records/{dns_record_id}").effect""",
        execute="""async () => {
          const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];
          const [apex] = (await cloudflare.request({ path: `/zones/${zone.id}/dns_records`, query: { type: "A", name: "ZONE" } })).result;
          return cloudflare.request({ method: "DELETE", path: `/zones/${zone.id}/dns_records/${apex.id}` });
        }""",
        records=({"type": "A", "name": "@", "content": "203.0.113.1"},),
        dry_run=True,
    ),
    Task(
        name="dns_wrong_value",
        asked="Point www at the address 300.1.1.1.",
        search="""async () => find("create dns record").length > 0""",
        execute="""async () => {
          const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];
          try {
            await cloudflare.request({ method: "POST", path: `/zones/${zone.id}/dns_records`,
              body: { type: "A", name: "www", content: "300.1.1.1", ttl: 300 } });
          } catch (error) {
            return { status: error.status, code: error.code, errors: error.errors };
          }
        }""",
    ),
    Task(
        name="dns_reader_may_not",
        asked="(by a reader) Delete everything.",
        search="""async () => ({ deleting: find("delete dns record", {method: "DELETE"}).length, listing: find("list dns records").length > 0 })""",
        execute="""async () => {
          const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];
          const records = (await cloudflare.request({ path: `/zones/${zone.id}/dns_records` })).result;
          await cloudflare.request({ method: "DELETE", path: `/zones/${zone.id}/dns_records/${records[0].id}` });
        }""",
        records=({"type": "A", "name": "@", "content": "203.0.113.1"},),
        access="read",
        fails=True,
    ),
)
