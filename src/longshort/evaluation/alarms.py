"""Alarms: steps of a series whose score is higher than it may be, at a rate of false alarms that is set. Pure NumPy.

A window in which the series is known to be out of order is found when there is an alarm in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Alarms = NDArray[np.bool_]
Windows = Sequence[tuple[int, int]]  # the first step of each, and the one behind its last


def threshold(scores: Array, rate: float) -> float:
    """What a score has to exceed, so that of steps like these no more than a share of ``rate`` do.

    That is the ⌈(n + 1)(1 - rate)⌉-th lowest of n scores: where the next is as likely to have any rank among them, it is higher with a
    chance of ``rate`` at most (Vovk et al., 2005). Infinite where so few scores cannot set so low a rate.

    >>> threshold(np.arange(1.0, 100.0), 0.05), threshold(np.arange(9.0), 0.05)
    (95.0, inf)
    """
    rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)  # a product such as 1000 * 0.995 may come out above 995
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def rolling_z(values: Array, steps: int) -> Array:
    """How far each value is from the mean of the so many before it, in their standard deviations: (steps,), nan for the first ones.

    Behind values that are all the same it is 0 for one more such, and infinite for any other.
    """
    before = np.lib.stride_tricks.sliding_window_view(values, steps)[:-1]
    spread = np.where(np.ptp(before, axis=1) > 0, before.std(axis=1), 0.0)
    away = np.abs(values[steps:] - np.where(spread > 0, before.mean(axis=1), before[:, 0]))
    scores = np.divide(away, spread, out=np.where(away > 0, math.inf, 0.0), where=spread > 0)
    return np.concatenate([np.full(min(steps, len(values)), np.nan), scores])


def outside(count: int, windows: Windows) -> Alarms:
    """Which of so many steps lie in no window."""
    free = np.ones(count, np.bool_)
    for first, end in windows:
        free[first:end] = False
    return free


def found(alarms: Alarms, windows: Windows) -> int:
    """How many windows have an alarm in them."""
    return sum(bool(alarms[first:end].any()) for first, end in windows)


def found_elsewhen(alarms: Alarms, windows: Windows) -> float:
    """How many windows the same alarms find when all are shifted by a time, the mean over all shifts: those beyond the end come first.

    Long windows are found by alarms that know nothing, and alarms that come in a row find fewer than as many that are strewn about.
    """
    total = np.concatenate([[0], np.cumsum(np.tile(alarms, 2))])
    starts = np.arange(len(alarms))
    return float(sum((total[starts + end - first] > total[starts]).mean() for first, end in windows))
