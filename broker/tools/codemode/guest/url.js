// URLSearchParams and URL (WHATWG URL), reduced: no IDNA, no IPv4 number forms. Nothing here decides what is sent where: the host does.
const percentBytes = (text, keep) => {
  const bytes = encodeUtf8(text);
  let out = "";
  for (let i = 0; i < bytes.length; i++) {
    const code = bytes[i];
    const char = fromCharCode(code);
    if (code < 128 && exec(keep, char) !== null) out += char;
    else out += "%" + upper(padStart(code.toString(16), 2, "0"));
  }
  return out;
};
const percentDecode = (text) => {
  const bytes = encodeUtf8(text);
  let at = 0;
  for (let i = 0; i < bytes.length; i++) {
    const pair = bytes[i] === 37 ? exec(/^[0-9a-f]{2}$/i, fromCharCode(bytes[i + 1] | 0, bytes[i + 2] | 0)) : null;
    bytes[at++] = pair === null ? bytes[i] : NumberType("0x" + pair[0]);
    if (pair !== null) i += 2;
  }
  return decodeUtf8(new Bytes(bytes.buffer, 0, at), false);
};
const FORM = /[A-Za-z0-9*_.-]/;
const encodeForm = (text) => percentBytes(toWellFormed(StringType(text)), /[A-Za-z0-9*_. -]/).replaceAll(" ", "+");
const decodeForm = (text) => percentDecode(text.replaceAll("+", " "));

class URLSearchParams {
  #pairs = [];
  #changed;
  constructor(init = "", changed = undefined) {
    this.#changed = typeof changed === "function" ? changed : () => {};
    if (typeof init === "object" && init !== null) {
      const pairs = typeof init[Symbol.iterator] === "function" ? [...init] : entriesOf(init);
      for (const [name, value] of pairs) this.#pairs.push([StringType(name), StringType(value)]);
      return;
    }
    const text = StringType(init);
    for (const part of (text.startsWith("?") ? text.slice(1) : text).split("&")) {
      if (part === "") continue;
      const at = part.indexOf("=");
      this.#pairs.push(at < 0 ? [decodeForm(part), ""] : [decodeForm(part.slice(0, at)), decodeForm(part.slice(at + 1))]);
    }
  }
  get size() { return this.#pairs.length; }
  append(name, value) { this.#pairs.push([StringType(name), StringType(value)]); this.#changed(); }
  delete(name) { this.#pairs = this.#pairs.filter((pair) => pair[0] !== StringType(name)); this.#changed(); }
  get(name) { return this.#pairs.find((pair) => pair[0] === StringType(name))?.[1] ?? null; }
  getAll(name) { return this.#pairs.filter((pair) => pair[0] === StringType(name)).map((pair) => pair[1]); }
  has(name) { return this.#pairs.some((pair) => pair[0] === StringType(name)); }
  set(name, value) {
    const first = this.#pairs.findIndex((pair) => pair[0] === StringType(name));
    if (first < 0) return this.append(name, value);
    this.#pairs = this.#pairs.filter((pair, at) => at <= first || pair[0] !== StringType(name));
    this.#pairs[first] = [StringType(name), StringType(value)];
    return this.#changed();
  }
  sort() { this.#pairs.sort((x, y) => (x[0] < y[0] ? -1 : x[0] > y[0] ? 1 : 0)); this.#changed(); }
  forEach(callback, self) { for (const [name, value] of this.#pairs) callback.call(self, value, name, this); }
  * entries() { for (const [name, value] of this.#pairs) yield [name, value]; }
  * keys() { for (const [name] of this.#pairs) yield name; }
  * values() { for (const pair of this.#pairs) yield pair[1]; }
  [Symbol.iterator]() { return this.entries(); }
  toString() { return this.#pairs.map(([name, value]) => encodeForm(name) + "=" + encodeForm(value)).join("&"); }
  toJSON() { return this.toString(); }
}
give(globalThis, "URLSearchParams", URLSearchParams);

const DEFAULT_PORTS = { __proto__: null, "http:": "80", "https:": "443", "ws:": "80", "wss:": "443", "ftp:": "21" };
const URL_SHAPE = /^([A-Za-z][A-Za-z0-9+.-]*:)(?:(\/\/)([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$/s;
const AUTHORITY = /^(?:([^@]*)@)?(\[[0-9a-fA-F:.]+\]|[^:@[\]\s<>^|%\\]*)(?::(\d{0,5}))?$/;

const withoutDots = (path) => {
  const out = [];
  const parts = path.split("/").slice(1);
  parts.forEach((part, at) => {
    const plain = part.replaceAll(/%2e/gi, ".");
    const last = at === parts.length - 1;
    if (plain === "..") { out.pop(); if (last) out.push(""); } else if (plain !== ".") out.push(part); else if (last) out.push("");
  });
  return "/" + out.join("/");
};
const cleanPath = (path) => percentBytes(path, /[^\s"<>`{}?#\x00-\x1f\x7f-\uffff]/);

class URL {
  #parts;
  #query;
  constructor(url, base = undefined) {
    const text = StringType(url).trim();
    this.#parts = readUrl(text) ?? (base === undefined ? undefined : relativeUrl(text, new URL(base)));
    if (this.#parts === undefined) throw new TypeErrorType("not a URL: " + slice(text, 0, 200));
    this.#link();
  }
  #link() {
    this.#query = new URLSearchParams(this.#parts.search, () => {
      const text = this.#query.toString();
      this.#parts.search = text === "" ? "" : "?" + text;
    });
  }
  static canParse(url, base) { return URL.parse(url, base) !== null; }
  static parse(url, base) { try { return new URL(url, base); } catch { return null; } }
  get protocol() { return this.#parts.protocol; }
  get username() { return this.#parts.username; }
  get password() { return this.#parts.password; }
  get hostname() { return this.#parts.hostname; }
  get port() { return this.#parts.port; }
  get host() { return this.hostname + (this.port ? ":" + this.port : ""); }
  get origin() { return this.protocol in DEFAULT_PORTS ? this.protocol + "//" + this.host : "null"; }
  get pathname() { return this.#parts.pathname; }
  set pathname(path) { this.#parts.pathname = withoutDots(cleanPath((path.startsWith("/") ? "" : "/") + path)); }
  get search() { return this.#parts.search; }
  set search(text) { this.#parts.search = text === "" || text === "?" ? "" : (text.startsWith("?") ? "" : "?") + text; this.#link(); }
  get hash() { return this.#parts.hash; }
  set hash(text) { this.#parts.hash = text === "" || text === "#" ? "" : (text.startsWith("#") ? "" : "#") + text; }
  get searchParams() { return this.#query; }
  get href() {
    const { username, password } = this.#parts;
    const who = username || password ? username + (password ? ":" + password : "") + "@" : "";
    return this.protocol + (this.#parts.slashes ? "//" + who + this.host : "") + this.pathname + this.search + this.hash;
  }
  toString() { return this.href; }
  toJSON() { return this.href; }
}
give(globalThis, "URL", URL);

const readUrl = (text) => {
  const found = exec(URL_SHAPE, text);
  if (found === null) return undefined;
  const protocol = lower(found[1]);
  const special = protocol in DEFAULT_PORTS;
  if (special && found[2] === undefined) return undefined;
  const authority = exec(AUTHORITY, found[3] ?? "");
  if (authority === null || (special && authority[2] === "") || NumberType(authority[3] ?? 0) > 65535) return undefined;
  const [username, ...rest] = (authority[1] ?? "").split(":");
  const port = authority[3] ?? "";
  return {
    __proto__: null, protocol, slashes: found[2] !== undefined, username, password: rest.join(":"), hostname: lower(authority[2]),
    port: port === DEFAULT_PORTS[protocol] ? "" : port.replace(/^0+(?=\d)/, ""),
    pathname: special ? withoutDots(cleanPath(found[4] || "/")) : found[4],
    search: found[5] === undefined || found[5] === "?" ? "" : percentBytes(found[5], /[^\s"<>#\x00-\x1f\x7f-\uffff]/),
    hash: found[6] === undefined || found[6] === "#" ? "" : percentBytes(found[6], /[^\s"<>`\x00-\x1f\x7f-\uffff]/),
  };
};

const relativeUrl = (text, base) => {
  if (text.startsWith("//")) return readUrl(base.protocol + text);
  const root = base.protocol + "//" + base.host;
  if (text.startsWith("/")) return readUrl(root + text);
  if (text.startsWith("?")) return readUrl(root + base.pathname + text);
  if (text.startsWith("#") || text === "") return readUrl(root + base.pathname + base.search + text);
  return readUrl(root + base.pathname.slice(0, base.pathname.lastIndexOf("/") + 1) + text);
};
