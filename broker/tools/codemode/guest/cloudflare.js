// The `cloudflare` object of execute, and `previous`; `clientOf` makes as much for each API of a portal.
const PAGE_OPTIONS = { __proto__: null, query: 1, limit: 1, maxPages: 1, perPage: 1, headers: 1, method: 1, body: 1, path: 1, params: 1 };
const MAX_PAGES = 1000;

// paginate(path, {query?, limit?, perPage?, maxPages?}) or paginate({path, query?, …}, {limit?, …}).
const readPaging = (first, second) => {
  const options = typeof first === "string" ? { path: first } : { ...first };
  if (!isObject(first) && typeof first !== "string") throw wrong('paginate takes a path, as in paginate("/zones", {query: {per_page: 50}})');
  const more = second ?? {};
  if (!keysOf(more).every((name) => name in PAGE_OPTIONS)) options.query = { ...options.query, ...more };
  else {
    for (const name of keysOf(more)) options[name] = name === "query" ? { ...options.query, ...more.query } : more[name];
  }
  const { limit = Infinity, maxPages = MAX_PAGES, perPage, ...asked } = options;
  if (perPage !== undefined) asked.query = { ...asked.query, per_page: perPage };
  return { asked, limit: NumberType(limit), maxPages: mathMin(NumberType(maxPages) || MAX_PAGES, MAX_PAGES) };
};

// The list in an answer: `result` itself, or the one array that an object holds (as R2's {buckets: […]}).
const itemsOf = (envelope) => {
  const { result } = envelope;
  if (isArray(result)) return result;
  if (!isObject(result)) return result === undefined || result === null ? [] : [result];
  const lists = keysOf(result).filter((name) => isArray(result[name]));
  return lists.length > 0 ? result[lists[0]] : [result];
};

const cursorOf = (envelope) => {
  const info = isObject(envelope.result_info) ? envelope.result_info : {};
  const held = isObject(envelope.result) && !isArray(envelope.result) ? envelope.result : {};
  for (const cursor of [info.cursors?.after, info.cursor, info.next_cursor, held.cursor, held.next_cursor]) {
    if (typeof cursor === "string" && cursor !== "") return cursor;
  }
  return undefined;
};

// The query of the page behind `envelope`, or undefined where it was the last. Cursor lists name the next one; numbered ones count, or,
// where they do not, end with the first page that is not full.
const nextQuery = (query, envelope, count, seen) => {
  const info = isObject(envelope.result_info) ? envelope.result_info : {};
  if (info.is_truncated === false) return undefined;
  const cursor = cursorOf(envelope);
  if (cursor !== undefined) {
    if (mapHas(seen, cursor)) return undefined;
    mapSet(seen, cursor, true);
    return { ...query, cursor };
  }
  const asked = NumberType(query.page ?? 1);
  const page = NumberType(info.page ?? NaN);
  if (!(page >= asked) || count === 0) return undefined;
  const size = NumberType(info.per_page) || count;
  const pages = info.total_pages ?? (typeof info.total_count === "number" ? (info.total_count + size - 1) / size : undefined);
  const more = pages === undefined ? count >= size : page < mathFloor(pages);
  return more ? { ...query, page: page + 1 } : undefined;
};

async function* pagesOf(ask, { asked, limit, maxPages }) {
  const seen = new MapType();
  let query = { ...(asked.query ?? asked.params) };
  let given = 0;
  for (let number = 0; number < maxPages && given < limit; number++) {
    const envelope = await ask({ ...asked, query });
    const items = itemsOf(envelope);
    given += items.length;
    yield envelope;
    query = nextQuery(query, envelope, items.length, seen);
    if (query === undefined) return;
  }
}

async function* itemsOfPages(ask, paging) {
  let left = paging.limit;
  for await (const envelope of pagesOf(ask, paging)) {
    for (const item of itemsOf(envelope)) {
      if (left-- <= 0) return;
      yield item;
    }
  }
}

// An async iterator over items; `.pages()` over whole answers; `.all()` (or `.toArray()`) a promise of an array of items.
const paginator = (ask) => (first, second) => {
  const paging = readPaging(first, second);
  const items = itemsOfPages(ask, paging);
  const all = async () => {
    const list = [];
    for await (const item of items) list.push(item);
    return list;
  };
  give(items, "pages", () => pagesOf(ask, paging));
  give(items, "all", all);
  give(items, "toArray", all);
  return items;
};

// The client of one API, from what asks it.
const clientOf = (ask) => {
  const client = {};
  give(client, "request", ask);
  for (const method of ["get", "post", "put", "patch", "delete"]) give(client, method, (path, rest) => ask(upper(method), path, rest));
  give(client, "paginate", paginator(ask));
  return client;
};
const cloudflare = freeze(clientOf(request));

const previous = (executionId) => {
  const calledAt = new ErrorType("").stack;
  if (typeof executionId !== "string") return PromiseType.reject(wrong("previous takes the execution_id of an earlier answer"));
  return then(callHost("previous", '{"execution_id":' + toJson(executionId) + "}"), reviveBinary, (rejected) => {
    throw failedRequest(rejected, "", calledAt);
  });
};

const applyContext = (context) => {
  if (typeof context.accountId === "string") give(globalThis, "accountId", context.accountId);
  if (context.zones !== undefined) give(globalThis, "zones", context.zones);
  if (isObject(context.portal)) applyPortal(bare(context.portal));
};
give(globalThis, "cloudflare", cloudflare);
give(globalThis, "previous", previous);
