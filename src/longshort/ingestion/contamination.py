"""Contamination: how much of a later part of a text was already read in an earlier one.

Runs of 13 words are compared, as in Brown et al. (2020): shorter ones are idioms. This reports; what is dropped
from training is decided in `windows`. Pure NumPy, and exact: runs are ranked, not hashed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RUN = 13  # words
MOST_LEAKED = 0.001  # share of a part's runs that may stand in an earlier one

Ids = NDArray[np.int64]


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
    index: dict[str, int] = {}
    ids = np.fromiter((index.setdefault(word, len(index)) for words in parts.values() for word in words), np.int64)
    ranks = _ranks(ids, RUN)
    ends = np.cumsum([0, *(len(words) for words in parts.values())])
    # a run that goes on into the next part belongs to neither
    runs = {part: ranks[start : max(stop - RUN + 1, start)] for part, (start, stop) in zip(parts, itertools.pairwise(ends), strict=True)}
    return [
        Overlap(earlier, part, len(runs[part]), int(np.isin(runs[part], runs[earlier]).sum()))
        for earlier, part in itertools.combinations(parts, 2)
    ]


def _ranks(ids: Ids, length: int) -> Ids:
    """A number for each run of ``length`` ids, the same where and only where the runs are the same.

    Runs of 1, 2, 4, 8 are ranked from pairs of shorter ones, and those that the length is made of are joined.
    """
    joined, done = None, 0
    power, size = ids, 1
    while True:
        if length & size:
            joined = power if joined is None else _pairs(joined, power, done)
            done += size
        if done == length:
            return joined if joined is not None else ids
        power, size = _pairs(power, power, size), 2 * size


def _pairs(first: Ids, second: Ids, distance: int) -> Ids:
    """Ranks of pairs: what begins at a place, and what begins ``distance`` behind it."""
    behind = second[distance:]
    count = min(len(first), len(behind))
    if not count:
        return np.empty(0, np.int64)
    return np.unique(first[:count] * (int(second.max()) + 1) + behind[:count], return_inverse=True)[1].astype(np.int64, copy=False)
