"""Texts ranked by words: what a model asks for, against what tools and operations are called. Pure.

The same ideas as the guest's `find` (stems, rarity, how much of what was asked is covered), small enough to be made in
the server: an index of a large description takes some tens of milliseconds, a question a few.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_PLAIN: Final = re.compile(r"[a-z0-9]+")
_CAMEL: Final = re.compile(r"([a-z0-9])([A-Z])")
_STOP: Final = frozenset(
    (
        "a",
        "an",
        "the",
        "of",
        "for",
        "to",
        "in",
        "on",
        "by",
        "and",
        "or",
        "with",
        "my",
        "all",
        "is",
        "how",
        "do",
        "i",
        "via",
    )
)
_MOST_WORDS: Final = 24
_LONGEST: Final = 4_000
_HALF: Final = 12.0
"""The weight at which a field counts for half of a word."""
_SYNONYM: Final = 0.6
_BEGINNING: Final = 0.5

_SAID: Final = (
    "domain:zone remove:delete erase:delete destroy:delete add:create make:create new:create insert:create "
    "change:update modify:update edit:update patch:update set:update fetch:get show:get read:get view:get "
    "retrieve:get enumerate:list "
    "firewall:waf,ruleset bucket:r2 worker:script upload:put deploy:upload,script cert:certificate ssl:certificate,tls "
    "tls:ssl,certificate sql:d1,database user:member invite:member sso:access,identity tunnel:cfd vpn:warp,device "
    "captcha:challenge,turnstile log:logpush cron:schedule redirect:rule flush:purge clear:purge record:dns "
    "queue:queues ip:address traffic:analytics metric:analytics"
)


def words(text: str) -> list[str]:
    """The words of a text as they are sought: camelCase, kebab-case, snake_case and prose alike."""
    plain = _CAMEL.sub(r"\1 \2", text[:_LONGEST]).lower()
    return [_stem(word) for word in _PLAIN.findall(plain) if word not in _STOP]


def _stem(word: str) -> str:
    if len(word) < 4 or any(character.isdigit() for character in word):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    stem = word
    if re.search(r"(?:s|x|z|ch|sh)es\Z", word):
        stem = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us")):
        stem = word[:-1]
    elif len(word) > 5 and word.endswith("ing"):
        stem = word[:-3]
    elif word.endswith("ed"):
        stem = word[:-2]
    return stem[:-1] if len(stem) > 4 and stem.endswith("e") else stem


_SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    _stem(said): tuple(_stem(word) for word in called.split(","))
    for said, _, called in (pair.partition(":") for pair in _SAID.split())
}


class Ranking:
    """An index over texts, by their numbers in order; each is given as fields with a weight."""

    def __init__(self, texts: Iterable[Sequence[tuple[str, float]]]) -> None:
        self._places: dict[str, dict[int, float]] = {}
        self.count = 0
        for number, fields in enumerate(texts):
            self.count += 1
            for text, weight in fields:
                for word in words(text):
                    of_word = self._places.setdefault(word, {})
                    of_word[number] = max(of_word.get(number, 0.0), weight)

    def find(self, query: str) -> list[tuple[int, float]]:
        """(number, score) of every text that shares a word with the query, best first."""
        scores: dict[int, float] = {}
        covered: dict[int, float] = {}
        whole = 0.0
        for word in list(dict.fromkeys(words(query)))[:_MOST_WORDS]:
            best = self._shares(word)
            rarity = math.log(1 + self.count / (1 + len(best)))
            whole += rarity if best else 0.0
            for number, share in best.items():
                scores[number] = scores.get(number, 0.0) + share * rarity
                covered[number] = covered.get(number, 0.0) + min(1.0, 0.5 + share) * rarity
        ranked = [(number, score * (covered[number] / whole) ** 2) for number, score in scores.items()] if whole else []
        return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))

    def _shares(self, word: str) -> dict[int, float]:
        best: dict[int, float] = {}
        self._take(best, word, 1.0)
        for other in _SYNONYMS.get(word, ()):
            self._take(best, other, _SYNONYM)
        if not best and len(word) >= 3:
            alike = [
                known for known in self._places if known.startswith(word) or (len(known) > 3 and word.startswith(known))
            ]
            for known in alike[:12]:
                self._take(best, known, _BEGINNING)
        return best

    def _take(self, best: dict[int, float], word: str, factor: float) -> None:
        for number, weight in self._places.get(word, {}).items():
            best[number] = max(best.get(number, 0.0), factor * weight / (weight + _HALF))
