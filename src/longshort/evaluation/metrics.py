"""Scores of a forecast and of a language model, and how far to believe them.

Errors are signed forecast - actual: positive means too high. Arrays are compared one to one, so shapes must
match: broadcasting (n, 1) against (n,) would score every forecast against every actual. Pure NumPy and SciPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longshort.errors import DataRefused

Array = NDArray[np.float64]

LEAK = 0.05  # skill on price levels above this is a leak until shown otherwise: nobody forecasts a market so well


def mae(forecast: ArrayLike, actual: ArrayLike) -> float:
    """Mean absolute error, in the unit of the target.

    forecast, actual  of one shape
    raises            DataRefused when they do not line up or a value is not finite

    >>> mae([1.0, 4.0], [2.0, 2.0])
    1.5
    """
    return float(np.abs(_errors(forecast, actual)).mean())


def rmse(forecast: ArrayLike, actual: ArrayLike) -> float:
    """Root mean squared error, in the unit of the target; arguments and errors as `mae`.

    >>> rmse([1.0, 9.0], [2.0, 2.0])
    5.0
    """
    return float(np.sqrt(np.square(_errors(forecast, actual)).mean()))


def pinball(said: ArrayLike, actual: ArrayLike, level: float) -> float:
    """Mean pinball loss of a quantile: ``level`` a unit that the target lies above it, 1 - level a unit below (Koenker and Bassett, 1978).

    said, actual  of one shape; errors as `mae`
    returns       in the target's unit, lower is better; in the mean it is least for the true quantile

    >>> pinball([1.0, 1.0], [3.0, -1.0], level=0.75)
    1.0
    """
    above = -_errors(said, actual)
    return float(np.maximum(level * above, (level - 1) * above).mean())


def smape(forecast: ArrayLike, actual: ArrayLike) -> float:
    """Symmetric mean absolute percentage error, as a share: the mean of 2 |forecast - actual| / (|forecast| + |actual|).

    returns  between 0 and 2; the M competitions show it times 100 (Makridakis and Hibon, 2000). 0 for a forecast of 0 of 0
    raises   DataRefused as `mae`

    >>> smape([1.0, 0.0], [3.0, 0.0])
    0.5
    """
    forecasts, actuals = _aligned(forecast, actual, "forecast", "actual")
    size = np.abs(forecasts) + np.abs(actuals)
    return float((2 * np.abs(forecasts - actuals) / np.where(size > 0, size, 1)).mean())


def mase(forecast: ArrayLike, actual: ArrayLike, train_history: ArrayLike) -> float:
    """Mean absolute scaled error (Hyndman and Koehler, 2006), without unit.

    train_history  (steps,) the target's level in the training part of one series, oldest first; its mean
                   absolute one-step change is the scale
    returns        below 1: better than the last value was, step by step, in the training part
    raises         DataRefused as `mae`, and when the history never moves

    >>> mase([12.0], [15.0], train_history=[10.0, 12.0, 11.0])
    2.0
    """
    return mae(forecast, actual) / float(np.abs(_changes(train_history, "MASE")).mean())


def rmsse(forecast: ArrayLike, actual: ArrayLike, train_history: ArrayLike) -> float:
    """Root mean squared scaled error (the M5 competition: Makridakis, Spiliotis and Assimakopoulos, 2022), without unit.

    As `mase`, with squares: the scale is the root mean squared one-step change of the training part.

    >>> rmsse([12.0], [17.0], train_history=[10.0, 13.0, 9.0, 9.0, 4.0]) == 5 / 12.5**0.5
    True
    """
    return rmse(forecast, actual) / float(np.sqrt(np.square(_changes(train_history, "RMSSE")).mean()))


def _changes(train_history: ArrayLike, score: str) -> Array:
    history = _finite(train_history, "train_history")
    if history.ndim != 1 or len(history) < 2:
        raise DataRefused(
            f"train_history has shape {history.shape}, but {score} is scaled by the changes of one series: expected (steps,), "
            "two steps or more. Hand over one ticker's training part, as `windows` cut it."
        )
    changes = np.diff(history)
    if not changes.any():
        raise DataRefused(
            f"train_history is {history[0]:g} at all of its {len(history)} steps: the naive error is 0 and {score} would divide by it. "
            "Take in a series that moves, or a longer one."
        )
    return changes


def skill(forecast: ArrayLike, naive: ArrayLike, actual: ArrayLike) -> float:
    """1 - RMSE / RMSE of the naive forecast: positive means better than naive, 1 is perfect.

    raises  DataRefused as `mae`, and when the naive forecast has no error to compare with

    >>> skill(forecast=[1.0, 1.0], naive=[2.0, 2.0], actual=[0.0, 0.0])
    0.5
    """
    naive_rmse = rmse(naive, actual)
    if naive_rmse == 0:
        raise DataRefused(
            "the naive forecast has no error: the actual values never move, so there is no skill to show. "
            "Take in a series that moves, or widen `windows.forecast.test` in params.yaml."
        )
    return 1 - rmse(forecast, actual) / naive_rmse


def directional_accuracy(forecast_change: ArrayLike, actual_change: ArrayLike, confidence: float) -> tuple[float, float, float, int]:
    """How often the forecast named the direction, with Wilson's interval (Wilson, 1927).

    forecast_change, actual_change  of one shape, relative to the last known value; only the signs matter.
                                    A forecast of no change names no direction and is a miss
    confidence                      of the two-sided interval: 0.95 is 95 %
    returns                         (share, low, high, n): n changes were counted; the rest, on which the actual
                                    value did not move, are left out
    raises                          DataRefused as `mae`, and when nothing moved

    Wilson's, because it covers what it says on average and stays within [0, 1]; the exact binomial interval
    is wider than it says (Brown, Cai and DasGupta, 2001). It takes days as independent.

    >>> share, low, high, n = directional_accuracy([1.0, 2.0, -1.0, 3.0], [2.0, 1.0, 3.0, 0.0], confidence=0.95)
    >>> f"{share:.2f} in [{low:.2f}, {high:.2f}] of {n}"
    '0.67 in [0.21, 0.94] of 3'
    """
    from scipy.special import ndtri  # scipy.stats takes a second to import

    forecast, actual = _aligned(forecast_change, actual_change, "forecast_change", "actual_change")
    moved = actual != 0
    n = int(moved.sum())
    if n == 0:
        raise DataRefused(
            f"all of the {actual.size} actual changes are 0, so there is no direction to name. "
            "Take in a series that moves, or widen `windows.forecast.test` in params.yaml."
        )
    hits = int((np.sign(forecast) == np.sign(actual))[moved].sum())
    share, z = hits / n, float(ndtri((1 + confidence) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    return share, max(0.0, centre - half), min(1.0, centre + half), n


def information_coefficients(forecast_change: ArrayLike, actual_change: ArrayLike, dates: NDArray[Any], ranks: bool = False) -> Array:
    """How well forecasts order the tickers of a day: the correlation over tickers, one figure a date (Grinold and Kahn, 1999).

    forecast_change, actual_change  (forecasts,) relative to the last known value, as a share of it
    dates                           (forecasts,) of any type that can be sorted
    ranks                           True: Spearman's correlation, of ranks, ties at their mean rank: the rank IC; False: Pearson's
    returns                         (dates that can be judged,) in [-1, 1], in the order of dates. A date with fewer than three
                                    tickers, or on which all forecasts or all changes are the same, cannot, and is left out
    raises                          DataRefused as `mae`

    >>> information_coefficients([0.1, 0.2, 0.4, 0.3], [1.0, 2.0, 3.0, 9.0], np.array([1, 1, 1, 2]), ranks=True).tolist()
    [1.0]
    """
    forecast, actual = _aligned(forecast_change, actual_change, "forecast_change", "actual_change")
    found = []
    for date in np.unique(dates):
        pair = [values[dates == date] for values in (forecast, actual)]
        if len(pair[0]) < 3:
            continue
        a, b = (values - values.mean() for values in (map(_ranks, pair) if ranks else pair))
        scale = math.sqrt(float(a @ a) * float(b @ b))
        if scale > 0:
            found.append(float(a @ b) / scale)
    return np.array(found)


def information_ratio(coefficients: ArrayLike) -> float:
    """ICIR: the mean of daily information coefficients over their standard deviation (n - 1), of a day, not of a year.

    raises  DataRefused with fewer than two of them, and when they do not vary

    >>> information_ratio([0.0, 1.0, 2.0])
    1.0
    """
    daily = _finite(coefficients, "coefficients")
    spread = float(daily.std(ddof=1)) if len(daily) > 1 else 0.0
    if spread == 0:
        raise DataRefused(
            f"{len(daily)} information coefficients have no spread to divide by. Widen `windows.forecast.test` in params.yaml."
        )
    return float(daily.mean()) / spread


def _ranks(values: Array) -> Array:
    """Ranks from 0, ties at their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]


def diebold_mariano(errors_a: ArrayLike, errors_b: ArrayLike, horizon: int) -> tuple[float, float]:
    """Do two forecasts differ in squared error by more than chance? (Diebold and Mariano, 1995)

    errors_a, errors_b  (steps,) signed errors of two forecasts of the same steps, oldest first
    horizon             steps ahead; the loss difference may be autocorrelated over horizon - 1 of them
    returns             (statistic, two-sided p-value). Negative: a is better; (0, 1) for equal losses
    raises              DataRefused as `mae`, with no more steps than the horizon, and when the losses differ
                        by one constant, which leaves no variance to test against

    With the correction for small samples and Student's t of Harvey, Leybourne and Newbold (1997). Their
    variance can come out negative when horizon > 1; then autocovariances are weighted down with their lag
    (Newey and West, 1987), which keeps it positive.
    """
    a, b = _aligned(errors_a, errors_b, "errors_a", "errors_b")
    return loss_difference_test(np.square(a) - np.square(b), horizon)


def loss_difference_test(difference: ArrayLike, horizon: int) -> tuple[float, float]:
    """The test of `diebold_mariano` on any loss: is the mean of these differences 0?

    difference  (steps,) loss of a - loss of b at each step, oldest first. Where several tickers or steps ahead are forecast from one
                session, hand over the session's mean: they share its news, and as so many steps they would look more certain than they are
    """
    from scipy.special import stdtr

    difference = _finite(difference, "difference")
    steps = difference.size
    if difference.ndim != 1 or not 1 <= horizon < steps:
        raise DataRefused(
            f"errors have shape {difference.shape}, but a Diebold–Mariano test at horizon {horizon} needs (steps,) with more than "
            f"{horizon} steps. Widen `windows.forecast.test` in params.yaml, or shorten `windows.forecast.horizon`."
        )
    if not difference.any():
        return 0.0, 1.0
    mean = float(difference.mean())
    variance = _variance_of_mean(difference - mean, horizon)
    if variance <= (1e-12 * mean) ** 2:  # rounding alone would otherwise pass for variance
        raise DataRefused(
            f"the squared errors differ by {mean:g} at every one of {steps} steps: without variance there is nothing to test against. "
            "Check that both errors come from real forecasts, and widen `windows.forecast.test` in params.yaml."
        )
    small_sample = (steps + 1 - 2 * horizon + horizon * (horizon - 1) / steps) / steps
    statistic = mean / math.sqrt(variance) * math.sqrt(small_sample)
    return statistic, float(2 * stdtr(steps - 1, -abs(statistic)))


def _variance_of_mean(centred: Array, horizon: int) -> float:
    """Long-run variance of a mean, from autocovariances up to lag horizon - 1."""
    steps = len(centred)
    covariances = np.array([centred[lag:] @ centred[: steps - lag] / steps for lag in range(horizon)])
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= 0:
        weights = 1 - np.arange(1, horizon) / horizon
        variance = covariances[0] + 2 * (weights * covariances[1:]).sum()
    return float(variance / steps)


def perplexity(nats_per_token: float) -> float:
    """The number of equally likely tokens that would be as hard to guess: e to the mean nats.

    raises  DataRefused when the result is not a finite number

    >>> round(perplexity(math.log(50)), 9)
    50.0
    """
    if not (math.isfinite(nats_per_token) and nats_per_token < 709):  # e**710 is beyond the largest float
        raise DataRefused(
            f"{nats_per_token} nats a token has no finite perplexity: the model gives some token no probability. "
            "Retrain it with a lower `training.language-model.learning_rate` in params.yaml."
        )
    return math.exp(nats_per_token)


def bits_per_character(total_nats: float, characters: int) -> float:
    """What the text would take if the model compressed it, in bits for each of its characters.

    total_nats  the sum of -ln p over all tokens of the text
    raises      DataRefused when the nats are not finite, or there is no character

    >>> bits_per_character(total_nats=8 * math.log(2), characters=4)
    2.0
    """
    if not math.isfinite(total_nats) or characters < 1:
        raise DataRefused(
            f"{total_nats} nats over {characters} characters make no bits per character: expected finite nats and a text. "
            "Run `longshort run` again from `windows`, which counts the characters."
        )
    return total_nats / math.log(2) / characters


def _errors(forecast: ArrayLike, actual: ArrayLike) -> Array:
    forecasts, actuals = _aligned(forecast, actual, "forecast", "actual")
    return forecasts - actuals


def _aligned(left: ArrayLike, right: ArrayLike, left_name: str, right_name: str) -> tuple[Array, Array]:
    a, b = _finite(left, left_name), _finite(right, right_name)
    if a.shape != b.shape:
        raise DataRefused(
            f"{left_name} has shape {a.shape} but {right_name} {b.shape}: they are compared one to one. Cut both from the same windows."
        )
    return a, b


def _finite(values: Any, name: str) -> Array:
    array = np.asarray(values, np.float64)
    if array.size == 0:
        raise DataRefused(f"{name} is empty: there is nothing to score. Widen the test part in params.yaml, section `windows`.")
    if not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0]
        raise DataRefused(
            f"{name} is {array[tuple(place)]} at {place.tolist()}, the first of {int((~np.isfinite(array)).sum())} values of {array.size} "
            "that are not finite. The run diverged, or a hole came through `validation`: lower the learning rate, or mend the row."
        )
    return array
