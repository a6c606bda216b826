// The built-ins that the prelude itself relies on, taken before any program runs. A program may replace or pollute its
// globals and prototypes as it likes: what is held here keeps working. Rules for the rest of the prelude, wherever a program's
// values are near: no method calls on them, no array growth by assignment, messages built as strings.
const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const { parse: parseJson, stringify: toJson } = JSON;
const {
  create: newObject, defineProperty, entries: entriesOf, freeze, getOwnPropertyDescriptor, getPrototypeOf, keys: keysOf,
  setPrototypeOf,
} = Object;
const ownKeysOf = Reflect.ownKeys;
const hasOwn = uncurry(Object.prototype.hasOwnProperty);
const tagOf = uncurry(Object.prototype.toString);
const { isArray } = Array;
const MapType = Map;
const mapGet = uncurry(Map.prototype.get);
const mapSet = uncurry(Map.prototype.set);
const mapHas = uncurry(Map.prototype.has);
const mapDelete = uncurry(Map.prototype.delete);
const mapForEach = uncurry(Map.prototype.forEach);
const mapSize = uncurry(getOwnPropertyDescriptor(Map.prototype, "size").get);
const SetType = Set;
const setForEach = uncurry(Set.prototype.forEach);
const PromiseType = Promise;
const resolved = Promise.resolve.bind(Promise);
const then = uncurry(Promise.prototype.then);
const StringType = String;
const NumberType = Number;
const { isFinite: isFiniteNumber, isInteger: isIntegerNumber } = Number;
const charCode = uncurry(String.prototype.charCodeAt);
const indexOf = uncurry(String.prototype.indexOf);
const lastIndexOf = uncurry(String.prototype.lastIndexOf);
const slice = uncurry(String.prototype.slice);
const trim = uncurry(String.prototype.trim);
const lower = uncurry(String.prototype.toLowerCase);
const upper = uncurry(String.prototype.toUpperCase);
const repeat = uncurry(String.prototype.repeat);
const padStart = uncurry(String.prototype.padStart);
const splitText = uncurry(String.prototype.split);
const startsWith = uncurry(String.prototype.startsWith);
const endsWith = uncurry(String.prototype.endsWith);
const toWellFormed = uncurry(String.prototype.toWellFormed);
const fromCharCode = String.fromCharCode;
const fromCodePoint = String.fromCodePoint;
const exec = uncurry(RegExp.prototype.exec);
const ErrorType = Error;
const TypeErrorType = TypeError;
const SyntaxErrorType = SyntaxError;
const RangeErrorType = RangeError;
const DOMExceptionType = DOMException;
const Bytes = Uint8Array;
const Buffer8 = ArrayBuffer;
const bufferSlice = uncurry(ArrayBuffer.prototype.slice);
const toBase64 = uncurry(Uint8Array.prototype.toBase64);
const fromBase64 = Uint8Array.fromBase64.bind(Uint8Array);
const isView = ArrayBuffer.isView.bind(ArrayBuffer);
const typedTag = uncurry(getOwnPropertyDescriptor(getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get);
const bytesLength = uncurry(getOwnPropertyDescriptor(getPrototypeOf(Uint8Array.prototype), "byteLength").get);
const bufferLength = uncurry(getOwnPropertyDescriptor(ArrayBuffer.prototype, "byteLength").get);
const dateToIso = uncurry(Date.prototype.toISOString);
const mathFloor = Math.floor;
const mathMin = Math.min;
const mathMax = Math.max;
const indirectEval = globalThis.eval;
const queueJob = globalThis.queueMicrotask;

// Gives a program a global or a method: replaceable, as its own would be, and unlisted.
const give = (target, name, value) => defineProperty(target, name, {
  __proto__: null, value, writable: true, enumerable: false, configurable: true,
});

// A plain object that inherits nothing, so that no pollution reaches what is made of it.
const bare = (from) => {
  const made = newObject(null);
  const names = keysOf(from);
  for (let i = 0; i < names.length; i++) made[names[i]] = from[names[i]];
  return made;
};

const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

// The bytes of an ArrayBuffer, a typed array or a DataView as a Uint8Array over the same memory; undefined for anything else.
const asBytes = (value) => {
  if (typeof value !== "object" || value === null) return undefined;
  if (isView(value)) {
    if (typedTag(value) === "Uint8Array") return value;
    return new Bytes(value.buffer, value.byteOffset, value.byteLength);
  }
  try {
    bufferLength(value);
  } catch {
    return undefined;
  }
  return new Bytes(value);
};
