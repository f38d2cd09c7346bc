"""Price windows: a tidy table of sessions becomes one array of columns, cut by index.

A window takes ``lookback`` sessions in and owes the ``horizon`` sessions after them. It belongs to the
part (train, validation, test) in which its whole future lies, so parts are split by *target date*; its
past may reach back into the part before. Windows never cross a ticker or a long hole in the calendar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.config import PriceWindows
from longshort.errors import DataRefused, SeriesTooShort
from longshort.windows.folds import walk

Floats = NDArray[np.floating[Any]]
PARTS = ("train", "validation", "test")

# how each column comes from a ticker's tidy rows; the first row of a stretch has no return and is dropped
COLUMNS: dict[str, Callable[[dict[str, Floats]], Floats]] = {
    "open": lambda row: row["open"],
    "high": lambda row: row["high"],
    "low": lambda row: row["low"],
    "close": lambda row: row["close"],
    "volume": lambda row: row["volume"],
    "log_return": lambda row: np.log(row["close"], dtype=np.float64) - np.log(np.roll(row["close"], 1), dtype=np.float64),
    "log_range": lambda row: np.log(row["high"] / row["low"]),
    "log_volume": lambda row: np.log1p(row["volume"]),
}

PRICES = ("open", "high", "low", "close")
NEEDED = {"log_return": {"close"}, "log_range": {"high", "low"}, "log_volume": set(), "volume": set()}  # prices; others need their own


def reads(column: str) -> set[str]:
    """The fields of a session that a column comes from: prices, or its volume."""
    return NEEDED.get(column, {column}) or {"volume"}


def possible(spec: PriceWindows, had: Sequence[str]) -> tuple[PriceWindows, list[str]]:
    """The windows that a data set can give: a rate or an index may have a close alone.

    had      which of open, high, low and close there are
    returns  ``spec`` without the features that need others, and those features; the target stands in when none is left
    raises   DataRefused when the target needs others
    """
    lacking = [name for name in spec.columns if not NEEDED.get(name, {name}) <= set(had)]
    if spec.target in lacking:
        raise DataRefused(
            f"there is no {spec.target} in this data set, which has {', '.join(had)}; `windows.forecast.target` is {spec.target}. "
            "Write log_return or close there."
        )
    features = [name for name in spec.features if name not in lacking] or [spec.target]
    return spec.model_copy(update={"features": features}), lacking


@dataclass(frozen=True)
class Segment:
    """Rows ``start`` to ``stop`` (exclusive) of the series: one ticker, without a long hole."""

    ticker: str
    start: int
    stop: int


@dataclass(frozen=True)
class Series:
    """Every ticker's columns, one after the other, oldest session first.

    values  (steps, columns) float32, in natural units; column 0 is the target
    price   (steps,) float64, the level that a forecast is turned back into (the close, or the target's own level)
    dates   (steps,) datetime64[D], the session of each step; datetime64[s], its time, where rows are intraday
    """

    values: NDArray[np.float32]
    price: NDArray[np.float64]
    dates: NDArray[np.datetime64]
    segments: tuple[Segment, ...]

    @functools.cached_property
    def places(self) -> dict[str, list[int]]:
        """Ticker -> the places of its segments; found once, since many tickers are asked for one by one."""
        found: dict[str, list[int]] = {}
        for place, segment in enumerate(self.segments):
            found.setdefault(segment.ticker, []).append(place)
        return found


@dataclass(frozen=True)
class Windows:
    """The windows of one part: stretches of the series, and the numbering of the windows in them.

    A stretch of n steps holds n - span + 1 windows. They are numbered through, oldest first within a
    stretch, and exist only as numbers until `gather` cuts them out.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    lookback: int
    horizon: int

    def __len__(self) -> int:
        return int(self._counts.sum())

    @property
    def _counts(self) -> NDArray[np.int64]:
        return np.maximum(self.stops - self.starts - (self.lookback + self.horizon) + 1, 0)

    def first_steps(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The step of the series at which each window's past begins."""
        ends = np.cumsum(self._counts)
        stretch = np.searchsorted(ends, numbers, side="right")
        return self.starts[stretch] + numbers - (ends - self._counts)[stretch]

    def origins(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The last step that each window's model sees."""
        return self.first_steps(numbers) + self.lookback - 1

    def gather(self, values: Floats, numbers: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Cut windows out of a series.

        values   (steps, columns), column 0 is the target
        returns  past (windows, lookback, columns) and future (windows, horizon), copies of just these windows
        """
        first = self.first_steps(numbers)[:, None]
        past = values[first + np.arange(self.lookback)]
        future = values[first + np.arange(self.lookback, self.lookback + self.horizon), 0]
        return past, future


@dataclass(frozen=True)
class Scaler:
    """Each column shifted and divided: (value - offset) / scale. Both arrays are (columns,)."""

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]

    def apply(self, values: Floats) -> NDArray[np.float32]:
        """Natural units to scaled ones; returns a new array of the same shape."""
        scaled = np.subtract(values, self.offset.astype(np.float32), dtype=np.float32)
        scaled /= self.scale.astype(np.float32)  # in place: a large series is held once
        return scaled

    def undo_target(self, scaled: Floats) -> NDArray[np.float64]:
        """Scaled forecasts of the target (any shape) back to natural units."""
        return np.asarray(scaled, np.float64) * self.scale[0] + self.offset[0]


def make_series(table: dict[str, NDArray[Any]], spec: PriceWindows, session_number: Callable[[NDArray[Any]], NDArray[np.int64]]) -> Series:
    """Turn tidy rows into the columns that ``spec`` names.

    table           tidy columns (ticker, date, open, high, low, close, volume), sorted by ticker and date; dates are datetime64[D] or [s]
    session_number  maps dates to their place in the exchange calendar; a jump of more than ``spec.max_gap`` ends a segment
    raises          DataRefused when a column holds a value that is not finite (a missing volume, say)
    """
    dates = table["date"]
    tickers = table["ticker"]
    numbers = session_number(dates)
    breaks = np.flatnonzero((tickers[1:] != tickers[:-1]) | (np.diff(numbers) > spec.max_gap + 1)) + 1
    values, prices, days, segments, steps = [], [], [], [], 0
    for start, stop in zip([0, *breaks], [*breaks, len(dates)], strict=True):
        rows: dict[str, Floats] = {name: table[name][start:stop].astype(np.float64) for name in ("open", "high", "low", "close", "volume")}
        if stop - start < 2:
            continue
        columns = np.stack([COLUMNS[name](rows) for name in spec.columns], axis=1)[1:]
        _refuse_gaps(columns, spec.columns, tickers[start], dates[start + 1 : stop])
        values.append(columns.astype(np.float32))
        prices.append(rows["close" if spec.target == "log_return" else spec.target][1:])
        days.append(dates[start + 1 : stop])
        segments.append(Segment(str(tickers[start]), steps, steps + len(columns)))
        steps += len(columns)
    if not segments:
        raise SeriesTooShort("no ticker has two sessions in a row. Take in a longer file.")
    return Series(np.concatenate(values), np.concatenate(prices), np.concatenate(days), tuple(segments))


def _refuse_gaps(columns: Floats, names: list[str], ticker: Any, dates: NDArray[Any]) -> None:
    if not np.isfinite(columns).all():
        step, column = np.argwhere(~np.isfinite(columns))[0]
        raise DataRefused(
            f"{ticker} {dates[step]}: '{names[column]}' has no value, and a model cannot read a hole. "
            f"Leave '{names[column]}' out of `windows.forecast.features`, or mend the row in the raw file."
        )


def split_dates(
    dates: NDArray[np.datetime64], spec: PriceWindows, fold: int | None = None
) -> dict[str, tuple[np.datetime64, np.datetime64]]:
    """The first and last target date of each part.

    dates    every session (or second) that any ticker has, in any order
    fold     which of ``spec.folds`` pieces the test part is, from 0, the oldest; None: the newest
    returns  part -> (first, last), both inclusive; ``spec.gap`` sessions stand unused between two parts
    raises   SeriesTooShort when a part is shorter than the horizon

    >>> from longshort.config import PriceWindows
    >>> spec = PriceWindows(lookback=1, horizon=1, target="close", features=["close"], scaler="minmax",
    ...                     gap=1, max_gap=5, validation=0.2, test=0.4, folds=2)
    >>> days = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]")
    >>> for fold in range(2):
    ...     print({part: (str(a)[-2:], str(b)[-2:]) for part, (a, b) in split_dates(days, spec, fold).items()})
    {'train': ('01', '03'), 'validation': ('05', '05'), 'test': ('07', '08')}
    {'train': ('01', '05'), 'validation': ('07', '07'), 'test': ('09', '10')}
    """
    days = _distinct(dates)
    test = len(days) - round(len(days) * spec.test)
    whole = walk(test - round(len(days) * spec.validation), test, len(days), spec, fold)
    bounds = {part: (first, stop if part == "test" else stop - spec.gap) for part, (first, stop) in whole.items()}
    for part, (first, stop) in bounds.items():
        if stop - first < spec.horizon:
            of = f" of fold {spec.folds if fold is None else fold + 1} of {spec.folds}" if spec.folds > 1 else ""
            raise SeriesTooShort(
                f"the {part} part{of} would hold {max(stop - first, 0)} of {len(days)} sessions. Take in a longer file, or change "
                f"`windows.forecast.validation`, `.test`{', `.folds`' if of else ''} or `.gap` in params.yaml."
            )
    return {part: (days[first], days[stop - 1]) for part, (first, stop) in bounds.items()}


def _distinct(dates: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Each day once, oldest first; days by marking, since np.unique would copy 25 million dates; seconds are too many to mark."""
    if dates.dtype == "datetime64[s]":
        return np.unique(dates)
    days = dates.astype("datetime64[D]", copy=False)
    first = days.min()
    seen = np.zeros(int((days.max() - first).astype(np.int64)) + 1, bool)
    for start in range(0, len(days), 1 << 20):
        seen[(days[start : start + (1 << 20)] - first).astype(np.int64)] = True
    return first + np.flatnonzero(seen)


def part_windows(series: Series, spec: PriceWindows, first: np.datetime64, last: np.datetime64) -> Windows:
    """The windows whose whole future lies between two dates, both inclusive."""
    starts, stops = [], []
    for segment in series.segments:
        days = series.dates[segment.start : segment.stop]
        begin = segment.start + int(np.searchsorted(days, first, side="left"))
        end = segment.start + int(np.searchsorted(days, last, side="right"))
        starts.append(max(segment.start, begin - spec.lookback))
        stops.append(end)
    return Windows(np.array(starts, np.int64), np.array(stops, np.int64), spec.lookback, spec.horizon)


def make_parts(series: Series, spec: PriceWindows, fold: int | None = None) -> dict[str, Windows]:
    """The windows of train, validation and test, of a fold as `split_dates` has them.

    raises  SeriesTooShort with the number that is missing when a part has no window
    """
    parts = {part: part_windows(series, spec, *bounds) for part, bounds in split_dates(series.dates, spec, fold).items()}
    for part, windows in parts.items():
        if len(windows) == 0:
            longest = max(segment.stop - segment.start for segment in series.segments)
            raise SeriesTooShort(
                f"the {part} part has no window: the longest stretch has {longest} sessions, one window needs "
                f"{spec.lookback} (lookback) + {spec.horizon} (horizon) = {spec.span} of which the last {spec.horizon} lie in that part. "
                "Take in a longer file, or lower `windows.forecast.lookback` in params.yaml."
            )
    return parts


def only(series: Series, parts: dict[str, Windows], spec: PriceWindows, ticker: str) -> tuple[Series, dict[str, Windows]]:
    """The series and the windows of one ticker; views, no copies.

    raises  SeriesTooShort when a part has no window of it
    """
    places = np.array(series.places[ticker])
    segments = [series.segments[place] for place in places]
    first, last = segments[0].start, segments[-1].stop
    own = Series(
        series.values[first:last],
        series.price[first:last],
        series.dates[first:last],
        tuple(Segment(ticker, segment.start - first, segment.stop - first) for segment in segments),
    )
    cut = {
        part: Windows(windows.starts[places] - first, windows.stops[places] - first, windows.lookback, windows.horizon)
        for part, windows in parts.items()
    }
    for part, windows in cut.items():
        if len(windows) == 0:
            longest = max(int((windows.stops - windows.starts).max()), 0)
            raise SeriesTooShort(
                f"{ticker}: {last - first} sessions; the {part} part needs a stretch of {spec.span} that ends in it, and there "
                f"{'is none' if not longest else f'are {longest}'}: {spec.span - longest} are missing"
            )
    return own, cut


def fit_scaler(series: Series, train: Windows, spec: PriceWindows) -> Scaler:
    """Fit the scaler on the steps that training windows touch, and on no other.

    raises  DataRefused when a column does not vary there
    """
    # a sum over stretches, not one fancy index: 25 million steps must not be copied
    stretches = [series.values[a:b] for a, b in zip(train.starts, train.stops, strict=True) if b - a >= spec.span]
    low = np.min([s.min(axis=0) for s in stretches], axis=0).astype(np.float64)
    high = np.max([s.max(axis=0) for s in stretches], axis=0).astype(np.float64)
    count = sum(len(s) for s in stretches)
    mean = np.sum([s.sum(axis=0, dtype=np.float64) for s in stretches], axis=0) / count
    variance = np.sum([np.square(s - mean).sum(axis=0) for s in stretches], axis=0) / count
    flat = np.flatnonzero(high - low <= 1e-12 * np.maximum(np.abs(high), 1e-30))
    if len(flat):
        name = spec.columns[flat[0]]
        raise DataRefused(
            f"'{name}' is {low[flat[0]]:g} throughout the training part: nothing can be learned from a constant. "
            f"Leave it out of `windows.forecast.features`, or take in a series that moves."
        )
    return Scaler(low, high - low) if spec.scaler == "minmax" else Scaler(mean, np.sqrt(variance))
