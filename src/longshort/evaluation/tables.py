"""Tables: the same figures for some of the test windows at a time, mean and standard deviation over seeds, beside naive.

A grouping is a label for each window; the steps ahead are the one that cuts windows apart. What a group leaves undefined is an empty
cell. Pure NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.evaluation import backtest
from longshort.evaluation.forecasts import Outcomes, banding

Array = NDArray[np.float64]
VOLATILITY = 20  # returns: a month of sessions
REGIMES = ("calm", "middle", "rough")


@dataclass(frozen=True)
class Table:
    """Rows under a header, as they are written to a file."""

    header: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Scored:
    """A seed's forecasts and their intervals, (windows, horizon, 2), as `forecasts.bands` gives them; nan for none."""

    found: Outcomes
    bands: Array


def by(name: str, labels: NDArray[Any], seeds: Sequence[Scored], coverage: float, order: Iterable[Any] | None = None) -> Table:
    """A row a label: all windows that bear it.

    name    of the first column: ticker, regime, fold
    labels  (windows,), of the rows of every seed
    order   of the labels; None: sorted
    """
    table = _Rows(name, coverage)
    for label in np.unique(labels) if order is None else order:
        rows = labels == label
        if rows.any():
            table.add(label, [Scored(seed.found.only(rows), seed.bands[rows]) for seed in seeds])
    return table.made()


def by_step(seeds: Sequence[Scored], coverage: float) -> Table:
    """A row a step ahead."""
    table = _Rows("step", coverage)
    for step in range(1, seeds[0].found.actual.shape[1] + 1):
        table.add(step, [Scored(seed.found.step(step), seed.bands[:, step - 1 : step]) for seed in seeds])
    return table.made()


def of_methods(found: dict[int, Outcomes], bands: dict[str, dict[int, Array]], coverage: float) -> Table:
    """A row a method of `intervals`, one step ahead: what its intervals held, cost, and how wide they were.

    bands  method -> seed -> (windows, 1, 2)
    """
    rows = []
    for name, of_seed in bands.items():
        each = [banding(found[seed].step(1), own, coverage) for seed, own in of_seed.items()]
        rows.append([name, *_cells(each, ("coverage", "interval_score", "interval_width"))])
    return Table(["method", *_columns(("coverage", "interval_score", "interval_width"))], rows)


def of_backtest(found: dict[int, Outcomes], baselines: dict[str, Outcomes], cost: float) -> Table:
    """A row for the networks, one for each baseline that names a direction, and one for holding all of the time. An illustration."""

    def run(one: Outcomes, said: Array | None = None) -> dict[str, float]:
        came = one.actual[:, 0] / one.last - 1
        return backtest.long_flat(one.tickers, one.targets, one.forecast[:, 0] / one.last - 1 if said is None else said, came, cost)

    one = next(iter(found.values()))
    runs = {"networks": [run(each) for each in found.values()]}
    runs |= {name: [run(each)] for name, each in baselines.items() if name != "last_value"}
    runs["always held"] = [run(one, np.ones(len(one.last)))]
    names = tuple(runs["always held"][0])
    return Table(["strategy", *_columns(names)], [[name, *_cells(each, names)] for name, each in runs.items()])


def _columns(names: Sequence[str]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_sd")]


def _cells(each: Sequence[dict[str, float]], names: Sequence[str]) -> list[float]:
    """Mean and standard deviation over seeds of each figure."""
    columns = [[own.get(name, np.nan) for own in each] for name in names]
    return [value for values in columns for value in (float(np.mean(values)), spread(values))]


def volatility(price: Array, origins: NDArray[np.int64], lookback: int) -> Array:
    """Realised at each origin: the root mean square of the newest log-returns that its window saw, `VOLATILITY` of them at most.

    price    (steps,) levels; a window saw ``lookback`` of them
    returns  (origins,); nan where a window saw a single level
    """
    count = min(VOLATILITY, lookback - 1)
    if count < 1:
        return np.full(len(origins), np.nan)
    squares = np.square(np.diff(np.log(price), prepend=np.nan))
    total = np.zeros(len(origins))
    for back in range(count):  # and not a table of them all: a training part may have 25 million origins
        total += squares[origins - back]
    return np.sqrt(total / count)


def regimes(now: Array, then: Array) -> NDArray[Any]:
    """Calm, middle or rough: the third of the training part's volatilities that each lies among.

    now, then  (windows,) of the windows to name, and of the training part's, of one ticker
    """
    if not len(then) or not np.isfinite(now).all():
        return np.full(len(now), "unknown")
    return np.array(REGIMES)[np.searchsorted(np.quantile(then, [1 / 3, 2 / 3]), now, side="right")]


class _Rows:
    """A table while it is made."""

    def __init__(self, name: str, coverage: float) -> None:
        self.name, self.coverage = name, coverage
        self.rows: list[list[Any]] = []
        self.figures: tuple[str, ...] = ()

    def add(self, label: Any, seeds: list[Scored]) -> None:
        of_each = [_figures(seed, self.coverage) for seed in seeds]
        self.figures = tuple(of_each[0])
        naive = float(np.sqrt(np.square(seeds[0].found.naive - seeds[0].found.actual).mean()))
        self.rows.append([label, len(seeds[0].found.actual), naive, *_cells(of_each, self.figures)])

    def made(self) -> Table:
        return Table([self.name, "windows", "naive_rmse", *_columns(self.figures)], self.rows)


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds, n - 1 in the divisor; one seed has none, and what is the same has none left by rounding."""
    return float(np.std(values, ddof=1)) if len(values) > 1 and min(values) != max(values) else 0.0


def _figures(seed: Scored, coverage: float) -> dict[str, float]:
    found = seed.found
    error, naive = found.forecast - found.actual, found.naive - found.actual
    rmse, base = (float(np.sqrt(np.square(values).mean())) for values in (error, naive))
    moved = naive != 0
    named = np.sign(found.forecast - found.naive) == np.sign(-naive)
    banded = banding(found, seed.bands, coverage)
    return {
        "rmse": rmse,
        "mae": float(np.abs(error).mean()),
        "skill": 1 - rmse / base if base > 0 else np.nan,
        "directional_accuracy": float(named[moved].mean()) if moved.any() else np.nan,
        **{name: banded.get(name, np.nan) for name in ("coverage", "interval_score")},
    }
