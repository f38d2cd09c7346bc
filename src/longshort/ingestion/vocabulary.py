"""Vocabulary: whether there are enough words, and different ones, to learn anything from.

A file may be short among many; so this is asked of all documents of a data set together. What a word is
here is coarser than in `windows`, which comes later: enough to refuse what could not be learned at all.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from longshort.errors import DataRefused

Tokens = Literal["words", "characters"]

LEAST_VOCABULARY = 5
MOST_SINGLETONS = 0.3  # share of the words that occur once; a novel's first ten thousand words have a fifth
_COUNTED = 1_000_000  # words, of a longer text the first
_LONG = 10_000  # words from which on the share of singletons says something
_LEAST_SPACE, _SOME = 0.05, 100  # share of white space in a text of so many characters; English has a sixth

_WORD = re.compile(r"\d+(?:[.,]\d+)*|\w+(?:['’]\w+)*|[^\w\s]")
_LETTER = re.compile(r"[^\W\d_]")
# scripts that put no space between words: Han, kana, Thai, Lao, Burmese, Khmer
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class Census:
    """What was counted in the first million words.

    words       numbers are one word; so is each mark
    different   words
    singletons  words that occur once
    characters, spaces, different_characters  of which white space is none
    letters, unspaced  letters, and those of scripts that put no space between words
    """

    words: int
    different: int
    singletons: int
    characters: int
    spaces: int
    different_characters: int
    letters: int
    unspaced: int


def census(documents: Iterable[str]) -> Census:
    """Count the words of all documents together.

    >>> census(["to be or not to be"]).different
    4
    """
    count = Count()
    for document in documents:
        count.feed(document)
    return count.census()


class Count:
    """Counts words as `census` does, of documents or their rows one by one."""

    def __init__(self) -> None:
        self._words: Counter[str] = Counter()
        self._counted = self._length = 0

    def feed(self, text: str) -> None:
        """Count the words of some text, unless there were a million before."""
        end = 0
        for match in itertools.islice(_WORD.finditer(text), _COUNTED - self._counted):
            self._words[match[0].lower()] += 1
            self._counted += 1
            end = match.end()
        self._length += end

    def census(self) -> Census:
        """What was counted so far."""
        return _census(self._words, self._length)


def _census(words: Counter[str], length: int) -> Census:
    characters: Counter[str] = Counter()
    for word, times in words.items():
        for character in word:
            characters[character] += times
    numbers = [times for word, times in words.items() if word[0].isdecimal()]
    return Census(
        words=words.total(),
        different=len(words) - len(numbers) + bool(numbers),
        singletons=sum(times == 1 for times in words.values()) - sum(times == 1 for times in numbers) + (sum(numbers) == 1),
        characters=length,
        spaces=length - characters.total(),
        different_characters=len(characters),
        letters=sum(times for character, times in characters.items() if _LETTER.match(character)),
        unspaced=sum(times for character, times in characters.items() if _UNSPACED.match(character)),
    )


def judge(found: Census, name: str, needed: int, tokens: Tokens = "words") -> tuple[str, ...]:
    """Refuse a text from which nothing could be learned; returns warnings of what is odd about it.

    needed  tokens that one window takes in all: those it sees, and the one that it names
    raises  DataRefused
    """
    _refuse_sameness(found, name, tokens)
    if tokens == "words":
        _refuse_no_words(found, name)
    size = found.words if tokens == "words" else found.characters
    if size < needed:
        raise DataRefused(
            f"{name}: {size:,} {tokens}; expected {needed:,} or more, what one window takes; "
            "add text, or lower `windows.language-model.lookback` in params.yaml."
        )
    warnings = []
    if not found.letters:
        warnings.append(
            f"{name}: no letter among {found.characters:,} characters, only figures and marks; expected text; is it the right file?"
        )
    if found.words >= _LONG and found.singletons > MOST_SINGLETONS * found.words:
        warnings.append(
            f"{name}: {found.singletons:,} of {found.words:,} words ({found.singletons / found.words:.0%}) occur once; expected "
            f"{MOST_SINGLETONS:.0%} at most; are they hashes or numbers of things? They all become [UNK]."
        )
    return tuple(warnings)


def _refuse_sameness(found: Census, name: str, tokens: Tokens) -> None:
    if found.different_characters == 1:
        raise DataRefused(f"{name}: all {found.characters:,} characters are the same one; expected text; is it the right file?")
    vocabulary = found.different_characters + bool(found.spaces) if tokens == "characters" else LEAST_VOCABULARY
    if vocabulary < LEAST_VOCABULARY:
        raise DataRefused(
            f"{name}: {vocabulary} different characters; expected {LEAST_VOCABULARY} or more; there is nothing to learn, take another text."
        )


def _refuse_no_words(found: Census, name: str) -> None:
    suggestion = "put white space between the words first; longshort has no model of characters yet"
    if found.unspaced > found.letters / 2:
        raise DataRefused(
            f"{name}: {found.unspaced:,} of {found.letters:,} letters are of a script without spaces between words, "
            f"so the vocabulary would be 1 token a clause; expected words with white space between them; {suggestion}."
        )
    if found.characters >= _SOME and found.spaces < _LEAST_SPACE * found.characters:
        raise DataRefused(
            f"{name}: {found.spaces:,} of {found.characters:,} characters are white space, so the vocabulary would be 1 token a line; "
            f"expected words with white space between them (is it minified or encoded?); {suggestion}."
        )
    if found.different < LEAST_VOCABULARY and found.words > 1:
        raise DataRefused(
            f"{name}: the vocabulary would be {found.different} token{'s' * (found.different > 1)} "
            f"({found.words:,} words, a number is one); expected {LEAST_VOCABULARY} or more; there is nothing to learn, take another text."
        )
