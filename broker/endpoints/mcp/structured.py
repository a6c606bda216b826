"""What our own tools answer, as structured content: the same JSON as the text beside it, always an object. Pure.

A client that knows an output schema may show a model this alone. So an answer that is no object stands in `result`, and
what was printed or is warned of in `$notes`; a text that had to be cut is no JSON any more, and is only counted.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

NOTES: Final = "$notes"


def structured_of(content: Sequence[Mapping[str, Any]], notes: str, *, cut: bool) -> Any:
    """The object for an answer's content blocks as `Result` makes them: one text of JSON, or an image."""
    block = content[0]
    if block["type"] != "text":
        size = len(block.get("data", "")) * 3 // 4
        return _noted({"$binary": {"media_type": block.get("mimeType"), "bytes": size}}, notes)
    text = block["text"]
    if cut:
        return _noted({"$omitted": {"characters": len(text)}}, notes)
    if not text.lstrip().startswith("{"):
        return _noted({"result": orjson.Fragment(text)}, notes)
    if not notes:
        return orjson.Fragment(text)
    members = text.lstrip()[1:].lstrip()
    comma = "" if members.startswith("}") else ","
    return orjson.Fragment(f"{{{json.dumps(NOTES)}:{json.dumps(notes)}{comma}{members}")


def _noted(value: dict[str, Any], notes: str) -> dict[str, Any]:
    return value | ({NOTES: notes} if notes else {})
