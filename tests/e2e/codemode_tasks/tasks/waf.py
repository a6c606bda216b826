# ruff: noqa: E501 - programs stand as a model would write them
"""WAF rules, rate limits, redirects and zone settings."""

from tests.e2e.codemode_tasks.world import Task

_ENTRY = "/zones/${zone.id}/rulesets/phases"
_ZONE = 'const zone = (await cloudflare.request({ path: "/zones", query: { name: "ZONE" } })).result[0];'
_SOME = f"""async () => {{
  {_ZONE}
  await cloudflare.request({{ method: "PUT", path: `{_ENTRY}/http_request_firewall_custom/entrypoint`, body: {{ rules: [
    {{ action: "block", expression: '(ip.src.country eq "XX")', description: "countries", enabled: true }},
    {{ action: "managed_challenge", expression: '(http.request.uri.path contains "/admin")', description: "admin" }},
    {{ action: "log", expression: "(cf.threat_score gt 10)", description: "threats" }}] }} }});
}}"""

TASKS = (
    Task(
        name="waf_block_path",
        asked="Block requests for /wp-login.php.",
        search="""async () => Object.entries(spec.paths).filter(([p]) => p.startsWith("/zones/{zone_id}/rulesets"))
          .flatMap(([path, ms]) => Object.entries(ms).map(([m, op]) => `${m.toUpperCase()} ${path} ${op.effect}`))""",
        execute=f"""async () => {{
          {_ZONE}
          const phase = `{_ENTRY}/http_request_firewall_custom/entrypoint`;
          let rules = [];
          try {{ rules = (await cloudflare.request({{ path: phase }})).result.rules ?? []; }}
          catch (error) {{ if (error.status !== 404) throw error; }}
          rules.push({{ action: "block", expression: '(http.request.uri.path eq "/wp-login.php")', description: "wp", enabled: true }});
          const answer = await cloudflare.request({{ method: "PUT", path: phase, body: {{ rules }} }});
          return answer.result.rules.map(({{ action, expression }}) => ({{ action, expression }}));
        }}""",
    ),
    Task(
        name="waf_rate_limit",
        asked="Limit /login to ten requests a minute from one address.",
        search="""async () => find("create zone ruleset rule", {limit: 5}).map(o => o.method + " " + o.path)""",
        execute=f"""async () => {{
          {_ZONE}
          const answer = await cloudflare.request({{ method: "PUT", path: `{_ENTRY}/http_ratelimit/entrypoint`, body: {{ rules: [{{
            action: "block", expression: '(http.request.uri.path eq "/login")', description: "login",
            ratelimit: {{ characteristics: ["ip.src", "cf.colo.id"], period: 60, requests_per_period: 10, mitigation_timeout: 60 }},
          }}] }} }});
          const [rule] = answer.result.rules;
          return {{ phase: answer.result.phase, ratelimit: rule.ratelimit, enabled: rule.enabled }};
        }}""",
    ),
    Task(
        name="waf_disable_rule",
        asked="Switch the admin rule off.",
        search="""async () => operation("PATCH /zones/{zone_id}/rulesets/{ruleset_id}/rules/{rule_id}").parameters""",
        before=_SOME,
        execute=f"""async () => {{
          {_ZONE}
          const {{ result: ruleset }} = await cloudflare.request({{ path: `{_ENTRY}/http_request_firewall_custom/entrypoint` }});
          const rule = ruleset.rules.find(r => r.description === "admin");
          const answer = await cloudflare.request({{ method: "PATCH",
            path: `/zones/${{zone.id}}/rulesets/${{ruleset.id}}/rules/${{rule.id}}`,
            body: {{ action: rule.action, expression: rule.expression, enabled: false }} }});
          return answer.result.rules.map(r => `${{r.description}}: ${{r.enabled ? "on" : "off"}}`);
        }}""",
    ),
    Task(
        name="waf_delete_rule",
        asked="Remove the rule that only logs.",
        search="""async () => operation("DELETE /zones/{zone_id}/rulesets/{ruleset_id}/rules/{rule_id}").effect""",
        before=_SOME,
        execute=f"""async () => {{
          {_ZONE}
          const {{ result: ruleset }} = await cloudflare.request({{ path: `{_ENTRY}/http_request_firewall_custom/entrypoint` }});
          for (const rule of ruleset.rules.filter(r => r.action === "log")) {{
            await cloudflare.request("DELETE", `/zones/${{zone.id}}/rulesets/${{ruleset.id}}/rules/${{rule.id}}`);
          }}
          const after = await cloudflare.request({{ path: `/zones/${{zone.id}}/rulesets/${{ruleset.id}}` }});
          return {{ version: after.result.version, rules: after.result.rules.map(r => r.description) }};
        }}""",
    ),
    Task(
        name="waf_overview",
        asked="Which phases have rules, and how many?",
        search="""async () => products().filter(p => /ruleset|waf|firewall/i.test(p.product))""",
        before=_SOME,
        execute=f"""async () => {{
          {_ZONE}
          const list = (await cloudflare.request({{ path: `/zones/${{zone.id}}/rulesets` }})).result;
          const found = await Promise.all(list.map(r => cloudflare.request({{ path: `/zones/${{zone.id}}/rulesets/${{r.id}}` }})));
          return Object.fromEntries(found.map(({{ result }}) => [result.phase, result.rules.length]));
        }}""",
    ),
    Task(
        name="waf_redirect",
        asked="Redirect the apex to www.",
        search="""async () => {
          const op = spec.paths["/zones/{zone_id}/rulesets/phases/{ruleset_phase}/entrypoint"].get;
          return op.parameters.map(p => p.name + " " + p.in);
        }""",
        execute=f"""async () => {{
          {_ZONE}
          const answer = await cloudflare.request({{ method: "PUT", path: `{_ENTRY}/http_request_dynamic_redirect/entrypoint`,
            body: {{ rules: [{{ action: "redirect", expression: '(http.host eq "ZONE")', description: "www",
              action_parameters: {{ from_value: {{ status_code: 301, preserve_query_string: true,
                target_url: {{ expression: 'concat("https://www.ZONE", http.request.uri.path)' }} }} }} }}] }} }});
          return answer.result.rules[0].action_parameters.from_value;
        }}""",
    ),
    Task(
        name="waf_broken_expression",
        asked="Block everything from 192.0.2.0/24 (with a slip in the expression).",
        search="""async () => typeof operation("POST /zones/{zone_id}/rulesets/{ruleset_id}/rules").call""",
        execute=f"""async () => {{
          {_ZONE}
          const answer = await cloudflare.request({{ method: "PUT", path: `{_ENTRY}/http_request_firewall_custom/entrypoint`,
            body: {{ rules: [{{ action: "block", expression: "(ip.src in {{192.0.2.0/24}}", description: "net" }}] }} }});
          return answer.result;
        }}""",
        fails=True,
    ),
    Task(
        name="settings_tls",
        asked="Enforce HTTPS and TLS 1.2.",
        search="""async () => find("edit zone setting", {method: "PATCH", limit: 2}).map(o => o.path)""",
        execute=f"""async () => {{
          {_ZONE}
          const wanted = {{ always_use_https: "on", min_tls_version: "1.2", ssl: "strict" }};
          const changes = [];
          for (const [name, value] of Object.entries(wanted)) {{
            const before = (await cloudflare.request({{ path: `/zones/${{zone.id}}/settings/${{name}}` }})).result.value;
            if (before === value) continue;
            const {{ result }} = await cloudflare.request({{ method: "PATCH", path: `/zones/${{zone.id}}/settings/${{name}}`, body: {{ value }} }});
            changes.push({{ name, before, after: result.value }});
          }}
          return changes;
        }}""",
    ),
    Task(
        name="settings_under_attack",
        asked="We are under attack.",
        search="""async () => find("zone settings security level").length > 0""",
        execute=f"""async () => {{
          {_ZONE}
          await cloudflare.request("PATCH", `/zones/${{zone.id}}/settings/security_level`, {{ value: "under_attack" }});
          const settings = await cloudflare.request({{ path: `/zones/${{zone.id}}/settings` }});
          return settings.result.filter(s => s.id === "security_level" || s.id === "development_mode").map(s => [s.id, s.value]);
        }}""",
    ),
    Task(
        name="cache_purge_urls",
        asked="Purge the three style sheets.",
        search="""async () => { const o = operation("zone-purge"); return [o.method, o.path, o.effect]; }""",
        execute=f"""async () => {{
          {_ZONE}
          const files = ["a", "b", "c"].map(n => `https://ZONE/css/${{n}}.css`);
          return (await cloudflare.request({{ method: "POST", path: `/zones/${{zone.id}}/purge_cache`, body: {{ files }} }})).success;
        }}""",
    ),
)
