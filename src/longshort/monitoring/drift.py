"""Drift: has what came since a retraining another distribution than what came before, or has a mean moved?

    psi            population stability index, over bins that hold a tenth of the reference each (Siddiqi, 2006)
    ks             the largest distance of two distribution functions (Kolmogorov, 1933; Smirnov, 1948)
    page_hinkley   how far a sum of what exceeds the mean rises above its lowest point, which is CUSUM's (Page, 1954; Hinkley, 1971)
    mean           the mean: of misses, the share that intervals did not hold

Textbook thresholds take observations for independent. Those of tickers are not: a session's news is in all of them, and calm and wild
weeks come in clusters. So a statistic is laid beside the same statistic of every stretch of as many sessions in the reference itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

TENTHS, PLACES = 10, 100  # bins of `psi`, and places at which `ks` compares
SLACK = 0.5  # standard deviations above the mean that a sum forgives a session: half the shift that is to be found soonest
LEAST = 0.5  # sessions' worth of a bin that is empty: its logarithm must be finite


@dataclass(frozen=True)
class Found:
    """A statistic of the newest sessions, and the highest that it was over a stretch as long of the reference."""

    value: float
    usual: float


def psi(reference: list[Array], newest: list[Array]) -> Found:
    """The population stability index of what the newest sessions brought against what those before brought.

    reference, newest  a session an entry: the values of its tickers, (tickers,), oldest first; see `longest` for how many
    """
    edges = np.quantile(np.concatenate(reference), np.arange(1, TENTHS) / TENTHS)
    return _beside_stretches(_counts(reference, edges), _counts(newest, edges), _psi)


def ks(reference: list[Array], newest: list[Array]) -> Found:
    """The largest distance between the distribution functions, at the reference's percentiles; arguments as `psi`."""
    edges = np.quantile(np.concatenate(reference), np.arange(1, PLACES) / PLACES)
    return _beside_stretches(_counts(reference, edges), _counts(newest, edges), _ks)


def page_hinkley(reference: ArrayLike, newest: ArrayLike) -> Found:
    """How far the sum of what exceeds the reference's mean by `SLACK` standard deviations rises above its lowest point.

    reference, newest  (sessions,), oldest first
    returns            in the reference's standard deviations
    """
    before, since = np.asarray(reference, np.float64), np.asarray(newest, np.float64)
    spread = float(before.std()) or 1.0
    stretches = np.lib.stride_tricks.sliding_window_view(before, len(since))
    value, usual = (_highest((values - before.mean()) / spread - SLACK) for values in (since[None], stretches))
    return Found(float(value[0]), float(usual.max()))


def mean(reference: ArrayLike, newest: ArrayLike) -> Found:
    """The newest sessions' mean, beside the highest mean of a stretch as long; arguments as `page_hinkley`."""
    before, since = np.asarray(reference, np.float64), np.asarray(newest, np.float64)
    return Found(float(since.mean()), float(np.lib.stride_tricks.sliding_window_view(before, len(since)).mean(axis=1).max()))


def longest(reference: int) -> int:
    """How many of the newest sessions can be laid beside stretches as long of so many: four such stretches stand beside each other."""
    return reference // 4


# --- distributions ----------------------------------------------------------------------------


def _counts(each: list[Array], edges: Array) -> Array:
    """(sessions, bins): how many values of each session lie in each bin."""
    return np.array([np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) for values in each], np.float64)


def _beside_stretches(reference: Array, newest: Array, statistic: Callable[[Array, Array], Array]) -> Found:
    """The statistic of the newest against the reference, and of each stretch of the reference against the rest of it."""
    length = len(newest)
    ends = np.concatenate([np.zeros((1, reference.shape[1])), np.cumsum(reference, axis=0)])
    stretches = ends[length:] - ends[:-length]
    usual = statistic(ends[-1] - stretches, stretches)
    return Found(float(statistic(ends[-1][None], newest.sum(axis=0)[None])[0]), float(usual.max()))


def _psi(expected: Array, actual: Array) -> Array:
    shares = [np.maximum(counts, LEAST) / np.maximum(counts, LEAST).sum(axis=1, keepdims=True) for counts in (expected, actual)]
    return np.asarray(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum(axis=1))


def _ks(expected: Array, actual: Array) -> Array:
    functions = [np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True) for counts in (expected, actual)]
    return np.asarray(np.abs(functions[0] - functions[1]).max(axis=1))


def _highest(excess: Array) -> Array:
    """excess (stretches, sessions) -> (stretches,)."""
    sums = np.concatenate([np.zeros((len(excess), 1)), np.cumsum(excess, axis=1)], axis=1)
    return np.asarray((sums - np.minimum.accumulate(sums, axis=1)).max(axis=1))
