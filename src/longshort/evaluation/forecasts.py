"""Forecasts in natural units: a model reads sessions and names price levels, whatever it was trained on."""

from __future__ import annotations

import contextlib
import math
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
from longshort.windows.files import PriceData, scaler_from
from longshort.windows.prices import Floats, Scaler, Series, Windows, part_windows

Array = NDArray[np.float64]
BATCH = 1024
LENT = 20_000  # windows of the training part whose errors lend a baseline its quantiles; of a ticker at least
LEAST = 250


@dataclass(frozen=True)
class Outcomes:
    """What was forecast and what came, one row a window, in the order of the windows' numbers.

    tickers  (windows,); targets (windows,) datetime64[D], the first session forecast, or [s], its time
    last     (windows,) level at the origin: the naive forecast of every step
    actual   (windows, horizon) levels; forecast the same
    named    (windows, horizon, quantiles) levels, lowest first: see `quantiles`; None where the forecaster names none
    """

    tickers: NDArray[Any]
    targets: NDArray[np.datetime64]
    last: Array
    actual: Array
    forecast: Array
    named: Array | None = None

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
        columns: dict[str, Any] = {name: None if own is None else own[rows] for name, own in vars(self).items()}
        return Outcomes(**columns)

    def saying(self, forecast: Array) -> Outcomes:
        """The same windows, forecast otherwise, and without quantiles."""
        return replace(self, forecast=forecast, named=None)

    def step(self, number: int) -> Outcomes:
        """One step ahead of them, from 1."""
        cut = slice(number - 1, number)
        named = None if self.named is None else self.named[:, cut]
        return replace(self, actual=self.actual[:, cut], forecast=self.forecast[:, cut], named=named)

    def between(self, places: tuple[int, int]) -> Array:
        """The band between two of the quantiles, from the forecast and as shares of the level at the origin: (windows, horizon, 2).

        places  of the lower and the higher
        """
        assert self.named is not None
        return (self.named[..., list(places)] - self.forecast[..., None]) / self.last[:, None, None]


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Several, one behind the other."""
    each = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Outcomes)}
    columns: dict[str, Any] = {name: None if own[0] is None else np.concatenate(own) for name, own in each.items()}
    return Outcomes(**columns)


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


def quantiles(model: Model, past: Floats, last: Array) -> Array:
    """The price levels below which a model expects so many of what comes: (windows, horizon, quantiles), lowest first.

    past, last  as in `levels`

    Those that cross are sorted, which never makes them worse (Chernozhukov, Fernández-Val and Galichon, 2010). A model of log-returns
    names quantiles of each step's own, and those of a sum are not their sum: beyond the first step they are nan.
    """
    scaler, spec = scaler_of(model), spec_of(model)
    answers = [model.quantiles(torch.from_numpy(scaler.apply(past[start : start + BATCH]))).numpy() for start in range(0, len(past), BATCH)]
    named = np.sort(scaler.undo_target(np.concatenate(answers)).swapaxes(1, 2), axis=-1)
    if spec.target == "log_return":
        named = last[:, None, None] * np.exp(named)
        named[:, 1:] = np.nan
    return named


def quantiles_of(model: Model) -> tuple[float, ...]:
    """Which quantiles a model names, lowest first."""
    return tuple(model.head.quantiles)


def bracketing(named: Sequence[float], coverage: float) -> tuple[int, int] | None:
    """The places of the two quantiles that lie as far from the ends as an interval of this coverage leaves out on each side.

    >>> bracketing([0.05, 0.5, 0.95], 0.9), bracketing([0.05, 0.95], 0.8)
    ((0, 2), None)
    """
    places = [place for wanted in ((1 - coverage) / 2, (1 + coverage) / 2) for place, own in enumerate(named) if math.isclose(own, wanted)]
    return (places[0], places[1]) if len(places) == 2 else None


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
    forecast, asked = np.full((len(windows), windows.horizon), np.nan), quantiles_of(model)
    named = np.full((*forecast.shape, len(asked)), np.nan) if asked else None
    for one, own in [(model.of(ticker), np.flatnonzero(tickers == ticker)) for ticker in model.tickers] or [(model, numbers)]:
        if len(own):
            past, _ = windows.gather(series.values, numbers[own])
            forecast[own] = levels(one, past, series.price[origins[own]], windows.horizon)
            if named is not None:
                direct = quantiles(one, past, series.price[origins[own]])[:, : windows.horizon]
                named[own, : direct.shape[1]] = direct
    actual = series.price[origins[:, None] + np.arange(1, windows.horizon + 1)]
    found = Outcomes(tickers, series.dates[origins + 1], series.price[origins], actual, forecast, named)
    return found.only(np.isin(tickers, model.tickers)) if model.tickers else found


def since_learning(model: Model, series: Series, steps: int) -> tuple[Outcomes, Outcomes]:
    """What a model says of every session behind its training part: of its validation part, and of all that has come since.

    series   of one ticker or of many, as the model's own spec has it
    steps    sessions ahead that are forecast, beyond its horizon recursively
    returns  by its validation part intervals are calibrated; see `bands`. A ticker may have none of either
    raises   DataRefused when the model does not say where its parts lie
    """
    extent = model.card.get("extent")
    if not extent:
        raise DataRefused("the model does not say where its validation part lies: it was made by an older longshort. Train it again.")
    first, last = (np.datetime64(extent["validation"][end]) for end in ("first_target", "last_target"))
    spec = spec_of(model).model_copy(update={"horizon": steps})
    found = outcomes(model, series, part_windows(series, spec, first, series.dates.max()))
    return found.only(found.targets <= last), found.only(found.targets > last)


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


def bands(before: Outcomes, found: Outcomes, coverage: float, method: str, places: tuple[int, int] | None = None) -> Array:
    """Each forecast's interval, low and high, from the forecast and as shares of the level at its origin: (windows, horizon, 2).

    before   of the same tickers' validation part, by which a method is calibrated; then it goes on from session to session
    method   a name of `intervals.METHODS`; or, with the ``places`` of the two quantiles that it is between, of `intervals.OF_QUANTILES`
    returns  nan for a ticker that has too little of a validation part to calibrate by
    """
    made: Array = np.full((*found.actual.shape, 2), np.nan)
    for ticker in np.unique(found.tickers):
        rows, calibrates = found.tickers == ticker, before.tickers == ticker
        count = int(calibrates.sum())
        errors = np.concatenate([before.errors[calibrates], found.errors[rows]])
        for step in range(made.shape[1]):
            given = errors[:, step], count, coverage, step + 1
            with contextlib.suppress(DataRefused):
                if places is None:
                    made[rows, step] = intervals.METHODS[method](*given)
                else:
                    between = np.concatenate([each.between(places)[own, step] for each, own in ((before, calibrates), (found, rows))])
                    made[rows, step] = intervals.OF_QUANTILES[method](given[0], between, *given[1:])
    return made


def next_band(before: Outcomes, since: Outcomes, coverage: float) -> tuple[float, float]:
    """Low and high of the interval around what will be forecast from the newest session, from the forecast, for the last step.

    before, since  of one ticker, as `since_learning` gives them, for as many steps
    returns        as shares of the level at the origin
    raises         DataRefused when there is too little of a validation part to calibrate by
    """
    steps = since.actual.shape[1]
    # of the newest origins nobody knows the error, and no interval is a function of its own
    errors = np.concatenate([before.errors[:, -1], since.errors[:, -1], np.zeros(steps)])
    low, high = intervals.METHODS[intervals.SHOWN](errors, len(before.errors), coverage, steps)[-1].tolist()
    return low, high


def banding(found: Outcomes, bands: Array, coverage: float) -> dict[str, float]:
    """What intervals held and cost, in the mean over those that there are; nothing where there are none.

    bands    as the function of that name gives them
    returns  coverage, the share held; interval_score and width, as shares of the level
    """
    there = np.isfinite(bands).all(axis=-1)
    if not there.any():
        return {}
    errors, own = found.errors[there], bands[there]
    return {
        "coverage": float(intervals.held(errors, own).mean()),
        "interval_score": float(intervals.interval_score(errors, own, coverage).mean()),
        "interval_width": float((own[:, 1] - own[:, 0]).mean()),
    }


def naive_loss(data: PriceData, named: Sequence[float] = ()) -> float:
    """What the last-value forecast would be charged on the validation part by the training loss, with or without quantiles."""
    errors = []
    for part in ("validation", "train") if named else ("validation",):
        windows = data.parts[part]
        numbers = some_of(tickers_of(data.series, windows)) if part == "train" else np.arange(len(windows))
        said = last_value(data.series.price[windows.origins(numbers)], windows.horizon)
        errors.append(target_errors(said, data.series, windows, data.spec, numbers) / data.scaler.scale[0])
    return training_loss(errors[0], errors[-1], named)


def some_of(tickers: NDArray[Any]) -> NDArray[np.int64]:
    """The numbers of some `LENT` windows, ascending and evenly spread over each ticker's, of which each has `LEAST` where it has so many.

    tickers  (windows,) whose each is
    """
    found = []
    for ticker in np.unique(tickers):
        own = np.flatnonzero(tickers == ticker)
        count = max(len(own) * LENT // len(tickers), LEAST)
        found.append(own if len(own) <= count else own[np.linspace(0, len(own) - 1, count).astype(np.int64)])
    return np.sort(np.concatenate(found))


def target_errors(said: Array, series: Series, windows: Windows, spec: PriceWindows, numbers: NDArray[np.int64]) -> Array:
    """Forecast - actual in the target's own unit of the windows of these numbers, forecast as (windows, horizon) levels."""
    origins = windows.origins(numbers)
    future = series.values[origins[:, None] + np.arange(1, windows.horizon + 1), 0]
    return target_of(spec, said, series.price[origins]) - future


def training_loss(errors: Array, learned: Array, named: Sequence[float] = ()) -> float:
    """What forecasts that were so wrong would be charged by the training loss.

    errors, learned  forecast - actual in scaled units, (windows, horizon): of the windows, and of the training part
    named            the quantiles that are charged too. A forecast that names none is lent the simplest: itself, and what of the
                     training part lay above it in so many of a hundred cases
    """
    loss = float(np.mean(np.square(errors, dtype=np.float64)))
    for level in named:
        above = np.quantile(-learned, level, axis=0)
        loss += metrics.pinball(np.broadcast_to(above, errors.shape), -errors, level)
    return loss
