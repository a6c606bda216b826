// `console.*`: each entry goes to the host at once, so that it is kept however the program ends.
const MAX_ENTRY = 4096;
const MAX_ENTRIES = 1000;
const MAX_LOG = 65536;
let logEntries = 0;
let logCharacters = 0;
let logDropped = 0;

const cutText = (text, most) => (text.length <= most ? text : slice(text, 0, most) + "… (" + (text.length - most) + " more characters)");

const logText = (level, text) => {
  if (logEntries >= MAX_ENTRIES || logCharacters >= MAX_LOG) {
    logDropped++;
    return;
  }
  const kept = cutText(text, MAX_ENTRY);
  logEntries++;
  logCharacters += kept.length;
  send('l{"level":"' + level + '","text":' + toJson(kept) + "}");
};

// JSON where a value has it; a sketch of bounded depth and breadth for cycles and the like.
const describeValue = (value) => {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) {
    if (typeof value === "function") return "[function " + (typeof value.name === "string" ? value.name : "") + "]";
    return StringType(value);
  }
  try {
    if (value instanceof ErrorType) return describeError(value);
    const text = toJson(value);
    return text === undefined ? tagOf(value) : text;
  } catch {
    return sketch(value, 3);
  }
};

const describeError = (error) => {
  const { name, message } = error;
  return (typeof name === "string" ? name : "Error") + (typeof message === "string" && message ? ": " + message : "");
};

const sketch = (value, depth) => {
  if (typeof value === "string") return toJson(cutText(value, 200));
  if (typeof value !== "object" || value === null) return typeof value === "bigint" ? value + "n" : StringType(value);
  if (depth === 0) return isArray(value) ? "[…]" : "{…}";
  try {
    const names = keysOf(value);
    let text = "";
    for (let i = 0; i < names.length && i < 20; i++) {
      const shown = sketch(value[names[i]], depth - 1);
      text += (i ? "," : "") + (isArray(value) ? shown : toJson(names[i]) + ":" + shown);
    }
    if (names.length > 20) text += ",…";
    return isArray(value) ? "[" + text + "]" : "{" + text + "}";
  } catch {
    return "[unreadable]";
  }
};

const logValues = (level, values) => {
  let text = "";
  for (let i = 0; i < values.length && text.length <= MAX_ENTRY; i++) text += (i ? " " : "") + describeValue(values[i]);
  logText(level, text);
};

const consoleObject = {};
for (const [method, level] of [
  ["log", "log"], ["info", "info"], ["warn", "warn"], ["error", "error"], ["debug", "debug"], ["trace", "debug"], ["dir", "log"],
  ["table", "log"], ["group", "log"],
]) give(consoleObject, method, (...values) => logValues(level, values));
give(consoleObject, "assert", (holds, ...values) => { if (!holds) logValues("error", ["assertion failed:", ...values]); });
for (const method of ["groupEnd", "time", "timeEnd", "timeLog", "count", "clear"]) give(consoleObject, method, () => {});
give(globalThis, "console", consoleObject);
