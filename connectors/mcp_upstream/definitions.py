"""A server's definitions: read from its pages, bounded, screened, written down to be pinned, and compared. Pure.

A definition's digest is over what the server sent, before anything was taken out: a change of what is hidden is a
change.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final

import orjson

from connectors.base import Json
from connectors.errors import SpecError
from connectors.mcp_upstream.mirroring import HEADER_KEY, headers_of, wanted
from connectors.mcp_upstream.naming import tool_name, usable
from connectors.mcp_upstream.prompts import Prompt
from connectors.mcp_upstream.resources import Template
from connectors.mcp_upstream.screening import INSTRUCTIONS, hides, screen, suspicious

MAX_TOOLS: Final = 1_000
MAX_SCHEMA: Final = 64 * 1024
MAX_DEPTH: Final = 24
MAX_DESCRIPTION: Final = 4_000
MAX_TITLE: Final = 100
MAX_DOCUMENT: Final = 8 * 1024 * 1024

_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_TEXTS: Final = frozenset({"description", "title", "$comment"})
ANY_OBJECT: Final[Mapping[str, Json]] = {"type": "object"}

NOT_OBJECT: Final = "its schema does not describe an object"
TOO_LARGE: Final = "its schema is too large or too deep"
REMOTE: Final = "its schema refers to another document"
HIDDEN_IN_SCHEMA: Final = "its schema holds invisible characters"
_LIES: Final = frozenset({NOT_OBJECT, TOO_LARGE, REMOTE})

WAITS_FOR: Final = frozenset({INSTRUCTIONS, HIDDEN_IN_SCHEMA})
"""Findings on account of which a tool is not offered before an admin has accepted it."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool as pinned. `found` says what screening met; `headers` which arguments travel as `Mcp-Param-…` too."""

    name: str
    digest: str
    title: str
    description: str
    input_schema: Mapping[str, Json]
    annotations: Mapping[str, bool]
    headers: Mapping[str, str]
    found: tuple[str, ...] = ()
    output_schema: Mapping[str, Json] | None = None

    @property
    def waits(self) -> bool:
        """Whether an admin must have seen it."""
        return not WAITS_FOR.isdisjoint(self.found)


@dataclass(frozen=True, eq=False)
class Definitions:
    """Everything taken in from one server. `version` is the revision it speaks; `dropped` what could not be taken;
    `offers` what it has besides tools: of `prompts`, `resources`, `completions`.

    A *label* names one definition among all: a tool's name, `prompt NAME` or `template URI`.
    """

    version: str
    tools: tuple[Definition, ...]
    dropped: tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    templates: tuple[Template, ...] = ()
    offers: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Definition]:
        """The tools by the server's names."""
        return {tool.name: tool for tool in self.tools}

    @cached_property
    def prompts_by_name(self) -> Mapping[str, Prompt]:
        """The prompts by the server's names."""
        return {prompt.name: prompt for prompt in self.prompts}

    @property
    def _extras(self) -> tuple[Prompt | Template, ...]:
        return (*self.prompts, *self.templates)

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Each definition's digest by its label."""
        return {t.name: t.digest for t in self.tools} | {e.label: e.digest for e in self._extras}

    @cached_property
    def flagged(self) -> frozenset[str]:
        """The labels of those that an admin must have seen."""
        return frozenset({t.name for t in self.tools if t.waits} | {e.label for e in self._extras if e.waits})

    @cached_property
    def findings(self) -> Mapping[str, tuple[str, ...]]:
        """What screening met, by label; only where it met anything."""
        met = {t.name: t.found for t in self.tools} | {e.label: e.found for e in self._extras}
        return {label: found for label, found in met.items() if found}

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over version, names and definitions."""
        listed = [self.version, *sorted(self.digests.items())]
        return hashlib.sha256(orjson.dumps(listed)).hexdigest()

    def prompts_named(self, connection_name: str) -> dict[str, Prompt]:
        """The prompts by their names here, as `named` does for tools."""
        made: dict[str, Prompt] = {}
        for prompt in self.prompts:
            made.setdefault(tool_name(connection_name, prompt.name), prompt)
        return dict(sorted(made.items()))

    def named(self, connection_name: str) -> dict[str, Definition]:
        """The tools by their names here, in the order of those. Of two that meet, the first by the server's name."""
        made: dict[str, Definition] = {}
        for tool in sorted(self.tools, key=lambda t: t.name):
            made.setdefault(tool_name(connection_name, tool.name), tool)
        return dict(sorted(made.items()))


@dataclass(frozen=True, eq=False)
class Pinned:
    """The definitions in force for a connection. `held` are the labels of those that are not offered, because the
    server has changed them or their text was flagged, until an admin accepts."""

    definitions: Definitions
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Difference:
    """What newly fetched definitions change, by label."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed)


def compare(before: Definitions, after: Definitions) -> Difference:
    """Added, removed, and those whose definition is another."""
    old, new = before.digests, after.digests
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
    )


def read(version: str, items: Iterable[object]) -> Definitions:
    """Definitions from the `tools` of a server's pages.

    Raises:
        SpecError: more than `MAX_TOOLS`.
    """
    tools: dict[str, Definition] = {}
    dropped: list[str] = []
    for n, item in enumerate(items):
        if n >= MAX_TOOLS:
            raise SpecError(f"the server lists more than {MAX_TOOLS} tools")
        if not isinstance(item, dict) or not usable(item.get("name")):
            dropped.append(f"tool {n + 1}: its name is not 1 to 128 printable ASCII characters")
        elif item["name"] in tools:
            dropped.append(f"{item['name']}: the name is there twice; the first one counts")
        elif (wrong := wanted(item)) is not None:
            dropped.append(f"{item['name']}: {wrong}")
        else:
            tools[item["name"]] = _definition(item)
    return Definitions(version, tuple(sorted(tools.values(), key=lambda t: t.name)), tuple(dropped[:100]))


def _definition(item: Mapping[str, Any]) -> Definition:
    given = item.get("annotations")
    given = given if isinstance(given, dict) else {}
    title = screen(next((t for t in (item.get("title"), given.get("title")) if isinstance(t, str)), ""), MAX_TITLE)
    text = item.get("description")
    description = screen(text if isinstance(text, str) else "", MAX_DESCRIPTION)
    schema, headers, lies = _schema(item.get("inputSchema"))
    return Definition(
        name=item["name"],
        digest=_digest(item),
        title=title.text,
        description=description.text,
        input_schema=schema,
        annotations={hint: given[hint] for hint in _HINTS if isinstance(given.get(hint), bool)},
        headers=headers,
        found=tuple(dict.fromkeys((*title.found, *description.found, *lies))),
        output_schema=_output(item.get("outputSchema")),
    )


def _output(value: object) -> Mapping[str, Json] | None:
    """What the server says its structured content is; None where it says nothing, or what is not to be shown."""
    shown, _, found = _schema(value)
    return shown if isinstance(value, dict) and not found else None


def _digest(item: Mapping[str, Any]) -> str:
    kept = {k: item.get(k) for k in ("name", "title", "description", "inputSchema", "outputSchema", "annotations")}
    try:
        written = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers past 64 bits, lone surrogates
        written = repr(kept).encode("utf-8", "surrogatepass")
    return hashlib.sha256(written).hexdigest()


def _schema(value: object) -> tuple[Mapping[str, Json], Mapping[str, str], tuple[str, ...]]:
    """A schema that can be shown, which arguments it wants in headers, and what was wrong with it."""
    if not isinstance(value, dict) or value.get("type", "object") != "object":
        return ANY_OBJECT, {}, (NOT_OBJECT,)
    headers = headers_of(value)
    walk = _Walk()
    shown = walk.clean(value, 0)
    found = tuple(dict.fromkeys(walk.found))
    if not _LIES.isdisjoint(found):
        return ANY_OBJECT, {}, found
    try:
        if len(orjson.dumps(shown)) > MAX_SCHEMA:
            return ANY_OBJECT, {}, (*found, TOO_LARGE)
    except TypeError:
        return ANY_OBJECT, {}, (*found, TOO_LARGE)
    return {"type": "object"} | shown, headers, found


class _Walk:
    """One pass over a schema: its texts screened, the rest looked at."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def clean(self, value: Any, depth: int) -> Any:
        """The value as it is shown."""
        if depth > MAX_DEPTH:
            self.found.append(TOO_LARGE)
            return None
        if isinstance(value, dict):
            return {key: self._entry(key, item, depth) for key, item in value.items() if key != HEADER_KEY}
        if isinstance(value, list):
            return [self.clean(item, depth + 1) for item in value]
        if isinstance(value, str):
            self._text(value)
        return value

    def _entry(self, key: str, item: Any, depth: int) -> Any:
        self._text(key)
        if key in _TEXTS and isinstance(item, str):
            screened = screen(item, MAX_DESCRIPTION)
            self.found.extend(screened.found)
            return screened.text
        if key in ("$ref", "$dynamicRef", "$schema", "$id") and isinstance(item, str):
            remote = key in ("$ref", "$dynamicRef") and not item.startswith("#")
            self.found.extend([REMOTE] if remote else [])
        return self.clean(item, depth + 1)

    def _text(self, text: str) -> None:
        if hides(text):
            self.found.append(HIDDEN_IN_SCHEMA)
        if suspicious(text):
            self.found.append(INSTRUCTIONS)


def dump(definitions: Definitions) -> str:
    """As text, for the database. Raises SpecError where it is larger than `MAX_DOCUMENT`."""
    written = orjson.dumps(
        {
            "version": definitions.version,
            "dropped": definitions.dropped,
            "tools": [
                {
                    "name": t.name,
                    "digest": t.digest,
                    "title": t.title,
                    "description": t.description,
                    "input_schema": t.input_schema,
                    "annotations": t.annotations,
                    "headers": t.headers,
                    "found": t.found,
                }
                for t in definitions.tools
            ],
            "outputs": {t.name: t.output_schema for t in definitions.tools if t.output_schema is not None},
            "prompts": [asdict(prompt) for prompt in definitions.prompts],
            "templates": [asdict(template) for template in definitions.templates],
            "offers": definitions.offers,
        }
    )
    if len(written) > MAX_DOCUMENT:
        raise SpecError(f"the server's definitions are larger than {MAX_DOCUMENT} bytes")
    return written.decode()


def load(document: str) -> Definitions:
    """What `dump` wrote."""
    kept = orjson.loads(document)
    outputs = kept.get("outputs", {})
    return Definitions(
        kept["version"],
        tuple(
            Definition(**{**tool, "found": tuple(tool["found"]), "output_schema": outputs.get(tool["name"])})
            for tool in kept["tools"]
        ),
        tuple(kept["dropped"]),
        # Documents of releases before prompts and resources were passed on hold none.
        tuple(Prompt(**{**p, **_tuples(p, "arguments", "found")}) for p in kept.get("prompts", ())),
        tuple(Template(**{**t, **_tuples(t, "found")}) for t in kept.get("templates", ())),
        tuple(kept.get("offers", ())),
    )


def _tuples(item: Mapping[str, Any], *names: str) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(item[name]) for name in names}


def without(definitions: Definitions, labels: Sequence[str]) -> Definitions:
    """The definitions less some."""
    gone = set(labels)
    return replace(
        definitions,
        tools=tuple(t for t in definitions.tools if t.name not in gone),
        prompts=tuple(p for p in definitions.prompts if p.label not in gone),
        templates=tuple(t for t in definitions.templates if t.label not in gone),
    )
