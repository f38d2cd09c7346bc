"""The shell of the evaluation room: `data/windows` and `data/training` in, `data/evaluation` out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longshort import storage
from longshort.config import Evaluation, Params
from longshort.errors import TrainingDiverged
from longshort.evaluation import baselines, forecasts, metrics, ngrams, pictures, tables, texts
from longshort.evaluation.intervals import METHODS
from longshort.evaluation.tables import Table
from longshort.models.artefact import Model, load
from longshort.windows import files

SHOWN = "pid"  # the intervals that figures and pictures are of; the others stand in a table beside them


@dataclass(frozen=True)
class Report:
    """One item's figures and pictures before they are written.

    seeds       seed -> figures on the test part
    baselines   name -> the same keys where they are defined, and ``validation_loss`` in the training loss's unit
    naive_loss  the validation loss of the one that pictures draw
    tables      name -> the figures for some of the test part at a time
    leak_alarm  whether a seed is too good to be true
    asked       how sure intervals shall be
    """

    unit: str
    test: dict[str, Any]
    seeds: dict[int, dict[str, float]]
    baselines: dict[str, dict[str, float]]
    naive_loss: float
    header: list[str]
    rows: Iterable[Sequence[Any]]
    tables: dict[str, Table]
    pictures: dict[str, bytes]
    leak_alarm: bool
    asked: dict[str, float]


def run(root: Path, item: str, params: Params) -> None:
    """Score one item's seeds on the test part, beside the baselines.

    raises  CorruptArtefact
    """
    torch.set_num_threads(1)  # the same sums whatever the number of cores, and no fight with the stage beside this one
    entry = params.training.items[item]
    windows, trained = root / "data/windows" / entry.dataset, root / "data/training" / item
    storage.verify(windows)
    storage.verify(trained)
    runs = storage.read_json(trained / "runs.json")
    seeds = {run["seed"]: run for run in runs["seeds"] if "dropped" not in run}
    models = {seed: load(trained / f"seed-{seed}") for seed in seeds}
    title = f"{entry.dataset} · {entry.label}"
    if entry.task == "forecast":
        report = report_prices(files.read_prices(windows), models, title, params.evaluation)
    else:
        report = report_text(files.read_text(windows), models, title)
    with storage.new_artefact(root / "data/evaluation" / item) as folder:
        _write(folder, report, {"dataset": entry.dataset, "task": entry.task, "variant": entry.label}, seeds, title)


def report_prices(data: files.PriceData, models: dict[int, Model], title: str, spec: Evaluation) -> Report:
    """Every seed's forecasts of the test part, what baselines say of it, and tables and pictures of both.

    Where each ticker has a network of its own, a seed is all of its networks, and tickers count that every seed has.

    raises  TrainingDiverged when there is no such ticker
    """
    before, found = (
        {seed: forecasts.outcomes(model, data.series, data.parts[part]) for seed, model in models.items()}
        for part in ("validation", "test")
    )
    shared = set.intersection(*(set(each.tickers.tolist()) for each in found.values()))
    if not shared:
        had = ", ".join(f"seed {seed} of {len(set(each.tickers.tolist()))}" for seed, each in found.items())
        raise TrainingDiverged(
            f"{title}: no ticker has a network of every seed, since the others diverged (networks are left with {had}), "
            "so seeds cannot be compared. Lower `training.forecast.learning_rate` in params.yaml."
        )
    found = {seed: each.only(np.isin(each.tickers, list(shared))) for seed, each in found.items()}
    one = next(iter(found.values()))
    history = {ticker: max(stretches, key=len) for ticker, stretches in baselines.training_levels(data).items()}
    widths = {seed: forecasts.half_widths(before[seed], each, spec.coverage, SHOWN) for seed, each in found.items()}
    nearest = {
        name: {seed: forecasts.half_widths(before[seed].step(1), each.step(1), spec.coverage, name) for seed, each in found.items()}
        for name in METHODS
    }
    scored = {
        seed: forecasts.score(each, history, spec.confidence) | forecasts.banding(each, widths[seed], spec.coverage)
        for seed, each in found.items()
    }
    said, rivals = _rivals(data, one, sorted(shared), bool(next(iter(models.values())).tickers), history, spec)
    seeds = [tables.Scored(each, widths[seed]) for seed, each in found.items()]
    return Report(
        unit="scaled squared error",
        test={"windows": len(one.targets), "first_target": str(one.targets.min()), "last_target": str(one.targets.max())},
        seeds=scored,
        baselines=rivals,
        naive_loss=rivals["last_value"]["validation_loss"],
        header=["ticker", "target", "actual", "naive", *(f"seed_{seed}" for seed in found)],
        rows=zip(one.tickers, one.targets, one.actual[:, 0], one.last, *(each.forecast[:, 0] for each in found.values()), strict=True),
        tables={
            "by-step": tables.by_step(seeds, spec.coverage),
            "by-ticker": tables.by("ticker", one.tickers, seeds, spec.coverage),
            "by-regime": tables.by("regime", _regimes(data, shared), seeds, spec.coverage, (*tables.REGIMES, "unknown")),
            "intervals": tables.of_methods(found, nearest, spec.coverage),
            "backtest-illustration": tables.of_backtest(found, said, spec.cost),
            **_recursively(data, models, shared, spec),
        },
        pictures=_price_pictures(found, scored, rivals["last_value"]["rmse"], title)
        | _interval_picture(found, nearest, scored, title, spec.coverage),
        leak_alarm=any(figures["skill"] > metrics.LEAK for figures in scored.values()),
        asked={"confidence": spec.confidence, "coverage": spec.coverage},
    )


def _rivals(
    data: files.PriceData,
    one: forecasts.Outcomes,
    shared: list[str],
    each_alone: bool,
    history: dict[str, forecasts.Array],
    spec: Evaluation,
) -> tuple[dict[str, forecasts.Outcomes], dict[str, dict[str, float]]]:
    """What baselines say of the same test windows, and their figures.

    each_alone  whether each ticker has a network, and so a scale, of its own
    """
    fitted = baselines.Baselines.fit(data)
    windows = data.parts["validation"]
    mine, tickers = (forecasts.tickers_of(data.series, data.parts[part]) for part in ("test", "validation"))
    said = {name: one.saying(levels[np.isin(mine, shared)]) for name, levels in fitted.forecast(data.parts["test"]).items()}
    figures = forecasts.score_baselines(said, history, spec.confidence)
    origins = windows.origins(np.arange(len(windows)))
    actual = data.series.price[origins[:, None] + np.arange(1, windows.horizon + 1)]
    for name, levels in fitted.forecast(windows).items():
        before = forecasts.Outcomes(tickers, data.series.dates[origins + 1], data.series.price[origins], actual, levels)
        figures[name] |= forecasts.banding(said[name], forecasts.half_widths(before, said[name], spec.coverage, SHOWN), spec.coverage)
        losses = [
            forecasts.training_loss(levels[rows], own.series, own.parts["validation"], own.scaler, own.spec)
            for own, rows in ([(data.of_ticker(ticker), tickers == ticker) for ticker in shared] if each_alone else [(data, slice(None))])
        ]
        figures[name]["validation_loss"] = float(np.mean(losses))
    return said, figures


def _recursively(data: files.PriceData, models: dict[int, Model], shared: set[str], spec: Evaluation) -> dict[str, Table]:
    """A table by step as far as ``spec.steps``, of forecasts that read their own answers; nothing within the horizon."""
    windows = replace(data.parts["test"], horizon=spec.steps)
    if spec.steps <= data.spec.horizon or not len(windows):
        return {}
    seeds = []
    for model in models.values():
        found = forecasts.outcomes(model, data.series, windows)
        found = found.only(np.isin(found.tickers, list(shared)))
        seeds.append(tables.Scored(found, np.full_like(found.actual, np.nan)))
    return {"by-step-recursive": tables.by_step(seeds, spec.coverage)}


def _regimes(data: files.PriceData, shared: set[str]) -> NDArray[Any]:
    """The volatility regime of each test window of the shared tickers, by the thirds of its ticker's training part."""
    tickers, numbers = np.unique([segment.ticker for segment in data.series.segments], return_inverse=True)
    origins = [data.parts[part].origins(np.arange(len(data.parts[part]))) for part in ("train", "test")]
    then, now = (tables.volatility(data.series.price, at, data.spec.lookback) for at in origins)
    whose_then, whose = (numbers[baselines.places(data.series, at)] for at in origins)
    names = np.full(len(now), "", "<U7")
    for number in np.flatnonzero(np.isin(tickers, list(shared))):
        names[whose == number] = tables.regimes(now[whose == number], then[whose_then == number])
    return names[names != ""]


def _price_pictures(
    found: dict[int, forecasts.Outcomes], scored: dict[int, dict[str, float]], naive_rmse: float, title: str
) -> dict[str, bytes]:
    # one ticker is drawn; the figures are over all of them
    one = next(iter(found.values()))
    ticker = str(one.tickers[0])
    rows = one.tickers == ticker
    drawn = np.stack([each.forecast[rows, 0] for each in found.values()])
    dates, actual, naive = one.targets[rows], one.actual[rows, 0], one.last[rows]
    rmse = np.mean([figures["rmse"] for figures in scored.values()])
    heading = f"{title}: {ticker}, RMSE {rmse:.3f}, naive {naive_rmse:.3f}"
    return {
        "forecast.png": pictures.forecast_against_actual(dates, actual, drawn, naive, heading, "$"),
        "residuals.png": pictures.residuals(
            dates, drawn.mean(axis=0) - actual, naive - actual, f"{title}: {ticker}, errors on the test part", "$"
        ),
    }


def _interval_picture(
    found: dict[int, forecasts.Outcomes],
    widths: dict[str, dict[int, forecasts.Array]],
    scored: dict[int, dict[str, float]],
    title: str,
    coverage: float,
) -> dict[str, bytes]:
    """Of one ticker; nothing where there is no interval around its forecasts."""
    one = next(iter(found.values()))
    rows = one.tickers == one.tickers[0]
    shown = {name: np.stack([each[rows, 0] for each in widths[name].values()]) for name in (SHOWN, "split_conformal")}
    if not np.isfinite(shown[SHOWN]).all():
        return {}
    held, cost = (float(np.mean([figures[name] for figures in scored.values()])) for name in ("coverage", "interval_score"))
    changes = np.stack([each.forecast[rows, 0] / each.last[rows] - 1 for each in found.values()])
    heading = f"{title}: {one.tickers[0]}, intervals of {coverage:.0%} hold {held:.1%}, interval score {100 * cost:.2f} %"
    came = one.actual[rows, 0] / one.last[rows] - 1
    return {
        "intervals.png": pictures.intervals(one.targets[rows], came, changes, shown[SHOWN], shown["split_conformal"], coverage, heading)
    }


def report_text(data: files.TextData, models: dict[int, Model], title: str) -> Report:
    """Every seed's charge for each word of the test part, unigram's and trigram's, and the pictures of them."""
    train, test = data.stretches["train"], data.stretches["test"]
    ids = np.asarray(data.ids)
    nats = {seed: texts.token_nats(model, ids, test) for seed, model in models.items()}
    rivals = fit_baselines(data)
    rival_nats = {name: fitted.nats(ids[: test.stop], test.start) for name, fitted in rivals.items()}
    scored = {
        seed: {**texts.score(each, test), "unknown_share": float(np.mean(ids[test.start : test.stop] == 0))} for seed, each in nats.items()
    }
    figures = {}
    for name, fitted in rivals.items():
        figures[name] = texts.score(rival_nats[name], test)
        figures[name]["validation_loss"] = _mean_nats(fitted, data)
    seen = np.bincount(ids[train.start : train.stop], minlength=len(data.vocabulary))[ids[test.start : test.stop]]
    perplexity = np.mean([each["perplexity"] for each in scored.values()])
    heading = f"{title}: perplexity {perplexity:.1f}, trigram {figures['trigram']['perplexity']:.1f}"
    picture = pictures.token_losses(np.stack(list(nats.values())), rival_nats["unigram"], rival_nats["trigram"], seen, heading)
    return Report(
        unit="nats per token",
        test={"tokens": test.stop - test.start, "characters": test.characters},
        seeds=scored,
        baselines=figures,
        naive_loss=min(each["validation_loss"] for each in figures.values()),
        # ids and not words: a cell that starts with = or + is a formula to a spreadsheet
        header=["position", "word_id", "unigram", "trigram", *(f"seed_{seed}" for seed in nats)],
        rows=zip(
            range(test.stop - test.start),
            ids[test.start : test.stop],
            rival_nats["unigram"],
            rival_nats["trigram"],
            *nats.values(),
            strict=True,
        ),
        tables={"by-frequency": texts.by_frequency(nats, rival_nats, seen)},
        pictures={"words.png": picture},
        leak_alarm=False,
        asked={},
    )


def naive_losses(data: files.PriceData | files.TextData) -> dict[str, float]:
    """Each baseline's loss on the validation part, in the unit of the training loss."""
    if isinstance(data, files.PriceData):
        return {"last_value": forecasts.naive_loss(data.series, data.parts["validation"], data.scaler, data.spec)}
    return {name: _mean_nats(fitted, data) for name, fitted in fit_baselines(data).items()}


def _mean_nats(fitted: ngrams.Unigram | ngrams.Trigram, data: files.TextData) -> float:
    part = data.stretches["validation"]
    return float(fitted.nats(np.asarray(data.ids)[: part.stop], part.start).mean())


def fit_baselines(data: files.TextData) -> dict[str, ngrams.Unigram | ngrams.Trigram]:
    """Unigram and trigram, counted on the training part."""
    train, size = data.stretches["train"], len(data.vocabulary)
    seen = data.ids[train.start : train.stop]
    return {"unigram": ngrams.Unigram.fit(seen, size), "trigram": ngrams.Trigram.fit(seen, size)}


def _write(folder: Path, report: Report, names: dict[str, str], runs: dict[int, dict[str, Any]], title: str) -> None:
    kept = {seed: next(e for e in run["history"] if e["epoch"] == run["best_epoch"]) for seed, run in runs.items()}
    seeds = {
        str(seed): {**figures, "best_epoch": kept[seed]["epoch"], "validation_loss": kept[seed]["validation_loss"]}
        for seed, figures in report.seeds.items()
    }
    table = {name: np.array([figures[name] for figures in seeds.values()], np.float64) for name in next(iter(seeds.values()))}
    storage.write_json(
        folder / "metrics.json",
        {
            **names,
            "unit": report.unit,
            "test": report.test,
            "baselines": report.baselines,
            "leak_alarm": report.leak_alarm,
            "asked": report.asked,
            "seeds": seeds,
            "mean": {name: float(values.mean()) for name, values in table.items()},
            "sd": {name: tables.spread(values.tolist()) for name, values in table.items()},
        },
    )
    epochs = [(seed, e["epoch"], e["train_loss"], e["validation_loss"]) for seed, run in runs.items() for e in run["history"]]
    storage.write_bytes(folder / "history.csv", _csv(["seed", "epoch", "train_loss", "validation_loss"], epochs))
    storage.write_bytes(folder / "scores.csv", _csv(report.header, report.rows))
    for name, made in report.tables.items():
        storage.write_bytes(folder / "tables" / f"{name}.csv", _csv(made.header, made.rows))
    best = {seed: run["best_epoch"] for seed, run in runs.items()}
    curves = pictures.loss_curves(
        {s: r["history"] for s, r in runs.items()}, report.naive_loss, best, f"{title}: how it learned", report.unit
    )
    for name, png in {"loss.png": curves, **report.pictures}.items():
        storage.write_bytes(folder / "pictures" / name, png)


def _csv(header: list[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Numbers with all their digits; what is not defined is an empty cell."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else repr(float(value))
    return value
