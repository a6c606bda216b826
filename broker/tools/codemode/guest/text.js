// TextEncoder, TextDecoder (UTF-8; WHATWG Encoding § 8) and structuredClone (without transfer), as far as programs use them.
const encodeUtf8 = (value) => {
  const text = toWellFormed(StringType(value));
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const code = charCode(text, i);
    if (code < 128) length += 1;
    else if (code < 2048) length += 2;
    else if (code >= 0xd800 && code < 0xdc00) { length += 4; i++; } else length += 3;
  }
  const bytes = new Bytes(length);
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    let code = charCode(text, i);
    if (code < 128) { bytes[at++] = code; continue; }
    if (code < 2048) bytes[at++] = 192 | (code >> 6);
    else {
      if (code >= 0xd800 && code < 0xdc00) {
        code = 65536 + ((code - 0xd800) << 10) + (charCode(text, ++i) - 0xdc00);
        bytes[at++] = 240 | (code >> 18);
        bytes[at++] = 128 | ((code >> 12) & 63);
      } else bytes[at++] = 224 | (code >> 12);
      bytes[at++] = 128 | ((code >> 6) & 63);
    }
    bytes[at++] = 128 | (code & 63);
  }
  return bytes;
};

// How many bytes a lead byte announces, and the least second byte it may have: overlong forms and surrogates are no UTF-8.
const sequenceOf = (lead) => (lead < 194 ? 0 : lead < 224 ? 1 : lead < 240 ? 2 : lead < 245 ? 3 : 0);
const secondFits = (lead, second) => {
  if (lead === 224) return second >= 160;
  if (lead === 237) return second < 160;
  if (lead === 240) return second >= 144;
  return lead !== 244 || second < 144;
};

const decodeUtf8 = (bytes, fatal) => {
  const length = bytesLength(bytes);
  let text = "";
  for (let at = 0; at < length;) {
    const lead = bytes[at];
    if (lead < 128) {
      let end = at + 1;
      while (end < length && end - at < 1024 && bytes[end] < 128) end++;
      text += fromCharCode(...new Bytes(bytes.buffer, bytes.byteOffset + at, end - at));
      at = end;
      continue;
    }
    const wanted = sequenceOf(lead);
    let code = wanted === 1 ? lead & 31 : wanted === 2 ? lead & 15 : lead & 7;
    let got = 0;
    while (got < wanted && at + got + 1 < length) {
      const next = bytes[at + got + 1];
      if ((next & 192) !== 128 || (got === 0 && !secondFits(lead, next))) break;
      code = (code << 6) | (next & 63);
      got++;
    }
    if (wanted === 0 || got < wanted) {
      if (fatal) throw new TypeErrorType("the bytes are not UTF-8");
      text += "\ufffd";
    } else text += fromCodePoint(code);
    at += got + 1;
  }
  return text;
};

give(globalThis, "TextEncoder", class TextEncoder {
  get encoding() { return "utf-8"; }
  encode(text = "") { return encodeUtf8(text); }
});
give(globalThis, "TextDecoder", class TextDecoder {
  #fatal;
  #keepMark;
  constructor(label = "utf-8", options = {}) {
    const asked = lower(trim(StringType(label)));
    if (asked !== "utf-8" && asked !== "utf8") throw new RangeErrorType("only utf-8 is decoded here, not " + slice(asked, 0, 40));
    this.#fatal = !!options.fatal;
    this.#keepMark = !!options.ignoreBOM;
  }
  get encoding() { return "utf-8"; }
  get fatal() { return this.#fatal; }
  decode(input) {
    if (input === undefined) return "";
    const bytes = asBytes(input);
    if (bytes === undefined) throw new TypeErrorType("decode takes a Uint8Array or an ArrayBuffer");
    const text = decodeUtf8(bytes, this.#fatal);
    return !this.#keepMark && charCode(text, 0) === 0xfeff ? slice(text, 1) : text;
  }
});

const cloneInto = (value, seen) => {
  if (typeof value === "function" || typeof value === "symbol") {
    throw new DOMExceptionType("a " + typeof value + " cannot be cloned", "DataCloneError");
  }
  if (typeof value !== "object" || value === null) return value;
  const known = mapGet(seen, value);
  if (known !== undefined) return known;
  const keep = (made) => { mapSet(seen, value, made); return made; };
  if (value instanceof Date) return keep(new Date(+value));
  if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
  if (value instanceof ErrorType) return keep(cloneError(value));
  if (isView(value)) {
    const copied = bufferSlice(value.buffer, value.byteOffset, value.byteOffset + value.byteLength);
    return keep(typedTag(value) === undefined ? new DataView(copied) : new globalThis[typedTag(value)](copied));
  }
  if (value instanceof Buffer8) return keep(bufferSlice(value, 0));
  if (value instanceof MapType) {
    const made = keep(new MapType());
    mapForEach(value, (item, key) => mapSet(made, cloneInto(key, seen), cloneInto(item, seen)));
    return made;
  }
  if (value instanceof SetType) {
    const made = keep(new SetType());
    setForEach(value, (item) => made.add(cloneInto(item, seen)));
    return made;
  }
  const made = keep(isArray(value) ? [] : {});
  if (isArray(value)) made.length = value.length;
  for (const name of keysOf(value)) made[name] = cloneInto(value[name], seen);
  return made;
};
const cloneError = (error) => {
  const made = new ErrorType(error.message);
  give(made, "name", error.name);
  give(made, "stack", error.stack);
  return made;
};
give(globalThis, "structuredClone", (value) => cloneInto(value, new MapType()));
