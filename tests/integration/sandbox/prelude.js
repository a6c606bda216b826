// The least a guest needs: what the sandbox asks of a prelude, and nothing of Cloudflare.
(send) => {
  const { parse, stringify } = JSON, E = Error, S = String, P = Promise, then = Promise.prototype.then;
  const waiting = new Map();
  let count = 0;
  const call = (name, arg) =>
    new P((resolve, reject) => {
      const id = ++count;
      waiting.set(id, [resolve, reject]);
      send('c' + stringify([id, name, arg]));
    });
  const request = (what) => call('request', what);
  globalThis.cloudflare = Object.freeze({ request });
  globalThis.setTimeout = (f, ms) => { call('sleep', { ms }).then(f); return count; };
  globalThis.sleep = (ms) => call('sleep', { ms });
  globalThis.__raw = send; // so that tests can forge messages as a program that broke out of its prelude would
  const kept = [];
  const log = (level) => (...said) => {
    if (kept.length < 5000) kept.push({ level, text: said.map((x) => (typeof x === 'string' ? x : stringify(x) ?? S(x))).join(' ') });
  };
  const streamed = (level) => (text) => send('l' + stringify({ level, text }));
  globalThis.console = { log: log('log'), info: log('info'), warn: log('warn'), error: log('error'), debug: streamed('debug') };
  const run = (code, context, seed, most) => {
    let x = seed | 1;
    Math.random = () => { x ^= x << 13; x ^= x >>> 17; x ^= x << 5; return (x >>> 0) / 4294967296; };
    globalThis.context = parse(context);
    const fail = (e, kind) => {
      let error = { kind, name: 'Error', message: 'unprintable' };
      try { error = { kind, name: S(e && e.name), message: e instanceof E ? S(e.message) : S(e) }; } catch { /* it stays unprintable */ }
      send('r' + stringify({ ok: false, error, logs: kept }));
    };
    let f;
    try { f = (0, eval)('(' + code + '\n)'); } catch (e) { return fail(e, 'syntax'); }
    const finish = (v) => {
      const text = v === undefined ? 'null' : stringify(v);
      if (text !== undefined && text.length > most) return fail(new E('result too large: ' + text.length + ' characters'), 'limit');
      send('r{"ok":true,"logs":' + stringify(kept) + ',"result":' + (text === undefined ? 'null' : text) + '}');
    };
    const settle = (p) => then.call(p, (v) => { try { finish(v); } catch (e) { fail(e, 'thrown'); } }, (e) => fail(e, 'thrown'));
    try { settle(P.resolve(f())); } catch (e) { fail(e, 'thrown'); }
  };
  const deliver = (id, ok, json) => {
    const [resolve, reject] = waiting.get(+id);
    waiting.delete(+id);
    const value = parse(json);
    ok === '1' ? resolve(value) : reject(Object.assign(new E(value.message), value));
  };
  globalThis.__load = (next) => {
    globalThis.spec = [];
    for (let chunk; (chunk = next()) !== ''; ) globalThis.spec.push(parse(chunk));
  };
  return [run, deliver];
}
