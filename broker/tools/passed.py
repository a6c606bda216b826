"""Results of other MCP servers as content blocks: passed on, within the bounds of a model's context. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.mcp_upstream.wire import MCP_RESULT

MEDIA_LIMIT = 4_000_000
"""Characters of base64 in all blocks of one result."""


def is_passed(media_type: str, data: Any) -> bool:
    """Whether data is the result of another server's tool."""
    return media_type == MCP_RESULT and isinstance(data, Mapping) and isinstance(data.get("content"), list)


def blocks(data: Mapping[str, Any], text_limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The blocks, and whether something was cut: at most `text_limit` characters of text, `MEDIA_LIMIT` of media."""
    given: Sequence[Mapping[str, Any]] = data["content"]
    shown: list[dict[str, Any]] = []
    texts, media, cut = text_limit, MEDIA_LIMIT, False
    for block in given:
        if block["type"] == "text":
            text = block["text"]
            if len(text) > texts:
                text, cut = text[:texts] + f"\n[{len(text) - texts} more characters; ask for less]", True
            texts = max(0, texts - len(block["text"]))
            shown.append({**block, "text": text})
            continue
        size = _media(block)
        if size > media:
            shown.append({"type": "text", "text": f"[a block of type {block['type']} was too large to be passed on]"})
            cut = True
            continue
        media -= size
        shown.append(dict(block))
    return shown, cut


def structured(data: Mapping[str, Any], text_limit: int) -> dict[str, Any] | None:
    """The structured content, where it is small enough to go on."""
    found = data.get("structuredContent")
    return found if isinstance(found, dict) and len(json.dumps(found)) <= text_limit else None


def _media(block: Mapping[str, Any]) -> int:
    resource = block.get("resource")
    inner = resource if isinstance(resource, Mapping) else block
    return sum(len(inner[key]) for key in ("data", "blob", "text") if isinstance(inner.get(key), str))
