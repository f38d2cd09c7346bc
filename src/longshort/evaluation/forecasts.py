"""Forecasts in natural units: a model reads sessions and names price levels, whatever it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.config import PriceWindows
from longshort.evaluation import metrics
from longshort.evaluation.baselines import last_value
from longshort.models.artefact import Model
from longshort.windows.files import scaler_from
from longshort.windows.prices import Floats, Scaler, Series, Windows

Array = NDArray[np.float64]
BATCH = 1024


@dataclass(frozen=True)
class Outcomes:
    """What was forecast and what came, one row a window, in the order of the windows' numbers.

    tickers  (windows,); targets (windows,) datetime64[D], the first session forecast, or [s], its time
    last     (windows,) level at the origin: the naive forecast of every step
    actual   (windows, horizon) levels; forecast the same
    """

    tickers: NDArray[Any]
    targets: NDArray[np.datetime64]
    last: Array
    actual: Array
    forecast: Array

    @property
    def naive(self) -> Array:
        """The last value, carried over every step: (windows, horizon)."""
        return last_value(self.last, self.actual.shape[1])

    def only(self, rows: NDArray[Any]) -> Outcomes:
        """The same for some of the rows."""
        return Outcomes(self.tickers[rows], self.targets[rows], self.last[rows], self.actual[rows], self.forecast[rows])


def levels(model: Model, past: Floats, last: Array) -> Array:
    """Forecast price levels.

    past     (windows, lookback, columns) in natural units, columns as the model's own spec has them
    last     (windows,) the level at each origin
    returns  (windows, horizon) levels, nearest step first
    """
    scaler = scaler_of(model)
    answers = [
        model(torch.from_numpy(scaler.apply(past[start : start + BATCH]))).numpy().astype(np.float64)
        for start in range(0, len(past), BATCH)
    ]
    return levels_of(spec_of(model), scaler.undo_target(np.concatenate(answers)), last)


def levels_of(spec: PriceWindows, target: Array, last: Array) -> Array:
    """From the target in its own unit, (windows, horizon), and the level at each origin, (windows,), to levels."""
    return last[:, None] * np.exp(np.cumsum(target, axis=1)) if spec.target == "log_return" else target


def spec_of(model: Model) -> PriceWindows:
    """How the model's windows were cut."""
    return PriceWindows(**model.card["description"]["spec"])


def scaler_of(model: Model) -> Scaler:
    """How the model's inputs were scaled."""
    return scaler_from(model.card["description"]["scaler"])


def outcomes(model: Model, series: Series, windows: Windows) -> Outcomes:
    """Forecast every window of a part; ``series`` and ``windows`` are cut by the model's own spec.

    Where each ticker has a network of its own, windows of tickers without one are left out.
    """
    numbers = np.arange(len(windows))
    origins = windows.origins(numbers)
    starts = np.array([segment.start for segment in series.segments])
    tickers = np.array([segment.ticker for segment in series.segments])[np.searchsorted(starts, origins, side="right") - 1]
    forecast = np.full((len(windows), windows.horizon), np.nan)
    for one, own in [(model.of(ticker), np.flatnonzero(tickers == ticker)) for ticker in model.tickers] or [(model, numbers)]:
        if len(own):
            past, _ = windows.gather(series.values, numbers[own])
            forecast[own] = levels(one, past, series.price[origins[own]])
    actual = series.price[origins[:, None] + np.arange(1, windows.horizon + 1)]
    found = Outcomes(tickers, series.dates[origins + 1], series.price[origins], actual, forecast)
    return found.only(np.isin(tickers, model.tickers)) if model.tickers else found


def score(found: Outcomes, history: dict[str, Array], confidence: float) -> dict[str, float]:
    """Every figure of one model's forecasts, beside the last value.

    history     ticker -> levels of its training part, oldest first: MASE's scale, the mean over tickers is returned
    confidence  of the interval around directional accuracy
    returns     rmse and mae in the level's unit; mase; skill = 1 - RMSE / RMSE of naive; directional accuracy with
                its interval and the number of sessions that moved; Diebold-Mariano against naive (negative: better than naive)
    """
    forecast, actual, naive = found.forecast.ravel(), found.actual.ravel(), found.naive.ravel()
    share, low, high, moved = metrics.directional_accuracy(forecast - naive, actual - naive, confidence)
    tickers = {ticker: found.only(found.tickers == ticker) for ticker in np.unique(found.tickers).tolist()}
    statistic, p_value = metrics.diebold_mariano(forecast - actual, naive - actual, found.actual.shape[1])
    return {
        "rmse": metrics.rmse(forecast, actual),
        "mae": metrics.mae(forecast, actual),
        "mase": float(np.mean([metrics.mase(one.forecast, one.actual, history[ticker]) for ticker, one in tickers.items()])),
        "skill": metrics.skill(forecast, naive, actual),
        "directional_accuracy": share,
        "directional_accuracy_low": low,
        "directional_accuracy_high": high,
        "directional_accuracy_sessions": moved,
        "dm_statistic": statistic,
        "dm_p_value": p_value,
    }


def naive_loss(series: Series, windows: Windows, scaler: Scaler, spec: PriceWindows) -> float:
    """What the last-value forecast would be charged by the training loss: mean squared error in scaled units."""
    numbers = np.arange(len(windows))
    _, future = windows.gather(series.values, numbers)
    repeated = np.zeros(len(windows)) if spec.target == "log_return" else series.price[windows.origins(numbers)]
    errors = (repeated[:, None] - future) / scaler.scale[0]
    return float(np.mean(np.square(errors, dtype=np.float64)))
