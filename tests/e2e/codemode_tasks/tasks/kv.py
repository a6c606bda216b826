# ruff: noqa: E501 - programs stand as a model would write them
"""Workers KV: namespaces, keys, values in every shape."""

from tests.e2e.codemode_tasks.world import Task

_KV = "/accounts/${accountId}/storage/kv/namespaces"
_SPACE = f"""const [space] = (await cloudflare.request({{ path: `{_KV}` }})).result;
          const base = `{_KV}/${{space.id}}`;"""


def _filled(count: int, prefix: str = "key") -> str:
    return f"""async () => {{
      const space = (await cloudflare.request({{ method: "POST", path: `{_KV}`, body: {{ title: "cache" }} }})).result;
      await Promise.all(Array.from({{ length: {count} }}, (_, n) => cloudflare.request({{ method: "PUT", rawBody: true,
        path: `{_KV}/${{space.id}}/values/{prefix}:${{String(n).padStart(3, "0")}}`, contentType: "application/octet-stream", body: "value " + n }})));
    }}"""


TASKS = (
    Task(
        name="kv_create_and_write",
        asked="Make a namespace and put the configuration into it.",
        search="""async () => find("write key-value pair kv").slice(0, 3).map(o => o.method + " " + o.path)""",
        execute=f"""async () => {{
          const space = (await cloudflare.request({{ method: "POST", path: `{_KV}`, body: {{ title: "settings" }} }})).result;
          const config = {{ theme: "dark", retries: 3, beta: false }};
          await cloudflare.request({{ method: "PUT", path: `{_KV}/${{space.id}}/values/config`, body: JSON.stringify(config),
            contentType: "application/octet-stream", rawBody: true }});
          const back = await cloudflare.request({{ path: `{_KV}/${{space.id}}/values/config` }});
          const value = typeof back.result === "string" ? back.result : new TextDecoder().decode(back.result);
          return {{ title: space.title, config: JSON.parse(value) }};
        }}""",
    ),
    Task(
        name="kv_list_keys",
        asked="List all the keys, ten at a time.",
        search="""async () => operation("GET /accounts/{account_id}/storage/kv/namespaces/{namespace_id}/keys").parameters.map?.(p => p.name) ?? null""",
        before=_filled(34),
        execute=f"""async () => {{
          {_SPACE}
          const keys = [];
          let pages = 0;
          for await (const page of cloudflare.paginate(`${{base}}/keys`, {{ query: {{ limit: 10 }} }}).pages()) {{
            pages++; keys.push(...page.result.map(k => k.name));
          }}
          return {{ pages, count: keys.length, first: keys[0], last: keys.at(-1) }};
        }}""",
    ),
    Task(
        name="kv_delete_prefix",
        asked="Drop every session of user 00.",
        search="""async () => find("delete kv key value", {limit: 3}).map(o => [o.effect, o.path])""",
        before=_filled(14, "user:00"),
        execute=f"""async () => {{
          {_SPACE}
          const keys = await cloudflare.paginate(`${{base}}/keys`, {{ query: {{ prefix: "user:00:00" }} }}).all();
          for (const {{ name }} of keys) await cloudflare.request({{ method: "DELETE", path: `${{base}}/values/${{encodeURIComponent(name)}}` }});
          return {{ deleted: keys.length, left: (await cloudflare.request({{ path: `${{base}}/keys` }})).result.map(k => k.name) }};
        }}""",
    ),
    Task(
        name="kv_metadata",
        asked="Store a value with metadata.",
        search="""async () => find("kv metadata for a key", {limit: 1}).map(o => o.path)""",
        before=_filled(0),
        execute=f"""async () => {{
          {_SPACE}
          const form = new FormData();
          form.append("value", "the value");
          form.append("metadata", JSON.stringify({{ owner: "web", version: 7 }}));
          await cloudflare.request({{ method: "PUT", path: `${{base}}/values/with-metadata`, body: form }});
          return (await cloudflare.request({{ path: `${{base}}/metadata/with-metadata` }})).result;
        }}""",
    ),
    Task(
        name="kv_binary_value",
        asked="Is the stored thumbnail intact?",
        search="""async () => spec.paths["/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}"].get.effect""",
        before=_filled(0),
        execute=f"""async () => {{
          {_SPACE}
          const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 255, 254);
          await cloudflare.request({{ method: "PUT", path: `${{base}}/values/thumb.png`, body: png }});
          const back = (await cloudflare.request({{ path: `${{base}}/values/thumb.png` }})).result;
          return [back instanceof Uint8Array, [...back].join() === [...png].join()];
        }}""",
    ),
    Task(
        name="kv_missing_key",
        asked="Read a flag, with a default where it is not set.",
        search="""async () => operation("workers-kv-namespace-read-key-value-pair").method""",
        before=_filled(1),
        execute=f"""async () => {{
          {_SPACE}
          const read = async (name, fallback) => {{
            try {{ return (await cloudflare.request({{ path: `${{base}}/values/${{name}}` }})).result; }}
            catch (error) {{ if (error.status === 404) return fallback; throw error; }}
          }};
          const decoded = v => v instanceof Uint8Array ? new TextDecoder().decode(v) : v;
          return [decoded(await read("key:000", null)), await read("flag", "off")];
        }}""",
    ),
    Task(
        name="kv_expiring",
        asked="Store a lock that lasts two minutes.",
        search="""async () => operation("PUT /accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}").effect""",
        before=_filled(0),
        execute=f"""async () => {{
          {_SPACE}
          await cloudflare.request({{ method: "PUT", path: `${{base}}/values/lock`, query: {{ expiration_ttl: 120 }}, body: "held",
            contentType: "application/octet-stream", rawBody: true }});
          const [key] = (await cloudflare.request({{ path: `${{base}}/keys` }})).result;
          const left = key.expiration - Date.now() / 1000;
          return {{ name: key.name, expires: left > 100 && left < 130 }};
        }}""",
    ),
)
