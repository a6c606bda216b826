# ruff: noqa: E501 - a program stands on one line
"""Hostile programs, and how each must end: the limit it meets, `thrown`, `syntax`, or `ok` where it does no harm."""

from dataclasses import dataclass

SLOW = {"arrays", "huge result", "huge result of escapes", "huge result of three-byte characters", "many large calls"}
"""Those that need some computing to get where they are stopped."""

CPU, HEAP, STACK, DEAD = "cpu_seconds", "heap_bytes", "stack", "deadlock"


@dataclass(frozen=True)
class Hostile:
    """`ends`: the ways it may end. `value`: what it must answer where it ends well."""

    name: str
    code: str
    ends: tuple[str, ...]
    value: object = None


def _all(*rows: tuple[str, str, str] | tuple[str, str, str, object]) -> list[Hostile]:
    return [Hostile(row[0], row[1], tuple(row[2].split()), row[3] if len(row) > 3 else None) for row in rows]


PROGRAMS = _all(
    # Loops.
    ("loop", "async () => { for (;;); }", CPU),
    ("loop, catching", "async () => { for (;;) { try { for (;;); } catch {} finally { continue } } }", CPU),
    ("loop in a microtask", "async () => { await null; for (;;); }", CPU),
    ("microtasks for ever", "async () => { const f = () => Promise.resolve().then(f); await f(); }", f"{CPU} {HEAP}"),
    ("queueMicrotask for ever", "async () => { const f = () => queueMicrotask(f); f(); await new Promise(() => {}); }", f"{CPU} thrown"),
    ("thenable for ever", "async () => { const t = { then(r) { r(t) } }; await t; }", f"{CPU} {HEAP}"),
    ("promise storm", "async () => { for (;;) new Promise(() => {}).then(() => {}); }", f"{CPU} {HEAP}"),
    ("Promise.all of many", "async () => (await Promise.all(Array.from({length: 2e6}, () => Promise.resolve(1)))).length", f"{CPU} {HEAP}"),
    ("generator for ever", "async () => { function* g() { for (;;) yield 1; } for (const x of g()); }", CPU),
    ("spreading a generator", "async () => { function* g() { for (;;) yield 1; } return [...g()]; }", f"{CPU} {HEAP}"),
    ("async generator for ever", "async () => { async function* g() { for (;;) yield 1; } for await (const x of g()); }", f"{CPU} {HEAP}"),
    ("iterator that never ends", "async () => { const it = { [Symbol.iterator]() { return { next: () => ({ done: false }) } } }; return Math.max(...it); }", f"{CPU} {HEAP}"),
    ("loop in a getter of the result", "async () => ({ get a() { for (;;); } })", CPU),
    ("loop in toJSON", "async () => ({ toJSON() { for (;;); } })", CPU),
    ("loop in a proxy", "async () => new Proxy({}, { ownKeys() { for (;;); } })", CPU),
    ("loop in the error's message", "async () => { throw { get message() { for (;;); } } }", f"{CPU} thrown"),
    ("loop in toString of what is thrown", "async () => { throw { toString() { for (;;); } } }", CPU),
    ("loop in a setter during delivery", "async () => { Object.defineProperty(Object.prototype, 'argument', { set() { for (;;); }, configurable: true }); return await cloudflare.request({}); }", f"{CPU} ok"),
    ("loop in a sort", "async () => { const a = Array.from({length: 1e6}, (_, i) => i ^ 21845); for (;;) a.sort(() => Math.random() - 0.5); }", f"{CPU} {HEAP}"),
    ("comparator that lies and mutates", "async () => { const a = [3, 1, 2]; a.sort((x, y) => { a.length = 0; a.push(9); return NaN; }); return a.length; }", "ok"),
    ("replace with a looping function", "async () => 'a'.replace(/a/, () => { for (;;); })", CPU),
    ("eval in a loop", "async () => { for (;;) eval('1+1'); }", CPU),
    ("new Function in a loop", "async () => { for (;;) new Function('return 1')(); }", CPU),
    ("FinalizationRegistry in a loop", "async () => { const r = new FinalizationRegistry(() => { for (;;); }); for (;;) r.register({}, 1); }", f"{CPU} {HEAP}"),
    # Patterns and other native code that is slow by nature.
    ("backtracking", "async () => /(a+)+$/.test('a'.repeat(40) + 'b')", CPU),
    ("backtracking, nested", "async () => /^(([a-z])+.)+[A-Z]([a-z])+$/.test('a'.repeat(60))", CPU),
    ("lookbehind backtracking", "async () => /(?<=(a|aa)+)b/.test('a'.repeat(60) + 'c'.repeat(60)) || /(x+x+)+y/.test('x'.repeat(50))", CPU),
    ("bigint powers", "async () => { let x = 3n; for (;;) x = x * x; }", f"{CPU} {HEAP} thrown"),
    ("bigint to text", "async () => (3n ** 3000000n).toString().length", f"{CPU} {HEAP} thrown"),
    ("join of many", "async () => { const a = new Array(1e8); return a.join('x').length; }", f"{CPU} {HEAP} thrown"),
    ("sparse array", "async () => { const a = []; a[4294967294] = 1; a.length = 4294967295; return a.fill(0).length; }", f"{CPU} {HEAP} thrown"),
    ("localeCompare and normalize", "async () => { let s = '\\u0344'.repeat(1e5); for (;;) s = s.normalize('NFD').slice(0, 1e5); }", f"{CPU} {HEAP}"),
    # Memory.
    ("arrays", "async () => { const a = []; for (;;) a.push(new Array(1000).fill(1.5)); }", HEAP),
    ("arrays, catching", "async () => { const a = []; for (;;) { try { for (;;) a.push(new Array(1000).fill(1.5)); } catch {} } }", f"{CPU} {HEAP}"),
    ("objects", "async () => { const a = []; for (;;) a.push({ x: {} }); }", f"{HEAP} {CPU}"),
    ("doubling a string", "async () => { let s = 'xxxxxxxx'; const k = []; for (;;) { s = s + s + 'y'; k.push(s); } }", f"{HEAP} {CPU} thrown"),
    ("many strings", "async () => { const k = []; for (let i = 0; ; i++) k.push('x'.repeat(1 << 20) + i); }", f"{HEAP} {CPU}"),
    ("one huge string", "async () => 'x'.repeat(2 ** 29).repeat(4)", f"{HEAP} thrown"),
    ("padStart", "async () => ''.padStart(2 ** 30 - 1, 'ab').length", f"{HEAP} thrown"),
    ("buffers", "async () => { const a = []; for (;;) a.push(new ArrayBuffer(16 << 20)); }", f"{HEAP} thrown"),
    ("one huge buffer", "async () => new ArrayBuffer(2 ** 31).byteLength", f"{HEAP} thrown"),
    ("growing buffer", "async () => { const b = new ArrayBuffer(1, { maxByteLength: 2 ** 31 }); b.resize(2 ** 31 - 1); return b.byteLength; }", f"{HEAP} thrown"),
    ("typed arrays", "async () => { const a = []; for (;;) a.push(new Float64Array(1 << 20).fill(7)); }", f"{HEAP} {CPU}"),
    ("map", "async () => { const m = new Map(); for (let i = 0; ; i++) m.set(i, 'v' + i); }", f"{HEAP} {CPU}"),
    ("weak map of objects kept", "async () => { const m = new WeakMap(), k = []; for (;;) { const o = {}; k.push(o); m.set(o, new Array(100)); } }", f"{HEAP} {CPU}"),
    ("properties", "async () => { const o = {}; for (let i = 0; ; i++) o['p' + i] = i; }", f"{HEAP} {CPU}"),
    ("symbols", "async () => { const o = {}; for (;;) o[Symbol('s'.repeat(100))] = 1; }", f"{HEAP} {CPU}"),
    ("concat", "async () => { let a = [1, 2, 3, 4]; for (;;) a = a.concat(a); }", f"{HEAP} {CPU}"),
    ("closures", "async () => { let f = () => 1; for (;;) { const g = f; f = () => g() + 1; } }", f"{HEAP} {CPU}"),
    ("JSON doubling", "async () => { let o = {}; for (let i = 0; i < 40; i++) o = { a: o, b: o }; return o; }", f"{HEAP} {CPU} thrown"),
    ("toJSON doubling", "async () => ({ toJSON() { return 'x'.repeat(3e8); } })", f"{HEAP} thrown limit"),
    ("shared buffer, waiting", "async () => Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)", "thrown deadlock"),
    # Depth.
    ("recursion", "async () => { (function f() { f(); })(); }", STACK),
    ("recursion, catching", "async () => { const f = () => { try { f(); } finally { f(); } }; f(); }", f"{STACK} {CPU}"),
    ("recursion through map", "async () => { const f = () => [1].map(f); f(); }", STACK),
    ("recursion through getters", "async () => { const o = { get a() { return this.a; } }; return o.a; }", STACK),
    ("recursion through proxies", "async () => { let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x; }", f"{STACK} {CPU}"),
    ("recursion through toString", "async () => { const o = { toString() { return '' + this; } }; return '' + o; }", STACK),
    ("deep JSON in", "async () => JSON.parse('['.repeat(500000))", f"{STACK} thrown"),
    ("deep JSON out", "async () => { let o = []; for (let i = 0; i < 200000; i++) o = [o]; return o; }", f"{STACK} {CPU} thrown"),
    ("deep pattern", "async () => new RegExp('(?:'.repeat(100000) + ')'.repeat(100000)).test('a')", f"{STACK} thrown"),
    ("deep source", "async () => eval('('.repeat(100000) + '1' + ')'.repeat(100000))", f"{STACK} thrown"),
    ("deep source of its own", "async () => " + "(" * 50_000 + "1" + ")" * 50_000, f"{STACK} syntax"),
    ("deep template", "async () => " + "`${" * 20_000 + "1" + "}`" * 20_000, f"{STACK} syntax ok"),
    ("class chain", "async () => { let a = class {}; for (let i = 0; i < 30000; i++) a = class extends a {}; return typeof new a(); }", f"{STACK} {CPU} ok"),
    ("cyclic flat", "async () => { const a = []; a[0] = a; return a.flat(Infinity); }", f"{STACK} thrown"),
    ("bound a thousand times over", "async () => { let f = () => 1; for (let i = 0; i < 1e5; i++) f = f.bind(null); return f(); }", f"{STACK} {HEAP} {CPU}"),
    # Output.
    ("huge result", "async () => 'x'.repeat(9e6)", "limit"),
    ("huge result of escapes", "async () => '\\u0001'.repeat(1.6e6)", "limit result_bytes"),
    ("huge result of three-byte characters", "async () => '\\u20ac'.repeat(4e6)", "limit result_bytes"),
    ("huge log", "async () => { for (let i = 0; i < 20000; i++) console.log('x'.repeat(500)); return 1; }", f"ok {HEAP} {CPU}"),
    ("huge streamed log", "async () => { for (let i = 0; i < 3000; i++) console.debug('x'.repeat(500)); return 1; }", f"ok {CPU}"),
    ("one huge log entry", "async () => { console.debug('x'.repeat(1e6)); return 1; }", "log_bytes"),
    ("circular result", "async () => { const o = {}; o.o = o; return o; }", "thrown"),
    ("bigint result", "async () => 12345678901234567890n", "thrown"),
    ("a function as the result", "async () => () => 1", "ok", None),
    ("a symbol as the result", "async () => Symbol('x')", "ok", None),
    ("lone surrogates", "async () => '\\ud800' + 'x' + '\\udfff'", "ok", "\ufffdx\ufffd"),
    ("odd keys", "async () => ({ '\\ud800': 1, '__proto__ ': 2, '\\u0000': 3 })", "ok", {"\ufffd": 1, "__proto__ ": 2, "\0": 3}),
    ("error with a huge message", "async () => { throw new Error('x'.repeat(1e6)); }", "thrown"),
    # Calls.
    ("call flood", "async () => { for (let i = 0; i < 1e7; i++) cloudflare.request({ path: '/' + i }); await new Promise(() => {}); }", "host_calls"),
    ("call flood, awaited", "async () => { for (;;) await cloudflare.request({}); }", "host_calls"),
    ("huge call", "async () => cloudflare.request({ body: 'x'.repeat(2e6) })", "message_bytes"),
    ("many large calls", "async () => { const b = 'x'.repeat(1e6); await Promise.all(Array.from({ length: 60 }, () => cloudflare.request({ b }))); }", f"pending_bytes {HEAP}"),
    ("timer flood", "async () => { for (let i = 0; i < 1e6; i++) setTimeout(() => {}, 1); await new Promise(() => {}); }", f"sleeps {CPU}"),
    ("timer without sense", "async () => { await sleep('soon'); await sleep(-5); await sleep(NaN); await sleep({}); return 1; }", "ok", 1),
    ("never settles", "async () => { await new Promise(() => {}); }", DEAD),
    ("never settles, with a thenable", "async () => ({ then() {} })", DEAD),
    ("unhandled rejections", "async () => { for (let i = 0; i < 1000; i++) Promise.reject(new Error(i)); return 1; }", "ok", 1),
    # Breaking what answers.
    ("pollution of prototypes", "async () => { for (const c of [Object, Array, String, Promise, Map, Error]) { c.prototype.toJSON = () => 'mine'; c.prototype.polluted = 1; } return [1]; }", "ok thrown"),
    ("JSON replaced", "async () => { JSON.stringify = () => 'mine'; JSON.parse = () => { throw 1; }; return (await cloudflare.request({ a: 1 })).argument.a; }", "ok", 1),
    ("Promise replaced", "async () => { globalThis.Promise = class {}; Array.prototype.join = () => { throw 1; }; return 1; }", "ok", 1),
    ("Promise.prototype.then replaced", "async () => { Promise.prototype.then = function () { return this; }; return 1; }", f"ok {DEAD}"),
    ("Map replaced", "async () => { Map.prototype.get = Map.prototype.set = Map.prototype.delete = () => { throw new Error('mine'); }; return await cloudflare.request({}); }", "ok thrown integrity"),
    ("globals deleted", "async () => { for (const k of Object.getOwnPropertyNames(globalThis)) { try { delete globalThis[k]; } catch {} } return 1; }", "ok", 1),
    ("Symbol.species", "async () => { class P extends Promise { static get [Symbol.species]() { for (;;); } } return new P((r) => r(1)).then((x) => x); }", f"{CPU} thrown ok"),
    ("Symbol.toPrimitive", "async () => { throw { [Symbol.toPrimitive]() { throw this; } }; }", "thrown"),
    ("throwing proxies", "async () => { throw new Proxy(function () {}, { get() { throw 1; }, getPrototypeOf() { throw 2; } }); }", "thrown"),
    ("throwing null", "async () => { throw null; }", "thrown"),
    ("Error.prepareStackTrace", "async () => { Error.prepareStackTrace = () => { for (;;); }; throw new Error('x'); }", f"{CPU} thrown"),
    ("an error of a million causes", "async () => { let e = new Error('x'); for (let i = 0; i < 1e6; i++) e = new Error('y', { cause: e }); throw e; }", f"{HEAP} {CPU} thrown"),
    ("a forged result", "async () => { __raw('r{\"ok\":true,\"logs\":[],\"result\":\"forged\"}'); for (;;); }", "ok", "forged"),
    ("a forged result of garbage", "async () => { __raw('r{\"ok\":tru'); }", "integrity"),
    ("a forged result without end", "async () => { __raw('r' + '{\"logs\":'.repeat(1e5)); }", "integrity"),
    ("a forged result of deep logs", "async () => { __raw('r{\"ok\":true,\"logs\":' + '['.repeat(1e5) + ',\"result\":1}'); }", "integrity"),
    ("a forged call of garbage", "async () => { __raw('cnonsense'); await new Promise(() => {}); }", "integrity"),
    ("a forged call without a name", "async () => { __raw('c[1,\"\",{}]'); await new Promise(() => {}); }", "integrity"),
    ("a forged call twice", "async () => { __raw('c[900,\"request\",{}]'); __raw('c[900,\"request\",{}]'); await new Promise(() => {}); }", "integrity"),
    ("messages of no kind", "async () => { for (let i = 0; i < 100; i++) __raw('z' + i); __raw(''); __raw({}); __raw(); return 1; }", "ok", 1),
    # The way out.
    ("import", "async () => await import('fs')", "thrown"),
    ("import of a path", "async () => await import('/etc/passwd')", "thrown"),
    ("Function's global", "async () => Object.keys(cloudflare.request.constructor('return this')()).includes('process')", "ok", False),
    ("names of hosts", "async () => ['process', 'require', 'Deno', 'fetch', 'WebAssembly', 'std', 'os', 'bjson', 'Worker', 'Atomics', '__load', '__next'].filter((n) => n in globalThis)", "ok", []),
    ("a fine clock", "async () => { const d = new Set(); for (let i = 0; i < 200; i++) d.add(performance.now() % 1).add(Date.now() % 1); return [...d]; }", "ok", [0]),
    ("with and arguments.callee", "function () { with ({ a: 1 }) { return arguments.callee ? a : 0; } }", "ok", 1),
    ("syntax error", "async () => { return (", "syntax"),
    ("empty", "", "syntax"),
    ("not a program", "\u0000\u0001\ufeff", "syntax"),
    ("half a surrogate as source", "async () => '\ud800'.length", "ok", 1),
    ("long line", "async () => " + "+".join(["1"] * 100_000), f"ok {STACK}", 100_000),
    ("code over its limit", "async () => 1 //" + "x" * 1_100_000, "code_bytes"),
)  # fmt: skip
