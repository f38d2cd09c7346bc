"""Intervals around a forecast that shall hold a given share of what comes, made online: each from what was known before it.

    split_conformal   one width from the calibration part, and no other for ever (Papadopoulos et al., 2002; Lei et al., 2018)
    ewma_gaussian     the normal distribution's width times today's volatility (J. P. Morgan's RiskMetrics, 1996)
    adaptive          ACI: the level moves until the share is right (Gibbs and Candès, 2021)
    pid               the width itself moves, by conformal PID control (Angelopoulos, Candès and Tibshirani, 2023)

Errors are relative: (actual - forecast) / level at the origin, of one series in time order, a row an origin. The last two work on errors
over today's volatility, which is their forecast of the next score (what the third paper calls a scorecaster). Pure NumPy.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longshort.errors import DataRefused

Array = NDArray[np.float64]

DECAY = 0.97  # of the volatility's squares: RiskMetrics' for months; its 0.94 for days widens and narrows too much at 90 %
BEGIN = 20  # errors that the volatility begins from
STEP = 0.005  # by which a miss moves ACI's level: the one of its paper
MEMORY = 500  # newest scores that ACI takes its quantile of: two years
RATE = 0.03  # by which a miss widens PID's width, in today's volatilities
INTEGRAL, SATURATION = 0.5, 5.0  # how PID answers misses that add up; its paper's K_I and C_sat
LEAST = 1e-12  # a series that never moves has no volatility to divide by


def split_conformal(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """Half the width of each interval, from the absolute errors of the calibration part: their quantile, with a place for the next one.

    errors       (origins,) relative, oldest first; the first ``calibration`` of them only calibrate
    coverage     share of what comes that the interval shall hold: 0.9
    ahead        steps from origin to target: the error of an origin is known so many origins later, and used from then on
    returns      (origins - calibration,) relative to the level at the origin, above 0; the i-th is of origin calibration + i,
                 and a function of the errors of origins up to calibration + i - ahead alone
    raises       DataRefused when an error is not finite, or too few are known to say how wide an interval should be
    """
    known, count = _known(errors, calibration, coverage, ahead)
    return np.full(count, _quantile(np.sort(np.abs(known)), coverage))


def ewma_gaussian(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `split_conformal`; the normal distribution's quantile times the volatility, an exponentially weighted root mean square."""
    from scipy.special import ndtri

    _known(errors, calibration, coverage, ahead)
    return _volatility(errors, calibration, ahead)[calibration:] * float(ndtri((1 + coverage) / 2))


def adaptive(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `split_conformal`; the quantile of the newest scores at a level that rises with each miss and falls with each hit.

    Where the level leaves [0, 1] its paper gives all numbers or none; here the widest score stands for all of them, and 0 for none.
    """
    scores, volatility = _scores(errors, calibration, coverage, ahead)
    widths, missing = [0.0] * len(scores), 1 - coverage
    seen = sorted(scores[max(0, calibration - ahead + 1 - MEMORY) : calibration - ahead + 1])
    for origin in range(calibration, len(scores)):
        if (newest := origin - ahead) >= calibration:
            missing += STEP * (1 - coverage - (scores[newest] > widths[newest]))
        if newest > calibration - ahead:
            insort(seen, scores[newest])
            if len(seen) > MEMORY:
                seen.pop(bisect_left(seen, scores[newest - MEMORY]))
        place = math.ceil((len(seen) + 1) * (1 - missing))
        widths[origin] = seen[min(place, len(seen)) - 1] if place > 0 else 0.0
    return np.array(widths[calibration:]) * volatility[calibration:]


def pid(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `split_conformal`; a width that each miss raises and each hit lowers (P), more where they add up (I), times the volatility (D)."""
    scores, volatility = _scores(errors, calibration, coverage, ahead)
    widths = [0.0] * len(scores)
    tracked, owed = _quantile(np.sort(scores[: calibration - ahead + 1]), coverage), 0.0
    for origin in range(calibration, len(scores)):
        if (newest := origin - ahead) >= calibration:
            surprise = (scores[newest] > widths[newest]) - (1 - coverage)
            tracked += RATE * surprise
            owed += surprise
        count = origin - calibration + 2
        angle = owed * math.log(count) / (count * SATURATION)
        widths[origin] = max(tracked + INTEGRAL * math.tan(min(max(angle, -1.5), 1.5)), 0.0)
    return np.array(widths[calibration:]) * volatility[calibration:]


METHODS: dict[str, Callable[[ArrayLike, int, float, int], Array]] = {
    "split_conformal": split_conformal,
    "ewma_gaussian": ewma_gaussian,
    "adaptive": adaptive,
    "pid": pid,
}


def interval_score(errors: ArrayLike, half_widths: ArrayLike, coverage: float) -> Array:
    """What an interval costs: its width, and 2 / (1 - coverage) times what fell outside of it by (Gneiting and Raftery, 2007).

    errors, half_widths  of one shape and in one unit
    returns              of that shape and unit, lower is better; in the mean it is least for the true quantiles

    >>> interval_score([0.5, 3.0], [1.0, 1.0], coverage=0.9).round(9).tolist()
    [2.0, 42.0]
    """
    error, half = np.abs(np.asarray(errors, np.float64)), np.asarray(half_widths, np.float64)
    return 2 * half + 2 / (1 - coverage) * np.maximum(error - half, 0)


def _scores(errors: ArrayLike, calibration: int, coverage: float, ahead: int) -> tuple[list[float], Array]:
    """Absolute errors over the volatility that was known at their origin, and that volatility: (origins,) each.

    Lists where a loop goes through them one by one: ten times as quick as an array's elements.
    """
    _known(errors, calibration, coverage, ahead)
    volatility = _volatility(errors, calibration, ahead)
    return (np.abs(np.asarray(errors, np.float64)) / volatility).tolist(), volatility


def _volatility(errors: ArrayLike, calibration: int, ahead: int) -> Array:
    """At each origin, from the errors of origins up to ``ahead`` before it, and from the first ones together, which only calibrate."""
    squares = np.square(np.asarray(errors, np.float64))
    now = float(squares[: min(BEGIN, calibration - ahead + 1)].mean())
    found = [now] * min(ahead, len(squares))
    for square in squares[: len(squares) - len(found)].tolist():
        now = DECAY * now + (1 - DECAY) * square
        found.append(now)
    return np.maximum(np.sqrt(found), LEAST)


def _known(errors: ArrayLike, calibration: int, coverage: float, ahead: int) -> tuple[Array, int]:
    """The errors that are known when the calibration ends, and how many origins come after it."""
    given = np.asarray(errors, np.float64)
    if not np.isfinite(given).all():
        place = int(np.argmin(np.isfinite(given)))
        raise DataRefused(
            f"errors[{place}] is {given[place]}: there is no interval around what is not finite. Mend the row, or the forecast."
        )
    known = given[: max(calibration - ahead + 1, 0)]
    if math.ceil((len(known) + 1) * coverage) > len(known):
        needed = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise DataRefused(
            f"{len(known)} errors are known when the calibration ends, but intervals of {coverage:.0%} need {needed}. "
            "Widen `windows.forecast.validation` in params.yaml, or lower `evaluation.coverage`."
        )
    return known, len(given) - calibration


def _quantile(ordered: Array, coverage: float) -> float:
    return float(ordered[math.ceil((len(ordered) + 1) * coverage) - 1])
