"""Text windows: documents become words, words become ids in one array, cut by index.

The text is split by paragraphs in reading order, newest last. A paragraph of 13 words and more that
recurs in a later part is dropped from the earlier one: a model must not be tested on what it has read
(13-gram overlap as in Brown et al., 2020). The vocabulary is counted on the training part alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longshort.config import TextWindows
from longshort.errors import DataRefused, SeriesTooShort

UNKNOWN, NUMBER, ADDRESS = "[UNK]", "[NUM]", "[URL]"
SPECIAL = (UNKNOWN, NUMBER, ADDRESS)
RECURRING = 13  # words from which on a paragraph is long enough to be a leak and not an idiom

# an address, a number, a word with inner apostrophes, or a run of one punctuation mark
_WORD = re.compile(r"(?P<url>https?://\S+|www\.\S+)|(?P<num>\d+(?:[.,]\d+)*)|\w+(?:['’]\w+)*|([^\w\s])\3*")

Ids = NDArray[np.int32]


def words(text: str) -> list[str]:
    """Split into lower-case words and punctuation; numbers and addresses become one word each.

    >>> words("See https://example.org: it's 3.14, or more...")
    ['see', '[URL]', "it's", '[NUM]', ',', 'or', 'more', '...']
    """
    return [ADDRESS if m["url"] else NUMBER if m["num"] else m[0].lower() for m in _WORD.finditer(text)]


@dataclass(frozen=True)
class Paragraph:
    """The words of a paragraph, and the characters that they took in the text (runs of white space count one)."""

    words: tuple[str, ...]
    characters: int


@dataclass(frozen=True)
class Vocabulary:
    """Words by id. Ids 0, 1, 2 are [UNK], [NUM], [URL]; the rest follow by falling frequency, then alphabet."""

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    def ids(self, text: Iterable[str]) -> Ids:
        """Words to ids; a word that the vocabulary does not hold becomes [UNK]."""
        index = {word: number for number, word in enumerate(self.words)}
        return np.fromiter((index.get(word, 0) for word in text), np.int32)


def paragraphs(documents: Iterable[str]) -> list[Paragraph]:
    """Cut documents at blank lines, in reading order; paragraphs without a word are left out."""
    found = []
    for document in documents:
        for block in re.split(r"\n\s*\n", document):
            if tokens := words(block):
                found.append(Paragraph(tuple(tokens), len(" ".join(block.split())) + 1))
    return found


def split(blocks: Sequence[Paragraph], spec: TextWindows) -> tuple[dict[str, list[Paragraph]], dict[str, int]]:
    """Part a text in reading order, and drop from earlier parts what recurs in later ones.

    returns  part -> paragraphs, and the number of words dropped from each part
    """
    ends = np.cumsum([len(block.words) for block in blocks])
    total = int(ends[-1]) if len(ends) else 0
    first_validation = int(np.searchsorted(ends, total * (1 - spec.validation - spec.test)))
    first_test = int(np.searchsorted(ends, total * (1 - spec.test)))
    raw = {
        "train": blocks[:first_validation],
        "validation": blocks[first_validation:first_test],
        "test": blocks[first_test:],
    }
    kept: dict[str, list[Paragraph]] = {}
    dropped: dict[str, int] = {}
    later: set[tuple[str, ...]] = set()
    for part in ("test", "validation", "train"):
        kept[part] = [block for block in raw[part] if len(block.words) < RECURRING or block.words not in later]
        dropped[part] = sum(len(b.words) for b in raw[part]) - sum(len(b.words) for b in kept[part])
        later |= {block.words for block in raw[part]}
    return kept, dropped


def make_vocabulary(train: Iterable[Paragraph], spec: TextWindows) -> Vocabulary:
    """Count the training part's words; those seen ``min_count`` times and more are known, the most frequent first.

    raises  DataRefused when fewer than five words are left to tell apart
    """
    counts = Counter(word for block in train for word in block.words if word not in SPECIAL)
    frequent = sorted((word for word, count in counts.items() if count >= spec.min_count), key=lambda w: (-counts[w], w))
    frequent = frequent[: max(spec.max_vocabulary - len(SPECIAL), 0)]
    if len(frequent) < 5:
        raise DataRefused(
            f"the vocabulary would hold {len(frequent)} words: {len(counts)} different words in the training part, "
            f"of which those seen {spec.min_count} times or more are kept, {spec.max_vocabulary} with {', '.join(SPECIAL)} at most. "
            "Take in more text, or change `windows.language-model.min_count` or `.max_vocabulary` in params.yaml."
        )
    return Vocabulary(SPECIAL + tuple(frequent))


@dataclass(frozen=True)
class Stretch:
    """Tokens ``start`` to ``stop`` (exclusive) of the array of ids: one part, and its characters in the text."""

    start: int
    stop: int
    characters: int


def make_stretches(parts: dict[str, list[Paragraph]], vocabulary: Vocabulary, spec: TextWindows) -> tuple[Ids, dict[str, Stretch]]:
    """One array of ids, train before validation before test, and where each part lies in it.

    raises  SeriesTooShort when a part holds fewer tokens than one window and its answer
    """
    ids, stretches, start = [], {}, 0
    for part in ("train", "validation", "test"):
        tokens = vocabulary.ids(word for block in parts[part] for word in block.words)
        if len(tokens) < spec.lookback + 1:
            raise SeriesTooShort(
                f"the {part} part holds {len(tokens)} tokens but one window needs {spec.lookback} (lookback) + 1. "
                "Take in more text, or lower `windows.language-model.lookback` in params.yaml."
            )
        stretches[part] = Stretch(start, start + len(tokens), sum(block.characters for block in parts[part]))
        ids.append(tokens)
        start += len(tokens)
    return np.concatenate(ids), stretches


def training_starts(stretch: Stretch, lookback: int, epoch: int, seed: int) -> NDArray[np.int64]:
    """First tokens of an epoch's windows: neighbours without overlap, cut at another offset in each epoch.

    Each window needs ``lookback`` tokens and the one after them.
    """
    room = stretch.stop - stretch.start - lookback - 1
    offset = int(np.random.Philox(key=[seed, epoch]).random_raw()) % (min(lookback, room) + 1) if room > 0 else 0
    return np.arange(stretch.start + offset, stretch.stop - lookback, lookback, dtype=np.int64)


def scoring_windows(stretch: Stretch, lookback: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows that score every token of a part exactly once, each after half a window of context and more.

    returns  starts: first token of each window, which may lie in the part before;
             counts: how many of its last tokens it scores
    A part at the very start of the text has no token before its first, so that one is left out.
    """
    step = max(lookback // 2, 1)
    scored = max(stretch.start, 1)
    starts, counts = [], []
    while scored < stretch.stop:
        last = min(max(scored - 1 - (lookback - step), 0) + lookback, stretch.stop - 1)  # the last token that it names
        start = max(last - lookback, 0)
        starts.append(start)
        counts.append(last - scored + 1)
        scored = last + 1
    return np.array(starts, np.int64), np.array(counts, np.int64)
