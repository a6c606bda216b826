# ruff: noqa: E501 - programs stand as a model would write them
"""R2 buckets and objects. (Objects are not in the published description; the simulator's has them.)"""

from tests.e2e.codemode_tasks.world import Task

_FILL = """async () => {
  for (let n = 0; n < 12; n++) await cloudflare.request({ method: "PUT", path: `/accounts/${accountId}/r2/buckets/logs/objects/${encodeURIComponent(`2026/01/${String(n + 1).padStart(2, "0")}.log`)}`,
    contentType: "application/octet-stream", rawBody: true, body: "x".repeat(n + 1) });
}"""

TASKS = (
    Task(
        name="r2_create_bucket",
        asked="Make a bucket for backups.",
        search="""async () => { const o = operation("r2-create-bucket"); return [o.method, o.path, o.permissions]; }""",
        execute="""async () => {
          const made = await cloudflare.request({ method: "POST", path: `/accounts/${accountId}/r2/buckets`, body: { name: "backups" } });
          return made.result.name;
        }""",
    ),
    Task(
        name="r2_list_buckets",
        asked="List every bucket, ten at a time.",
        search="""async () => find("list r2 buckets", {limit: 1}).map(o => o.path)""",
        buckets=tuple(f"bucket-{n:02}" for n in range(23)),
        execute="""async () => {
          const names = [];
          for await (const bucket of cloudflare.paginate({ path: `/accounts/${accountId}/r2/buckets`, query: { per_page: 10 } })) names.push(bucket.name);
          return { count: names.length, first: names[0], last: names.at(-1) };
        }""",
    ),
    Task(
        name="r2_binary_object",
        asked="Store these bytes and read them back.",
        search="""async () => find("r2 bucket object").length >= 0""",
        buckets=("assets",),
        execute="""async () => {
          const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
          const path = `/accounts/${accountId}/r2/buckets/assets/objects/${encodeURIComponent("icons/all.bin")}`;
          await cloudflare.request({ method: "PUT", path, body: bytes });
          const back = (await cloudflare.request({ path })).result;
          return { type: back.constructor.name, length: back.length, same: back.every((b, n) => b === bytes[n]) };
        }""",
    ),
    Task(
        name="r2_usage",
        asked="How much do the January logs take?",
        search="""async () => find("r2 bucket usage", {limit: 3}).map(o => o.path)""",
        buckets=("logs",),
        before=_FILL,
        execute="""async () => {
          let bytes = 0, count = 0;
          for await (const object of cloudflare.paginate(`/accounts/${accountId}/r2/buckets/logs/objects`, { query: { prefix: "2026/01/", per_page: 5 } })) {
            bytes += object.size; count++;
          }
          return { bytes, count };
        }""",
    ),
    Task(
        name="r2_empty_and_delete",
        asked="Delete the bucket with everything in it.",
        search="""async () => operation("r2-delete-bucket").effect""",
        buckets=("logs",),
        before=_FILL,
        execute="""async () => {
          const base = `/accounts/${accountId}/r2/buckets/logs`;
          const refused = await cloudflare.request({ method: "DELETE", path: base }).catch(e => e.errors[0].message);
          const objects = await cloudflare.paginate(`${base}/objects`).all();
          await Promise.all(objects.map(o => cloudflare.request({ method: "DELETE", path: `${base}/objects/${encodeURIComponent(o.key)}` })));
          const gone = await cloudflare.request({ method: "DELETE", path: base });
          return { refused, deleted: objects.length, success: gone.success };
        }""",
    ),
    Task(
        name="r2_bad_name",
        asked="Make a bucket called My_Bucket.",
        search="""async () => typeof operation("POST /accounts/{account_id}/r2/buckets").body""",
        execute="""async () => cloudflare.request({ method: "POST", path: `/accounts/${accountId}/r2/buckets`, body: { name: "My_Bucket" } })""",
        fails=True,
    ),
)
