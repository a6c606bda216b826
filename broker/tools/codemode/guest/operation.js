// `operation(ref)`: one operation, compact enough to read whole.
const MAX_SCHEMA = 6000;
const MAX_EXAMPLE = 3000;
const MAX_SHOWN_PARAMETERS = 60;

const oneLine = (text, most) => cutLine(typeof text === "string" ? text.replace(/\s+/g, " ").trim() : "", most);
const cutLine = (text, most) => (text.length <= most ? text : slice(text, 0, most - 1) + "…");

// A schema as a TypeScript type: what a model reads best, and a tenth of the JSON. `depth` levels of objects are written out.
const typeText = (schema, depth, indent, request) => {
  if (!isObject(schema) || isArray(schema)) return "unknown";
  if (schema.$circular !== undefined) return "unknown /* refers back to " + oneLine(schema.$circular, 80) + " */";
  if (isArray(schema.enum)) return union(schema.enum.map((value) => toJson(value)), 14);
  if (schema.const !== undefined) return toJson(schema.const);
  const merged = mergeAll(schema, 6);
  const options = merged.oneOf ?? merged.anyOf;
  if (isArray(options) && options.length > 0 && merged.properties === undefined) {
    return union(options.map((option) => typeText(option, depth, indent, request)), 5);
  }
  const kinds = isArray(merged.type) ? merged.type : merged.type === undefined ? [] : [merged.type];
  const nullable = merged.nullable === true || kinds.includes("null") ? " | null" : "";
  return plainType(merged, kinds.find((kind) => kind !== "null"), depth, indent, request) + nullable;
};
const union = (texts, most) => {
  const unique = [...new SetType(texts)];
  if (unique.length === 0) return "unknown";
  return unique.slice(0, most).join(" | ") + (unique.length > most ? " /* … " + (unique.length - most) + " more */" : "");
};
const plainType = (schema, kind, depth, indent, request) => {
  if (kind === "array" || (kind === undefined && schema.items !== undefined)) {
    const item = typeText(schema.items ?? {}, depth, indent, request);
    return exec(/^[\w{}"]+$/, item) !== null || startsWith(item, "{") ? item + "[]" : "Array<" + item + ">";
  }
  if (kind === "object" || schema.properties !== undefined) return objectType(schema, depth, indent, request);
  if (kind === "integer" || kind === "number") return "number";
  if (kind === "string") return schema.format === "binary" ? "string /* binary */" : "string";
  return kind ?? "unknown";
};
const objectType = (schema, depth, indent, request) => {
  const names = keysOf(schema.properties ?? {}).filter((name) => !(request && schema.properties[name]?.readOnly === true));
  if (names.length === 0) {
    const more = schema.additionalProperties;
    return isObject(more) && keysOf(more).length > 0 ? "Record<string, " + typeText(more, depth, indent, request) + ">" : "Record<string, unknown>";
  }
  if (depth <= 0) return "{ … }";
  const required = isArray(schema.required) ? schema.required : [];
  names.sort((x, y) => required.includes(y) - required.includes(x));
  const inner = indent + "  ";
  const lines = names.map((name) => {
    const property = schema.properties[name];
    const note = oneLine(property?.description, 90);
    const key = exec(/^[A-Za-z_$][\w$]*$/, name) !== null ? name : toJson(name);
    return inner + key + (required.includes(name) ? "" : "?") + ": " + typeText(property, depth - 1, inner, request) + ";" + (note ? " // " + note : "");
  });
  return "{\n" + lines.join("\n") + "\n" + indent + "}";
};
const mergeAll = (schema, depth) => {
  if (!isArray(schema.allOf) || depth === 0) return schema;
  const { allOf, ...own } = schema;
  const made = {};
  for (const part of [...allOf, own]) {
    if (!isObject(part)) continue;
    const flat = mergeAll(part, depth - 1);
    for (const name of keysOf(flat)) {
      if (name === "properties") made.properties = mergeProperties(made.properties ?? {}, flat.properties);
      else if (name === "required" && isArray(flat.required)) made.required = [...(made.required ?? []), ...flat.required];
      else made[name] = flat[name];
    }
  }
  return made;
};
// Parts of one `allOf` that each narrow a property to some values are, in practice, alternatives: all of them are shown.
const mergeProperties = (before, more) => {
  const made = { ...before };
  for (const name of keysOf(more)) {
    const both = isArray(made[name]?.enum) && isArray(more[name]?.enum);
    made[name] = both ? { ...made[name], enum: [...new SetType([...made[name].enum, ...more[name].enum])] } : more[name];
  }
  return made;
};
const shortType = (schema, request) => {
  for (const depth of [6, 4, 3, 2]) {
    const text = typeText(schema, depth, "", request);
    if (text.length <= MAX_SCHEMA) return text;
  }
  return cutText(typeText(schema, 1, "", request), MAX_SCHEMA);
};

const EXAMPLES = { __proto__: null, string: "string", integer: 1, number: 1, boolean: true, null: null };
const exampleOf = (schema, depth) => {
  if (!isObject(schema) || isArray(schema)) return "…";
  if (schema.example !== undefined) return schema.example;
  if (isArray(schema.examples) && schema.examples.length > 0) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (isArray(schema.enum) && schema.enum.length > 0) return schema.enum[0];
  const merged = mergeAll(schema, 6);
  const options = merged.oneOf ?? merged.anyOf;
  if (isArray(options) && options.length > 0 && merged.properties === undefined) return exampleOf(options[0], depth);
  const kind = isArray(merged.type) ? merged.type[0] : merged.type;
  if (kind === "array") return depth > 0 ? [exampleOf(merged.items ?? {}, depth - 1)] : [];
  if (kind === "object" || merged.properties !== undefined) return exampleObject(merged, depth);
  return kind in EXAMPLES ? EXAMPLES[kind] : "…";
};
// Required members; where none is said to be, the first few.
const exampleObject = (schema, depth) => {
  const names = keysOf(schema.properties ?? {}).filter((name) => schema.properties[name]?.readOnly !== true);
  const required = isArray(schema.required) ? names.filter((name) => schema.required.includes(name)) : [];
  const made = {};
  if (depth > 0) for (const name of (required.length > 0 ? required : names.slice(0, 4))) made[name] = exampleOf(schema.properties[name], depth - 1);
  return made;
};
const declaredExample = (media) => {
  if (media.example !== undefined) return media.example;
  const named = isObject(media.examples) ? keysOf(media.examples) : [];
  return named.length > 0 ? media.examples[named[0]]?.value : undefined;
};

const bodyOf = (op) => {
  const content = isObject(op.requestBody) && isObject(op.requestBody.content) ? op.requestBody.content : {};
  const types = keysOf(content);
  const type = types.find((name) => name.includes("json")) ?? types[0];
  if (type === undefined || !isObject(content[type])) return undefined;
  const schema = content[type].schema ?? {};
  const made = { contentType: type, required: op.requestBody.required === true, type: shortType(schema, true) };
  if (types.length > 1) made.otherContentTypes = types.filter((name) => name !== type);
  const example = declaredExample(content[type]) ?? exampleOf(schema, 5);
  if (toJson(example)?.length <= MAX_EXAMPLE) made.example = example;
  return made;
};

const parametersOf = (op) => (isArray(op.parameters) ? op.parameters : []).filter(isObject).slice(0, MAX_SHOWN_PARAMETERS).map((parameter) => {
  const made = { name: parameter.name, in: parameter.in, type: cutLine(typeText(parameter.schema ?? {}, 1, "", true), 300) };
  if (parameter.required === true) made.required = true;
  const note = oneLine(parameter.description ?? parameter.schema?.description, 160);
  if (note) made.description = note;
  if (parameter.schema?.default !== undefined) made.default = parameter.schema.default;
  return made;
});

const answerOf = (op) => {
  const status = keysOf(op.responses ?? {}).find((name) => startsWith(name, "2"));
  const content = op.responses?.[status]?.content;
  if (!isObject(content)) return undefined;
  const type = keysOf(content).find((name) => name.includes("json"));
  if (type === undefined) return keysOf(content)[0];
  const whole = mergeAll(content[type]?.schema ?? {}, 6);
  const result = whole.properties?.result;
  return result === undefined ? undefined : "{ result: " + cutText(typeText(result, 2, "", false), 2000) + " }";
};

const callText = (entry, body) => {
  const path = entry.path.replace(/\{([^}]+)\}/g, (_whole, name) => "${" + name.replace(/\W/g, "_") + "}");
  const quoted = path === entry.path ? toJson(path) : "`" + path + "`";
  const sent = body === undefined ? "" : body.example === undefined ? ", body" : ", body: " + cutLine(toJson(body.example), 400);
  return "await cloudflare.request({ method: " + toJson(upper(entry.method)) + ", path: " + quoted + sent + " })";
};

const describeOperation = (entry) => {
  const { op } = entry;
  const made = { method: upper(entry.method), path: entry.path, operationId: op.operationId, summary: op.summary };
  if (op.description && op.description !== op.summary) made.description = oneLine(op.description, 800);
  made.product = entry.product;
  made.effect = op.effect;
  made.permissions = op.permissions.length <= 8 ? op.permissions : [...op.permissions.slice(0, 8), "… " + (op.permissions.length - 8) + " others suffice too"];
  if (op.guarded) made.guarded = "needs a grant that names this operation";
  if (op.deprecated) made.deprecated = true;
  made.parameters = parametersOf(op);
  const body = bodyOf(op);
  if (body !== undefined) made.body = body;
  const answered = answerOf(op);
  if (answered !== undefined) made.response = answered;
  made.call = callText(entry, body);
  return give(made, "op", op);
};

const shapeOf = (path) => path.replace(/\{[^}]*\}/g, "{}");
const fitsTemplate = (template, path) => {
  const parts = template.split("/");
  const given = path.split("/");
  return parts.length === given.length && parts.every((part, i) => (part.includes("{") ? given[i] !== "" : part === given[i]));
};

const entryOf = (number) => ({ number, path: pathOf(number), method: METHODS[methodOf[number]], op: ops[number], product: productOf(number) });

// The visible operations that a reference may mean: by id, by path as it stands, with other parameter names, or with values in it.
const lookUp = (ref) => {
  const found = exec(/^\s*(?:([A-Za-z]+)\s+)?(\/\S*)\s*$/, ref);
  if (found === null) {
    const number = mapGet(numberById, trim(ref));
    return number !== undefined && isVisible(number) ? [entryOf(number)] : [];
  }
  const method = found[1] === undefined ? undefined : lower(found[1]);
  let path = found[2].replace(/^\/client\/v4(?=\/)/, "").replace(/[?#].*$/, "");
  if (path.length > 1 && endsWith(path, "/")) path = slice(path, 0, path.length - 1);
  const of = (group) => numbersOf(group).filter(isVisible).map(entryOf).filter((entry) => method === undefined || entry.method === method);
  const exact = mapGet(groupByPath, path);
  const same = exact === undefined ? [] : of(exact);
  if (same.length > 0) return same;
  const shape = shapeOf(path);
  const alike = pathNames.flatMap((name, group) => (shapeOf(name) === shape ? of(group) : []));
  if (alike.length > 0) return alike;
  const taken = pathNames.flatMap((name, group) => (fitsTemplate(name, path) ? of(group) : []));
  const braces = (entry) => entry.path.split("{").length;
  return taken.sort((x, y) => braces(x) - braces(y)).slice(0, 1);
};

// Letters that two texts share in order, relative to their lengths (by pairs of letters: Dice's coefficient).
const likeness = (one, other) => {
  const pairs = new MapType();
  for (let i = 0; i + 1 < one.length; i++) mapSet(pairs, slice(one, i, i + 2), (mapGet(pairs, slice(one, i, i + 2)) ?? 0) + 1);
  let shared = 0;
  for (let i = 0; i + 1 < other.length; i++) {
    const left = mapGet(pairs, slice(other, i, i + 2)) ?? 0;
    if (left > 0) { shared++; mapSet(pairs, slice(other, i, i + 2), left - 1); }
  }
  return 2 * shared / mathMax(1, one.length + other.length - 2);
};

const nearest = (ref) => {
  const asked = lower(slice(ref, 0, 300));
  const path = exec(/\/\S*/, asked)?.[0];
  const method = exec(/^\s*([a-z]+)\s+\//, asked)?.[1];
  const words = wordsOf((path ?? asked).replace(/\{[^}]*\}|\b[0-9a-f]{32}\b/g, " "), MAX_WORDS);
  const near = words.length > 0 ? rank(words, () => true, 60).slice(0, 60) : [];
  const scored = near.map((number) => {
    const entry = entryOf(number);
    const text = path === undefined ? entry.op.operationId : entry.path;
    return { entry, score: likeness(path ?? asked, lower(text)) + (entry.method === method ? 0.1 : 0) };
  });
  return scored.sort((x, y) => y.score - x.score || x.entry.number - y.entry.number).slice(0, 5)
    .map(({ entry }) => (path === undefined ? entry.op.operationId : upper(entry.method) + " " + entry.path));
};

give(globalThis, "operation", (ref, second) => {
  const asked = typeof second === "string" ? ref + " " + second : ref;
  if (typeof asked !== "string" || trim(asked) === "") throw new TypeErrorType('operation takes an operation id or "GET /zones/{zone_id}"');
  const found = lookUp(asked);
  if (found.length === 1) return describeOperation(found[0]);
  const shown = cutText(asked, 200);
  if (found.length > 1) throw new ErrorType(toJson(shown) + " has several methods: " + found.map((entry) => upper(entry.method) + " " + entry.path).slice(0, 8).join(", "));
  const near = nearest(asked);
  throw new ErrorType("no operation " + toJson(shown) + (near.length > 0 ? "; did you mean " + near.join(", ") + "?" : "") + hiddenNote());
});
