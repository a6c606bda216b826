"""Results of other MCP servers: content blocks, prompts and resources, within the bounds of a model's context. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors.mcp_upstream.wire import MCP_RESULT

MEDIA_LIMIT = 4_000_000
"""Characters of base64 in all blocks of one result."""

Shown = Callable[[str], str]
"""A server's address of a resource → what it is called here."""


def is_passed(media_type: str, data: Any) -> bool:
    """Whether data is the result of another server's tool."""
    return media_type == MCP_RESULT and isinstance(data, Mapping) and isinstance(data.get("content"), list)


def blocks(data: Mapping[str, Any], text_limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The blocks, and whether something was cut: at most `text_limit` characters of text, `MEDIA_LIMIT` of media."""
    room = _Room(text_limit)
    shown = [room.block(block) for block in data["content"]]
    return shown, room.cut


def messages(data: Mapping[str, Any], text_limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The messages of a prompt, and whether something was cut."""
    room = _Room(text_limit)
    shown = [{"role": message["role"], "content": room.block(message["content"])} for message in data["messages"]]
    return shown, room.cut


def contents(data: Mapping[str, Any], text_limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The contents of a resource, and whether something was cut: text at its end, a blob as a whole."""
    room = _Room(text_limit)
    shown = [room.content(content) for content in data["contents"]]
    return shown, room.cut


def renamed(shown: Sequence[Mapping[str, Any]], name: Shown) -> list[dict[str, Any]]:
    """The blocks with the resources in them called as they are called here."""
    return [_renamed(block, name) for block in shown]


def _renamed(block: Mapping[str, Any], name: Shown) -> dict[str, Any]:
    if block["type"] == "resource_link":
        return {**block, "uri": name(block["uri"])}
    if block["type"] == "resource":
        return {**block, "resource": {**block["resource"], "uri": name(block["resource"]["uri"])}}
    return dict(block)


def structured(data: Mapping[str, Any], text_limit: int) -> dict[str, Any] | None:
    """The structured content, where it is small enough to go on."""
    found = data.get("structuredContent")
    return found if isinstance(found, dict) and len(json.dumps(found)) <= text_limit else None


class _Room:
    """What is left of the bounds of one result."""

    def __init__(self, text_limit: int) -> None:
        self._texts = text_limit
        self._media = MEDIA_LIMIT
        self.cut = False

    def block(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """One block, or what stands for it."""
        if block["type"] == "text":
            return {**block, "text": self._text(block["text"])}
        if not self._fits(_media(block)):
            return {"type": "text", "text": f"[a block of type {block['type']} was too large to be passed on]"}
        return dict(block)

    def content(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """One content of a resource, or what stands for it."""
        if "text" in content:
            return {**content, "text": self._text(content["text"])}
        if not self._fits(len(content["blob"])):
            return {"uri": content["uri"], "mimeType": "text/plain", "text": "[too large to be passed on]"}
        return dict(content)

    def _text(self, text: str) -> str:
        room, self._texts = self._texts, max(0, self._texts - len(text))
        if len(text) <= room:
            return text
        self.cut = True
        return text[:room] + f"\n[{len(text) - room} more characters; ask for less]"

    def _fits(self, size: int) -> bool:
        if size > self._media:
            self.cut = True
            return False
        self._media -= size
        return True


def _media(block: Mapping[str, Any]) -> int:
    resource = block.get("resource")
    inner = resource if isinstance(resource, Mapping) else block
    return sum(len(inner[key]) for key in ("data", "blob", "text") if isinstance(inner.get(key), str))
