// Headers, Blob, File and FormData (Fetch § 2.2, File API, XHR § 4.3), as small as building an upload needs.
class Headers {
  #held = new MapType();
  constructor(init = []) {
    const pairs = typeof init[Symbol.iterator] === "function" ? [...init] : entriesOf(init);
    for (const [name, value] of pairs) this.append(name, value);
  }
  append(name, value) { this.set(name, this.has(name) ? this.get(name) + ", " + value : value); }
  set(name, value) { mapSet(this.#held, lower(StringType(name)), trim(StringType(value))); }
  get(name) { return mapGet(this.#held, lower(StringType(name))) ?? null; }
  has(name) { return mapHas(this.#held, lower(StringType(name))); }
  delete(name) { mapDelete(this.#held, lower(StringType(name))); }
  entries() { return this.#held.entries(); }
  keys() { return this.#held.keys(); }
  values() { return this.#held.values(); }
  forEach(callback) { mapForEach(this.#held, (value, name) => callback(value, name, this)); }
  [Symbol.iterator]() { return this.entries(); }
}
give(globalThis, "Headers", Headers);

const joinBytes = (parts) => {
  let length = 0;
  for (const part of parts) length += bytesLength(part);
  const whole = new Bytes(length);
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += bytesLength(part); }
  return whole;
};

class Blob {
  #bytes;
  constructor(parts = [], options = {}) {
    this.#bytes = joinBytes([...parts].map((part) => (part instanceof Blob ? part.held : asBytes(part) ?? encodeUtf8(part))));
    give(this, "type", lower(StringType(options.type ?? "")));
  }
  get held() { return this.#bytes; }
  get size() { return bytesLength(this.#bytes); }
  async text() { return decodeUtf8(this.#bytes, false); }
  async bytes() { return new Bytes(this.#bytes); }
  async arrayBuffer() { return new Bytes(this.#bytes).buffer; }
  toJSON() { return binaryOf(this.#bytes, this.type); }
}
class File extends Blob {
  constructor(parts, name, options = {}) {
    super(parts, options);
    give(this, "name", StringType(name));
  }
}
give(globalThis, "Blob", Blob);
give(globalThis, "File", File);

class FormData {
  #entries = [];
  append(name, value, filename = undefined) {
    const held = value instanceof Blob ? value : StringType(value);
    const file = value instanceof Blob ? StringType(filename ?? value.name ?? "blob") : undefined;
    this.#entries.push([StringType(name), held, file]);
  }
  set(name, value, filename = undefined) { this.delete(name); this.append(name, value, filename); }
  delete(name) { this.#entries = this.#entries.filter((entry) => entry[0] !== StringType(name)); }
  get(name) { return this.#entries.find((entry) => entry[0] === StringType(name))?.[1] ?? null; }
  getAll(name) { return this.#entries.filter((entry) => entry[0] === StringType(name)).map((entry) => entry[1]); }
  has(name) { return this.#entries.some((entry) => entry[0] === StringType(name)); }
  get parts() { return this.#entries; }
  * entries() { for (const [name, value] of this.#entries) yield [name, value]; }
  [Symbol.iterator]() { return this.entries(); }
}
give(globalThis, "FormData", FormData);

// RFC 7578. Names and file names cannot end the header they stand in.
const quoteName = (text) => text.replaceAll("\r", "%0D").replaceAll("\n", "%0A").replaceAll('"', "%22");
const encodeFormData = (form) => {
  const boundary = "----form" + slice(cryptoObject.randomUUID().replaceAll("-", ""), 0, 24);
  const parts = [];
  for (const [name, value, file] of form.parts) {
    const said = "--" + boundary + '\r\nContent-Disposition: form-data; name="' + quoteName(name) + '"';
    const type = file === undefined ? "" : '; filename="' + quoteName(file) + '"\r\nContent-Type: ' + (value.type || "application/octet-stream");
    parts.push(encodeUtf8(said + type + "\r\n\r\n"), file === undefined ? encodeUtf8(value) : value.held, encodeUtf8("\r\n"));
  }
  parts.push(encodeUtf8("--" + boundary + "--\r\n"));
  return { bytes: joinBytes(parts), contentType: "multipart/form-data; boundary=" + boundary };
};
