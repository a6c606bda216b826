# ruff: noqa: E501 - programs stand as a model would write them
"""Workers: scripts and routes."""

from tests.e2e.codemode_tasks.world import Task

_ZONE = 'const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];'


def _upload(name: str) -> str:
    return (
        f'await cloudflare.request({{ method: "PUT", path: `/accounts/${{accountId}}/workers/scripts/{name}`, '
        'contentType: "application/javascript", '
        f'rawBody: true, body: \'addEventListener("fetch", e => e.respondWith(new Response("{name}")))\' }});'
    )


_MULTIPART = r"""async () => {
  const boundary = "----worker" + "0123456789";
  const metadata = { main_module: "worker.js", compatibility_date: "2026-01-01", bindings: [{ type: "plain_text", name: "GREETING", text: "hello" }] };
  const body = [
    `--${boundary}`, 'Content-Disposition: form-data; name="metadata"', "Content-Type: application/json", "", JSON.stringify(metadata),
    `--${boundary}`, 'Content-Disposition: form-data; name="worker.js"; filename="worker.js"',
    "Content-Type: application/javascript+module", "", 'export default { async fetch(request, env) { return new Response(env.GREETING); } };',
    `--${boundary}--`, ""].join("\r\n");
  const answer = await cloudflare.request({ method: "PUT", path: `/accounts/${accountId}/workers/scripts/hello`, body,
    contentType: `multipart/form-data; boundary=${boundary}`, rawBody: true });
  return { id: answer.result.id, modules: answer.result.has_modules, etag: answer.result.etag.length };
}"""

TASKS = (
    Task(
        name="workers_upload_module",
        asked="Deploy a Worker that greets.",
        search="""async () => {
          const op = spec.paths["/accounts/{account_id}/workers/scripts/{script_name}"].put;
          return { id: op.operationId, types: Object.keys(op.requestBody.content) };
        }""",
        execute=_MULTIPART,
    ),
    Task(
        name="workers_upload_form",
        asked="Deploy a Worker, with FormData.",
        search="""async () => find("upload worker module", {limit: 1}).map(o => o.method + " " + o.path)""",
        execute="""async () => {
          const form = new FormData();
          form.append("metadata", new Blob([JSON.stringify({ main_module: "index.mjs" })], { type: "application/json" }));
          form.append("index.mjs", new Blob(["export default { fetch: () => new Response('form') }"], { type: "application/javascript+module" }), "index.mjs");
          await cloudflare.request({ method: "PUT", path: `/accounts/${accountId}/workers/scripts/from-form`, body: form });
          return (await cloudflare.request({ path: `/accounts/${accountId}/workers/scripts` })).result.map(s => s.id);
        }""",
    ),
    Task(
        name="workers_download",
        asked="Show me the code of the edge Worker.",
        search="""async () => operation("worker-script-download-worker").parameters""",
        before=f"async () => {{ {_upload('edge')} }}",
        execute="""async () => (await cloudflare.request({ path: `/accounts/${accountId}/workers/scripts/edge` })).result""",
    ),
    Task(
        name="workers_prune",
        asked="Delete the preview Workers.",
        search="""async () => find("delete worker script", {limit: 3}).map(o => [o.method, o.path, o.effect])""",
        before=f"async () => {{ {_upload('site')} {_upload('preview-1')} {_upload('preview-2')} }}",
        execute="""async () => {
          const base = `/accounts/${accountId}/workers/scripts`;
          const scripts = (await cloudflare.request({ path: base })).result;
          for (const { id } of scripts.filter(s => s.id.startsWith("preview-"))) await cloudflare.request({ method: "DELETE", path: `${base}/${id}` });
          return (await cloudflare.request({ path: base })).result.map(s => s.id);
        }""",
    ),
    Task(
        name="workers_add_route",
        asked="Serve /api/* with the site Worker.",
        search="""async () => find("worker routes").map(o => `${o.method} ${o.path}`)""",
        before=f"async () => {{ {_upload('site')} }}",
        execute=f"""async () => {{
          {_ZONE}
          const made = await cloudflare.request({{ method: "POST", path: `/zones/${{zone.id}}/workers/routes`,
            body: {{ pattern: "ZONE/api/*", script: "site" }} }});
          const all = await cloudflare.request({{ path: `/zones/${{zone.id}}/workers/routes` }});
          return {{ status: made.status, routes: all.result.map(({{ pattern, script }}) => ({{ pattern, script }})) }};
        }}""",
    ),
    Task(
        name="workers_route_taken",
        asked="Add the route again.",
        search="""async () => operation("worker-routes-create-route").effect""",
        before=f"""async () => {{ {_ZONE}
          await cloudflare.request("POST", `/zones/${{zone.id}}/workers/routes`, {{ body: {{ pattern: "ZONE/*", script: "site" }} }}); }}""",
        execute=f"""async () => {{
          {_ZONE}
          await cloudflare.request("POST", `/zones/${{zone.id}}/workers/routes`, {{ body: {{ pattern: "ZONE/new/*", script: "site" }} }});
          await cloudflare.request("POST", `/zones/${{zone.id}}/workers/routes`, {{ body: {{ pattern: "ZONE/*", script: "site" }} }});
        }}""",
        fails=True,
    ),
    Task(
        name="workers_without_routes",
        asked="Which Workers have no route?",
        search="""async () => operation("GET /zones/{zone_id}/workers/routes").product""",
        before=f"""async () => {{ {_upload("used")} {_upload("unused")} {_ZONE}
          await cloudflare.request("POST", `/zones/${{zone.id}}/workers/routes`, {{ body: {{ pattern: "ZONE/*", script: "used" }} }}); }}""",
        execute="""async () => {
          const [scripts, zones] = await Promise.all([
            cloudflare.request({ path: `/accounts/${accountId}/workers/scripts` }), cloudflare.request({ path: "/zones" })]);
          const routes = await Promise.all(zones.result.map(z => cloudflare.request({ path: `/zones/${z.id}/workers/routes` })));
          const used = new Set(routes.flatMap(r => r.result.map(route => route.script)));
          return scripts.result.map(s => s.id).filter(id => !used.has(id));
        }""",
    ),
    Task(
        name="workers_misspelt_path",
        asked="(a slip in the path) List the Workers.",
        search="""async () => { try { operation("GET /accounts/{account_id}/worker/scripts"); } catch (e) { return e.message; } }""",
        execute="""async () => cloudflare.request({ path: `/accounts/${accountId}/worker/scripts` })""",
        fails=True,
    ),
)
