"""Takes out of a server's texts what people do not see and models do, and says what looks like an instruction. Pure.

It can only make hiding harder. What holds is that texts are pinned, that an admin sees every change, and that a grant
decides what a tool may do whatever its text says.
"""

import re
from dataclasses import dataclass
from typing import Final

# Zero-width and formatting characters, bidirectional controls (CVE-2021-42574), the tag block that spells ASCII
# invisibly, interlinear marks, and variation selectors, which carry bytes when strung together.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]+"
)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)

_SMUGGLED = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]+")
"""What no honest text holds: removed from answers too, where joiners and selectors belong to scripts and emoji."""

_INSTRUCTIONS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:previous|prior|above|earlier|other|system|all)\b"
        r".{0,30}\b(?:instruction|prompt|rule|message|tool)s?",
        r"</?\s*(?:important|system|instructions?|secret|hidden|critical|assistant)\s*>",
        r"\bdo(?:n't| not)\b.{0,30}\b(?:tell|mention|inform|reveal|show|notify)\b.{0,30}\b(?:user|human|person|anyone)",
        r"\b(?:before|after|when(?:ever)?)\b.{0,30}\b(?:using|calling|running)\b.{0,40}\btools?\b.{0,60}"
        r"\b(?:must|always|first|read|send|call|pass|include)\b",
        r"\bwithout\b.{0,20}\b(?:telling|asking|informing|notifying)\b.{0,20}\b(?:user|human|person)",
        r"(?:~|/root|/home/[^/ ]+)/\.(?:ssh|aws|config|cursor|claude)|\bid_(?:rsa|ed25519)\b|/etc/(?:passwd|shadow)",
        r"\b(?:system prompt|new instructions?:|you are now)\b",
        r"\b(?:send|forward|post|pass|include|bcc)\b.{0,60}\b(?:api keys?|passwords?|credentials?|access tokens?|"
        r"conversation|chat history|private key)\b",
    )
)

REMOVED_INVISIBLE: Final = "invisible characters"
REMOVED_COMMENT: Final = "a comment"
REMOVED_CONTROL: Final = "control characters"
INSTRUCTIONS: Final = "reads like instructions to a model"


@dataclass(frozen=True, slots=True)
class Screened:
    """A text fit to be shown, and what was found in it, in fixed words."""

    text: str
    found: tuple[str, ...]


def screen(text: str, limit: int) -> Screened:
    """`text` without what hides, at most `limit` characters. Instructions are looked for in the whole of it, with what
    was hidden laid open."""
    found = []
    shown = text
    for pattern, what in ((_ANSI, REMOVED_CONTROL), (_CONTROL, REMOVED_CONTROL), (_INVISIBLE, REMOVED_INVISIBLE)):
        cleaned = pattern.sub("", shown)
        if cleaned != shown and what not in found:
            found.append(what)
        shown = cleaned
    if suspicious(shown) or suspicious(_revealed(text)):
        found.append(INSTRUCTIONS)
    without = _COMMENT.sub("", shown)
    if without != shown:
        found.append(REMOVED_COMMENT)
    return Screened(without.strip()[:limit], tuple(found))


def suspicious(text: str) -> bool:
    """Whether a text reads like instructions to a model. Looks at its first 20,000 characters."""
    flat = " ".join(text[:20_000].split())
    return any(pattern.search(flat) is not None for pattern in _INSTRUCTIONS)


def hides(text: str) -> bool:
    """Whether a text holds what cannot be seen."""
    return any(pattern.search(text) is not None for pattern in (_INVISIBLE, _ANSI, _CONTROL))


def clean_answer(text: str) -> str:
    """An answer's text without smuggled characters and terminal escapes. ASCII without an escape is left as it is."""
    if text.isascii() and "\x1b" not in text:
        return text
    return _ANSI.sub("", _SMUGGLED.sub("", text))


def _revealed(text: str) -> str:
    """The ASCII that Unicode tags spell, and nothing else."""
    return "".join(chr(ord(c) - 0xE0000) for c in text[:20_000] if 0xE0020 <= ord(c) <= 0xE007E)
