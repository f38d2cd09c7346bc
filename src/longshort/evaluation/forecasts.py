"""Forecasts in natural units: a model reads sessions and names price levels, whatever it was trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.config import PriceWindows
from longshort.errors import DataRefused
from longshort.evaluation import intervals, metrics
from longshort.evaluation.baselines import last_value, places
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
    def errors(self) -> Array:
        """Actual - forecast as shares of the level at the origin: (windows, horizon)."""
        return (self.actual - self.forecast) / self.last[:, None]

    @property
    def naive(self) -> Array:
        """The last value, carried over every step: (windows, horizon)."""
        return last_value(self.last, self.actual.shape[1])

    def only(self, rows: NDArray[Any]) -> Outcomes:
        """The same for some of the rows."""
        return Outcomes(self.tickers[rows], self.targets[rows], self.last[rows], self.actual[rows], self.forecast[rows])

    def saying(self, forecast: Array) -> Outcomes:
        """The same windows, forecast otherwise."""
        return replace(self, forecast=forecast)

    def step(self, number: int) -> Outcomes:
        """One step ahead of them, from 1."""
        cut = slice(number - 1, number)
        return replace(self, actual=self.actual[:, cut], forecast=self.forecast[:, cut])


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Several, one behind the other."""
    return Outcomes(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Outcomes)))


def levels(model: Model, past: Floats, last: Array, steps: int) -> Array:
    """Forecast price levels; beyond the model's own horizon recursively, each answer read as if it had come.

    past     (windows, lookback, columns) in natural units, columns as the model's own spec has them
    last     (windows,) the level at each origin
    returns  (windows, steps) levels, nearest step first

    A model names its target alone: what else it reads stays in these steps as it was at the origin.
    """
    answers = _targets(model, past)
    while answers.shape[1] < steps:
        came = np.repeat(past[:, -1:], answers.shape[1], axis=1)
        came[:, :, 0] = answers
        answers = np.concatenate([answers, _targets(model, np.concatenate([past, came], axis=1)[:, -past.shape[1] :])], axis=1)
    return levels_of(spec_of(model), answers[:, :steps], last)


def _targets(model: Model, past: Floats) -> Array:
    """What the model answers to windows: (windows, horizon) in the target's own unit."""
    scaler = scaler_of(model)
    answers = [
        model(torch.from_numpy(scaler.apply(past[start : start + BATCH]))).numpy().astype(np.float64)
        for start in range(0, len(past), BATCH)
    ]
    return scaler.undo_target(np.concatenate(answers))


def levels_of(spec: PriceWindows, target: Array, last: Array) -> Array:
    """From the target in its own unit, (windows, horizon), and the level at each origin, (windows,), to levels."""
    return last[:, None] * np.exp(np.cumsum(target, axis=1)) if spec.target == "log_return" else target


def target_of(spec: PriceWindows, said: Array, last: Array) -> Array:
    """The way back: levels, (windows, horizon), in the target's own unit."""
    if spec.target != "log_return":
        return said
    above = np.maximum(said, last[:, None] * 1e-6)  # a line drawn on may fall below 0, of which there is no logarithm
    return np.diff(np.log(above), axis=1, prepend=np.log(last)[:, None])


def spec_of(model: Model) -> PriceWindows:
    """How the model's windows were cut."""
    return PriceWindows(**model.card["description"]["spec"])


def scaler_of(model: Model) -> Scaler:
    """How the model's inputs were scaled."""
    return scaler_from(model.card["description"]["scaler"])


def tickers_of(series: Series, windows: Windows) -> NDArray[Any]:
    """Whose each window is: (windows,)."""
    return np.array([segment.ticker for segment in series.segments])[places(series, windows.origins(np.arange(len(windows))))]


def outcomes(model: Model, series: Series, windows: Windows) -> Outcomes:
    """Forecast every window of a part; ``series`` and ``windows`` are cut by the model's own spec, or with a longer horizon.

    Where each ticker has a network of its own, windows of tickers without one are left out.
    """
    numbers = np.arange(len(windows))
    origins, tickers = windows.origins(numbers), tickers_of(series, windows)
    forecast = np.full((len(windows), windows.horizon), np.nan)
    for one, own in [(model.of(ticker), np.flatnonzero(tickers == ticker)) for ticker in model.tickers] or [(model, numbers)]:
        if len(own):
            past, _ = windows.gather(series.values, numbers[own])
            forecast[own] = levels(one, past, series.price[origins[own]], windows.horizon)
    actual = series.price[origins[:, None] + np.arange(1, windows.horizon + 1)]
    found = Outcomes(tickers, series.dates[origins + 1], series.price[origins], actual, forecast)
    return found.only(np.isin(tickers, model.tickers)) if model.tickers else found


def score(found: Outcomes, history: dict[str, Array], confidence: float) -> dict[str, float]:
    """Every figure of one model's forecasts, beside the last value.

    history     ticker -> levels of its training part, oldest first, the scale of MASE and RMSSE, whose mean over tickers is returned
    confidence  of the interval around directional accuracy
    returns     rmse and mae in the level's unit; mase, rmsse; smape; skill = 1 - RMSE / RMSE of naive; directional accuracy with
                its interval and the number of sessions that moved; Diebold-Mariano against naive (negative: better than naive);
                with three tickers or more the mean IC and rank IC of the first step over sessions, each over its standard
                deviation (icir, rank_icir), and how many sessions
    """
    return errors(found, history) | direction(found, confidence) | against_naive(found) | ordering(found)


def score_baselines(said: dict[str, Outcomes], history: dict[str, Array], confidence: float) -> dict[str, dict[str, float]]:
    """The same of each baseline, as far as it is defined: naive names no direction, and a made series may leave nothing to test."""
    scored = {}
    for name, found in said.items():
        scored[name] = errors(found, history)
        if name != "last_value":
            with contextlib.suppress(DataRefused):
                scored[name] |= direction(found, confidence)
            with contextlib.suppress(DataRefused):
                scored[name] |= against_naive(found)
            scored[name] |= ordering(found)
    return scored


def errors(found: Outcomes, history: dict[str, Array]) -> dict[str, float]:
    """The figures that say how far off: see `score`. Tickers whose training part does not move have no scaled error."""
    forecast, actual, naive = found.forecast.ravel(), found.actual.ravel(), found.naive.ravel()
    tickers = {ticker: found.only(found.tickers == ticker) for ticker in np.unique(found.tickers).tolist()}
    moved = {ticker: one for ticker, one in tickers.items() if np.diff(history.get(ticker, np.empty(0))).any()} or tickers
    scaled = {
        name: float(np.mean([of(one.forecast, one.actual, history[ticker]) for ticker, one in moved.items()]))
        for name, of in (("mase", metrics.mase), ("rmsse", metrics.rmsse))
    }
    return {
        "rmse": metrics.rmse(forecast, actual),
        "mae": metrics.mae(forecast, actual),
        **scaled,
        "smape": metrics.smape(forecast, actual),
        "skill": metrics.skill(forecast, naive, actual),
    }


def direction(found: Outcomes, confidence: float) -> dict[str, float]:
    """How often the direction from the origin was named."""
    naive = found.naive.ravel()
    share, low, high, moved = metrics.directional_accuracy(found.forecast.ravel() - naive, found.actual.ravel() - naive, confidence)
    return {
        "directional_accuracy": share,
        "directional_accuracy_low": low,
        "directional_accuracy_high": high,
        "directional_accuracy_sessions": moved,
    }


def against_naive(found: Outcomes) -> dict[str, float]:
    """Diebold and Mariano's test against the last value, of each session's mean loss over its tickers and steps."""
    losses = (np.square(found.forecast - found.actual) - np.square(found.naive - found.actual)).mean(axis=1)
    _, session = np.unique(found.targets, return_inverse=True)
    statistic, p_value = metrics.loss_difference_test(np.bincount(session, losses) / np.bincount(session), found.actual.shape[1])
    return {"dm_statistic": statistic, "dm_p_value": p_value}


def ordering(found: Outcomes) -> dict[str, float]:
    """How well the first step orders the tickers of a session; nothing where fewer than two sessions have three that differ."""
    if len(np.unique(found.tickers)) < 3:
        return {}
    said, came = (levels[:, 0] / found.last - 1 for levels in (found.forecast, found.actual))
    figures: dict[str, float] = {}
    for name, ranks in (("ic", False), ("rank_ic", True)):
        daily = metrics.information_coefficients(said, came, found.targets, ranks)
        if len(daily) < 2 or not daily.std():
            return {}
        ratio = metrics.information_ratio(daily)
        figures |= {name: float(daily.mean()), f"{name}ir": ratio, "ic_sessions": len(daily)}
    return figures


def half_widths(before: Outcomes, found: Outcomes, coverage: float, method: str) -> Array:
    """Half the width of each forecast's interval, as a share of the level at its origin: (windows, horizon).

    before  of the same tickers' validation part, by which a method is calibrated; then it goes on from session to session
    method  a name of `intervals.METHODS`
    returns  nan for a ticker that has too little of a validation part to calibrate by
    """
    widths: Array = np.full_like(found.actual, np.nan)
    for ticker in np.unique(found.tickers):
        rows, earlier = found.tickers == ticker, before.errors[before.tickers == ticker]
        errors = np.concatenate([earlier, found.errors[rows]])
        for step in range(widths.shape[1]):
            with contextlib.suppress(DataRefused):
                widths[rows, step] = intervals.METHODS[method](errors[:, step], len(earlier), coverage, step + 1)
    return widths


def banding(found: Outcomes, widths: Array, coverage: float) -> dict[str, float]:
    """What intervals held and cost, in the mean over those that there are; nothing where there are none.

    widths   as `half_widths` gives them
    returns  coverage, the share held; interval_score and width, as shares of the level
    """
    there = np.isfinite(widths)
    if not there.any():
        return {}
    errors, half = found.errors[there], widths[there]
    return {
        "coverage": float((np.abs(errors) <= half).mean()),
        "interval_score": float(intervals.interval_score(errors, half, coverage).mean()),
        "interval_width": float(2 * half.mean()),
    }


def naive_loss(series: Series, windows: Windows, scaler: Scaler, spec: PriceWindows) -> float:
    """What the last-value forecast would be charged by the training loss: mean squared error in scaled units."""
    last = series.price[windows.origins(np.arange(len(windows)))]
    return training_loss(last_value(last, windows.horizon), series, windows, scaler, spec)


def training_loss(said: Array, series: Series, windows: Windows, scaler: Scaler, spec: PriceWindows) -> float:
    """What forecasts of some windows, (windows, horizon) levels, would be charged by the training loss."""
    numbers = np.arange(len(windows))
    _, future = windows.gather(series.values, numbers)
    last = series.price[windows.origins(numbers)]
    errors = (target_of(spec, said, last) - future) / scaler.scale[0]
    return float(np.mean(np.square(errors, dtype=np.float64)))
