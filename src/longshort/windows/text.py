"""Text windows: documents become words, words become ids in one array, cut by index.

The text is split by paragraphs in reading order, newest last. A paragraph in which a run of 13 words begins that
stands in a later part too is dropped from the earlier one: a model must not be tested on what it has read
(13-gram overlap as in Brown et al., 2020). The vocabulary is counted on the training part alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longshort.config import TextWindows
from longshort.errors import DataRefused, SeriesTooShort
from longshort.windows import contamination
from longshort.windows.contamination import Overlap

UNKNOWN, NUMBER, ADDRESS = "[UNK]", "[NUM]", "[URL]"
SPECIAL = (UNKNOWN, NUMBER, ADDRESS)
LONGEST = 2000  # words of a paragraph; a longer one is a text without blank lines, or a table
MOST_UNKNOWN = 0.2  # share of [UNK] among the words of the validation part

# an address, a number, a word with inner apostrophes, or a run of one punctuation mark
_WORD = re.compile(r"(?P<url>https?://\S+|www\.\S+)|(?P<num>\d+(?:[.,]\d+)*)|\w+(?:['’]\w+)*|([^\w\s])\3*")
_BEYOND = re.compile(rf"(?:\s*+\S++){{{LONGEST}}}(?=\s*+\S)")

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
    """Cut documents at blank lines, in reading order; paragraphs without a word are left out.

    A paragraph of more than 2,000 words is cut at the ends of its lines, and a line of more than 2,000 every 2,000.
    """
    spelt: dict[str, str] = {}  # each word is held once, however often it stands in the text
    found = []
    for document in documents:
        for block in re.split(r"\n\s*\n", document):
            for piece in _in_reach(block):
                if tokens := tuple(spelt.setdefault(word, word) for word in words(piece)):
                    found.append(Paragraph(tokens, len(" ".join(piece.split())) + 1))
    return found


def _in_reach(block: str) -> Iterator[str]:
    """A paragraph, or where it is too long its lines, or their stretches; what stands between white space is a word here."""
    for line in [block] if len(block.split(maxsplit=LONGEST)) <= LONGEST else block.split("\n"):
        start = 0
        while cut := _BEYOND.match(line, start):
            yield line[start : cut.end()]
            start = cut.end()
        yield line[start:]


def split(blocks: Sequence[Paragraph], spec: TextWindows) -> tuple[dict[str, list[Paragraph]], dict[str, int], list[Overlap]]:
    """Part a text in reading order, and drop from earlier parts what stands in later ones.

    returns  part -> paragraphs; the number of words dropped from each part; and how much of each part stood in earlier ones before
    """
    ends = np.cumsum([len(block.words) for block in blocks])
    total = int(ends[-1]) if len(ends) else 0
    first_validation = int(np.searchsorted(ends, total * (1 - spec.validation - spec.test)))
    first_test = int(np.searchsorted(ends, total * (1 - spec.test)))
    parts = {
        "train": list(blocks[:first_validation]),
        "validation": list(blocks[first_validation:first_test]),
        "test": list(blocks[first_test:]),
    }
    ids = contamination.number({part: (word for block in own for word in block.words) for part, own in parts.items()})
    before = {part: len(own) for part, own in ids.items()}
    stood = contamination.compare(ids)
    for part, later in (("validation", ["test"]), ("train", ["validation", "test"])):
        parts[part], ids[part] = _without(parts[part], ids[part], [ids[other] for other in later])
    return parts, {part: before[part] - len(own) for part, own in ids.items()}, stood


def _without(blocks: list[Paragraph], ids: Ids, later: list[Ids]) -> tuple[list[Paragraph], Ids]:
    """The paragraphs in which no run begins that stands in a later part, and their words as numbers.

    What was apart meets where a paragraph is dropped between, so it is asked again until nothing is found.
    """
    while True:
        owner = np.repeat(np.arange(len(blocks)), [len(block.words) for block in blocks])
        begins = np.zeros(max(len(ids) - contamination.RUN + 1, 0), bool)
        for other in later:
            begins |= contamination.shared(ids, other)
        if not begins.any():
            return blocks, ids
        kept = np.ones(len(blocks), bool)
        kept[owner[np.flatnonzero(begins)]] = False
        blocks, ids = [block for block, stays in zip(blocks, kept, strict=True) if stays], ids[kept[owner]]


def make_vocabulary(train: Iterable[Paragraph], spec: TextWindows) -> Vocabulary:
    """Count the training part's words; those seen ``min_count`` times and more are known, the most frequent first.

    raises  DataRefused when fewer than five words are left to tell apart
    """
    counts = Counter(word for block in train for word in block.words if word not in SPECIAL)
    frequent = known(counts, spec.min_count, spec.max_vocabulary)
    if len(frequent) < 5:
        raise DataRefused(
            f"the vocabulary would hold {len(frequent)} words: {len(counts)} different words in the training part, "
            f"of which those seen {spec.min_count} times or more are kept, {spec.max_vocabulary} with {', '.join(SPECIAL)} at most. "
            "Take in more text, or change `windows.language-model.min_count` or `.max_vocabulary` in params.yaml."
        )
    return Vocabulary(SPECIAL + tuple(frequent))


def judge_unknown(
    train: Iterable[str],
    validation: Iterable[str],
    name: str,
    min_count: int,
    max_vocabulary: int,
    section: str = "windows.language-model",
) -> str:
    """Say how many words of the validation part the vocabulary of the training part does not hold.

    section  of params.yaml, where the numbers are set
    raises  DataRefused when it is more than a fifth: a model would mostly learn to say [UNK]

    >>> judge_unknown(["to", "be"] * 3, ["to", "be", "to", "be", "or"], "hamlet", min_count=3, max_vocabulary=10)
    'hamlet: 1 of 5 words of the validation part (20.0 %) are [UNK], with a vocabulary of 5'
    """
    kept = {*SPECIAL, *known(Counter(word for word in train if word not in SPECIAL), min_count, max_vocabulary)}
    asked = Counter(validation)
    unknown = sum(times for word, times in asked.items() if word not in kept or word == UNKNOWN)
    share = unknown / max(asked.total(), 1)
    said = (
        f"{name}: {unknown:,} of {asked.total():,} words of the validation part ({100 * share:.1f} %) are [UNK], "
        f"with a vocabulary of {len(kept):,}"
    )
    if share > MOST_UNKNOWN:
        raise DataRefused(
            f"{said}; expected {MOST_UNKNOWN:.0%} at most; "
            f"add text, raise `{section}.max_vocabulary` (now {max_vocabulary:,}) or lower `min_count` (now {min_count}) "
            "in params.yaml, or let a model of characters learn it."
        )
    return said


def known(counts: Counter[str], min_count: int, max_vocabulary: int, special: tuple[str, ...] = SPECIAL) -> list[str]:
    """The words that a vocabulary takes beside the special ones, by falling frequency, then alphabet."""
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda word: (-counts[word], word))
    return frequent[: max(max_vocabulary - len(special), 0)]


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
