// The only way out of the sandbox. `send` takes "c" + [id,name,argument] for a call to the host, "l" + {level,text} for a log
// entry, "r" + the result. Each is built as text from primitives, so that no polluted prototype can change its shape.
let send;
let lastCall = 0;
const waiting = new MapType();
const openRequests = { __proto__: null, count: 0 };

const callHost = (name, argumentJson) => new PromiseType((resolve, reject) => {
  const id = ++lastCall;
  mapSet(waiting, id, { __proto__: null, resolve, reject });
  send('c[' + id + ',"' + name + '",' + argumentJson + "]");
});

// The host's answer to call `id`: `ok` is "1", or the call is rejected with the object in `json`.
const deliver = (id, ok, json) => {
  const number = +id;
  const call = mapGet(waiting, number);
  if (call === undefined) return;
  mapDelete(waiting, number);
  let value;
  try {
    value = parseJson(json);
  } catch {
    call.reject(new ErrorType("the host's answer was not JSON"));
    return;
  }
  if (ok === "1") call.resolve(value);
  else call.reject(value);
};

// Timers are host calls named "sleep": they count against the run's time, not its requests.
const MAX_DELAY = 2147483647;
let lastTimer = 0;
const timers = new MapType();

const startTimer = (callback, delay, again, args) => {
  if (typeof callback !== "function") throw new TypeErrorType("the first argument of a timer must be a function");
  const id = ++lastTimer;
  const wanted = NumberType(delay);
  const ms = wanted >= 0 && wanted <= MAX_DELAY ? mathFloor(wanted) : 0;
  const sleep = () => then(callHost("sleep", '{"ms":' + ms + "}"), fire, () => mapDelete(timers, id));
  const fire = () => {
    if (!mapHas(timers, id)) return;
    if (!again) mapDelete(timers, id);
    try {
      callback(...args);
    } catch (error) {
      logText("error", "a timer's function threw " + describeValue(error));
    }
    if (again && mapHas(timers, id)) sleep();
  };
  mapSet(timers, id, true);
  sleep();
  return id;
};
const stopTimer = (id) => { mapDelete(timers, id); };
give(globalThis, "setTimeout", (callback, delay = 0, ...args) => startTimer(callback, delay, false, args));
give(globalThis, "setInterval", (callback, delay = 0, ...args) => startTimer(callback, delay < 1 ? 1 : delay, true, args));
give(globalThis, "clearTimeout", stopTimer);
give(globalThis, "clearInterval", stopTimer);
