"""Content blocks (2026-07-28, schema ContentBlock): which are ones. Pure."""

from typing import Final

MAX_BLOCKS: Final = 1_000


def is_block(block: object) -> bool:
    """Whether it is a content block whose parts have the right types."""
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    if kind == "text":
        return isinstance(block.get("text"), str)
    if kind in ("image", "audio"):
        return isinstance(block.get("data"), str) and isinstance(block.get("mimeType"), str)
    if kind == "resource_link":
        return isinstance(block.get("uri"), str) and isinstance(block.get("name"), str)
    resource = block.get("resource")
    return kind == "resource" and isinstance(resource, dict) and isinstance(resource.get("uri"), str)
