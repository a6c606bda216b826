// How values that JSON lacks appear in a result: bytes as {$binary}, the same form in which they come from the host; maps, sets,
// errors and big integers as what a reader expects instead of {} or a TypeError.
const MAX_STACK = 2000;

const binaryOf = (bytes, mediaType) => ({
  $binary: { media_type: mediaType || "application/octet-stream", bytes: bytesLength(bytes), base64: toBase64(bytes) },
});

give(getPrototypeOf(Uint8Array.prototype), "toJSON", function () {
  const kind = typedTag(this);
  if (kind === "Uint8Array") return binaryOf(this, typeof this.mediaType === "string" ? this.mediaType : undefined);
  const list = [];
  for (let i = 0; i < this.length; i++) list[i] = typeof this[i] === "bigint" ? StringType(this[i]) : this[i];
  return list;
});
give(ArrayBuffer.prototype, "toJSON", function () { return binaryOf(new Bytes(this)); });
give(Map.prototype, "toJSON", function () {
  const made = {};
  mapForEach(this, (value, key) => {
    give(made, typeof key === "symbol" ? tagOf(key) : StringType(key), value);
    defineProperty(made, typeof key === "symbol" ? tagOf(key) : StringType(key), { __proto__: null, enumerable: true });
  });
  return made;
});
give(Set.prototype, "toJSON", function () {
  const list = [];
  setForEach(this, (value) => { list[list.length] = value; });
  return list;
});
give(BigInt.prototype, "toJSON", function () {
  const number = NumberType(this);
  return number <= NumberType.MAX_SAFE_INTEGER && number >= NumberType.MIN_SAFE_INTEGER ? number : StringType(this);
});
give(Error.prototype, "toJSON", function () {
  const made = { name: this.name, message: this.message };
  for (const name of keysOf(this)) made[name] = this[name];
  return made;
});

// {$binary: {base64, …}} from the host as the Uint8Array it stands for; anything else unchanged.
const reviveBinary = (value) => {
  if (typeof value !== "object" || value === null || isArray(value) || !hasOwn(value, "$binary")) return value;
  const held = value.$binary;
  if (typeof held !== "object" || held === null || typeof held.base64 !== "string") return value;
  try {
    const bytes = fromBase64(held.base64);
    if (typeof held.media_type === "string") give(bytes, "mediaType", held.media_type);
    return bytes;
  } catch {
    return value;
  }
};
