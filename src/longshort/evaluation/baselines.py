"""Baselines of prices: what costs little to fit, and what a network must therefore beat, on the same windows.

    last_value       nothing changes
    drift            the level goes on by its mean change in the training part
    mean_return      the level goes on by its mean log-return in the training part
    seasonal_naive   the level of five sessions before, a week: Monday's for Monday's
    ar1              each log-return is a constant and a share of the one before it, fitted by least squares
    ridge            a linear function of the window as the networks see it, with a penalty (Hoerl and Kennard, 1970)
    lightgbm         boosted trees on that window, one forest a step ahead (Ke et al., 2017)

The first five know one ticker alone, the last two learn from all of them together. All are fitted on the training part; how strong
the penalty is, and how many trees there are, is read from the validation part, as the networks' best epoch is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longshort.windows.files import PriceData
from longshort.windows.prices import Series, Windows

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

WEEK = 5  # sessions
LEAST = 30  # steps of the training part that a ticker's own constants need; with fewer nothing changes
MOST = 20_000  # windows that ridge and LightGBM learn from, evenly spread: more take minutes and change little
ROWS = 65_536  # windows that are forecast at once
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
# one thread and no draw: the same bytes whatever the number of cores
BOOSTING: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 20,
    "seed": 0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
ROUNDS, PATIENCE = 200, 20


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
class Constants:
    """What a ticker's training part says of its changes, a step: of the level, of its log-returns, and of each after another.

    change        mean of the level's
    log_return    mean
    begin, share  the next log-return is begin + share x this one
    """

    change: float = 0.0
    log_return: float = 0.0
    begin: float = 0.0
    share: float = 0.0

    @classmethod
    def fit(cls, stretches: Sequence[Array]) -> Constants:
        """From stretches of levels, each oldest first; all 0 where they hold fewer than `LEAST` changes.

        >>> Constants.fit([np.arange(1.0, 40.0)]).change
        1.0
        """
        returns = [np.diff(np.log(levels)) for levels in stretches if len(levels) > 2]
        if sum(map(len, returns)) < LEAST:
            return cls()
        steps = np.concatenate([np.diff(levels) for levels in stretches])
        before, after = (np.concatenate([own[cut] for own in returns]) for cut in (slice(-1), slice(1, None)))
        deviation = before - before.mean()
        square = float(deviation @ deviation)
        share = float(deviation @ (after - after.mean())) / square if square > 0 else 0.0
        return cls(float(steps.mean()), float(np.concatenate(returns).mean()), float(after.mean() - share * before.mean()), share)


@dataclass(frozen=True)
class Baselines:
    """All of them, fitted to one data set.

    constants  by ticker
    learned    name -> from windows as the networks see them, (windows, lookback x columns), to the relative change of the level at
               each step: (windows, horizon)
    """

    data: PriceData
    constants: dict[str, Constants]
    learned: dict[str, Callable[[Array], Array]]

    @classmethod
    def fit(cls, data: PriceData) -> Baselines:
        """Fit all of them."""
        constants = {ticker: Constants.fit(stretches) for ticker, stretches in training_levels(data).items()}
        seen, after = (_supervised(data, data.parts[part]) for part in ("train", "validation"))
        return cls(data, constants, {"ridge": _fit_ridge(*seen, *after), "lightgbm": _fit_lightgbm(*seen, *after)})

    def forecast(self, windows: Windows, numbers: Numbers | None = None) -> dict[str, Array]:
        """What each says of some windows of the data set's series: name -> (windows, horizon) levels, nearest step first.

        numbers  of the windows that are asked for; None: all
        """
        asked = np.arange(len(windows)) if numbers is None else numbers
        parts = [self._forecast(windows, asked[start : start + ROWS]) for start in range(0, max(len(asked), 1), ROWS)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _forecast(self, windows: Windows, numbers: Numbers) -> dict[str, Array]:
        series, origins, ahead = self.data.series, windows.origins(numbers), np.arange(1, windows.horizon + 1)
        last = series.price[origins]
        tickers = [segment.ticker for segment in series.segments]
        known = [self.constants.get(ticker, Constants()) for ticker in tickers]
        table = np.array([(own.change, own.log_return, own.begin, own.share) for own in known])
        change, log_return, begin, share = table[places(series, origins)].T
        newest = np.log(last / series.price[origins - 1]) if windows.lookback > 1 else log_return
        steps = []
        for _ in ahead:
            newest = begin + share * newest
            steps.append(newest)
        before = np.maximum((ahead - 1) % WEEK - (WEEK - 1), 1 - windows.lookback)
        seen = self.data.scaler.apply(windows.gather(series.values, numbers)[0]).reshape(len(numbers), -1).astype(np.float64)
        return {
            "last_value": last_value(last, windows.horizon),
            "drift": last[:, None] + change[:, None] * ahead,
            "mean_return": last[:, None] * np.exp(log_return[:, None] * ahead),
            "seasonal_naive": series.price[origins[:, None] + before],
            "ar1": last[:, None] * np.exp(np.cumsum(np.stack(steps, axis=1), axis=1)),
            **{name: last[:, None] * (1 + fitted(seen)) for name, fitted in self.learned.items()},
        }


def places(series: Series, origins: Numbers) -> Numbers:
    """The place among the series' segments that each step lies in."""
    starts = np.array([segment.start for segment in series.segments])
    return np.searchsorted(starts, origins, side="right") - 1


def training_levels(data: PriceData) -> dict[str, list[Array]]:
    """The levels of each ticker's training part, oldest first: a stretch without a long hole each."""
    levels: dict[str, list[Array]] = {}
    train = data.parts["train"]
    for segment, start, stop in zip(data.series.segments, train.starts, train.stops, strict=True):
        levels.setdefault(segment.ticker, []).append(data.series.price[start:stop])
    return levels


def _supervised(data: PriceData, windows: Windows) -> tuple[Array, Array]:
    """Windows as the networks see them, and the relative changes of the level that came; at most `MOST` of them."""
    numbers = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), MOST)).astype(np.int64))
    origins = windows.origins(numbers)
    seen = data.scaler.apply(windows.gather(data.series.values, numbers)[0]).reshape(len(numbers), -1).astype(np.float64)
    price = data.series.price
    return seen, price[origins[:, None] + np.arange(1, windows.horizon + 1)] / price[origins][:, None] - 1


def _fit_ridge(seen: Array, came: Array, later: Array, came_later: Array) -> Callable[[Array], Array]:
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums of several threads would hang on the number of cores
        fitted = [Ridge(penalty, solver="cholesky").fit(seen, came) for penalty in PENALTIES]
        best = min(fitted, key=lambda model: float(np.square(model.predict(later).reshape(came_later.shape) - came_later).mean()))

    def forecast(windows: Array) -> Array:
        with threadpool_limits(1):
            return best.predict(windows).reshape(len(windows), -1)

    return forecast


def _fit_lightgbm(seen: Array, came: Array, later: Array, came_later: Array) -> Callable[[Array], Array]:
    import lightgbm

    forests = []
    for step in range(came.shape[1]):
        train = lightgbm.Dataset(seen, came[:, step])
        stopping = lightgbm.early_stopping(PATIENCE, verbose=False)
        judged = train.create_valid(later, came_later[:, step])
        forests.append(lightgbm.train(BOOSTING, train, ROUNDS, valid_sets=[judged], callbacks=[stopping]))
    return lambda windows: np.stack([np.asarray(forest.predict(windows, num_threads=1)) for forest in forests], axis=1)
