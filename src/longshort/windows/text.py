"""Text windows: the paragraphs of a text become ids in one array, cut by index.

The text is split by paragraphs in reading order, newest last. A paragraph in which a run of 13 words begins that
stands in a later part too is dropped from the earlier one: a model must not be tested on what it has read
(13-gram overlap as in Brown et al., 2020). The vocabulary is counted on the training part alone.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longshort.config import TextWindows
from longshort.errors import DataRefused, SeriesTooShort
from longshort.windows import contamination
from longshort.windows.contamination import Overlap
from longshort.windows.folds import walk
from longshort.windows.tokens import SPECIAL, UNKNOWN, Ids, Paragraphs

MOST_UNKNOWN = 0.2  # share of [UNK] among the words of the validation part
SCORING_STREAMS = 16  # as many as a vector of the engine `native` has lanes


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


@dataclass(frozen=True)
class Reach:
    """How far into a text a part reaches: words from the text's beginning, with those that are dropped, and the sha256 of all of them."""

    words: int
    sha256: str


def reach(blocks: Paragraphs, words: Sequence[str], spec: TextWindows, fold: int | None = None) -> dict[str, Reach]:
    """How far each part of a fold reaches; a text that goes on behind a part leaves its reach as it was.

    words  by the number that they have in the paragraphs, in the order in which they first stand
    fold   see `bounds`
    """
    ends = np.concatenate([[0], np.cumsum(blocks.lengths)])
    counts = {part: int(ends[last]) for part, (_, last) in bounds(blocks, spec, fold).items()}
    return {part: Reach(count, beginning_sha256(blocks, words, count)) for part, count in counts.items()}


def beginning_sha256(blocks: Paragraphs, words: Sequence[str], count: int) -> str:
    """Digest of a text's first words; arguments as `reach`."""
    ids = blocks.ids[:count]
    digest = hashlib.sha256(np.ascontiguousarray(ids, "<i4").tobytes())
    # numbers are given in the order in which words first stand, so these are all that the numbers stand for, and no other
    digest.update("\n".join(words[: int(ids.max()) + 1 if count else 0]).encode())
    return digest.hexdigest()


def bounds(blocks: Paragraphs, spec: TextWindows, fold: int | None = None) -> dict[str, tuple[int, int]]:
    """The first and the last paragraph, exclusive, of each part of a fold, in reading order.

    fold  which of ``spec.folds`` pieces the test part is, from 0, the oldest; None: the newest
    """
    ends, count = np.cumsum(blocks.lengths), len(blocks.ids)
    validation, test = (math.ceil(count * share) for share in (1 - spec.validation - spec.test, 1 - spec.test))

    def paragraph(word: int) -> int:
        return int(np.searchsorted(ends, word)) if word < count else len(blocks)

    return {part: (paragraph(begin), paragraph(end)) for part, (begin, end) in walk(validation, test, count, spec, fold).items()}


def split(blocks: Paragraphs, spec: TextWindows, fold: int | None = None) -> tuple[dict[str, Paragraphs], dict[str, int], list[Overlap]]:
    """Part a text in reading order, and drop from earlier parts what stands in later ones.

    fold     see `bounds`; what lies behind its test part is not looked at
    returns  part -> paragraphs; the number of words dropped from each part; and how much of each part stood in earlier ones before
    """
    parts = {part: blocks.between(*ends) for part, ends in bounds(blocks, spec, fold).items()}
    stood = contamination.compare({part: own.ids for part, own in parts.items()})
    whole = dict(parts)
    for part, later in (("validation", ["test"]), ("train", ["validation", "test"])):
        parts[part] = _without(parts[part], [parts[other].ids for other in later])
    return parts, {part: len(whole[part].ids) - len(own.ids) for part, own in parts.items()}, stood


def _without(blocks: Paragraphs, later: list[Ids]) -> Paragraphs:
    """The paragraphs in which no run begins that stands in a later part.

    What was apart meets where a paragraph is dropped between, so it is asked again until nothing is found.
    """
    while True:
        begins = np.zeros(max(len(blocks.ids) - contamination.RUN + 1, 0), bool)
        for other in later:
            begins |= contamination.shared(blocks.ids, other)
        if not begins.any():
            return blocks
        kept = np.ones(len(blocks), bool)
        kept[np.searchsorted(np.cumsum(blocks.lengths), np.flatnonzero(begins), "right")] = False
        blocks = blocks.only(kept)


def count(ids: Ids, words: Sequence[str]) -> Counter[str]:
    """How often each word stands among words by number."""
    times = np.bincount(ids, minlength=len(words))
    return Counter({word: count for word, count in zip(words, times.tolist(), strict=True) if count})


def make_vocabulary(train: Counter[str], spec: TextWindows) -> Vocabulary:
    """Of the training part's words those seen ``min_count`` times and more are known, the most frequent first.

    raises  DataRefused when fewer than five words are left to tell apart
    """
    counts = Counter({word: times for word, times in train.items() if word not in SPECIAL})
    frequent = known(counts, spec.min_count, spec.max_vocabulary)
    if len(frequent) < 5:
        raise DataRefused(
            f"the vocabulary would hold {len(frequent)} words: {len(counts)} different words in the training part, "
            f"of which those seen {spec.min_count} times or more are kept, {spec.max_vocabulary} with {', '.join(SPECIAL)} at most. "
            "Take in more text, or change `windows.language-model.min_count` or `.max_vocabulary` in params.yaml."
        )
    return Vocabulary(SPECIAL + tuple(frequent))


def judge_unknown(
    train: Counter[str],
    validation: Counter[str],
    name: str,
    min_count: int,
    max_vocabulary: int,
    section: str = "windows.language-model",
) -> str:
    """Say how many words of the validation part the vocabulary of the training part does not hold.

    train, validation  how often each word stands in them
    section  of params.yaml, where the numbers are set
    raises  DataRefused when it is more than a fifth: a model would mostly learn to say [UNK]

    >>> judge_unknown(Counter(to=3, be=3), Counter(to=2, be=2, _or=1), "hamlet", min_count=3, max_vocabulary=10)
    'hamlet: 1 of 5 words of the validation part (20.0 %) are [UNK], with a vocabulary of 5'
    """
    kept = {*SPECIAL, *known(Counter({word: times for word, times in train.items() if word not in SPECIAL}), min_count, max_vocabulary)}
    unknown = sum(times for word, times in validation.items() if word not in kept or word == UNKNOWN)
    share = unknown / max(validation.total(), 1)
    said = (
        f"{name}: {unknown:,} of {validation.total():,} words of the validation part ({100 * share:.1f} %) are [UNK], "
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


def make_stretches(
    parts: dict[str, Paragraphs], words: Sequence[str], vocabulary: Vocabulary, spec: TextWindows
) -> tuple[Ids, dict[str, Stretch]]:
    """One array of ids, train before validation before test, and where each part lies in it.

    words   by the number that they have in the parts
    raises  SeriesTooShort when a part holds fewer tokens than one window and its answer
    """
    id_of = vocabulary.ids(words)
    ids, stretches, start = [], {}, 0
    for part in ("train", "validation", "test"):
        tokens = id_of[parts[part].ids]
        if len(tokens) < spec.lookback + 1:
            raise SeriesTooShort(
                f"the {part} part holds {len(tokens)} tokens but one window needs {spec.lookback} (lookback) + 1. "
                "Take in more text, or lower `windows.language-model.lookback` in params.yaml."
            )
        stretches[part] = Stretch(start, start + len(tokens), int(parts[part].characters.sum()))
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


@dataclass(frozen=True)
class Streams:
    """A part as a network reads it that carries its state: streams side by side, each read from its beginning to its end.

    starts  (windows, streams) first token of each window; it goes on where the one before it in its stream stopped
    counts  (windows, streams) how many of its last tokens are charged
    last    tokens that the last windows read, which is what is left; all others read a whole lookback
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    last: int


def training_streams(stretch: Stretch, lookback: int, streams: int) -> Streams:
    """The training part in so many streams, every token charged once but the text's first, which nothing comes before.

    raises  SeriesTooShort when there are not two tokens for each
    """
    tokens = stretch.stop - stretch.start
    if tokens < 2 * streams:
        raise SeriesTooShort(
            f"the train part holds {tokens} tokens, and {streams} streams (one a row of a batch) of two tokens take {2 * streams}. Take in "
            "more text, lower `training.language-model.batch_size` in params.yaml (or that of the item), or set "
            "`tasks.language-model.carried` to false."
        )
    return _side_by_side(stretch, lookback, streams, 0)


def scoring_streams(stretch: Stretch, lookback: int) -> Streams:
    """A part in streams that are scored, every token once, as by `scoring_windows`.

    Each stream has read a whole window before its first charged token, where the text has one there; that no more than a quarter is read
    for this alone, short parts have fewer streams.
    """
    first = max(stretch.start, 1)
    streams = max(1, min(SCORING_STREAMS, (stretch.stop - first) // (4 * lookback)))
    return _side_by_side(stretch, lookback, streams, min(lookback, first - 1))


def _side_by_side(stretch: Stretch, lookback: int, streams: int, context: int) -> Streams:
    """All streams read equally many tokens: ``context`` that is not charged, and as many as the longest one has.

    So a stream that is a token shorter reads one more of what comes before it.
    """
    first = max(stretch.start, 1)
    shortest, longer = divmod(stretch.stop - first, streams)
    charged = shortest + (np.arange(streams) < longer)
    read = int(charged[0]) + context
    begins = np.arange(0, read, lookback)[:, None]
    counts = np.minimum(begins + lookback, read) - np.maximum(begins, read - charged)
    starts = first + np.cumsum(charged) - 1 - read + begins
    return Streams(starts, np.maximum(counts, 0), read - int(begins[-1, 0]))
