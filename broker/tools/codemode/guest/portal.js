// `codemode` and `connections`: every tool and every API of one caller, in a program of the portal. What is named here is only asked
// for: the host looks at every name, argument and right of it again.

// Names that the language itself looks up on objects: never tools here, whatever a server calls its own (`codemode.call` takes any name).
const NOT_TOOLS = { __proto__: null, then: 1, toJSON: 1, toString: 1, valueOf: 1, constructor: 1, ["__proto__"]: 1 };

class ToolError extends Error {
  constructor(told, asked) {
    const message = typeof told.message === "string" && told.message !== "" ? told.message : "the call failed";
    const hint = typeof told.hint === "string" && indexOf(message, told.hint) < 0 ? " Hint: " + told.hint : "";
    super(message + " [" + asked + "]" + hint);
    for (const name of ["status", "errors", "retryAfter", "ray", "code", "hint"]) {
      if (told[name] !== undefined && told[name] !== null) this[name] = told[name];
    }
  }
  get name() { return "ToolError"; }
}
give(globalThis, "ToolError", ToolError);

// One question to the host, answered with {value}.
const askHost = (name, argument, asked) => {
  const calledAt = new ErrorType("").stack;
  let text;
  try {
    text = toJson(argument);
  } catch (error) {
    return PromiseType.reject(error);
  }
  openRequests.count++;
  return then(callHost(name, text), (reply) => {
    openRequests.count--;
    return reviveBinary(reply.value);
  }, (rejected) => {
    openRequests.count--;
    const told = isObject(rejected) ? bare(rejected) : { __proto__: null, message: StringType(rejected) };
    throw give(new ToolError(told, asked), "stack", calledAt);
  });
};

const callTool = (name, given) => {
  const asked = "codemode." + cutText(StringType(name), 80);
  if (given !== undefined && given !== null && (!isObject(given) || isArray(given) || typeof given === "function")) {
    return PromiseType.reject(wrong(asked + " takes one object of arguments"));
  }
  return askHost("tool", { __proto__: null, name: StringType(name), args: given ?? {} }, asked);
};

// Unknown names are functions too: calling one tells what was probably meant.
const readTool = (target, name) => {
  if (typeof name !== "string") return undefined;
  if (hasOwn(target, name)) return target[name];
  return name in NOT_TOOLS ? undefined : (given) => callTool(name, given);
};

const OWN = { __proto__: null, tools: 1, tool: 1, call: 1, operations: 1 };

const codemodeOf = (portal) => {
  const target = newObject(null);
  for (const { name } of portal.tools) {
    if (name in NOT_TOOLS || name in OWN) continue;
    defineProperty(target, name, { __proto__: null, enumerable: true, value: (given) => callTool(name, given) });
  }
  give(target, "tools", () => [...portal.tools.map((tool) => ({ ...tool, available: true })), ...portal.unavailable]);
  give(target, "tool", (name) => askHost("definition", { __proto__: null, name: StringType(name) }, "codemode.tool"));
  give(target, "call", callTool);
  give(target, "operations", (name, options) => connectionNamed(portal, StringType(name)).operations(options));
  return new Proxy(freeze(target), { __proto__: null, get: readTool });
};

const handles = newObject(null);
const handleOf = ({ name, accountId }) => {
  const ask = (question, argument) => askHost(question, { __proto__: null, connection: name, ...argument }, 'connections["' + name + '"].' + question);
  const handle = clientOf(requester((text) => callHost("via", '{"connection":' + toJson(name) + ',"request":' + text + "}")));
  give(handle, "find", (words, options) => (isObject(words) && !isArray(words) ? ask("find", { words: "", options: words }) : ask("find", { words, options })));
  give(handle, "operation", (ref, path) => ask("operation", { ref: typeof path === "string" ? ref + " " + path : ref }));
  give(handle, "operations", (options) => ask("operations", { options }));
  give(handle, "products", () => ask("products", {}));
  give(handle, "whoami", () => ask("whoami", {}));
  give(handle, "name", name);
  if (typeof accountId === "string") give(handle, "accountId", accountId);
  return freeze(handle);
};

const connectionNamed = (portal, name) => {
  if (handles[name] !== undefined) return handles[name];
  const known = keysOf(handles);
  const tools = portal.tools.filter((tool) => tool.connection === name).map((tool) => tool.name);
  if (tools.length > 0) throw wrong(toJson(name) + " has tools only: call them, as codemode." + tools[0] + "({…})");
  throw wrong("no connection " + toJson(cutText(name, 60)) + " with an API here; there " + (known.length === 0 ? "is none" : "are: " + known.slice(0, 30).join(", ")));
};

const readConnection = (portal) => (target, name) => {
  if (typeof name !== "string") return undefined;
  if (hasOwn(target, name)) return target[name];
  if (name in NOT_TOOLS) return undefined;
  return connectionNamed(portal, name);
};

const applyPortal = (portal) => {
  for (const name of ["spec", "find", "operation"]) PLATFORM[name] = 'Here each API has its own: await connections["NAME"].find(…), .operation(…), .operations().';
  const target = newObject(null);
  for (const api of portal.apis) {
    handles[api.name] = handleOf(api);
    defineProperty(target, api.name, { __proto__: null, enumerable: true, value: handles[api.name] });
  }
  give(globalThis, "codemode", codemodeOf(portal));
  give(globalThis, "connections", new Proxy(freeze(target), { __proto__: null, get: readConnection(portal) }));
};
