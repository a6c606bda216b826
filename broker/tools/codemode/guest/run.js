// One program: read, run, answered. What `sources` evaluates to is (send) => [run, deliver].
let answered = false;
let maxResult = 0;
let programShifts = [];

const answer = (text) => {
  if (answered) return;
  answered = true;
  send("r" + text);
};

const tail = () => '"logs":[],"log_dropped":' + logDropped;

const fail = (thrown) => {
  let error;
  try {
    error = toJson(describeThrown(thrown, programShifts));
  } catch {
    error = '{"kind":"thrown","name":"Error","message":"the program threw something that cannot be described"}';
  }
  answer('{"ok":false,"error":' + error + "," + tail() + "}");
};

const limitError = (message) => failure({ __proto__: null, kind: "limit", limit: "result_bytes", name: "ResultLimit", message });

const succeed = (value) => {
  if (openRequests.count > 0) {
    logText("warn", openRequests.count + " requests were still open when the program returned: await every request");
  }
  let text;
  try {
    text = toJson(value);
  } catch (error) {
    if (error instanceof TypeErrorType && exec(/circular/, StringType(readField(error, "message"))) !== null) {
      fail(new TypeErrorType("the returned value refers to itself, so it is not JSON: return plain data"));
      return;
    }
    fail(error);
    return;
  }
  if (text === undefined) {
    answer('{"ok":true,"undefined":true,' + tail() + ',"result":null}');
  } else if (text.length > maxResult) {
    fail(limitError("the result has " + text.length + " characters of JSON; at most " + maxResult + " are allowed: filter, slice or count in the program"));
  } else {
    answer('{"ok":true,' + tail() + ',"result":' + text + "}");
  }
};

// Until the value is no function any more: `async () => …` is called, and so is what a default export or a last declaration gives.
const settle = (value, calls) => then(resolved(value), (got) => {
  if (typeof got !== "function" || calls === 0) return succeed(got);
  return settle(got(), calls - 1);
});

const start = (code) => {
  const program = readProgram(code);
  programShifts = program.shifts;
  then(settle(program.run(), 2), undefined, fail);
};

const run = (code, contextJson, seed, maxResultChars) => {
  try {
    maxResult = maxResultChars;
    seedRandom(seed);
    applyContext(bare(parseJson(contextJson)));
    start(code);
  } catch (error) {
    fail(error);
  }
};

return (given) => {
  send = given;
  return [run, deliver];
};
