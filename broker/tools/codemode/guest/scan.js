// A scanner of JavaScript that is exact about strings, templates, comments and (nearly) patterns, and knows brackets: enough to
// see where statements begin and end. It changes nothing about what a program means: what is done with it is compiled
// again, and dropped where it does not compile.
const LEAD_HERE = /(?:\s|\/\/[^\n]*(?:\n|$)|\/\*[^]*?\*\/)*/y;
const STRING = /"(?:[^"\\\n]|\\[^])*"|'(?:[^'\\\n]|\\[^])*'/y;
const COMMENT = /\/\/[^\n]*|\/\*[^]*?\*\//y;
const PATTERN = /\/(?![*/])(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const WORD = /[\w$]+/y;
const SPACE = /\s+/y;
const BEFORE_PATTERN = /^[([{,;=:?!&|^~+\-*%<>}]$/;
const WORD_BEFORE_PATTERN = /^(?:return|typeof|case|in|of|delete|void|throw|new|else|do|await|yield|instanceof)$/;
const HEADED = /^(?:if|for|while|with|switch|catch|await)$/;
const MARKED = /^(?:const|let|var|return|if|for|while|switch)$/;
const DECLARES = /^(?:const|let|var)$/;

const matchAt = (pattern, text, at) => {
  pattern.lastIndex = at;
  return exec(pattern, text);
};
const skipLead = (text, at) => at + matchAt(LEAD_HERE, text, at)[0].length;

// Whether a statement that starts with `word` may have another put before it, given the token before: not where it is
// the one statement of an `if`, a loop or a label.
const mayMark = (word, before, newLine, text, end) => {
  if (exec(MARKED, word) === null) return false;
  if (DECLARES.test(word) && exec(/^\s+[\w$]|^\s*[[{]/, slice(text, end, end + 80)) === null) return false;
  if (before === "" || before === ";" || before === "{") return true;
  if (before === "}") return word !== "while";
  if (before === ":") return word === "return" || DECLARES.test(word);
  if (!newLine || before === "head" || before === "else" || before === "do") return false;
  return before === ")" || before === "]" || before === "x" || exec(/^[\w$]+$/, before) !== null;
};

const allowsPattern = (before) =>
  before === "" || before === "head" || exec(BEFORE_PATTERN, before) !== null || exec(WORD_BEFORE_PATTERN, before) !== null;

// `ends`: where statements may end on the top level: behind `;` and `}`, and at line ends. `end`: where the last of the code ends,
// without comments and semicolons behind it. `marks`: where statements start that the engine would not know the line of.
const scanCode = (text) => {
  const found = { ends: [0], end: 0, marks: [] };
  const open = [];
  let before = "";
  let newLine = false;
  for (let at = 0; at < text.length;) {
    const space = matchAt(SPACE, text, at) ?? (text[at] === "/" ? matchAt(COMMENT, text, at) : null);
    if (space !== null) {
      at += space[0].length;
      if (indexOf(space[0], "\n") >= 0) {
        newLine = true;
        if (open.length === 0) found.ends.push(at);
      }
      continue;
    }
    const end = skipToken(text, at, before);
    if (end > at) {
      const word = slice(text, at, mathMin(end, at + 12));
      const isWord = exec(/^[A-Za-z_$]/, word) !== null;
      if (isWord && mayMark(word, before, newLine, text, end)) found.marks.push(at);
      before = isWord && before !== "." ? word : "x";
      found.end = at = end;
    } else {
      before = bracket(text[at++], open, before);
      if (before !== ";") found.end = at;
      if (open.length === 0 && (before === ";" || before === "}")) found.ends.push(at);
    }
    newLine = false;
  }
  return found;
};

// Keeps `open`, whose items say whether a parenthesis is the head of an `if`, `for` and the like; answers what to call this character.
const bracket = (char, open, before) => {
  if (char === "(") open.push(exec(HEADED, before) !== null);
  else if (char === "[" || char === "{") open.push(false);
  else if (char === ")" || char === "]" || char === "}") {
    const head = open.pop();
    if (char === ")" && head) return "head";
  }
  return char;
};

// The index behind the string, template, pattern or word that starts at `at`; `at` where none does.
const skipToken = (text, at, before) => {
  const char = text[at];
  if (char === "`") return skipTemplate(text, at);
  let found = null;
  if (char === '"' || char === "'") found = matchAt(STRING, text, at);
  else if (char !== "/") found = matchAt(WORD, text, at);
  else if (allowsPattern(before)) found = matchAt(PATTERN, text, at);
  return found === null ? at : at + found[0].length;
};

const skipTemplate = (text, at) => {
  let open = 0;
  for (let i = at + 1; i < text.length; i++) {
    const char = text[i];
    if (char === "\\") i++;
    else if (char === "`") {
      if (open === 0) return i + 1;
      i = skipTemplate(text, i) - 1;
    } else if (open === 0 && char === "$" && text[i + 1] === "{") { open = 1; i++; } else if (open > 0) {
      if (char === "{") open++;
      else if (char === "}") open--;
      else if (char === '"' || char === "'") i = mathMax(i, skipToken(text, i, "") - 1);
    }
  }
  return text.length;
};
