"""What intervals hold and what they cost, on made series and on shared stocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from longshort.config import Optimisation, PriceWindows, Variant
from longshort.evaluation import forecasts
from longshort.evaluation.intervals import METHODS, OF_QUANTILES, held, interval_score
from longshort.models.artefact import Model
from longshort.models.network import Network
from longshort.sessions import EVERY_ROW
from longshort.tasks.forecast import ForecastTask
from longshort.training.loop import Member, state_of, train
from longshort.windows.files import PriceData
from longshort.windows.prices import Segment, Series, Windows, fit_scaler

Array = NDArray[np.float64]
COVERAGE = 0.9
QUANTILES = (0.05, 0.95)
LOOKBACK = 20
STOCKS = Path(__file__).resolve().parents[2] / "shared/data/stocks/all_stocks_5yr.csv.gz"


def intervals_made(_: int) -> dict[str, Any]:
    """AR(1) whose volatility is 3 x the first third's in the second and half of it in the third: 6,000 steps, 20 seeds."""
    errors, tasks = [], []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        shocks = draw.normal(size=6_000) * np.repeat([1.0, 3.0, 0.5], 2_000)
        levels = np.zeros(6_000)
        for step in range(1, 6_000):
            levels[step] = 0.5 * levels[step - 1] + shocks[step]
        slope = float(levels[:999] @ levels[1:1000] / (levels[:999] @ levels[:999]))  # fitted on what calibrates
        errors.append(levels[1:] - slope * levels[:-1])
        tasks.append(_task([levels[:, None]], [levels], "close", learned=750, known=1_000))
    found = [parts for task, own in zip(tasks, _networks(tasks, batch=32), strict=True) for parts in _said(task, own)]
    return _measured(errors, 1_000, found)


def intervals_stocks(_: int) -> dict[str, Any]:
    """The next close of every ticker of the shared file by its last one; the first 250 sessions calibrate."""
    table = pd.read_csv(STOCKS).sort_values(["Name", "date"])
    own = [rows for _, rows in table.groupby("Name") if len(rows) > 300]
    closes = [rows["close"].to_numpy() for rows in own]
    columns = []
    for rows, close in zip(own, closes, strict=True):
        change, width = np.diff(np.log(close)), np.log(rows["high"] / rows["low"]).to_numpy()[1:]
        columns.append(np.stack([change, np.where(np.isfinite(width), width, np.abs(change))], axis=1))  # some rows lack high or low
    task = _task(columns, [close[1:] for close in closes], "log_return", learned=150, known=250)
    found = _said(task, _networks([task], batch=256)[0])
    errors = [close[1:] / close[:-1] - 1 for close in closes]
    return _measured(errors, 250, found)


# --- networks ---------------------------------------------------------------------------------


def _task(columns: Sequence[Array], levels: Sequence[Array], target: str, learned: int, known: int) -> ForecastTask:
    """Series of one shape as a task whose network names two quantiles: of each, the rows to learn from, to validate by, and the rest."""
    lengths = [len(own) for own in columns]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    features = [target, "log_range"][: columns[0].shape[1]]
    spec = PriceWindows(
        **{"lookback": LOOKBACK, "horizon": 1, "target": target, "features": features, "scaler": "standard"},  # type: ignore[arg-type]
        **{"gap": 1, "max_gap": 1, "validation": 0.2, "test": 0.2},
    )
    names = [f"S{number:03}" for number in range(len(columns))]
    segments = tuple(Segment(*each) for each in zip(names, starts.tolist(), ends.tolist(), strict=True))
    dates = np.datetime64("2000-01-01") + np.concatenate([np.arange(length) for length in lengths])
    series = Series(np.concatenate(columns).astype(np.float32), np.concatenate(levels), dates, segments)
    parts = {
        "train": Windows(starts, starts + learned, LOOKBACK, 1),
        "validation": Windows(starts + learned - LOOKBACK, starts + known, LOOKBACK, 1),
        "test": Windows(starts + known - LOOKBACK, ends, LOOKBACK, 1),
    }
    return ForecastTask.of(PriceData(spec, series, parts, fit_scaler(series, parts["train"], spec), EVERY_ROW), QUANTILES)


def _networks(tasks: Sequence[ForecastTask], batch: int) -> list[Model]:
    """An LSTM of 16 for each, trained as one fleet."""
    torch.set_num_threads(1)
    kind = Variant(cell="lstm", hidden_size=16, num_layers=1, bidirectional=False, dropout=0.0)
    how = Optimisation(optimizer="adam", learning_rate=0.005, batch_size=batch, max_epochs=100, patience=8, clip_norm=1.0)
    members = [Member(f"s{number}", number, task, how) for number, task in enumerate(tasks)]
    found = []
    for task, progress in zip(
        tasks, train(members, kind, "native", torch.device("cpu"), [None] * len(tasks), lambda *_: None), strict=True
    ):
        network = Network(task, kind, "native").eval()
        network.load_state_dict(state_of(network, progress.best_weights))
        found.append(Model("forecast", network, {"description": task.data.description()}, ""))
    return found


def _said(task: ForecastTask, model: Model) -> list[tuple[Array, Array, int]]:
    """Of each series: errors and the band that is named, one behind the other from the validation part on, and how many that part has.

    Of returns both are shares of the last level; a made level may be 0, and its own unit is theirs.
    """
    parts = [forecasts.outcomes(model, task.data.series, task.data.parts[part]) for part in ("validation", "test")]
    series = []
    for name in task.data.tickers():
        own = [part.only(part.tickers == name) for part in parts]
        whole = forecasts.joined(own)
        unit = whole.last if task.data.spec.target == "log_return" else np.ones(len(whole.last))
        assert whole.named is not None
        band = (whole.named[:, 0] - whole.forecast) / unit[:, None]
        series.append(((whole.actual - whole.forecast)[:, 0] / unit, band, len(own[0].last)))
    return series


# --- figures ----------------------------------------------------------------------------------


def _measured(series: list[Array], calibration: int, said: list[tuple[Array, Array, int]]) -> dict[str, Any]:
    """A row a method of errors; then, of networks, PID and the methods of quantiles, calibrated on their validation part.

    said  as `_said` gives it
    """
    rest = [errors[calibration:] for errors in series]
    made = {name: [method(errors, calibration, COVERAGE, 1) for errors in series] for name, method in METHODS.items()}
    of_split = _mean_score(rest, made["split_conformal"])
    found: dict[str, Any] = {"series": len(series), "steps": sum(map(len, rest))}
    found |= {name: _told(rest, bands, of_split) for name, bands in made.items()}
    theirs = {"pid, LSTM": [METHODS["pid"](errors, count, COVERAGE, 1) for errors, _, count in said]}
    theirs |= {name: [method(errors, band, count, COVERAGE, 1) for errors, band, count in said] for name, method in OF_QUANTILES.items()}
    return found | {name: _told([errors[count:] for errors, _, count in said], bands, of_split) for name, bands in theirs.items()}


def _mean_score(rest: list[Array], bands: list[Array]) -> float:
    return float(np.concatenate([interval_score(own, band, COVERAGE) for own, band in zip(rest, bands, strict=True)]).mean())


def _told(rest: list[Array], bands: list[Array], of_split: float) -> str:
    share = [float(held(own, band).mean()) for own, band in zip(rest, bands, strict=True)]
    whole, score = np.average(share, weights=[len(own) for own in rest]), _mean_score(rest, bands)
    spread = f"{min(share):.2%} to {max(share):.2%} of a series"
    return f"  holds {whole:.2%} ({spread}), score {score:.5g}, {score / of_split:.4f} x split conformal's"
