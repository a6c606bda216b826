// What a model writes as "the code", made into a function to call. Accepted: a function expression or declaration of any kind, an
// expression, statements with or without `return` (the last expression's value is the result where there is none), `export
// default`, and any of these inside a Markdown fence. What is replaced is replaced by blanks, and what is put in
// is accounted for, so that line and column stay those of the text as it was written.
const MAX_SPLITS = 24;
const FENCE = /^[ \t]*(?:```|~~~)[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?$/m;
const LEAD = /^(?:\s|\/\/[^\n]*(?:\n|$)|\/\*[^]*?\*\/)*/;
const EXPORT = /^export\s+(?:default\s+|(?=(?:async\s+)?function\b|const\b|let\b|var\b|class\b))/;
const CONTINUES = /^(?:[-([+*/`.,?:;%&|^=<>!]|in\b|of\b|instanceof\b|else\b|catch\b|finally\b|while\b|as\b)/;
const NO_VALUE = /^(?:const|let|var|if|for|while|do|switch|try|return|throw|break|continue|class|import|export|debugger)\b/;

const blanks = (text) => text.replaceAll(/[^\n]/g, " ");

// The inside of the first Markdown fence, with the rest blanked; the text itself where there is none.
const unfenced = (text) => {
  const open = exec(FENCE, text);
  if (open === null) return text;
  const start = open.index + open[0].length;
  const rest = slice(text, start);
  const close = exec(/^[ \t]*(?:```|~~~)[ \t]*\r?$/m, rest);
  const inside = close === null ? rest : slice(rest, 0, close.index);
  const outside = exec(LEAD, slice(text, 0, open.index))[0].length < open.index;
  if (outside && open[1] === "") return text;
  return blanks(slice(text, 0, start)) + inside;
};

const prepareText = (code) => {
  let text = unfenced(startsWith(code, "\ufeff") ? " " + slice(code, 1) : code);
  const lead = exec(LEAD, text)[0];
  const exported = exec(EXPORT, slice(text, lead.length));
  if (exported !== null) text = lead + blanks(exported[0]) + slice(text, lead.length + exported[0].length);
  return text;
};

// Compiles without running: the text becomes the body of an async function.
const compiles = (head, body, tail) => {
  const made = indirectEval("(async () => " + head + body + tail + ")");
  if (typeof made !== "function") throw new SyntaxErrorType("unbalanced brackets");
  return made;
};

// What stands before the text in what the engine sees. A shift says: on this line, from this column of the text on, the engine counts
// so many columns more.
const WRAP = "(async () => (".length;
const WRAPPED = { line: 1, from: 0, by: WRAP };

const asExpression = (text, end) => ({ run: compiles("(", slice(text, 0, end), "\n)"), shifts: [WRAPPED] });
const asStatements = (text) => ({ run: compiles("{", text, "\n}"), shifts: [WRAPPED] });

const placeOf = (text, index) => {
  let line = 1;
  let start = 0;
  for (let at = indexOf(text, "\n"); at >= 0 && at < index; at = indexOf(text, "\n", at + 1)) { line++; start = at + 1; }
  return { line, column: index - start + 1 };
};

// Statements whose last one is an expression, with `return` put before it; undefined where the last one is none.
const asLastValue = (text, { ends, end }) => {
  const most = text.length > 65536 ? 3 : MAX_SPLITS;
  for (let i = ends.length - 1, tried = 0; i >= 0 && tried < most; i--) {
    const at = skipLead(text, ends[i]);
    if (at >= end) continue;
    const tail = slice(text, at, end);
    if (exec(CONTINUES, tail) !== null) continue;
    tried++;
    if (exec(NO_VALUE, tail) !== null) return undefined;
    try {
      compiles("{", slice(text, 0, at), "\n}");
      compiles("(", tail, "\n)");
    } catch { continue; }
    const place = placeOf(text, at);
    const shifts = [WRAPPED, { line: place.line, from: place.column, by: "0;return (".length }];
    return { run: compiles("{", slice(text, 0, at) + "0;return (" + tail, "\n);}"), shifts };
  }
  return undefined;
};


// {run, shifts} of a text that is already prepared. Throws [SyntaxError as an expression, SyntaxError as statements].
const readForms = (text, scan) => {
  let whole;
  try {
    return asExpression(text, scan.end);
  } catch (error) {
    whole = error;
  }
  try {
    const statements = asStatements(text);
    return asLastValue(text, scan) ?? statements;
  } catch (error) {
    throw [whole, error];
  }
};

// The engine knows the line of calls and of expression statements only: a "0;" before the other statements makes it know theirs.
const MARK = "0;";
const MAX_MARKED = 262144;
const withMarks = (text, marks) => {
  let marked = "";
  let from = 0;
  const shifts = [];
  for (let i = 0; i < marks.length; i++) {
    marked += slice(text, from, marks[i]) + MARK;
    from = marks[i];
    const { line, column } = placeOf(text, from);
    shifts[i] = { line, from: column, by: MARK.length };
  }
  return { text: marked + slice(text, from), shifts };
};

// {run, shifts} of the code. Throws a failure (`failSyntax`) where it is no program.
const readProgram = (code) => {
  const text = prepareText(code);
  const scan = scanCode(text);
  if (scan.end === 0) throw failSyntax("there is no code here", code, 1, 1);
  if (scan.marks.length > 0 && text.length <= MAX_MARKED) {
    try {
      const marked = withMarks(text, scan.marks);
      const read = readForms(marked.text, scanCode(marked.text));
      return { run: read.run, shifts: [WRAPPED, ...marked.shifts, ...read.shifts.slice(1)] };
    } catch { /* a name such as `return` used as a method's: without marks, then */ }
  }
  try {
    return readForms(text, scan);
  } catch (errors) {
    throw describeSyntax(code, text, errors[0], errors[1]);
  }
};
