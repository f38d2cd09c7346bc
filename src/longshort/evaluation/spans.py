"""Spans: what a tagger marks, from a B- to the last I- of one name, and how many it found (Tjong Kim Sang and Buchholz, 2000).

Also with E- for the last and S- for the only word of a span (or L- and U-: Ratinov and Roth, 2009), and with letters alone. A tag without
such a letter, as parts of speech are, marks its word by itself.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from longshort.evaluation.tables import Table

Span = tuple[str, int, int]  # its name, its first word, and the one behind its last
Tags = Sequence[str]
Word = TypeVar("Word", bound=Hashable)
Tag = TypeVar("Tag", bound=Hashable)

_LETTERS = {"B": "B", "I": "I", "E": "E", "L": "E", "S": "S", "U": "S"}


def spans(tags: Tags) -> Iterator[Span]:
    """The spans of a row, first to last. An I- or E- that follows no span of its name begins one, as conlleval counts it.

    >>> list(spans(["B-city", "I-city", "O", "B-day", "I-hour"]))
    [('city', 0, 2), ('day', 3, 4), ('hour', 4, 5)]
    >>> list(spans(["S-day", "B-city", "E-city", "NOUN"]))
    [('day', 0, 1), ('city', 1, 3), ('NOUN', 3, 4)]
    """
    name: str | None = None
    first = 0
    for place, tag in enumerate([*tags, "O"]):
        kind, own = _read(tag)
        if name is not None and (kind in "OBS" or own != name):
            yield name, first, place
            name = None
        if name is None and kind != "O":
            name, first = own, place
        if name is not None and kind in "ES":
            yield name, first, place + 1
            name = None


def _read(tag: str) -> tuple[str, str]:
    """What a tag says of its word's place in a span (O: in none), and the span's name."""
    letter, _, own = tag.partition("-")
    return ("O", "") if tag == "O" else (_LETTERS[letter], own) if letter in _LETTERS else ("S", tag)


def score(named: Sequence[Tags], tags: Sequence[Tags]) -> dict[str, float]:
    """Precision, recall and F1 of spans over all rows: one is found where its name and both its ends are right; and accuracy of words."""
    found, said, there = _counted(named, tags)
    right = sum(a == b for own, wanted in zip(named, tags, strict=True) for a, b in zip(own, wanted, strict=True))
    return {**_rates(found.total(), said.total(), there.total()), "word_accuracy": right / max(sum(map(len, tags)), 1)}


class MostFrequent(Generic[Word, Tag]):
    """Each word's most frequent tag of the training part; of a word that it never shows, the most frequent tag of all.

    Words and tags are names or numbers.
    """

    def __init__(self, train: Iterable[tuple[Sequence[Word], Sequence[Tag]]], names: Collection[Tag]) -> None:
        """train: words and tags of each row; names: all tags that are known."""
        self._seen: dict[Word, Counter[Tag]] = defaultdict(Counter)
        self._names = names
        everywhere = Counter[Tag]()
        for words, tags in train:
            everywhere.update(tags)
            for word, tag in zip(words, tags, strict=True):
                self._seen[word][tag] += 1
        self._usual = everywhere.most_common(1)[0][0]

    def named(self, words: Sequence[Word]) -> list[Tag]:
        """A tag a word."""
        return [self._seen[word].most_common(1)[0][0] if word in self._seen else self._usual for word in words]

    def loss(self, rows: Iterable[tuple[Sequence[Word], Sequence[Tag]]]) -> float:
        """Nats a word whose tag is known, each tag as likely as it stands beside the word in training, one added to each (Laplace)."""
        nats = []
        for words, tags in rows:
            for word, tag in zip(words, tags, strict=True):
                if tag in self._names:
                    seen = self._seen[word] if word in self._seen else Counter[Tag]()
                    nats.append(math.log((seen.total() + len(self._names)) / (seen[tag] + 1)))
        return sum(nats) / max(len(nats), 1)


def by_name(named: Sequence[Tags], tags: Sequence[Tags]) -> Table:
    """A row a name, the most frequent first: how many spans there are, and precision, recall and F1."""
    found, said, there = _counted(named, tags)
    rows: list[list[Any]] = []
    for name, count in sorted(there.items(), key=lambda entry: (-entry[1], entry[0])):
        rates = _rates(found[name], said[name], count)
        rows.append([name, count, *rates.values()])
    return Table(["span", "rows", "precision", "recall", "f1"], rows)


def _counted(named: Sequence[Tags], tags: Sequence[Tags]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """By name: spans that were found, that were said, and that there are."""
    found, said, there = Counter[str](), Counter[str](), Counter[str]()
    for own, wanted in zip(named, tags, strict=True):
        mine, theirs = set(spans(own)), set(spans(wanted))
        said.update(name for name, *_ in mine)
        there.update(name for name, *_ in theirs)
        found.update(name for name, *_ in mine & theirs)
    return found, said, there


def _rates(found: int, said: int, there: int) -> dict[str, float]:
    precision, recall = found / max(said, 1), found / max(there, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * found / max(said + there, 1)}
