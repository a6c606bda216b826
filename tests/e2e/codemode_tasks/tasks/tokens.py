# ruff: noqa: E501 - programs stand as a model would write them
"""Tokens, accounts and zones: who may do what."""

from tests.e2e.codemode_tasks.world import Task

TASKS = (
    Task(
        name="tokens_verify",
        asked="Is my token still valid?",
        search="""async () => find("verify token", {limit: 2}).map(o => o.method + " " + o.path)""",
        execute="""async () => (await cloudflare.request({ path: "/user/tokens/verify" })).result.status""",
    ),
    Task(
        name="tokens_too_wide",
        asked="Which of my tokens may write DNS?",
        search="""async () => operation("user-api-tokens-list-tokens").permissions""",
        execute="""async () => {
          const tokens = await cloudflare.paginate("/user/tokens").all();
          return tokens.filter(t => t.policies.some(p => p.permission_groups.some(g => g.name === "DNS Write"))).map(t => `${t.name}: ${t.status}`);
        }""",
    ),
    Task(
        name="tokens_find_group",
        asked="What is the permission group for reading zones called, and what does it apply to?",
        search="""async () => operation("GET /user/tokens/permission_groups").path""",
        execute="""async () => {
          const { result } = await cloudflare.request({ path: "/user/tokens/permission_groups" });
          return result.filter(g => /^Zone .*Read$/.test(g.name)).map(g => ({ name: g.name, scopes: g.scopes }));
        }""",
    ),
    Task(
        name="tokens_minting_refused",
        asked="Make me another token.",
        search="""async () => ({ offered: find("create token", {method: "POST"}).some(o => o.path === "/user/tokens"), hidden: typeof spec.hidden.not_granted })""",
        execute="""async () => {
          const groups = (await cloudflare.request({ path: "/user/tokens/permission_groups" })).result;
          const group = groups.find(g => g.name === "Zone Read");
          return (await cloudflare.request({ method: "POST", path: "/user/tokens", body: { name: "second", policies: [{ effect: "allow",
            resources: { [`com.cloudflare.api.account.${accountId}`]: "*" }, permission_groups: [{ id: group.id }] }] } })).result;
        }""",
        fails=True,
    ),
    Task(
        name="tokens_minting_granted",
        asked="Make a read-only token for CI (an admin has granted that).",
        search="""async () => find("create api token", {limit: 2}).map(o => o.method + " " + o.path)""",
        execute="""async () => {
          const groups = (await cloudflare.request({ path: "/user/tokens/permission_groups" })).result;
          const group = groups.find(g => g.name === "Zone Read");
          const made = (await cloudflare.request({ method: "POST", path: "/user/tokens", body: { name: "ci", policies: [{ effect: "allow",
            resources: { [`com.cloudflare.api.account.zone.*`]: "*" }, permission_groups: [{ id: group.id }] }] } })).result;
          return { name: made.name, status: made.status, valueIsShown: /^cfut_/.test(String(made.value)) };
        }""",
        guarded=("POST /user/tokens",),
    ),
    Task(
        name="account_overview",
        asked="Give me an overview of the account.",
        search="""async () => ({ operations: Object.keys(spec.paths).length > 0, me: typeof whoami().identity, products: products().length > 0 })""",
        buckets=("one", "two"),
        execute="""async () => {
          const account = `/accounts/${accountId}`;
          const [zones, buckets, scripts, spaces, members] = await Promise.all([
            cloudflare.request({ path: "/zones" }),
            cloudflare.request({ path: `${account}/r2/buckets` }),
            cloudflare.request({ path: `${account}/workers/scripts` }),
            cloudflare.request({ path: `${account}/storage/kv/namespaces` }),
            cloudflare.request({ path: `${account}/members` }),
          ]);
          return { zones: zones.result.map(z => z.name), buckets: buckets.result.buckets.map(b => b.name),
            scripts: scripts.result.length, spaces: spaces.result.length, members: members.result.map(m => m.user?.email ?? m.email) };
        }""",
    ),
    Task(
        name="zone_name_as_id",
        asked="(a name where the id belongs) Show the zone.",
        search="""async () => { try { operation("GET /zone/{zone_id}"); } catch (e) { return e.message; } }""",
        execute="""async () => cloudflare.request({ path: "/zones/ZONE" })""",
        fails=True,
    ),
    Task(
        name="zone_create",
        asked="Add the domain new-zone-create.example.",
        search="""async () => operation("zones-post").body?.example ?? null""",
        execute="""async () => {
          const made = await cloudflare.request({ method: "POST", path: "/zones", body: { name: "new-ZONE", account: { id: accountId }, type: "full" } });
          return { name: made.result.name, status: made.result.status, account: made.result.account.name };
        }""",
    ),
)
