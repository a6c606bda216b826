// `cloudflare.request`: what a program asks for, made into one host call, and its answer into Cloudflare's envelope. Nothing is decided
// here: the host judges method, path and all the rest.
const OPTION_NAMES = {
  __proto__: null, method: 1, path: 1, query: 1, params: 1, body: 1, contentType: 1, rawBody: 1, headers: 1, accountId: 1, signal: 1,
};
const BODIED = { __proto__: null, POST: 1, PUT: 1, PATCH: 1, DELETE: 1 };

class CloudflareError extends Error {
  constructor(told, asked) {
    const message = typeof told.message === "string" && told.message !== "" ? told.message : "the request failed";
    const hint = typeof told.hint === "string" && indexOf(message, told.hint) < 0 ? " Hint: " + told.hint : "";
    super(toldPrefix(told) + message + (asked ? " [" + asked + "]" : "") + hint);
    for (const name of ["status", "errors", "retryAfter", "ray", "code", "hint"]) {
      if (told[name] !== undefined && told[name] !== null) this[name] = told[name];
    }
  }
  get name() { return "CloudflareError"; }
}
give(globalThis, "CloudflareError", CloudflareError);

// What Cloudflare's own server begins such messages with; programs written for it look for this.
const toldPrefix = (told) => (typeof told.status === "number" ? "Cloudflare API error: " : "");

const wrong = (message) => new TypeErrorType(message);

// The third argument of the positional form is options where all its names are; else what a reader would expect: a query on GET, a body elsewhere.
const fromPositions = (method, path, rest) => {
  if (rest === undefined) return { method, path };
  const plain = isObject(rest) && !isArray(rest) && asBytes(rest) === undefined && typeof rest !== "function";
  const named = plain && keysOf(rest).every((name) => name in OPTION_NAMES);
  const graphql = endsWith(StringType(path), "/graphql") && plain && typeof rest.query === "string";
  if (named && !graphql) return { ...rest, method, path };
  return plain && !(upper(StringType(method)) in BODIED) ? { method, path, query: rest } : { method, path, body: rest };
};

const readOptions = (first, second, third) => {
  if (typeof first === "string") {
    if (typeof second === "string") return fromPositions(first, second, third);
    if (startsWith(first, "/")) return { ...second, path: first };
    throw wrong('request takes {method, path, query?, body?}, or ("GET", "/zones", {query?, body?})');
  }
  if (!isObject(first)) throw wrong("request takes an object {method, path, query?, body?}, not " + describeValue(first));
  return first;
};

const checkNames = (options) => {
  for (const name of keysOf(options)) {
    if (name in OPTION_NAMES) continue;
    const near = name === "url" || name === "endpoint" ? "path" : name === "data" || name === "json" || name === "payload" ? "body"
      : name === "searchParams" || name === "qs" ? "query" : undefined;
    throw wrong("request does not know the option " + toJson(cutText(name, 60)) + (near ? ': did you mean "' + near + '"?'
      : "; it takes method, path, query, body, contentType, rawBody, headers"));
  }
};

// Query values as they are, arrays kept (the host repeats the key), absent ones left out; those written into the path come first.
const readQuery = (asked, given) => {
  const query = newObject(null);
  for (const [name, value] of new URLSearchParams(asked)) addQuery(query, name, value);
  if (given === undefined || given === null) return query;
  if (typeof given === "string" || given instanceof URLSearchParams) {
    for (const [name, value] of new URLSearchParams(given)) addQuery(query, name, value);
    return query;
  }
  if (!isObject(given) || isArray(given)) throw wrong("query must be an object of names and values");
  for (const name of keysOf(given)) {
    const value = given[name];
    if (value === undefined || value === null) continue;
    if (isArray(value)) for (const item of value) { if (item !== undefined && item !== null) addQuery(query, name, item, true); } else addQuery(query, name, value);
  }
  return query;
};
const addQuery = (query, name, value, asList = false) => {
  const plain = value instanceof Date ? dateToIso(value) : typeof value === "bigint" ? StringType(value) : value;
  if (name in query) query[name] = isArray(query[name]) ? [...query[name], plain] : [query[name], plain];
  else query[name] = asList ? [plain] : plain;
};

const readPath = (path, method) => {
  if (typeof path !== "string") throw wrong("request needs a path, such as \"/zones\"; got " + describeValue(path));
  if (exec(/^[a-z][a-z0-9+.-]*:/i, path) !== null || startsWith(path, "//")) {
    throw wrong("path must not name a host: write the path only, such as " + toJson(method + " /zones"));
  }
  const hash = indexOf(path, "#");
  const plain = hash < 0 ? path : slice(path, 0, hash);
  const at = indexOf(plain, "?");
  let route = at < 0 ? plain : slice(plain, 0, at);
  if (!startsWith(route, "/")) route = "/" + route;
  if (startsWith(route, "/client/v4/")) route = slice(route, 10);
  return { route, search: at < 0 ? "" : slice(plain, at + 1) };
};

// Exactly one of body (JSON), bodyText and bodyBase64, or none. Falsy bodies are bodies: only undefined is none.
const addBody = (told, options) => {
  const { body, contentType } = options;
  if (contentType !== undefined && contentType !== null) told.contentType = StringType(contentType);
  if (body === undefined) return;
  const bytes = asBytes(body);
  if (bytes !== undefined) {
    told.bodyBase64 = toBase64(bytes);
    told.contentType ??= "application/octet-stream";
  } else if (body instanceof FormData) {
    const form = encodeFormData(body);
    told.bodyBase64 = toBase64(form.bytes);
    told.contentType = form.contentType;
  } else if (body instanceof Blob) {
    told.bodyBase64 = toBase64(body.held);
    told.contentType ??= body.type || "application/octet-stream";
  } else if (body instanceof URLSearchParams) {
    told.bodyText = body.toString();
    told.contentType ??= "application/x-www-form-urlencoded";
  } else if (typeof body === "string" && (options.rawBody || told.contentType !== undefined)) {
    told.bodyText = body;
  } else {
    told.body = body;
  }
};

const readHeaders = (given) => {
  if (given === undefined || given === null) return undefined;
  if (!isObject(given)) throw wrong("headers must be an object of names and values");
  const made = newObject(null);
  const pairs = given instanceof Headers ? [...given] : entriesOf(given);
  for (const [name, value] of pairs) if (value !== undefined && value !== null) made[name] = StringType(value);
  return made;
};

// `told.headers` may name the content type instead of `contentType`.
const takeContentType = (told, options) => {
  if (told.headers === undefined) return options;
  for (const name of keysOf(told.headers)) {
    if (lower(name) !== "content-type") continue;
    const value = told.headers[name];
    delete told.headers[name];
    if (options.contentType === undefined) return { ...options, contentType: value };
  }
  return options;
};

const readRequest = (first, second, third) => {
  const options = readOptions(first, second, third);
  checkNames(options);
  const graphql = endsWith(typeof options.path === "string" ? options.path : "", "/graphql");
  const method = options.method === undefined || options.method === null ? (graphql ? "POST" : "GET") : options.method;
  if (typeof method !== "string") throw wrong("method must be a text such as \"GET\"");
  const { route, search } = readPath(options.path, method);
  const told = newObject(null);
  told.method = upper(trim(method));
  told.path = route;
  const query = readQuery(search, options.query ?? options.params);
  if (keysOf(query).length > 0) told.query = query;
  const headers = readHeaders(options.headers);
  if (headers !== undefined) told.headers = headers;
  addBody(told, takeContentType(told, options));
  return told;
};

// The host's {status, body} as Cloudflare's envelope with `status`: an answer without an envelope (a stored value, a script) becomes its `result`.
const envelopeOf = (reply, route) => {
  const { status, body } = reply;
  if (typeof body === "object" && body !== null && !isArray(body) && !hasOwn(body, "$binary")) {
    if (route === "/graphql" && !hasOwn(body, "success")) return graphqlEnvelope(body, status);
    if (hasOwn(body, "success") || hasOwn(body, "result") || hasOwn(body, "errors")) return { ...body, status };
  }
  return { success: true, status, result: reviveBinary(body), errors: [], messages: [] };
};

const graphqlEnvelope = (body, status) => {
  const errors = isArray(body.errors) ? body.errors : [];
  const made = { success: errors.length === 0, status, result: body.data ?? null, errors, messages: [] };
  return give(made, "data", made.result);
};

// A way to ask one API: `call(text)` takes what was asked for to the host.
const requester = (call) => (first, second, third) => {
  const calledAt = new ErrorType("").stack;
  let told;
  let text;
  try {
    told = readRequest(first, second, third);
    text = toJson(told);
  } catch (error) {
    return PromiseType.reject(error);
  }
  openRequests.count++;
  return then(call(text), (reply) => {
    openRequests.count--;
    return envelopeOf(reply, told.path);
  }, (rejected) => {
    openRequests.count--;
    throw failedRequest(rejected, told.method + " " + told.path, calledAt);
  });
};

const request = requester((text) => callHost("request", text));

const failedRequest = (rejected, asked, calledAt) => {
  const told = isObject(rejected) ? bare(rejected) : { __proto__: null, message: StringType(rejected) };
  const error = new CloudflareError(told, asked);
  give(error, "stack", calledAt);
  return error;
};
