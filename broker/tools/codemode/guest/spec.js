// `spec`: the description, loaded once into the image; each run sees the part of it that its caller may use. What is hidden stays in this
// scope: no object a program reaches leads to it. Reading an object writes to it (its count of references), and each page written to is
// copied for the run: so what every run reads stands in typed arrays, and what few read stands elsewhere.
const METHODS = ["get", "put", "post", "delete", "patch", "head"];
const DEPRECATED = 1, GUARDED = 2, BODY = 4;
let pathNames = []; // by group; a group is a path with its operations
const items = []; // by group: {[method]: op}
const fullPaths = {};
let tagLists = [];
let ops = []; // by number
let groupOf, tagsOf, methodOf, flagsOf, readOf; // by number
const NONE = 65535;
let firstOf, nextOf; // by group: its first number; by number: the next of the same group; NONE where there is none
let groupSize, readSize; // by group: how many operations, and how many of them only read
const readItems = []; // by group: an item of those, where they are some and not all: what a reader sees most often
const groupByPath = new MapType();
const numberById = new MapType();
const index = new MapType(); // word → Uint16Array of [number, weight] pairs
let visibleBits = null; // bytes: bit n, least significant first, says whether number n is visible; null for all
let hidden = { not_permitted: 0, not_granted: 0 };
let whoamiValue = {};

const pathOf = (number) => pathNames[groupOf[number]];
const productOf = (number) => tagLists[tagsOf[number]][0] ?? "";
const isVisible = (number) => visibleBits === null || ((visibleBits[number >> 3] >> (number & 7)) & 1) === 1;

const ADDRESS = "$n";
const linker = (table) => {
  const link = (value) => {
    if (isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        const item = value[i];
        if (item !== null && typeof item === "object") value[i] = link(item);
      }
      return value;
    }
    const place = value[ADDRESS];
    if (place !== undefined) return table[place];
    for (const name in value) {
      const item = value[name];
      if (item !== null && typeof item === "object") value[name] = link(item);
    }
    return value;
  };
  return link;
};

const eachChunk = (next, take) => {
  for (let chunk = next(); chunk !== ""; chunk = next()) for (const entry of parseJson(chunk)) take(entry);
};

// What searches walk over is made first and kind by kind, so that each kind lies together: see above. Names stand in the order in which a
// reader wants them; what is deep is filled in later.
const loadLight = (next) => {
  pathNames = parseJson(next());
  for (const path of pathNames) fullPaths[path] = 0;
  for (const path of pathNames) items.push(fullPaths[path] = {});
  tagLists = parseJson(next());
  const effects = parseJson(next());
  groupOf = Uint16Array.from(parseJson(next()));
  tagsOf = Uint16Array.from(parseJson(next()));
  const effectOf = parseJson(next());
  methodOf = Bytes.from(parseJson(next()));
  flagsOf = Bytes.from(parseJson(next()));
  readOf = Bytes.from(effectOf, (place) => (effects[place] === "read" ? 1 : 0));
  firstOf = new Uint16Array(items.length).fill(NONE);
  nextOf = new Uint16Array(groupOf.length);
  for (let number = groupOf.length - 1; number >= 0; number--) {
    nextOf[number] = firstOf[groupOf[number]];
    firstOf[groupOf[number]] = number;
  }
  groupSize = new Uint16Array(items.length);
  readSize = new Uint16Array(items.length);
  for (let number = 0; number < groupOf.length; number++) ops.push(placeholder(flagsOf[number], effects[effectOf[number]], tagLists[tagsOf[number]]));
  for (let number = 0; number < ops.length; number++) {
    const item = items[groupOf[number]];
    const method = METHODS[methodOf[number]];
    if (hasOwn(item, method)) continue; // the same path twice: the first one stands
    item[method] = ops[number];
    groupSize[groupOf[number]]++;
    readSize[groupOf[number]] += readOf[number];
  }
  for (let group = 0; group < items.length; group++) readItems.push(undefined);
  for (let number = 0; number < ops.length; number++) {
    const group = groupOf[number];
    if (readOf[number] === 0 || readSize[group] === groupSize[group]) continue;
    const item = readItems[group] ??= {};
    item[METHODS[methodOf[number]]] = items[group][METHODS[methodOf[number]]];
  }
  parseJson(next()).forEach((summary, number) => { ops[number].summary = summary; });
  parseJson(next()).forEach((id, number) => { ops[number].operationId = id; mapSet(numberById, id, number); });
  next();
  pathNames = keysOf(fullPaths); // the same texts, in the form in which they are names
  pathNames.forEach((path, group) => mapSet(groupByPath, path, group));
};
const placeholder = (flags, effect, tags) => {
  const op = { summary: 0, description: 0, tags, operationId: 0 };
  if (flags & DEPRECATED) op.deprecated = true;
  op.parameters = 0;
  if (flags & BODY) op.requestBody = 0;
  op.responses = 0;
  op.permissions = 0;
  op.effect = effect;
  if (flags & GUARDED) op.guarded = true;
  return op;
};

give(globalThis, "__load", (next) => {
  delete globalThis.__load;
  loadLight(next);
  indexLight();
  const table = [];
  const link = linker(table);
  eachChunk(next, (entry) => { table.push(link(entry)); });
  eachChunk(next, ([number, deep]) => {
    const op = ops[number];
    for (const name of keysOf(deep)) op[name] = isObject(deep[name]) ? link(deep[name]) : deep[name];
  });
  for (let number = 0, text = next(); text !== ""; number++, text = next()) give(ops[number], "$text", text);
  indexDeep();
  plugHoles();
});

// Loading leaves the heap full of small holes, and a run's new objects would go into them, each on another page of the image, which is
// then copied: so the holes are filled, and runs allocate densely behind everything. And a collection in a run would visit, and copy,
// everything: so one is provoked here, while there is much more than is kept; the engine then waits until there is half as much again.
const MAX_FILLED = 400000;
const KEPT = 24000;
const plugs = [];
const plugHoles = () => {
  let cycle = {};
  cycle.self = cycle;
  const collected = new WeakRef(cycle);
  cycle = undefined;
  const text = repeat("-", 200);
  for (let i = 0; i < MAX_FILLED; i++) {
    plugs.push(slice(text, 0, 1 + (i * 7) % 64) + "-", [i]);
    if ((i & 1023) === 0 && collected.deref() === undefined) break;
  }
  if (plugs.length > KEPT) plugs.length = KEPT;
};

// Takes what is hidden out of this run's own copy of the paths. Work goes with what is hidden; nothing else is touched.
const hideFrom = (paths, bits) => {
  const shown = new Uint16Array(groupSize);
  const readHidden = new Bytes(shown.length);
  const touched = [];
  for (let at = 0; at * 8 < ops.length; at++) {
    if (bits[at] === 255) continue;
    const end = mathMin(ops.length, at * 8 + 8);
    for (let number = at * 8; number < end; number++) {
      if ((bits[at] >> (number & 7)) & 1) continue;
      const group = groupOf[number];
      if (shown[group] === groupSize[group]) touched.push(group);
      shown[group]--;
      if (readOf[number] === 1) readHidden[group] = 1;
    }
  }
  for (let i = 0; i < touched.length; i++) {
    const group = touched[i];
    if (shown[group] === 0) delete paths[pathNames[group]];
    else if (shown[group] === readSize[group] && readHidden[group] === 0) paths[pathNames[group]] = readItems[group];
    else paths[pathNames[group]] = visibleItem(group);
  }
};
const numbersOf = (group) => {
  const numbers = [];
  for (let number = firstOf[group]; number !== NONE; number = nextOf[number]) numbers.push(number);
  return numbers;
};
const visibleItem = (group) => {
  const item = {};
  for (const number of numbersOf(group)) {
    const method = METHODS[methodOf[number]];
    if (isVisible(number) && items[group][method] === ops[number]) item[method] = ops[number];
  }
  return item;
};

const applyContext = (context) => {
  void plugs; // keeps them
  if (typeof context.visible === "string") {
    visibleBits = new Bytes(mathFloor((ops.length + 7) / 8));
    visibleBits.set(fromBase64(context.visible).subarray(0, visibleBits.length)); // what is not said to be visible is not
    hideFrom(fullPaths, visibleBits);
  }
  if (isObject(context.hidden)) hidden = context.hidden;
  if (isObject(context.whoami)) whoamiValue = context.whoami;
  const spec = { paths: fullPaths };
  give(spec, "hidden", hidden);
  give(globalThis, "spec", spec);
};

const hiddenNote = () => {
  const count = (hidden.not_permitted || 0) + (hidden.not_granted || 0);
  if (count === 0) return "";
  return " (" + count + " operations are hidden from you: " + (hidden.not_permitted || 0) + " the credential lacks permission for, "
    + (hidden.not_granted || 0) + " no grant covers)";
};

give(globalThis, "whoami", () => whoamiValue);
give(globalThis, "products", () => {
  const counts = new Uint16Array(tagLists.length);
  for (let number = 0; number < tagsOf.length; number++) if (isVisible(number)) counts[tagsOf[number]]++;
  const sums = new MapType();
  counts.forEach((count, place) => {
    const product = tagLists[place][0] ?? "";
    if (count > 0) mapSet(sums, product, (mapGet(sums, product) ?? 0) + count);
  });
  const list = [];
  mapForEach(sums, (operations, product) => list.push({ product, operations }));
  return list.sort((x, y) => y.operations - x.operations || (x.product < y.product ? -1 : 1));
});

// In search nothing can be sent.
const noRequests = () => PromiseType.reject(new TypeErrorType("search only reads the description: send requests with the execute tool"));
give(globalThis, "cloudflare", freeze({ request: noRequests, paginate: () => { throw new TypeErrorType("search only reads the description"); } }));
