// Errors as a model can act on them: what went wrong, and where in its own text.
const MAX_MESSAGE = 4000;
const MAX_FIELD = 16000;

const FRAME = /^\s*at (?:(.*?) \()?<input>:(\d+):(\d+)\)?\s*$/;
const TYPESCRIPT =
  /:\s*(?:string|number|boolean|any|void|unknown|never|object|Record<|Array<|Promise<|Map<|\{[^}]*:\s*(?:string|number|any))|\bas\s+(?:any|const|unknown|string|number|[A-Z]\w*)\b|\binterface\s+[A-Z]\w*\s*(?:extends\b[^{]*)?\{|^\s*(?:export\s+)?type\s+\w+\s*=|\w<(?:string|number|any)\b/m;

const PLATFORM = {
  __proto__: null,
  fetch: "There is no fetch here: use `await cloudflare.request({method, path})`, which reaches this connection's Cloudflare API only.",
  require: "There are no modules here: only ECMAScript, URL, TextEncoder, structuredClone, crypto.randomUUID and `cloudflare`.",
  process: "There is no Node.js here: what the program needs must stand in its own text.",
  Buffer: "There is no Buffer here: use Uint8Array, TextEncoder/TextDecoder, btoa/atob, Uint8Array.fromBase64.",
  XMLHttpRequest: "There is no network here but `cloudflare.request`.",
  window: "There is no browser here: use globalThis.",
  document: "There is no browser here.",
  spec: "`spec`, `find` and `operation` are there in the search tool only; this is execute.",
  find: "`spec`, `find` and `operation` are there in the search tool only; this is execute.",
  operation: "`spec`, `find` and `operation` are there in the search tool only; this is execute.",
  accountId: "`accountId` is set only where one account is meant: pass account_id to the tool, or GET /accounts and choose.",
};

// Errors that the prelude itself raises, already in the form they are told in; a program cannot make one.
const failures = new MapType();
const failure = (told) => {
  mapSet(failures, told, true);
  return told;
};

const failSyntax = (message, code, line, column, hint) => {
  const text = splitText(code, "\n")[line - 1] ?? "";
  const from = mathMax(0, column - 81);
  const shown = slice(text, from, from + 160);
  const caret = trim(shown) === "" ? "" : "\n" + shown + "\n" + repeat(" ", mathMax(0, mathMin(column - 1 - from, shown.length))) + "^";
  return failure({ __proto__: null, kind: "syntax", name: "SyntaxError", message: message + caret, line, column, hint });
};

// The engine tells the line well, and the column as that of the last thing it understood: where it quotes what it met, that is sought from there.
const syntaxPlace = (error, text) => {
  const found = exec(/<input>:(\d+):(\d+)/, StringType(error.stack));
  if (found === null) return { line: 1, column: 1 };
  const lines = splitText(text, "\n");
  const line = mathMin(NumberType(found[1]), lines.length);
  const column = mathMax(1, NumberType(found[2]) - (line === 1 ? WRAP : 0));
  const quoted = exec(/'(.+)'$/, error.message);
  if (quoted !== null) {
    for (let at = line; at <= lines.length && at < line + 3; at++) {
      const where = indexOf(lines[at - 1], quoted[1], at === line ? mathMax(0, column - 1 - quoted[1].length) : 0);
      if (where >= 0) return { line: at, column: where + 1 };
    }
  }
  return { line, column: mathMin(column, lines[line - 1].length + 1) };
};

// `whole` is what the text failed with as one expression, `statements` as statements: the one that got further is told.
const describeSyntax = (code, text, whole, statements) => {
  const first = syntaxPlace(whole, text);
  const second = syntaxPlace(statements, text);
  const further = first.line > second.line || (first.line === second.line && first.column > second.column);
  const [error, place] = further ? [whole, first] : [statements, second];
  const hint = exec(TYPESCRIPT, text) === null
    ? "Send one `async () => { … }`, or statements."
    : "Write plain JavaScript: types are taken out where that leaves JavaScript, but not enums, namespaces or parameter properties.";
  return failSyntax(error.message || "this is not JavaScript", code, place.line, place.column, hint);
};

// The text's column for the engine's, which may lie one before what it means: what was put in before it on that line, in order, is
// taken off again.
const unshifted = (line, column, shifts) => {
  for (let i = 0; i < shifts.length; i++) {
    const { line: at, from, by } = shifts[i];
    if (at === line && column >= from - 1) column = mathMax(from, column - by);
  }
  return mathMax(1, column);
};

// The program's own frames of a stack: {line, column, text}, or undefined where it has none.
const ownFrames = (stack, shifts) => {
  if (typeof stack !== "string") return undefined;
  let text = "";
  let place;
  const lines = splitText(slice(stack, 0, 20000), "\n");
  for (let i = 0; i < lines.length && text.length < MAX_STACK; i++) {
    const found = exec(FRAME, lines[i]);
    if (found === null) continue;
    const line = NumberType(found[2]);
    const column = unshifted(line, NumberType(found[3]), shifts);
    if (place === undefined) place = { line, column };
    text += (text ? "\n" : "") + "at " + (found[1] ? found[1] + " " : "") + "line " + line + ":" + column;
  }
  return place === undefined ? undefined : { line: place.line, column: place.column, text };
};

const readField = (value, name) => {
  try {
    return value[name];
  } catch {
    return undefined;
  }
};
const textField = (value, name, most) => {
  const found = readField(value, name);
  return typeof found === "string" ? slice(found, 0, most) : undefined;
};

// What a program threw, in any shape, as the error of its result.
const describeThrown = (thrown, shifts) => {
  if (mapHas(failures, thrown)) return thrown;
  const made = { __proto__: null, kind: "thrown", name: "Error", message: "" };
  if (!isObject(thrown)) {
    made.message = cutText(thrown === undefined ? "the program threw undefined" : StringType(thrown), MAX_MESSAGE);
    return made;
  }
  made.name = textField(thrown, "name", 100) || "Error";
  const said = textField(thrown, "message", MAX_MESSAGE);
  made.message = said === undefined ? cutText(describeValue(thrown), MAX_MESSAGE) : said;
  const frames = ownFrames(readField(thrown, "stack"), shifts) ?? ownFrames(readField(thrown, "calledAt"), shifts);
  if (frames !== undefined) {
    made.line = frames.line;
    made.column = frames.column;
    made.stack = frames.text;
  }
  addUpstream(made, thrown);
  const missing = made.name === "ReferenceError" ? exec(/^'?([\w$]+)'? is not defined$/, made.message) : null;
  if (missing !== null && PLATFORM[missing[1]] !== undefined) made.hint = PLATFORM[missing[1]];
  return made;
};

const addUpstream = (made, thrown) => {
  for (const name of ["status", "retryAfter"]) {
    const value = readField(thrown, name);
    if (typeof value === "number" && isFiniteNumber(value)) made[name] = value;
  }
  for (const name of ["ray", "code", "hint"]) {
    const value = textField(thrown, name, MAX_MESSAGE);
    if (value !== undefined) made[name] = value;
  }
  try {
    const errors = toJson(readField(thrown, "errors"));
    if (typeof errors === "string" && errors[0] === "[" && errors.length <= MAX_FIELD) made.errors = parseJson(errors);
  } catch { /* errors that are no JSON are left out */ }
  const cause = readField(thrown, "cause");
  if (isObject(cause)) made.cause = cutText(describeValue(cause), 1000);
};
