"""Baselines: what costs nothing to train, and what a network must therefore beat.

For prices the last value; for text a unigram and an interpolated trigram, counted on the training part.
They name exactly the steps and tokens that the networks name. Pure NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longshort.errors import DataRefused

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


def last_value(last: ArrayLike, horizon: int) -> Array:
    """Forecast that nothing changes.

    last     (windows,) the level at each window's origin
    returns  (windows, horizon), the same level at every step

    A price is close to a random walk, whose best forecast under squared error is its last value (Meese and
    Rogoff, 1983, on exchange rates). A network on price levels learns to repeat that value too, which looks
    like a good forecast in a picture; only beside this line does it show that nothing was foreseen.

    >>> last_value([10.0, 12.0], horizon=2).tolist()
    [[10.0, 10.0], [12.0, 12.0]]
    """
    return np.repeat(np.asarray(last, np.float64)[:, None], horizon, axis=1)


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
class InterpolatedTrigram:
    """Trigram, bigram, unigram and uniform probabilities, mixed (Jelinek and Mercer, 1980).

        p(w | u, v) = w3 p3(w | u, v) + w2 p2(w | v) + w1 p1(w) + w0 / vocabulary_size

    p3 and p2 are shares of what followed the context in training; after a context that was never seen, p3 is
    p2 and p2 is p1, so the mixture sums to 1 after every context.

    weights  (4,) of trigram, bigram, unigram, uniform, in this order; they sum to 1
    """

    unigram: Unigram
    bigrams: Table
    trigrams: Table
    weights: Array

    @classmethod
    def fit(cls, train: NDArray[np.integer[Any]], validation: NDArray[np.integer[Any]], vocabulary_size: int) -> InterpolatedTrigram:
        """Count the training part; fit the four weights on the validation part, which follows it.

        train, validation  (tokens,) ids in [0, vocabulary_size). Weights fitted on train would all go to the
                           trigram, which knows it by heart; fitted on test they would know the answer
        raises             DataRefused as `Unigram.fit`, and when the vocabulary is too large to count trigrams
        """
        base = vocabulary_size + 1
        if base**3 > np.iinfo(np.int64).max:
            raise DataRefused(
                f"a vocabulary of {vocabulary_size} words has more trigrams than fit into 64 bits. "
                "Lower `windows.language-model.max_vocabulary` in params.yaml; 2,000,000 is fine."
            )
        seen = _checked(train, vocabulary_size, "train")
        u, v, w = _with_context(seen, vocabulary_size, 0)
        bigrams, trigrams = Table.count(v, w, base), Table.count(u * base + v, w, base)
        even = cls(Unigram.fit(seen, vocabulary_size), bigrams, trigrams, np.full(4, 0.25))
        context = seen[-2:]
        unseen = np.concatenate([context, _checked(validation, vocabulary_size, "validation")])
        weights = _fit_weights(even._components(*_with_context(unseen, vocabulary_size, len(context))))
        return cls(even.unigram, bigrams, trigrams, weights)

    def probabilities(self, u: Ids, v: Ids, w: Ids) -> Array:
        """p(w | u, v) for ids of one shape, ``u`` two tokens before ``w``; the vocabulary's size stands for "before the text"."""
        # a sum and not `@`: BLAS rounds a row by how many rows it comes with
        return (self._components(u, v, w) * self.weights).sum(axis=-1)

    def nats(self, tokens: NDArray[np.integer[Any]], start: int) -> Array:
        """-ln p of each of ``tokens[start:]`` given the two tokens before it, natural logarithm.

        tokens   (tokens,) ids; those before ``start`` are context only, and where there are none the text begins
        returns  (tokens - start,)
        """
        size = len(self.unigram.counts)
        return -np.log(self.probabilities(*_with_context(_checked(tokens, size, "tokens"), size, start)))

    def _components(self, u: Ids, v: Ids, w: Ids) -> Array:
        size = len(self.unigram.counts)
        p1 = self.unigram.probabilities(w)
        p2 = self.bigrams.shares(v, w, otherwise=p1)
        p3 = self.trigrams.shares(u * (size + 1) + v, w, otherwise=p2)
        return np.stack([p3, p2, p1, np.full(p1.shape, 1 / size)], axis=-1)


@dataclass(frozen=True)
class Table:
    """What followed which context, and how often, as sorted keys: context * base + word."""

    base: int
    keys: Ids
    counts: Ids
    contexts: Ids
    totals: Ids

    @classmethod
    def count(cls, context: Ids, word: Ids, base: int) -> Table:
        """Count pairs of one shape; ``base`` is larger than any word's id."""
        keys, counts = np.unique(context * base + word, return_counts=True)
        # totals over continuations, not occurrences: the last token of the text is a context that nothing followed
        contexts, first = np.unique(keys // base, return_index=True)
        return cls(base, keys, counts, contexts, np.add.reduceat(counts, first))

    def shares(self, context: Ids, word: Ids, otherwise: Array) -> Array:
        """The share of ``word`` in what followed ``context``; ``otherwise`` where nothing did."""
        followed = _look_up(self.keys, self.counts, context * self.base + word)
        total = _look_up(self.contexts, self.totals, context)
        return np.where(total > 0, followed / np.maximum(total, 1), otherwise)


def _look_up(keys: Ids, values: Ids, wanted: Ids) -> Ids:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def _with_context(tokens: Ids, vocabulary_size: int, start: int) -> tuple[Ids, Ids, Ids]:
    """Each of ``tokens[start:]`` as w with the two before it, u and v; before the text stands an id that is no word's."""
    padded = np.concatenate([np.full(2, vocabulary_size), tokens])
    return padded[start:-2], padded[start + 1 : -1], padded[start + 2 :]


def _fit_weights(components: Array) -> Array:
    """The mixture of (tokens, 4) probabilities that makes the tokens most likely, by expectation maximisation.

    It starts from even weights and climbs a concave likelihood, so it ends at the same weights every time.
    """
    weights = np.full(components.shape[1], 1 / components.shape[1])
    for _ in range(500):
        joint = components * weights
        updated = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        settled = np.abs(updated - weights).max() < 1e-6
        weights = updated / updated.sum()
        if settled:
            break
    return weights


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
