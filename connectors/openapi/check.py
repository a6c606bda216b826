"""Judging a value by a schema, in bounded time, with problems a model can act on.

A plain interpreter over the schemas that `convert` emits, rather than a compiled validator: it counts its
steps (a description may be an exponential bomb, a value may be 25 MiB), it compares integers exactly whatever
their size, it keeps nothing in memory between calls, and its messages never repeat a value, which may be a
secret. The tests hold it against a complete JSON Schema implementation.
"""

from collections.abc import Callable, Mapping
from typing import Any

from connectors.errors import FieldProblem
from connectors.openapi.bounds import CHECK_DEPTH, CHECK_STEPS, MAX_PROBLEMS
from connectors.openapi.patterns import fits_format, matches
from connectors.openapi.values import (
    ARTICLE,
    IS,
    canonical,
    divides,
    either,
    is_number,
    kind,
    near,
    same,
    shown,
)

Path = tuple[str, ...]
Problems = list[FieldProblem] | None  # None: only whether it fits is asked
FILE_MARKS = frozenset({"$file", "$binary"})


class TooCostly(Exception):
    """The value cannot be judged within the bounds of steps and depth."""


class _Enough(Exception):
    """The list of problems is full."""


def check(
    schema: Any,
    value: Any,
    defs: Mapping[str, Any],
    *,
    path: Path = (),
    limit: int = MAX_PROBLEMS,
    steps: int = CHECK_STEPS,
    files: bool = False,
) -> list[FieldProblem]:
    """What is wrong with `value`, at most `limit` problems, [] when it fits. Raises TooCostly.

    With `files`, an object holding `$file` or `$binary` fits wherever it stands (it becomes raw content).
    """
    problems: list[FieldProblem] = []
    checker = _Checker(defs, steps, limit, files=files)
    try:
        checker.node(schema, value, path, problems)
    except _Enough:
        return problems[:limit]
    return problems


class _Checker:
    __slots__ = ("_defs", "_depth", "_files", "_limit", "_steps")

    def __init__(self, defs: Mapping[str, Any], steps: int, limit: int, *, files: bool) -> None:
        self._defs = defs
        self._steps = steps
        self._limit = limit
        self._files = files
        self._depth = 0

    def node(self, schema: Any, value: Any, path: Path, out: Problems) -> bool:
        """Whether the value fits; what does not is added to `out`."""
        self.charge(1)
        if schema is True or not isinstance(schema, dict):
            return schema is not False or self.fail(out, path, "is not accepted here")
        if self._files and isinstance(value, dict) and not FILE_MARKS.isdisjoint(value):
            return True
        if self._depth >= CHECK_DEPTH:
            raise TooCostly
        self._depth += 1
        try:
            fits = True
            for keyword, rule in schema.items():
                test = _TESTS.get(keyword)
                if test is not None and not test(self, rule, value, path, out, schema):
                    if out is None or keyword in _DECISIVE:
                        return False
                    fits = False
            return fits
        finally:
            self._depth -= 1

    def charge(self, steps: int) -> None:
        """Spends steps; raises TooCostly when none are left."""
        self._steps -= steps
        if self._steps < 0:
            raise TooCostly

    def fail(self, out: Problems, path: Path, problem: str) -> bool:
        """Notes a problem; always False."""
        if out is not None:
            self.add(out, FieldProblem(_dotted(path), problem))
        return False

    def add(self, out: list[FieldProblem], problem: FieldProblem) -> None:
        """Notes a problem; stops everything when the list is full."""
        out.append(problem)
        if len(out) >= self._limit:
            raise _Enough

    def ref(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        return self.node(self._defs.get(rule[8:], True), value, path, out)

    def type(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        wanted = rule if isinstance(rule, list) else [rule]
        if any(IS[name](value) for name in wanted):
            return True
        return self.fail(out, path, f"must be {either([ARTICLE[name] for name in wanted])}, not {kind(value)}")

    def enum(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        self.charge(len(rule) // 16)
        if any(same(value, option) for option in rule):
            return True
        listed = [shown(option) for option in rule[:20]]
        return self.fail(out, path, f"must be {either(listed)}{' or another listed value' if len(rule) > 20 else ''}")

    def const(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        return same(value, rule) or self.fail(out, path, f"must be {shown(rule)}")

    def bound(self, keyword: str, value: Any, rule: Any, path: Path, out: Problems) -> bool:
        if not is_number(value):
            return True
        fits, words = _BOUNDS[keyword]
        return fits(value, rule) or self.fail(out, path, f"must be {words} {shown(rule)}")

    def multiple(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        if not is_number(value) or divides(rule, value):
            return True
        return self.fail(out, path, f"must be a multiple of {shown(rule)}")

    def size(self, keyword: str, value: Any, rule: int, path: Path, out: Problems) -> bool:
        holder, fits, words = _SIZES[keyword]
        if not isinstance(value, holder) or fits(len(value), rule):
            return True
        return self.fail(out, path, words.format(rule))

    def pattern(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        if not isinstance(value, str):
            return True
        self.charge(len(value))
        return matches(rule, value) or self.fail(out, path, f"must match the pattern {rule[:200]}")

    def format(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        if not isinstance(value, str) or fits_format(rule, value[:1000]):
            return True
        return self.fail(out, path, f"must be written as {_FORMATS.get(rule, rule)}")

    def unique(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        if not isinstance(value, list) or not rule:
            return True
        seen: set[bytes | int] = set()
        for item in value:
            plain = canonical(item)
            self.charge(1 + (len(plain) // 64 if isinstance(plain, bytes) else 0))
            seen.add(plain)
        return len(seen) == len(value) or self.fail(out, path, "must not hold the same item twice")

    def items(self, rule: Any, value: Any, path: Path, out: Problems, schema: Mapping[str, Any]) -> bool:
        if not isinstance(value, list):
            return True
        fits = True
        for place in range(len(schema.get("prefixItems", ())), len(value)):
            if not self.node(rule, value[place], (*path, str(place)), out):
                fits = False
                if out is None:
                    break
        return fits

    def prefix(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        pairs = zip(rule, value, strict=False) if isinstance(value, list) else ()
        return all([self.node(part, item, (*path, str(i)), out) for i, (part, item) in enumerate(pairs)])  # noqa: C419 -- all of them

    def contains(self, rule: Any, value: Any, path: Path, out: Problems, schema: Mapping[str, Any]) -> bool:
        if not isinstance(value, list):
            return True
        count = sum(self.node(rule, item, path, None) for item in value)
        least, most = schema.get("minContains", 1), schema.get("maxContains")
        if count >= least and (most is None or count <= most):
            return True
        return self.fail(out, path, "does not hold the right number of items of the required kind")

    def properties(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        if not isinstance(value, dict):
            return True
        fits = True
        for name in value:
            part = rule.get(name)
            if part is not None and not self.node(part, value[name], (*path, name), out):
                fits = False
                if out is None:
                    break
        return fits

    def by_pattern(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        fits = True
        for name in value if isinstance(value, dict) else ():
            for pattern, part in rule.items():
                self.charge(1 + len(name))
                if matches(pattern, name) and not self.node(part, value[name], (*path, name), out):
                    fits = False
        return fits

    def additional(self, rule: Any, value: Any, path: Path, out: Problems, schema: Mapping[str, Any]) -> bool:
        if rule is True or not isinstance(value, dict):
            return True
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        fits = True
        for name in value:
            self.charge(1 + len(patterns) * (1 + len(name)))
            if name in known or any(matches(pattern, name) for pattern in patterns):
                continue
            if rule is False and out is None:
                return False
            if rule is False:
                self.charge(20 * min(len(known), 100))  # likeness is costly
                fits = self.fail(out, (*path, name), "is not a known field" + near(name, known))
            elif not self.node(rule, value[name], (*path, name), out):
                fits = False
        return fits

    def required(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        fits = True
        for name in rule if isinstance(value, dict) else ():
            if name not in value:
                fits = self.fail(out, (*path, name), "is required")
        return fits

    def depends(self, rule: Any, value: Any, path: Path, out: Problems, schema: Mapping[str, Any]) -> bool:
        present = rule.items() if isinstance(value, dict) else ()
        needed = [n for name, names in present if name in value for n in names]
        return self.required(needed, value, path, out, schema)

    def names(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        names = value if isinstance(value, dict) else ()
        return all([self.node(rule, name, (*path, name), out) for name in names])  # noqa: C419 -- all of them

    def every(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        fits = True
        for part in rule:
            if not self.node(part, value, path, out):
                fits = False
                if out is None:
                    break
        return fits

    def some(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        if any(self.node(part, value, path, None) for part in rule):
            return True
        if out is None:
            return False
        inside: list[list[FieldProblem]] = []
        whole: dict[str, None] = {}
        for part in rule[:32]:
            found: list[FieldProblem] = []
            try:
                self.node(part, value, path, found)
            except _Enough:
                continue
            at = _dotted(path)
            whole.update({p.problem: None for p in found if p.path == at})
            if all(p.path != at for p in found):
                inside.append(found)
        if inside:  # the nearest form's problems are the ones worth reading
            for problem in min(inside, key=len):
                self.add(out, problem)
            return False
        return self.fail(out, path, " or ".join(list(whole)[:4]) or f"fits none of the {len(rule)} forms it may have")

    def negated(self, rule: Any, value: Any, path: Path, out: Problems, _schema: Mapping[str, Any]) -> bool:
        return not self.node(rule, value, path, None) or self.fail(out, path, "is a value that is excluded")

    def conditional(self, rule: Any, value: Any, path: Path, out: Problems, schema: Mapping[str, Any]) -> bool:
        branch = "then" if self.node(rule, value, path, None) else "else"
        return self.node(schema.get(branch, True), value, path, out)


_Test = Callable[[_Checker, Any, Any, Path, Problems, Mapping[str, Any]], bool]


def _bound_test(keyword: str) -> _Test:
    return lambda checker, rule, value, path, out, _: checker.bound(keyword, value, rule, path, out)


def _size_test(keyword: str) -> _Test:
    return lambda checker, rule, value, path, out, _: checker.size(keyword, value, rule, path, out)


_FORMATS = {
    "date": "a date (2026-01-31)",
    "date-time": "an RFC 3339 time (2026-01-31T00:00:00Z)",
    "uuid": "a UUID",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
}
_BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda v, r: v >= r, "at least"),
    "maximum": (lambda v, r: v <= r, "at most"),
    "exclusiveMinimum": (lambda v, r: v > r, "more than"),
    "exclusiveMaximum": (lambda v, r: v < r, "less than"),
}
_SIZES: Mapping[str, tuple[type[str] | type[list[Any]] | type[dict[str, Any]], Callable[[int, int], bool], str]] = {
    "minLength": (str, lambda n, r: n >= r, "must have at least {} characters"),
    "maxLength": (str, lambda n, r: n <= r, "must have at most {} characters"),
    "minItems": (list, lambda n, r: n >= r, "must have at least {} items"),
    "maxItems": (list, lambda n, r: n <= r, "must have at most {} items"),
    "minProperties": (dict, lambda n, r: n >= r, "must have at least {} fields"),
    "maxProperties": (dict, lambda n, r: n <= r, "must have at most {} fields"),
}
_TESTS: Mapping[str, _Test] = {
    "$ref": _Checker.ref,
    "type": _Checker.type,
    "enum": _Checker.enum,
    "const": _Checker.const,
    "multipleOf": _Checker.multiple,
    "pattern": _Checker.pattern,
    "format": _Checker.format,
    "uniqueItems": _Checker.unique,
    "items": _Checker.items,
    "prefixItems": _Checker.prefix,
    "contains": _Checker.contains,
    "properties": _Checker.properties,
    "patternProperties": _Checker.by_pattern,
    "additionalProperties": _Checker.additional,
    "required": _Checker.required,
    "dependentRequired": _Checker.depends,
    "propertyNames": _Checker.names,
    "allOf": _Checker.every,
    "anyOf": _Checker.some,
    "not": _Checker.negated,
    "if": _Checker.conditional,
    **{keyword: _bound_test(keyword) for keyword in _BOUNDS},
    **{keyword: _size_test(keyword) for keyword in _SIZES},
}
_DECISIVE = frozenset({"type", "enum", "const"})


def _dotted(path: Path) -> str:
    return ".".join(part[:100] for part in path)
