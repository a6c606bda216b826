"""The JavaScript that a program sees: the globals of `search` and `execute`, and how a program is read, run and
answered.

Promises. Written for hostile neighbours: whatever a program does to its globals and prototypes, messages to the
host keep their form, and no message can be sent but requests, timers, log entries and one result. It holds no
secret, so nothing here guards one.

- `sources(kind)` lists the texts that, joined, evaluate to `(send) => [run, deliver]`: `send(text)` takes "c" +
  `[id,name,argument]` (a host call), "l" + `{level,text}` (a log entry), "r" + the result; `run(code, contextJSON,
  seed, maxResultChars)` starts the one program of this heap; `deliver(id, ok, json)` answers a host call. `search`
  also defines `__load(next)`, which the image's builder calls with the chunks that `broker.tools.codemode.spec`
  makes of a description, and which removes itself.
- Host calls: `request` `{method, path, query?, headers?, contentType?, body? | bodyText? | bodyBase64?}` →
  `{status, body}`, where body is the upstream's body (`{"$binary": {media_type, bytes, base64}}` for bytes);
  `previous` `{execution_id}` → the earlier result; `sleep` `{ms}` → anything. Path comes without query and without
  a leading `/client/v4`; query values are JSON values, arrays for repeated keys. A rejection is an object
  `{message, status?, errors?, retryAfter?, ray?, code?, hint?}`, thrown as CloudflareError.
- Context: `search` `{visible: base64 | null, hidden: {not_permitted, not_granted}, whoami}`, bit n (least
  significant first) of `visible` for the operation of row n, null for all; `execute` `{accountId?, zones?}`.
- The result: `{ok: true, undefined?: true, logs, log_dropped, result}` or `{ok: false, error: {kind: "syntax" |
  "thrown" | "limit", name, message, line?, column?, stack?, hint?, status?, errors?, retryAfter?, ray?, code?},
  logs, log_dropped}`. `line` and `column` count from 1 in the program's own text.
"""

from pathlib import Path
from typing import Final

_COMMON: Final = (
    "primordials", "host", "console", "values", "random", "text", "url", "formdata", "failure", "scan", "forms",
)  # fmt: skip
_KINDS: Final = {
    "execute": ("request", "cloudflare", "portal"),
    "search": ("words", "spec", "find", "operation"),
}
_HERE: Final = Path(__file__).parent


def sources(kind: str) -> list[tuple[str, str]]:
    """(file name, text) in order, for an image of `kind`: "search" or "execute". Raises KeyError for any other.

    The files share one strict function scope, so that no name of theirs is a program's global.
    """
    names = (*_COMMON, *_KINDS[kind], "run")
    files = [(f"{name}.js", (_HERE / f"{name}.js").read_text(encoding="utf-8")) for name in names]
    return [("open.js", '(() => {\n"use strict";\n'), *files, ("close.js", "})()\n")]
