"""Intervals around a forecast that shall hold a given share of what comes, made online: each from what was known before it.

    split_conformal   one width from the calibration part, and no other for ever (Papadopoulos et al., 2002; Lei et al., 2018)
    ewma_gaussian     the normal distribution's width times today's volatility (J. P. Morgan's RiskMetrics, 1996)
    adaptive          ACI: the level moves until the share is right (Gibbs and Candès, 2021)
    pid               the width itself moves, by conformal PID control (Angelopoulos, Candès and Tibshirani, 2023)
    quantile          the band between two quantiles that the network names, as it names them
    quantile_adaptive, quantile_pid   that band, widened and narrowed by ACI and PID: conformalised (Romano, Patterson and Candès, 2019)

Errors are relative: (actual - forecast) / level at the origin, of one series in time order, a row an origin. An interval is (low, high),
how far from the forecast it begins and ends, in the same unit. ACI and PID work on errors over today's volatility, which is their forecast
of the next score (what the third paper calls a scorecaster). Pure NumPy.
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
NARROWEST = 0.1  # half a band that is named, in today's volatilities: one that has collapsed would make a score of any size


def split_conformal(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As far below as above, from the absolute errors of the calibration part: their quantile, with a place for the next one.

    errors       (origins,) relative, oldest first; the first ``calibration`` of them only calibrate
    coverage     share of what comes that the interval shall hold: 0.9
    ahead        steps from origin to target: the error of an origin is known so many origins later, and used from then on
    returns      (origins - calibration, 2), low and high, from the forecast, relative to the level at the origin; the i-th is of origin
                 calibration + i, and a function of the errors of origins up to calibration + i - ahead alone
    raises       DataRefused when an error is not finite, or too few are known to say how wide an interval should be
    """
    known, count = _known(errors, calibration, coverage, ahead)
    return _around(np.full(count, _quantile(np.sort(np.abs(known)), coverage)))


def ewma_gaussian(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `split_conformal`; the normal distribution's quantile times the volatility, an exponentially weighted root mean square."""
    from scipy.special import ndtri

    _known(errors, calibration, coverage, ahead)
    return _around(_volatility(errors, calibration, ahead)[calibration:] * float(ndtri((1 + coverage) / 2)))


def adaptive(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `split_conformal`; the quantile of the newest scores at a level that rises with each miss and falls with each hit.

    Where the level leaves [0, 1] its paper gives all numbers or none; here the widest score stands for all of them, and 0 for none.
    """
    return _of_errors(_aci, errors, calibration, coverage, ahead)


def pid(errors: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `split_conformal`; a width that each miss raises and each hit lowers (P), more where they add up (I), times the volatility (D)."""
    return _of_errors(_pid, errors, calibration, coverage, ahead)


def quantile(errors: ArrayLike, named: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """The band that a network names, as it is: nothing is calibrated, so it holds what the network has learned to hold.

    named  (origins, 2), the quantiles (1 - coverage) / 2 and (1 + coverage) / 2, ascending, in the errors' unit and from the same forecast
    Else as `split_conformal`, whose refusals it shares, so that all methods stand for the same origins.
    """
    _known(errors, calibration, coverage, ahead)
    return _named(named)[calibration:]


def quantile_adaptive(errors: ArrayLike, named: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `quantile`, conformalised as `adaptive` is: around the middle of the band, as wide as it and its newest errors say."""
    return _of_quantiles(_aci, errors, named, calibration, coverage, ahead)


def quantile_pid(errors: ArrayLike, named: ArrayLike, calibration: int, coverage: float, ahead: int = 1) -> Array:
    """As `quantile`, conformalised as `pid` is: around the middle of the band, as wide as it and its newest errors say."""
    return _of_quantiles(_pid, errors, named, calibration, coverage, ahead)


OfErrors = Callable[[ArrayLike, int, float, int], Array]
OfQuantiles = Callable[[ArrayLike, ArrayLike, int, float, int], Array]
METHODS: dict[str, OfErrors] = {"split_conformal": split_conformal, "ewma_gaussian": ewma_gaussian, "adaptive": adaptive, "pid": pid}
# where the network names the two quantiles
OF_QUANTILES: dict[str, OfQuantiles] = {"quantile": quantile, "quantile_adaptive": quantile_adaptive, "quantile_pid": quantile_pid}
SHOWN = "pid"  # the intervals that figures, pictures and forecasts are of; the others stand in a table beside them


def held(errors: ArrayLike, bands: ArrayLike) -> NDArray[np.bool_]:
    """Whether each interval holds what came.

    errors  (...); bands (..., 2), low and high, in the same unit
    """
    error, (low, high) = np.asarray(errors, np.float64), _ends(bands)
    return (low <= error) & (error <= high)


def interval_score(errors: ArrayLike, bands: ArrayLike, coverage: float) -> Array:
    """What an interval costs: its width, and 2 / (1 - coverage) times what fell outside of it by (Gneiting and Raftery, 2007).

    errors   (...); bands (..., 2), low and high, in the same unit
    returns  (...) in that unit, lower is better; in the mean it is least for the true quantiles

    >>> interval_score([0.5, 3.0], [[-1.0, 1.0], [-1.0, 1.0]], coverage=0.9).round(9).tolist()
    [2.0, 42.0]
    """
    error, (low, high) = np.asarray(errors, np.float64), _ends(bands)
    return high - low + 2 / (1 - coverage) * np.maximum(np.maximum(low - error, error - high), 0)


def _ends(bands: ArrayLike) -> Array:
    """Low and high, (2, ...)."""
    return np.moveaxis(np.asarray(bands, np.float64), -1, 0)


def _around(half: Array) -> Array:
    """Intervals that reach as far below the forecast as above it."""
    return np.stack([-half, half], axis=-1)


def _named(named: ArrayLike) -> Array:
    """The band that a network names at each origin, (origins, 2).

    raises  DataRefused when an end is not finite
    """
    band = np.asarray(named, np.float64)
    if not np.isfinite(band).all():
        origin = int(np.argmin(np.isfinite(band).all(axis=-1)))
        raise DataRefused(
            f"the quantiles of origin {origin} are {band[origin].tolist()}: there is no interval between what is not finite. Ask for one "
            "step ahead, or train the network again."
        )
    return band


# from scores, (origins,), calibration, coverage and ahead to the thresholds that scores shall not pass, (origins - calibration,)
Rule = Callable[[list[float], int, float, int], Array]


def _of_errors(rule: Rule, errors: ArrayLike, calibration: int, coverage: float, ahead: int) -> Array:
    """Intervals of a rule around the forecast, over today's volatility."""
    _known(errors, calibration, coverage, ahead)
    volatility = _volatility(errors, calibration, ahead)
    return _moving(rule, np.asarray(errors, np.float64), volatility, calibration, coverage, ahead)


def _of_quantiles(rule: Rule, errors: ArrayLike, named: ArrayLike, calibration: int, coverage: float, ahead: int) -> Array:
    """Intervals of a rule around the middle of the band.

    The score of what comes is max(low - y, y - high), over half the band (Sesia and Candès, 2020): one less than as many halves as it lies
    from the middle. The volatility of these says by how much the band is too narrow now, and its newest errors are few; so widths go
    half of the way there: they are over the geometric mean of what the band says, and what its errors do.
    """
    _known(errors, calibration, coverage, ahead)
    low, high = _ends(_named(named))
    off, half = np.asarray(errors, np.float64) - (low + high) / 2, (high - low) / 2
    half = np.maximum(half, NARROWEST * _volatility(errors, calibration, ahead))
    scale = half * np.sqrt(_volatility(off / half, calibration, ahead))
    return ((low + high) / 2)[calibration:, None] + _moving(rule, off, scale, calibration, coverage, ahead)


def _moving(rule: Rule, errors: Array, scale: Array, calibration: int, coverage: float, ahead: int) -> Array:
    """Intervals around 0 whose scores are absolute errors over a scale that was known at their origin.

    Lists where a rule goes through them one by one: ten times as quick as an array's elements.
    """
    scores = (np.abs(errors) / scale).tolist()
    return _around(rule(scores, calibration, coverage, ahead) * scale[calibration:])


def _aci(scores: list[float], calibration: int, coverage: float, ahead: int) -> Array:
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
    return np.array(widths[calibration:])


def _pid(scores: list[float], calibration: int, coverage: float, ahead: int) -> Array:
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
    return np.array(widths[calibration:])


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
