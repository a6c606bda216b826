# ruff: noqa: E501 - programs stand as a model would write them
"""Zero Trust: Access applications, Gateway rules and lists."""

from tests.e2e.codemode_tasks.world import Task

_GW = "/accounts/${accountId}/gateway"
_APPS = "/accounts/${accountId}/access/apps"
_RULES = f"""async () => {{
  for (const [name, action, enabled] of [["malware", "block", true], ["social", "block", false], ["audit", "allow", true]]) {{
    await cloudflare.request({{ method: "POST", path: `{_GW}/rules`, body: {{ name, action, enabled, filters: ["dns"], traffic: `any(dns.content_category[*] in {{80}})` }} }});
  }}
}}"""
_LIST = f"""async () => {{
  await cloudflare.request({{ method: "POST", path: `{_GW}/lists`, body: {{ name: "bad hosts", type: "DOMAIN",
    items: Array.from({{ length: 7 }}, (_, n) => ({{ value: `bad-${{n}}.example.net` }})) }} }});
}}"""

TASKS = (
    Task(
        name="access_add_application",
        asked="Put Access in front of the dashboard.",
        search="""async () => find("create access application", {limit: 3}).map(o => o.method + " " + o.path)""",
        execute=f"""async () => {{
          const made = await cloudflare.request({{ method: "POST", path: `{_APPS}`, body: {{ name: "dashboard", type: "self_hosted",
            domain: "dashboard.ZONE", session_duration: "8h" }} }});
          return {{ name: made.result.name, domain: made.result.domain, session: made.result.session_duration }};
        }}""",
        guarded=("POST /accounts/{account_id}/access/apps",),
    ),
    Task(
        name="access_long_sessions",
        asked="Which applications keep people signed in for more than a day?",
        search="""async () => operation("GET /accounts/{account_id}/access/apps").product""",
        before=f"""async () => {{
          for (const [name, session_duration] of [["wiki", "24h"], ["crm", "720h"], ["git", "30m"]])
            await cloudflare.request({{ method: "POST", path: `{_APPS}`, body: {{ name, type: "self_hosted", domain: name + ".ZONE", session_duration }} }});
        }}""",
        execute=f"""async () => {{
          const apps = await cloudflare.paginate(`{_APPS}`).all();
          return apps.filter(a => /^(\\d+)h$/.test(a.session_duration) && parseInt(a.session_duration) > 24).map(a => a.name);
        }}""",
        guarded=("POST /accounts/{account_id}/access/apps",),
    ),
    Task(
        name="gateway_block_category",
        asked="Block gambling sites for everyone.",
        search="""async () => find("create gateway rule", {limit: 2}).map(o => [o.method, o.path, o.effect])""",
        execute=f"""async () => {{
          const {{ result }} = await cloudflare.request({{ method: "POST", path: `{_GW}/rules`, body: {{
            name: "gambling", action: "block", enabled: true, filters: ["dns"], traffic: "any(dns.content_category[*] in {{99}})" }} }});
          return {{ name: result.name, action: result.action, filters: result.filters }};
        }}""",
        guarded=("POST /accounts/{account_id}/gateway/rules",),
    ),
    Task(
        name="gateway_disabled_rules",
        asked="Which Gateway rules are switched off? Switch them on.",
        search="""async () => operation("PUT /accounts/{account_id}/gateway/rules/{rule_id}").effect""",
        before=_RULES,
        execute=f"""async () => {{
          const rules = (await cloudflare.request({{ path: `{_GW}/rules` }})).result;
          const off = rules.filter(r => !r.enabled);
          for (const {{ id, name, action, filters, traffic }} of off) {{
            await cloudflare.request({{ method: "PUT", path: `{_GW}/rules/${{id}}`, body: {{ name, action, filters, traffic, enabled: true }} }});
          }}
          const after = (await cloudflare.request({{ path: `{_GW}/rules` }})).result;
          return {{ switchedOn: off.map(r => r.name), stillOff: after.filter(r => !r.enabled).length }};
        }}""",
        guarded=("PUT /accounts/{account_id}/gateway/rules/{rule_id}",),
    ),
    Task(
        name="gateway_list_items",
        asked="What is on the list of bad hosts?",
        search="""async () => find("zero trust list items", {limit: 2}).map(o => o.path)""",
        before=_LIST,
        execute=f"""async () => {{
          const list = (await cloudflare.request({{ path: `{_GW}/lists` }})).result.find(l => l.name === "bad hosts");
          const items = await cloudflare.paginate(`{_GW}/lists/${{list.id}}/items`, {{ query: {{ per_page: 3 }} }}).all();
          return items.map(i => i.value);
        }}""",
    ),
    Task(
        name="gateway_delete_list",
        asked="Delete the list of bad hosts.",
        search="""async () => operation("DELETE /accounts/{account_id}/gateway/lists/{list_id}").effect""",
        before=_LIST,
        execute=f"""async () => {{
          const {{ result: [list] }} = await cloudflare.request({{ path: `{_GW}/lists` }});
          await cloudflare.request({{ method: "DELETE", path: `{_GW}/lists/${{list.id}}` }});
          return (await cloudflare.request({{ path: `{_GW}/lists/${{list.id}}` }}).catch(e => [e.status, e.errors[0].message]));
        }}""",
        guarded=("DELETE /accounts/{account_id}/gateway/lists/{list_id}",),
    ),
    Task(
        name="access_reviewed_by_reader",
        asked="(by a reader) Add an application.",
        search="""async () => find("create access application", {method: "POST"}).length""",
        execute=f"""async () => {{
          const before = (await cloudflare.request({{ path: `{_APPS}` }})).result.length;
          console.log("applications:", before);
          await cloudflare.request({{ method: "POST", path: `{_APPS}`, body: {{ name: "x", type: "self_hosted", domain: "x.ZONE" }} }});
        }}""",
        access="read",
        fails=True,
    ),
)
