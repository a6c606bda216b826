"""A server's prompts: taken in to be pinned and screened like its tools, and what getting one answers. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connectors.base import Json
from connectors.errors import SpecError, UpstreamUnreachable
from connectors.mcp_upstream.blocks import MAX_BLOCKS, is_block
from connectors.mcp_upstream.naming import usable
from connectors.mcp_upstream.screening import INSTRUCTIONS, screen

MAX_PROMPTS: Final = 500
MAX_ARGUMENTS: Final = 50
MAX_NAME: Final = 100
MAX_DESCRIPTION: Final = 2_000
MAX_TITLE: Final = 100


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as pinned. `arguments` are `{name, title?, description?, required}`; `found` is screening's word."""

    name: str
    digest: str
    title: str
    description: str
    arguments: tuple[Mapping[str, Json], ...]
    found: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What it is called among everything that is pinned. No tool's name holds a space."""
        return f"prompt {self.name}"

    @property
    def waits(self) -> bool:
        """Whether an admin must have seen it."""
        return INSTRUCTIONS in self.found


def read_prompts(items: Iterable[object]) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
    """The prompts of a server's pages, in the order of their names, and what could not be taken.

    Raises:
        SpecError: more than `MAX_PROMPTS`.
    """
    found: dict[str, Prompt] = {}
    dropped: list[str] = []
    for n, item in enumerate(items):
        if n >= MAX_PROMPTS:
            raise SpecError(f"the server lists more than {MAX_PROMPTS} prompts")
        if not isinstance(item, dict) or not usable(item.get("name")):
            dropped.append(f"prompt {n + 1}: its name is not 1 to 128 printable ASCII characters")
        elif item["name"] in found:
            dropped.append(f"prompt {item['name']}: the name is there twice; the first one counts")
        else:
            found[item["name"]] = _prompt(item)
    return tuple(sorted(found.values(), key=lambda p: p.name)), tuple(dropped)


def _prompt(item: Mapping[str, Any]) -> Prompt:
    met: list[str] = []
    given = item.get("arguments")
    arguments = [_argument(a, met) for a in (given if isinstance(given, list) else [])[:MAX_ARGUMENTS] if _named(a)]
    title, description = _text(item.get("title"), MAX_TITLE, met), _text(item.get("description"), MAX_DESCRIPTION, met)
    return Prompt(item["name"], digest_of(item, _KEPT), title, description, tuple(arguments), tuple(dict.fromkeys(met)))


_KEPT: Final = ("name", "title", "description", "arguments")


def digest_of(item: Mapping[str, Any], keys: Iterable[str]) -> str:
    """SHA-256 in hex over these members as the server sent them."""
    kept = {key: item.get(key) for key in keys}
    try:
        written = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers past 64 bits, lone surrogates
        written = repr(kept).encode("utf-8", "surrogatepass")
    return hashlib.sha256(written).hexdigest()


def _named(argument: object) -> bool:
    name = argument.get("name") if isinstance(argument, dict) else None
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()


def _argument(argument: Mapping[str, Any], met: list[str]) -> Mapping[str, Json]:
    shown: dict[str, Json] = {"name": _text(argument["name"], MAX_NAME, met)}
    for key in ("title", "description"):
        text = _text(argument.get(key), MAX_DESCRIPTION, met)
        if text:
            shown[key] = text
    shown["required"] = argument.get("required") is True
    return shown


def _text(text: object, limit: int, met: list[str]) -> str:
    screened = screen(text if isinstance(text, str) else "", limit)
    met.extend(screened.found)
    return screened.text


def read_messages(result: Mapping[str, Any]) -> dict[str, Json]:
    """What `prompts/get` answered, its messages checked. Raises UpstreamUnreachable where it is no such thing."""
    messages = result.get("messages")
    if not isinstance(messages, list) or len(messages) > MAX_BLOCKS:
        raise UpstreamUnreachable("the server's answer is no prompt", sent=True)
    kept: dict[str, Json] = {
        "messages": [
            {"role": m["role"], "content": m["content"]}
            for m in messages
            if isinstance(m, dict) and m.get("role") in ("user", "assistant") and is_block(m.get("content"))
        ]
    }
    if isinstance(result.get("description"), str):
        kept["description"] = result["description"][:MAX_DESCRIPTION]
    return kept


def read_completion(result: Mapping[str, Any]) -> dict[str, Json]:
    """What `completion/complete` answered: at most 100 values. Raises UpstreamUnreachable."""
    completion = result.get("completion")
    values = completion.get("values") if isinstance(completion, dict) else None
    if not isinstance(completion, dict) or not isinstance(values, list):
        raise UpstreamUnreachable("the server's answer is no completion", sent=True)
    kept: dict[str, Json] = {"values": [v[:1_000] for v in values[:100] if isinstance(v, str)]}
    total = completion.get("total")
    if type(total) is int and 0 <= total < 2**53:
        kept["total"] = total
    if isinstance(completion.get("hasMore"), bool):
        kept["hasMore"] = completion["hasMore"]
    return {"completion": kept}
