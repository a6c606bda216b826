// `find(words, options)`: operations by relevance.
const PATH_WEIGHT = 30, SUMMARY_WEIGHT = 30, TAG_WEIGHT = 20, ID_WEIGHT = 12, PARAMETER_WEIGHT = 4, DESCRIPTION_WEIGHT = 5;
const MAX_FOUND = 200;
const MAX_WORDS = 24;
let building = new MapType();

// Places are [number, weight] pairs; a word that an operation has in several fields has several.
const addWords = (number, words, weight) => {
  for (const word of words) {
    const places = mapGet(building, word);
    if (places === undefined) mapSet(building, word, [number, weight]);
    else {
      const last = places.length - 2;
      if (places[last] !== number) places.push(number, weight);
      else places[last + 1] = mathMax(places[last + 1], weight) + 3;
    }
  }
};

// Called while the image is built: with the light parts, and, when the rest is there, with descriptions and parameters.
const indexLight = () => {
  const known = new MapType();
  const remembered = (text) => {
    let words = mapGet(known, text);
    if (words === undefined) mapSet(known, text, words = wordsOf(text));
    return words;
  };
  ops.forEach((op, number) => {
    for (const tag of op.tags) addWords(number, remembered(tag), TAG_WEIGHT);
    addWords(number, wordsOf(op.operationId, 12), ID_WEIGHT);
    for (const part of pathOf(number).split("/")) if (part !== "" && part[0] !== "{") addWords(number, remembered(part), PATH_WEIGHT);
    addWords(number, wordsOf(op.summary), SUMMARY_WEIGHT);
  });
};
const indexDeep = () => {
  ops.forEach((op, number) => {
    addWords(number, wordsOf(slice(op.description, 0, 200), 24), DESCRIPTION_WEIGHT);
    for (const parameter of op.parameters) {
      if (isObject(parameter) && typeof parameter.name === "string" && parameter.in !== "path") addWords(number, wordsOf(parameter.name, 4), PARAMETER_WEIGHT);
    }
  });
  mapForEach(building, (places, word) => mapSet(index, word, Uint16Array.from(places)));
  building = undefined;
};

// Each asked word gives an operation at most its rarity; synonyms give less. How much of what was asked is covered counts most.
// Numbers and typed arrays only: thousands of small objects would cost more than the search.
const scoreWords = (asked) => {
  const scores = new Float64Array(ops.length);
  const covered = new Float64Array(ops.length);
  const best = new Float64Array(ops.length);
  for (const word of asked) {
    best.fill(0);
    let matched = takePlaces(best, word, 1);
    for (const other of SYNONYMS[word] ?? []) matched += takePlaces(best, other, 0.6);
    if (matched === 0) for (const other of prefixed(word)) matched += takePlaces(best, other, 0.5);
    if (matched === 0) continue;
    const rarity = Math.log(1 + ops.length / (1 + matched));
    for (let number = 0; number < best.length; number++) {
      const share = best[number];
      if (share === 0) continue;
      scores[number] += share * rarity;
      covered[number] += (share > 0.5 ? 1 : 0.5 + share) * rarity;
    }
  }
  return { scores, covered };
};
// How many operations got a share that had none.
const takePlaces = (best, word, factor) => {
  const places = mapGet(index, word);
  if (places === undefined) return 0;
  let matched = 0;
  for (let i = 0; i < places.length; i += 2) {
    const number = places[i];
    const share = factor * places[i + 1] / (places[i + 1] + 12);
    if (best[number] === 0) matched++;
    if (share > best[number]) best[number] = share;
  }
  return matched;
};
const prefixed = (word) => {
  const found = [];
  if (word.length < 3) return found;
  mapForEach(index, (_places, known) => {
    if (found.length < 12 && (startsWith(known, word) || (known.length >= 4 && startsWith(word, known)))) found.push(known);
  });
  return found;
};

const NEAR_BEST = 0.3;

// Numbers of the visible operations that pass, best first; `enough` of them, or all there are.
const rank = (asked, passes, enough) => {
  const { scores, covered } = scoreWords(asked);
  let whole = 0;
  for (let i = 0; i < covered.length; i++) if (covered[i] > whole) whole = covered[i];
  const weigh = methodWeights(asked);
  const wantsList = asked.includes(LIST_VERB);
  const wantsOne = !wantsList && asked.some((word) => ONE_VERBS[word]);
  let numbers = [];
  let top = 0;
  for (let number = 0; number < scores.length; number++) {
    if (scores[number] === 0 || !isVisible(number) || !passes(number)) continue;
    const path = pathOf(number);
    let score = scores[number] * (covered[number] / whole) ** 2 * weigh[methodOf[number]] / (1 + 0.0035 * path.length);
    if (wantsList || wantsOne) {
      const one = path[path.length - 1] === "}";
      if (wantsList) score *= one ? 0.85 : 1.15;
      else if (one) score *= 1.1;
    }
    if (flagsOf[number] & DEPRECATED) score *= 0.5;
    scores[number] = score;
    if (score > top) top = score;
    numbers.push(number);
  }
  const near = numbers.filter((number) => scores[number] >= NEAR_BEST * top);
  if (near.length >= enough) numbers = near;
  return numbers.sort((x, y) => scores[y] - scores[x] || x - y);
};
const methodWeights = (asked) => {
  const methods = asked.flatMap((word) => VERBS[word] ?? []);
  return METHODS.map((method) => (methods.length === 0 ? 1 : methods[0] === method ? 1.35 : methods.includes(method) ? 1.25 : 0.8));
};

const listFilter = (value) => (value === undefined || value === null ? [] : (isArray(value) ? value : [value]).map((item) => lower(StringType(item))));
const filterOf = (options) => {
  const methods = listFilter(options.method);
  const tags = listFilter(options.tag);
  const products = listFilter(options.product);
  if (methods.length + tags.length + products.length === 0) return () => true;
  const lists = tagLists.map((list) => (tags.length === 0 || list.some((tag) => tags.includes(lower(tag))))
    && (products.length === 0 || products.includes(lower(list[0] ?? ""))));
  return (number) => lists[tagsOf[number]] && (methods.length === 0 || methods.includes(METHODS[methodOf[number]]));
};

const FIND_OPTIONS = { __proto__: null, method: 1, tag: 1, product: 1, limit: 1 };
const find = (words = "", options = {}) => {
  if (typeof words === "object" && words !== null && !isArray(words)) return find("", words);
  for (const name of keysOf(options)) {
    if (!(name in FIND_OPTIONS)) throw new TypeErrorType("find does not know the option " + toJson(cutText(name, 60)) + "; it takes method, tag, product, limit");
  }
  const asked = [...new SetType(wordsOf(isArray(words) ? words.join(" ") : StringType(words), MAX_WORDS))];
  const limit = mathMax(0, mathMin(NumberType(options.limit ?? 20) || 0, MAX_FOUND));
  const passes = filterOf(options);
  if (asked.length > 0) return rank(asked, passes, limit).slice(0, limit).map(briefly);
  const found = [];
  for (let number = 0; number < ops.length && found.length < limit; number++) if (isVisible(number) && passes(number)) found.push(briefly(number));
  return found;
};
give(globalThis, "find", find);

const briefly = (number) => {
  const op = ops[number];
  const shown = { method: upper(METHODS[methodOf[number]]), path: pathOf(number), summary: op.summary, product: productOf(number), effect: op.effect };
  if (op.deprecated) shown.deprecated = true;
  return give(shown, "op", op);
};
