"""Suggesting: what is most probably typed next, a word that is not begun yet or the rest of one that is. Pure NumPy.

What has been typed of the last word may be all of it, or its beginning. Both are weighed: the word as it stands by its share of the
probability of all words that begin so, and what may follow it by that share; so after "the value of" come the words behind it, and
after "the val" what begins like this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.windows.tokens import Ids

Shares = Callable[[Ids], NDArray[np.floating[Any]]]  # ids that were read, to the probability of every word behind them


@dataclass(frozen=True)
class Suggestion:
    """A word, how probable it is, and whether it is the one that is being typed; else it is the one behind that."""

    word: str
    probability: float
    finishes: bool


class Suggester:
    """The words that may be suggested, by their beginnings."""

    def __init__(self, words: Sequence[str], unsaid: Sequence[str]) -> None:
        """words: of a vocabulary, by id; unsaid: those that are never suggested, such as that of unknown words."""
        self._words = words
        self._order = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
        self._sorted = [words[number] for number in self._order]
        self._unsaid = np.array([words.index(word) for word in unsaid if word in words], np.int64)

    def begin_with(self, begun: str) -> NDArray[np.int64]:
        """The ids of the words that begin so, by alphabet.

        >>> Suggester(["[UNK]", "they", "or", "the"], ["[UNK]"]).begin_with("th").tolist()
        [3, 1]
        """
        first = bisect_left(self._sorted, begun)
        return self._order[first : bisect_left(self._sorted, f"{begun}\U0010ffff", first)]

    def suggest(self, shares: Shares, before: Ids, begun: str, count: int) -> list[Suggestion]:
        """The most probable ways to go on, the first first.

        before  ids of the words that are complete, one and more
        begun   what stands of the next one, "" where it is not begun. One that no word begins with is taken as a whole that is not known
        """
        now = np.array(shares(before), np.float64)
        if not begun:
            return self._best(now, count)
        alike = self.begin_with(begun)
        total = now[alike].sum()
        if not total > 0:
            return self._best(np.array(shares(np.append(before, np.int32(0))), np.float64), count)
        found, finishing = [], np.zeros(len(now))
        finishing[alike] = now[alike] / total
        if len(alike) and self._words[alike[0]] == begun:  # the shortest comes first
            whole = finishing[alike[0]]
            found = self._best(whole * np.array(shares(np.append(before, np.int32(alike[0]))), np.float64), count)
            finishing[alike[0]] = 0.0
        found += self._best(finishing, count, finishes=True)
        return sorted(found, key=lambda one: -one.probability)[:count]

    def _best(self, shares: NDArray[np.float64], count: int, finishes: bool = False) -> list[Suggestion]:
        shares[self._unsaid] = 0.0
        some = np.argpartition(-shares, min(count, len(shares) - 1))[:count]
        ranked = some[np.lexsort((some, -shares[some]))]
        return [Suggestion(self._words[number], float(shares[number]), finishes) for number in ranked.tolist() if shares[number] > 0]
