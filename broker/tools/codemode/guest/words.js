// Words as they are sought: the same for what is looked through and for what is asked.
const STOP = { __proto__: null };
for (const word of ["a", "an", "the", "of", "for", "to", "in", "on", "by", "and", "or", "with", "my", "all", "is", "how", "do", "i", "via", "from"]) STOP[word] = 1;

const stems = new MapType();
const stemOf = (word) => {
  let stem = mapGet(stems, word);
  if (stem === undefined) mapSet(stems, word, stem = findStem(word));
  return stem;
};
const findStem = (word) => {
  const length = word.length;
  if (length < 4 || exec(/\d/, word) !== null) return word;
  if (endsWith(word, "ies")) return slice(word, 0, length - 3) + "y";
  let stem = word;
  if (exec(/(?:s|x|z|ch|sh)es$/, word) !== null) stem = slice(word, 0, length - 2);
  else if (endsWith(word, "s") && !endsWith(word, "ss") && !endsWith(word, "us")) stem = slice(word, 0, length - 1);
  else if (length > 5 && endsWith(word, "ing")) stem = slice(word, 0, length - 3);
  else if (length > 4 && endsWith(word, "ed")) stem = slice(word, 0, length - 2);
  return stem.length > 4 && endsWith(stem, "e") ? slice(stem, 0, stem.length - 1) : stem;
};

// camelCase, kebab-case, snake_case and prose alike.
const wordsOf = (text, most = 400) => {
  const found = [];
  const plain = lower(slice(text, 0, 4000).replace(/([a-z0-9])([A-Z])/g, "$1 $2"));
  const pattern = /[a-z0-9]+/g;
  for (let match = exec(pattern, plain); match !== null && found.length < most; match = exec(pattern, plain)) {
    if (STOP[match[0]] === undefined) found.push(stemOf(match[0]));
  }
  return found;
};

// What people say, and what the description calls it. Few, and one way: each costs precision.
const SYNONYMS = { __proto__: null };
for (const [said, called] of entriesOf({
  domain: "zone", remove: "delete", erase: "delete", destroy: "delete", add: "create", make: "create", new: "create", insert: "create",
  change: "update", modify: "update", edit: "update", patch: "update", set: "update", fetch: "get", show: "get", read: "get", view: "get", retrieve: "get",
  enumerate: "list", firewall: "waf ruleset", bucket: "r2", worker: "script", upload: "put", deploy: "upload script", cert: "certificate", ssl: "certificate tls",
  tls: "ssl certificate", sql: "d1 database", token: "tokens", user: "member", invite: "member", login: "access", sso: "access identity",
  tunnel: "cfd", vpn: "warp device", ratelimit: "rate limit", captcha: "challenge turnstile widget", turnstile: "challenge widget", log: "logpush",
  cron: "schedule", vanity: "custom", redirect: "rule", invalidate: "purge", flush: "purge", clear: "purge", whois: "domain", record: "dns",
  kv: "storage namespace", key: "kv", queue: "queues", ip: "address", block: "rule", traffic: "analytics", metric: "analytics",
})) SYNONYMS[stemOf(said)] = called.split(" ").map(stemOf);

const VERBS = { __proto__: null };
for (const [verb, methods] of entriesOf({
  create: "post", add: "post", insert: "post", new: "post", delete: "delete", remove: "delete", update: "patch put", edit: "patch put", change: "patch put",
  modify: "patch put", replace: "put", set: "put patch", upload: "put post", list: "get", get: "get", show: "get", read: "get", fetch: "get", view: "get",
  put: "put", post: "post", patch: "patch", write: "put post", purge: "post", enable: "patch put post", disable: "patch put delete",
})) VERBS[stemOf(verb)] = methods.split(" ");
const LIST_VERB = stemOf("list");
const ONE_VERBS = { __proto__: null, [stemOf("get")]: 1, [stemOf("show")]: 1, [stemOf("read")]: 1 };
