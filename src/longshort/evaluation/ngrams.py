"""N-grams: what a language model must beat, counted on the training part. They name exactly the tokens that the networks name.

Unigram and trigram; pure NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.errors import DataRefused

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Unigram:
    """Words by how often they were seen, one added to each: no word of the vocabulary is impossible (Laplace).

    counts  (vocabulary_size,) int64, times that each id was seen in training
    """

    counts: Ids

    @classmethod
    def fit(cls, train: NDArray[np.integer[Any]], vocabulary_size: int) -> Unigram:
        """Count the training part.

        train   (tokens,) ids in [0, vocabulary_size)
        raises  DataRefused when an id lies outside the vocabulary, or there is none
        """
        return cls(np.bincount(_checked(train, vocabulary_size, "train"), minlength=vocabulary_size))

    def probabilities(self, words: Ids) -> Array:
        """The probability of each id, of any shape; those of the whole vocabulary sum to 1."""
        return (self.counts[words] + 1) / (self.counts.sum() + len(self.counts))

    def nats(self, tokens: NDArray[np.integer[Any]], start: int) -> Array:
        """-ln p of each of ``tokens[start:]``, natural logarithm.

        tokens   (tokens,) ids; those before ``start`` are not scored
        returns  (tokens - start,)

        >>> np.exp(-Unigram.fit(np.array([0, 0, 1]), vocabulary_size=3).nats(np.array([0, 1, 2]), start=0)).round(3).tolist()
        [0.5, 0.333, 0.167]
        """
        return -np.log(self.probabilities(_checked(tokens, len(self.counts), "tokens")[start:]))


@dataclass(frozen=True)
class Trigram:
    """Interpolated trigram with the modified smoothing of Kneser and Ney (Chen and Goodman, 1999).

        p(w | u, v) = (c(u v w) - D(c)) / c(u v) + spare(u, v) p(w | v)
        p(w | v)    = (n(v w) - D(n)) / n(v) + spare(v) p(w)
        p(w)        = (n(w) - D(n)) / n + spare / vocabulary_size

    c counts occurrences; n counts different words seen before, since a word that stands after one word alone is no
    likely one after others, however often it stands there. Each order takes a discount D off every count of 1, of 2, and of
    3 and more, and what it takes after a context is that context's spare: so all sums to 1 after every context. After a
    context that was never seen all is spare.
    """

    words: Table
    bigrams: Table
    trigrams: Table
    vocabulary_size: int

    @classmethod
    def fit(cls, train: NDArray[np.integer[Any]], vocabulary_size: int) -> Trigram:
        """Count the training part; nothing is fitted on any other.

        train   (tokens,) ids in [0, vocabulary_size)
        raises  DataRefused as `Unigram.fit`, and when the vocabulary is too large to count trigrams
        """
        base = vocabulary_size + 1
        if base**3 > np.iinfo(np.int64).max:
            raise DataRefused(
                f"a vocabulary of {vocabulary_size} words has more trigrams than fit into 64 bits. "
                "Lower `windows.language-model.max_vocabulary` in params.yaml; 2,000,000 is fine."
            )
        u, v, w = _with_context(_checked(train, vocabulary_size, "train"), vocabulary_size, 0)
        trigrams = Table.count(u * base + v, w, base)
        bigrams = Table.count(trigrams.keys // base % base, trigrams.keys % base, base)  # each different (u, v, w) once
        words = Table.count(np.zeros(len(bigrams.keys), np.int64), bigrams.keys % base, base)
        return cls(words, bigrams, trigrams, vocabulary_size)

    def probabilities(self, u: Ids, v: Ids, w: Ids) -> Array:
        """p(w | u, v) for ids of one shape, ``u`` two tokens before ``w``; the vocabulary's size stands for "before the text"."""
        p = self.words.probabilities(np.zeros_like(w), w, np.full(w.shape, 1 / self.vocabulary_size))
        p = self.bigrams.probabilities(v, w, p)
        return self.trigrams.probabilities(u * (self.vocabulary_size + 1) + v, w, p)

    def nats(self, tokens: NDArray[np.integer[Any]], start: int) -> Array:
        """-ln p of each of ``tokens[start:]`` given the two tokens before it, natural logarithm.

        tokens   (tokens,) ids; those before ``start`` are context only, and where there are none the text begins
        returns  (tokens - start,)
        """
        size = self.vocabulary_size
        return -np.log(self.probabilities(*_with_context(_checked(tokens, size, "tokens"), size, start)))


@dataclass(frozen=True)
class Table:
    """What followed which context, and how often, as sorted keys: context * base + word.

    counts     (keys,); contexts (contexts,) sorted, with their totals and the share of each that discounts took, its spare
    discounts  (4,) off a count of 0 (none), 1, 2, and 3 or more
    """

    base: int
    keys: Ids
    counts: Ids
    contexts: Ids
    totals: Ids
    spare: Array
    discounts: Array

    @classmethod
    def count(cls, context: Ids, word: Ids, base: int) -> Table:
        """Count pairs of one shape; ``base`` is larger than any word's id."""
        keys, counts = np.unique(context * base + word, return_counts=True)
        # totals over continuations, not occurrences: the last token of the text is a context that nothing followed
        contexts, first = np.unique(keys // base, return_index=True)
        totals, taken = np.add.reduceat(counts, first), _discounts(counts)
        spare = np.add.reduceat(taken[np.minimum(counts, 3)], first) / totals
        return cls(base, keys, counts, contexts, totals, spare, taken)

    def probabilities(self, context: Ids, word: Ids, lower: Array) -> Array:
        """Of ``word`` after ``context``; ``lower`` is what the order below says, and all of it where nothing followed."""
        followed = _look_up(self.keys, self.counts, context * self.base + word)
        total = _look_up(self.contexts, self.totals, context)
        spare = np.where(total > 0, _look_up(self.contexts, self.spare, context), 1.0)
        return (followed - self.discounts[np.minimum(followed, 3)]) / np.maximum(total, 1) + spare * lower


def _discounts(counts: Ids) -> Array:
    """What is taken off a count of 0, 1, 2, and 3 or more, from how many counts are 1, 2, 3 and 4 (Chen and Goodman, 1999).

    In a text so small that one of the four is missing, or a discount would be negative, all are the plain Kneser-Ney
    discount; and a half where even that has nothing to go by.
    """
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in range(1, 5))
    if n1 and n2:
        y = n1 / (n1 + 2 * n2)
        if n3 and n4 and min(found := [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]) > 0:
            return np.array([0.0, *found])
    else:
        y = 0.5
    return np.array([0.0, y, y, y])


def _look_up(keys: Ids, values: NDArray[Any], wanted: Ids) -> NDArray[Any]:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def _with_context(tokens: Ids, vocabulary_size: int, start: int) -> tuple[Ids, Ids, Ids]:
    """Each of ``tokens[start:]`` as w with the two before it, u and v; before the text stands an id that is no word's."""
    padded = np.concatenate([np.full(2, vocabulary_size), tokens])
    return padded[start:-2], padded[start + 1 : -1], padded[start + 2 :]


def _checked(ids: NDArray[np.integer[Any]], vocabulary_size: int, name: str) -> Ids:
    if len(ids) == 0:
        raise DataRefused(f"{name} holds no token, so there is nothing to count. Take in more text.")
    outside = (ids < 0) | (ids >= vocabulary_size)
    if outside.any():
        place = int(np.argmax(outside))
        raise DataRefused(
            f"{name}[{place}] is {ids[place]}, but the vocabulary holds ids 0 to {vocabulary_size - 1}. "
            "Read the tokens and the vocabulary from the same `data/windows` artefact."
        )
    return np.asarray(ids, np.int64)
