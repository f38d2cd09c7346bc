"""Labelled windows: texts with a label, words with tags, and pairs become ids in one array each, row by row, in three parts.

Rows are of different lengths and lie one behind the other, never padded: offsets say where each begins. A part is a range of
rows, train before validation before test. Where the files say the parts, those stand; what they leave out is cut from train
by a shuffle that keeps the shares of the labels, and keeps rows of one text together: no text stands in two parts. Vocabulary,
labels and tags are those of the training part alone. Pure NumPy.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.config import CaptionWindows, ClassifyWindows, TagWindows, TranslateWindows
from longshort.errors import DataRefused
from longshort.windows import contamination, text
from longshort.windows.contamination import Overlap
from longshort.windows.prices import PARTS
from longshort.windows.text import Vocabulary
from longshort.windows.tokens import SPECIAL, UNKNOWN, Ids, words_of

UNSEEN = -1  # the number of a label or a tag that the training part never shows: whatever a model says, it is wrong
START, END = "[START]", "[END]"  # a target begins and ends; put around it when a batch is made
LEAST_WORDS = 5  # of a vocabulary, beside the special ones

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # of pairs: a number stays what it is, since a target must be written out

Spec = ClassifyWindows | TagWindows | TranslateWindows | CaptionWindows
Numbers = NDArray[np.int64]
Keys = NDArray[np.uint64]
Tokens = Sequence[str]


@dataclass(frozen=True)
class Sequences:
    """Rows of ids, one behind the other.

    ids      (tokens,) int32
    offsets  (rows + 1,) int64: row n is ``ids[offsets[n] : offsets[n + 1]]``
    """

    ids: Ids
    offsets: Numbers

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, number: int) -> Ids:
        """The ids of a row, a view."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]

    def lengths(self, start: int, stop: int) -> Numbers:
        """How many ids each of the rows ``start`` to ``stop`` (exclusive) has."""
        return np.diff(self.offsets[start : stop + 1])


@dataclass(frozen=True)
class RowRange:
    """Rows ``start`` to ``stop`` (exclusive): one part.

    dropped        rows that are not in it: their texts (or vectors) stand in a later part too, or they are too long to train on
    unknown_share  of its tokens (of pairs: of the sources')
    unseen         labels, and tags, that the training part never shows -> how often they stand here
    """

    start: int
    stop: int
    dropped: int
    unknown_share: float
    unseen: dict[str, int]


@dataclass(frozen=True)
class Division:
    """How the rows of a tidy table were shared out.

    rows   (rows,) int64, the number of each row in the tidy table
    keys   (rows,) uint64, the same for two rows of the same words, in any data set; see `key_of`
    stood  how much of each part's longer texts stood in the parts before it, before rows were dropped
    """

    parts: dict[str, RowRange]
    rows: Numbers
    keys: Keys
    stood: list[Overlap]

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many rows each part holds, and the keys of those that a model learns from."""
        found: dict[str, dict[str, Any]] = {part: {"rows": own.stop - own.start} for part, own in self.parts.items()}
        for part in ("train", "validation"):
            own = self.parts[part]
            found[part]["keys"] = base64.b64encode(np.unique(self.keys[own.start : own.stop]).astype("<u8").tobytes()).decode()
        return found


@dataclass(frozen=True)
class ClassifyData:
    """Texts and a label each, ready for training.

    labels  (rows,) int32, places in ``names``, UNSEEN where train never shows the label
    names   the labels of the training part, in alphabetical order
    """

    spec: ClassifyWindows
    texts: Sequences
    labels: Ids
    names: tuple[str, ...]
    vocabulary: Vocabulary
    division: Division


@dataclass(frozen=True)
class TagData:
    """Words with a tag each, and a label a row, ready for training.

    tags   (tokens,) int32, of the words of ``texts``, places in ``tag_names``; labels as in `ClassifyData`
    """

    spec: TagWindows
    texts: Sequences
    tags: Ids
    tag_names: tuple[str, ...]
    labels: Ids
    names: tuple[str, ...]
    vocabulary: Vocabulary
    division: Division


@dataclass(frozen=True)
class TranslateData:
    """Pairs, ready for training; ``spec.tokens`` is what their tokens are: words or characters."""

    spec: TranslateWindows
    sources: Sequences
    targets: Sequences
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    division: Division

    @property
    def longest(self) -> int:
        """Tokens of the longest target of the training part."""
        train = self.division.parts["train"]
        return int(self.targets.lengths(train.start, train.stop).max())


def keys_in(extent: dict[str, dict[str, Any]]) -> Keys | None:
    """The keys of the rows that a model learned from, of `Division.extent`; None of an extent that has none."""
    parts = [extent.get(part, {}).get("keys") for part in ("train", "validation")]
    if None in parts:
        return None
    return np.unique(np.frombuffer(b"".join(base64.b64decode(str(part)) for part in parts), "<u8"))


def key_of(words: str) -> int:
    """What tells a row by its words, which `classify_data` and its neighbours put together: 8 bytes of a hash."""
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")


# --- words --------------------------------------------------------------------------------------


def tagged_words(line: str) -> list[str]:
    """The words of a line that has a tag a word: what stands between spaces, in the spelling of `words_of`.

    >>> tagged_words("St. Louis before 838 am")
    ['st.', 'louis', 'before', '[NUM]', 'am']
    """
    return [found[0] if len(found := words_of(word)) == 1 else word.lower() for word in line.split()]


def pair_tokens(side: str, kind: str) -> list[str]:
    """The tokens of one side of a pair: words in lower case and marks, or characters.

    >>> pair_tokens("Ça va, 3 fois !", "words"), pair_tokens("16+7", "characters")
    (['ça', 'va', ',', '3', 'fois', '!'], ['1', '6', '+', '7'])
    """
    return list(side) if kind == "characters" else [match[0].lower() for match in _WORD.finditer(side)]


# --- parts --------------------------------------------------------------------------------------


def share_out(keys: Sequence[str], strata: Sequence[str], named: Sequence[str] | None, spec: Spec) -> dict[str, list[int]]:
    """Which rows are in which part, in the order of the table.

    keys    what makes two rows the same, by row: they stay together
    strata  whose shares are the same in all parts that are cut here
    named   the part of each row, where the files say it; a part that they do not name is cut from train
    """
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for row in range(len(keys)):
        parts[named[row] if named is not None else "train"].append(row)
    wanted = {part: share for part, share in (("test", spec.test), ("validation", spec.validation)) if not parts[part]}
    if wanted:
        cut = _cut(parts["train"], keys, strata, wanted, spec.seed)
        parts["train"] = cut.pop("train")
        parts |= cut
    return parts


def _cut(rows: Sequence[int], keys: Sequence[str], strata: Sequence[str], wanted: dict[str, float], seed: int) -> dict[str, list[int]]:
    """Cut parts out of rows, stratum by stratum.

    The order is that of a hash of seed and key, so it hangs neither on the order of the rows nor on NumPy's generators, and
    most texts stay in their part when rows are added. The first text of a stratum always stays in train.
    """
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(keys[row], []).append(row)
    by_stratum: dict[str, list[str]] = {}
    for key, own in groups.items():
        by_stratum.setdefault(strata[own[0]], []).append(key)
    found: dict[str, list[int]] = {part: [] for part in ("train", *wanted)}
    for own_keys in by_stratum.values():
        first, *others = sorted(own_keys, key=lambda key: hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=16).digest())
        count = sum(len(groups[key]) for key in own_keys)
        room = {part: round(share * count) for part, share in wanted.items()}
        found["train"] += groups[first]
        for key in others:
            part = next((part for part in wanted if len(groups[key]) <= room[part]), "train")
            found[part] += groups[key]
            if part in room:
                room[part] -= len(groups[key])
    return {part: sorted(own) for part, own in found.items()}


def drop_repeats(parts: dict[str, list[int]], keys: Sequence[str]) -> dict[str, list[int]]:
    """The parts without rows whose text stands in a later part too: nothing is dropped from test."""
    later: set[str] = set()
    kept: dict[str, list[int]] = {}
    for part in reversed(PARTS):
        kept[part] = [row for row in parts[part] if keys[row] not in later]
        later |= {keys[row] for row in parts[part]}
    return {part: kept[part] for part in PARTS}


def overlaps(parts: dict[str, list[int]], tokens: Sequence[Tokens]) -> list[Overlap]:
    """How many runs of 13 words of a part's texts stand in the texts of an earlier one.

    Texts are not joined: a sign that stands nowhere else is put behind each, and the runs that hold it are not counted.
    """
    long = {part: [row for row in rows if len(tokens[row]) >= contamination.RUN] for part, rows in parts.items()}
    found = contamination.overlaps(
        {part: [word for row in rows for word in (*tokens[row], f"\0{row}")] for part, rows in long.items()},
    )
    runs = {part: sum(len(tokens[row]) - contamination.RUN + 1 for row in rows) for part, rows in long.items()}
    return [dataclasses.replace(overlap, runs=runs[overlap.part]) for overlap in found]


def refuse_empty(parts: dict[str, list[int]], section: str) -> None:
    """raises  DataRefused when a part holds no row"""
    for part, rows in parts.items():
        if not rows:
            raise DataRefused(
                f"the {part} part holds no row. Take in more rows, or change `{section}.validation` and `.test` in params.yaml, or "
                "name files and folders after their parts."
            )


def refuse_untold(said: Mapping[str, Sequence[str]], what: str) -> None:
    """raises  DataRefused when the training part does not show two of what a row is told apart by, or another part shows none of those

    said  the labels, or the tags, of each part's rows; what: which of these
    """
    known = set(said["train"])
    if len(known) < 2:
        alone = f"'{min(known)}' alone" if known else "none"
        raise DataRefused(f"the training part shows {alone}, and nothing is told apart by one {what}. Take in rows of another {what}.")
    for part, own in said.items():
        if own and known.isdisjoint(own):
            raise DataRefused(
                f"no {what} of the {part} part stands in the training part, so nothing could be scored there. Take in rows of the same "
                f"{what}s in all parts, or leave the parts out of the names of files and folders: they are cut from all rows then."
            )


# --- ids ----------------------------------------------------------------------------------------


def make_vocabulary(train: Iterable[Tokens], spec: Spec, section: str, special: tuple[str, ...], least: int = LEAST_WORDS) -> Vocabulary:
    """Count the training part's tokens; those seen ``min_count`` times and more are known, the most frequent first.

    special  the first ids, [UNK] before all; ``max_vocabulary`` counts them
    raises   DataRefused when fewer than ``least`` are left to tell apart
    """
    counts = Counter(token for tokens in train for token in tokens if token not in special)
    known = text.known(counts, spec.min_count, spec.max_vocabulary, special)
    if len(known) < least:
        raise DataRefused(
            f"the vocabulary would hold {len(known)} tokens: {len(counts)} different ones in the training part, of which those seen "
            f"{spec.min_count} times or more are kept, {spec.max_vocabulary} with {', '.join(special)} at most. "
            f"Take in more rows, or change `{section}.min_count` or `.max_vocabulary` in params.yaml."
        )
    return Vocabulary(special + tuple(known))


def sequences(rows: Sequence[Tokens], vocabulary: Vocabulary) -> Sequences:
    """Rows of tokens as ids in one array."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Sequences(vocabulary.ids(token for row in rows for token in row), offsets)


def numbered(names: Iterable[str], known: Sequence[str]) -> Ids:
    """Names as their places in ``known``; UNSEEN where it does not hold them."""
    place = {name: number for number, name in enumerate(known)}
    return np.fromiter((place.get(name, UNSEEN) for name in names), np.int32)


def division_of(
    parts: dict[str, list[int]],
    before: dict[str, list[int]],
    keys: Sequence[str],
    texts: Sequences,
    said: Sequence[Sequence[str]],
    stood: list[Overlap],
) -> Division:
    """The parts of rows that lie in their order.

    before  the parts before rows were dropped
    keys    as `share_out` has them, by row of the table, as ``said``
    said    the labels, and tags, of each row of the table
    """
    ranges, start = {}, 0
    seen = {name for row in parts["train"] for name in said[row]}
    for part, rows in parts.items():
        stop = start + len(rows)
        tokens = texts.ids[texts.offsets[start] : texts.offsets[stop]]
        unseen = Counter(name for row in rows for name in said[row] if name not in seen)
        unknown = float(np.mean(tokens == 0)) if len(tokens) else 0.0
        ranges[part] = RowRange(start, stop, len(before[part]) - len(rows), unknown, dict(sorted(unseen.items())))
        start = stop
    order = [row for rows in parts.values() for row in rows]
    return Division(ranges, np.array(order, np.int64), np.fromiter((key_of(keys[row]) for row in order), np.uint64, len(order)), stood)


# --- a tidy table becomes windows ---------------------------------------------------------------


def classify_data(texts: Sequence[str], labels: Sequence[str], named: Sequence[str] | None, spec: ClassifyWindows) -> ClassifyData:
    """Texts, a label each, and the part of each where files say it.

    raises  DataRefused when a part would be empty, or too few words are known
    """
    section = "windows.classify"
    tokens = [words_of(one)[: spec.max_length] for one in texts]  # texts that differ behind what is read are one to a network
    before = share_out(keys := [" ".join(row) for row in tokens], labels, named, spec)
    parts = drop_repeats(before, keys)
    refuse_empty(parts, section)
    order = [row for rows in parts.values() for row in rows]
    vocabulary = make_vocabulary((tokens[row] for row in parts["train"]), spec, section, SPECIAL)
    found = sequences([tokens[row] for row in order], vocabulary)
    names = tuple(sorted({labels[row] for row in parts["train"]}))
    refuse_untold({part: [labels[row] for row in rows] for part, rows in parts.items()}, "label")
    division = division_of(parts, before, keys, found, [(label,) for label in labels], overlaps(before, tokens))
    return ClassifyData(spec, found, numbered((labels[row] for row in order), names), names, vocabulary, division)


def tag_data(texts: Sequence[str], tags: Sequence[str], labels: Sequence[str], named: Sequence[str] | None, spec: TagWindows) -> TagData:
    """Words between spaces, tags between spaces, a label each, and the part of each where files say it.

    raises  DataRefused as `classify_data`, and when a row has other than a tag a word
    """
    section = "windows.tag"
    tokens, marks = [tagged_words(one) for one in texts], [one.split() for one in tags]
    for row, (words, own) in enumerate(zip(tokens, marks, strict=True), start=1):
        if len(words) != len(own):
            raise DataRefused(f"row {row}: {len(own)} tags for {len(words)} words. Take the files in again with `longshort ingest`.")
    before = share_out(keys := [" ".join(row) for row in tokens], labels, named, spec)
    parts = drop_repeats(before, keys)
    refuse_empty(parts, section)
    order = [row for rows in parts.values() for row in rows]
    vocabulary = make_vocabulary((tokens[row] for row in parts["train"]), spec, section, SPECIAL)
    found = sequences([tokens[row] for row in order], vocabulary)
    names = tuple(sorted({labels[row] for row in parts["train"]}))
    tag_names = tuple(sorted({mark for row in parts["train"] for mark in marks[row]}))
    refuse_untold({part: [mark for row in rows for mark in marks[row]] for part, rows in parts.items()}, "tag")
    said = [(label, *own) for label, own in zip(labels, marks, strict=True)]
    return TagData(
        spec,
        found,
        numbered((mark for row in order for mark in marks[row]), tag_names),
        tag_names,
        numbered((labels[row] for row in order), names),
        names,
        vocabulary,
        division_of(parts, before, keys, found, said, overlaps(before, tokens)),
    )


def translate_data(sources: Sequence[str], targets: Sequence[str], named: Sequence[str] | None, spec: TranslateWindows) -> TranslateData:
    """Pairs, and the part of each where files say it. A source that recurs with other targets stays in one part.

    raises  DataRefused as `classify_data`
    """
    section = "windows.translate"
    kind = spec.tokens
    if kind == "auto":
        kind = "words" if any(len(source.split()) > 1 for source in sources) else "characters"
    keys = [" ".join(pair_tokens(source, "words") if kind == "words" else source.lower().split()) for source in sources]
    before = share_out(keys, [""] * len(keys), named, spec)
    parts = drop_repeats(before, keys)
    refuse_empty(parts, section)
    asked, answered = ([pair_tokens(one, kind) for one in side] for side in (sources, targets))
    short = [row for row in parts["train"] if max(len(asked[row]), len(answered[row])) <= spec.max_length]
    parts = {**parts, "train": short}
    refuse_empty(parts, section)
    order = [row for rows in parts.values() for row in rows]
    special = (UNKNOWN, START, END)
    vocabularies = [make_vocabulary((side[row] for row in parts["train"]), spec, section, special) for side in (asked, answered)]
    found = [sequences([side[row] for row in order], own) for side, own in zip((asked, answered), vocabularies, strict=True)]
    stood = overlaps(before, asked) if kind == "words" else []
    division = division_of(parts, before, keys, found[0], [()] * len(keys), stood)
    return TranslateData(spec.model_copy(update={"tokens": kind}), found[0], found[1], vocabularies[0], vocabularies[1], division)
