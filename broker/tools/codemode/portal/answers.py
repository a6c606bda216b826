"""What a call of a tool resolves to in a program. Pure."""

from typing import Any, Final

import orjson

from broker.tools.passed import is_passed
from connectors.base import Answer

_JSON_BEGINS: Final = '{["-0123456789tfn'


def value_of(answer: Answer) -> Any:
    """An upstream's body as it is. Of another server's tool, its structured content, else what its texts say: as JSON
    where they are JSON, and with every other kind of content its blocks."""
    data = answer.data
    if not is_passed(answer.media_type, data):
        return data
    if isinstance(data.get("structuredContent"), dict):
        return data["structuredContent"]
    blocks = data["content"]
    if any(block["type"] != "text" for block in blocks):
        return {"content": blocks}
    texts = [_read(block["text"]) for block in blocks]
    return texts[0] if len(texts) == 1 else texts


def _read(text: str) -> Any:
    """JSON as what it says (kept as it was written: integers of any size), anything else as the text."""
    if text.lstrip()[:1] not in _JSON_BEGINS or not text.strip():
        return text
    try:
        orjson.loads(text)
    except ValueError:
        return text
    return orjson.Fragment(text)
