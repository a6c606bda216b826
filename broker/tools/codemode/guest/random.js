// Randomness. The engine's own state is frozen into the image, so every run is seeded anew by the host. Good for ids, not for keys:
// nothing that a program makes here may be used as a secret.
let a32 = 1, b32 = 2, c32 = 3, d32 = 4;

// sfc32 (Chris Doty-Humphrey's small fast counting generator): 32 bits at a time.
const random32 = () => {
  const t = (((a32 + b32) | 0) + d32) | 0;
  d32 = (d32 + 1) | 0;
  a32 = b32 ^ (b32 >>> 9);
  b32 = (c32 + (c32 << 3)) | 0;
  c32 = (c32 << 21) | (c32 >>> 11);
  c32 = (c32 + t) | 0;
  return t >>> 0;
};

// `seed` is an integer below 2^53.
const seedRandom = (seed) => {
  a32 = seed | 0;
  b32 = (seed / 4294967296) | 0;
  c32 = 0x9e3779b9 | 0;
  d32 = 1;
  for (let i = 0; i < 16; i++) random32();
};

give(Math, "random", () => (random32() * 2097152 + (random32() >>> 11)) / 9007199254740992);

const fillRandom = (bytes) => {
  const length = bytesLength(bytes);
  for (let i = 0; i < length; i++) bytes[i] = random32() >>> 24;
};
const HEX = "0123456789abcdef";
const cryptoObject = {};
give(cryptoObject, "getRandomValues", (view) => {
  const bytes = isView(view) ? asBytes(view) : undefined;
  if (bytes === undefined) throw new TypeErrorType("getRandomValues takes a typed array");
  if (bytesLength(bytes) > 65536) throw new DOMExceptionType("getRandomValues gives at most 65,536 bytes", "QuotaExceededError");
  fillRandom(bytes);
  return view;
});
give(cryptoObject, "randomUUID", () => {
  const bytes = new Bytes(16);
  fillRandom(bytes);
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  let text = "";
  for (let i = 0; i < 16; i++) text += (i === 4 || i === 6 || i === 8 || i === 10 ? "-" : "") + HEX[bytes[i] >> 4] + HEX[bytes[i] & 15];
  return text;
});
give(globalThis, "crypto", cryptoObject);
