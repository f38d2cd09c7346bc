"""Contamination: how much of a later part of a text was already read in an earlier one.

Runs of 13 words are compared, as in Brown et al. (2020): shorter ones are idioms. This reports; what is dropped
from training is decided in `text`. Pure NumPy, and exact: a hash only says where it is worth comparing words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RUN = 13  # words
MOST_LEAKED = 0.001  # share of a part's runs that may stand in an earlier one

_SLICE = 2**20  # runs that are looked up at a time

Ids = NDArray[np.int32]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """Of the ``runs`` that begin in ``part``, ``found`` also stand in ``earlier``."""

    earlier: str
    part: str
    runs: int
    found: int

    @property
    def share(self) -> float:
        """Of the part's runs; 0 when it has none."""
        return self.found / self.runs if self.runs else 0.0

    def __str__(self) -> str:
        leak = f", more than {100 * MOST_LEAKED:.1f} %" if self.share > MOST_LEAKED else ""
        runs = f"{self.found:,} of {self.runs:,} runs of {RUN} words in {self.part} ({100 * self.share:.2f} %)"
        return f"{runs} also stand in {self.earlier}{leak}"


def overlaps(parts: Mapping[str, Sequence[str]]) -> list[Overlap]:
    """Compare each part with every one before it.

    parts  name -> its words in reading order; earlier parts first

    >>> train = "a b c d e f g h i j k l m n".split()
    >>> print(overlaps({"train": train, "test": train[1:] + ["o"]})[0])
    1 of 2 runs of 13 words in test (50.00 %) also stand in train, more than 0.1 %
    """
    return compare(number(parts))


def number(parts: Mapping[str, Iterable[str]]) -> dict[str, Ids]:
    """The words of each part as numbers: the same where and only where the words are."""
    index: dict[str, int] = {}
    return {part: np.fromiter((index.setdefault(word, len(index)) for word in words), np.int32) for part, words in parts.items()}


def compare(parts: Mapping[str, Ids]) -> list[Overlap]:
    """As `overlaps`, of words that `number` made numbers of."""
    return [
        Overlap(earlier, part, max(len(parts[part]) - RUN + 1, 0), int(shared(parts[part], parts[earlier]).sum()))
        for earlier, part in itertools.combinations(parts, 2)
    ]


def shared(ids: Ids, other: Ids) -> NDArray[np.bool_]:
    """Of each run of 13 that begins in ``ids``, whether it stands in ``other`` too.

    >>> shared(np.arange(15, dtype=np.int32), np.arange(1, 14, dtype=np.int32)).tolist()
    [False, True, False]
    """
    own, known = _hashes(ids), _hashes(other)
    found = np.zeros(len(own), bool)
    if not len(known):
        return found
    order = np.argsort(known, kind="stable")
    known = known[order]
    for start in range(0, len(own), _SLICE):
        asked = own[start : start + _SLICE]
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        alike = np.flatnonzero(known[place] == asked)
        same = np.ones(len(alike), bool)
        for step in range(RUN):
            same &= ids[start + alike + step] == other[order[place[alike]] + step]
        found[start + alike[same]] = True
        for run in start + alike[~same]:  # two different runs of one hash: look at every other run that has it
            first, last = (int(np.searchsorted(known, own[run], side)) for side in ("left", "right"))
            found[run] = any((ids[run : run + RUN] == other[at : at + RUN]).all() for at in order[first:last])
    return found


def _hashes(ids: Ids) -> Hashes:
    """A number for each run, the same for the same runs: the sum of its ids, each times a constant of its place."""
    factors = np.random.Philox(key=[RUN, 0]).random_raw(RUN) | np.uint64(1)
    count = max(len(ids) - RUN + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for step in range(RUN):
        hashes += ids[step : step + count].astype(np.uint64) * factors[step]
    return hashes
