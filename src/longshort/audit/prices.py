"""A price data set: what of it changes when the future does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.audit.learning import Learner, same
from longshort.audit.proof import Proof
from longshort.config import PriceWindows
from longshort.evaluation import forecasts, metrics
from longshort.tasks.forecast import ForecastTask
from longshort.windows import prices
from longshort.windows.files import PriceData
from longshort.windows.prices import Scaler, Series, Windows
from longshort.windows.stage import session_numbers

Columns = dict[str, NDArray[Any]]  # tidy columns, sorted by ticker and date
Make = Callable[[Columns], Series]
Fit = Callable[[Series, dict[str, Windows], PriceWindows], Scaler]

ORIGINS = 8  # sessions after which the future is changed, and cut off
EPOCHS = 2  # of the weights that are compared
MOST_EPOCHS = 20  # of the network that learns shuffled sessions
CHANCE = 0.01  # what the p-value of a network that learned nothing must not fall below
PRICED = ("open", "high", "low", "close", "volume")


def prove(columns: Columns, spec: PriceWindows, calendar: str, quantiles: Sequence[float], learner: Learner) -> list[Proof]:
    """Every proof for one item.

    columns    tidy, as `windows.stage.tidy_columns` gives them
    quantiles  that its networks name
    raises     SeriesTooShort, and DataRefused as the windows room does
    """

    def make(columns: Columns) -> Series:
        return prices.make_series(columns, spec, session_numbers(calendar, columns["date"]))

    data = assemble(make(columns), spec, calendar, of_train)
    return [
        features(make, columns),
        windows(make, columns, spec, of_train),
        weights(make, columns, spec, quantiles, learner),
        shuffled(data, quantiles, learner),
        planted(make, columns, spec),
    ]


def of_train(series: Series, parts: dict[str, Windows], spec: PriceWindows) -> Scaler:
    """The scaler as the windows room fits it."""
    return prices.fit_scaler(series, parts["train"], spec)


def assemble(series: Series, spec: PriceWindows, calendar: str, fit: Fit, fold: int | None = None) -> PriceData:
    """A data set of a series, split and scaled; of a fold, from 0, or of the newest."""
    parts = prices.make_parts(series, spec, fold)
    return PriceData(spec, series, parts, fit(series, parts, spec), calendar)


# --- futures ------------------------------------------------------------------------------------


def changed_after(columns: Columns, session: np.datetime64) -> Columns:
    """The same table with every price and volume after a session multiplied by something between a third and three."""
    after = columns["date"] > session
    draw = np.random.Generator(np.random.Philox(int(session.astype(np.int64)) % 2**32))
    factors = np.exp(draw.uniform(-1, 1, (len(PRICED), int(after.sum()))))
    found = dict(columns)
    for name, factor in zip(PRICED, factors, strict=True):
        found[name] = columns[name].copy()
        found[name][after] *= factor
    return found


def cut_after(columns: Columns, session: np.datetime64) -> Columns:
    """The table as it was on the evening of a session."""
    known = columns["date"] <= session
    return {name: values[known] for name, values in columns.items()}


def last_target(data: PriceData, part: str) -> np.datetime64:
    """The last session that a part asks for."""
    own = data.parts[part]
    held = own.stops - own.starts >= own.lookback + own.horizon
    return data.series.dates[own.stops[held] - 1].max()


# --- proofs -------------------------------------------------------------------------------------


def features(make: Make, columns: Columns) -> Proof:
    """What a model is shown up to a session is the same bytes, whatever comes after it, or nothing."""
    series = make(columns)
    days = np.unique(series.dates)
    origins = days[np.linspace(len(days) // 3, len(days) - 2, ORIGINS).astype(int)]
    moved = [day for day in origins if any(_differ(series, make(future(columns, day)), day) for future in (changed_after, cut_after))]
    if moved:
        return Proof(
            "features",
            False,
            f"what is known on {_day(moved[0])} changes with what comes after it ({len(moved)} of {ORIGINS} sessions tried)",
        )
    tried = f"{ORIGINS} sessions from {_day(origins[0])} to {_day(origins[-1])}"
    return Proof("features", True, f"changed and cut off after {tried}: no value before moved by a bit")


def _differ(one: Series, other: Series, day: np.datetime64) -> bool:
    """Whether two series differ up to a session."""
    before = [each.dates <= day for each in (one, other)]
    if before[0].sum() != before[1].sum():
        return True
    pairs = ((one.values, other.values), (one.price, other.price), (one.dates, other.dates))
    return not all(np.array_equal(a[before[0]], b[before[1]]) for a, b in pairs)


def windows(make: Make, columns: Columns, spec: PriceWindows, fit: Fit) -> Proof:
    """Windows, and the scaler, of what comes before a split are the same bytes whatever comes after it, in every fold."""
    name, compared, series = "windows and scaler", 0, make(columns)
    for fold in range(spec.folds):
        data = assemble(series, spec, "", fit, fold)
        for last, parts in (("train", ("train",)), ("validation", ("train", "validation"))):
            day = last_target(data, last)
            other = assemble(make(changed_after(columns, day)), spec, "", fit, fold)
            behind = f"with the prices after {_day(day)}, where {last} ends"
            if not (np.array_equal(data.scaler.offset, other.scaler.offset) and np.array_equal(data.scaler.scale, other.scaler.scale)):
                return Proof(name, False, f"the scaler changes {behind}")
            for part in parts:
                one, two = (each.parts[part] for each in (data, other))
                if len(one) != len(two) or any(_cuts(data, part, some) != _cuts(other, part, some) for some in _some(len(one))):
                    return Proof(name, False, f"windows of {part} change {behind}")
                compared += len(one)
    of = f" of {spec.folds} folds" if spec.folds > 1 else ""
    said = f"prices changed after train and after validation{of}: {compared:,} windows and the scaler are the same bytes"
    return Proof(name, True, said)


def _some(count: int) -> list[NDArray[np.int64]]:
    """All numbers of windows, a stretch of them at a time."""
    return np.array_split(np.arange(count), max(count // 4096, 1))


def _cuts(data: PriceData, part: str, numbers: NDArray[np.int64]) -> tuple[bytes, bytes]:
    past, future = data.parts[part].gather(data.scaler.apply(data.series.values), numbers)
    return past.tobytes(), future.tobytes()


def weights(make: Make, columns: Columns, spec: PriceWindows, quantiles: Sequence[float], learner: Learner) -> Proof:
    """The weights after some epochs are the same bytes whatever comes after the training part, in every fold."""
    series, days, count = make(columns), [], 0
    for fold in range(spec.folds):
        data = assemble(series, spec, "", of_train, fold)
        day = last_target(data, "train")
        other = assemble(make(changed_after(columns, day)), spec, "", of_train, fold)
        one, two = (learner.epochs(ForecastTask.of(each, quantiles), EPOCHS) for each in (data, other))
        if not same(one, two):
            return Proof("weights", False, f"{EPOCHS} epochs, prices changed after {_day(day)}: {one.weights.numel():,} weights differ")
        days.append(_day(day))
        count += one.weights.numel()
    return Proof("weights", True, f"{EPOCHS} epochs, prices changed after {', '.join(days)}: {count:,} weights are the same bytes")


def shuffled(data: PriceData, quantiles: Sequence[float], learner: Learner) -> Proof:
    """A network that learned sessions in a random order is no better on the test part than the last value."""
    order = np.arange(len(data.series.values))
    draw = np.random.Generator(np.random.Philox(0))
    for segment, stop in zip(data.series.segments, data.parts["validation"].stops, strict=True):  # a ticker keeps its own sessions
        order[segment.start : stop] = draw.permutation(order[segment.start : stop])
    mixed = dataclasses.replace(data.series, values=data.series.values[order])
    model = learner.model(ForecastTask.of(assemble(mixed, data.spec, data.calendar, of_train), quantiles), MOST_EPOCHS)
    found = forecasts.outcomes(model, data.series, data.parts["test"])
    tested = forecasts.against_naive(found)
    statistic, p_value = tested["dm_statistic"], tested["dm_p_value"]
    skill = metrics.skill(found.forecast.ravel(), found.naive.ravel(), found.actual.ravel())
    lucky = statistic < 0 and p_value < CHANCE
    said = f"sessions of train and validation in a random order: skill {skill:+.4f} on the test part, p {p_value:.2f}"
    return Proof("shuffled targets", not lucky, said + (", better than chance" if lucky else ", no better than chance"))


def planted(make: Make, columns: Columns, spec: PriceWindows) -> Proof:
    """Two leaks, planted on purpose, are caught: a column of the next session, and a scaler fitted on all parts."""

    def with_tomorrow(columns: Columns) -> Series:
        series = make(columns)
        values = series.values.copy()
        for segment in series.segments:
            values[segment.start : segment.stop - 1, -1] = series.values[segment.start + 1 : segment.stop, 0]
        return dataclasses.replace(series, values=values)

    def of_all(series: Series, parts: dict[str, Windows], spec: PriceWindows) -> Scaler:
        whole = Windows(parts["train"].starts, parts["test"].stops, spec.lookback, spec.horizon)
        return prices.fit_scaler(series, whole, spec)

    missed = [
        name
        for name, proof in (
            ("a column of the next session", features(with_tomorrow, columns)),
            ("a scaler fitted on all parts", windows(make, columns, spec, of_all)),
        )
        if proof.holds
    ]
    if missed:
        return Proof("planted leaks", False, f"not caught: {' and '.join(missed)}. This audit sees nothing")
    return Proof("planted leaks", True, "a column of the next session and a scaler fitted on all parts, both planted here, are caught")


def _day(when: np.datetime64) -> str:
    return str(when)
