"""The shell of the evaluation room: `data/windows` and `data/training` in, `data/evaluation` out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longshort import storage
from longshort.config import Params
from longshort.errors import TrainingDiverged
from longshort.evaluation import forecasts, ngrams, pictures, texts
from longshort.models.artefact import Model, load
from longshort.windows import files


@dataclass(frozen=True)
class Report:
    """One item's figures and pictures before they are written.

    seeds      seed -> figures on the test part
    baselines  name -> the same keys where they are defined, and ``validation_loss`` in the training loss's unit
    """

    unit: str
    test: dict[str, Any]
    seeds: dict[int, dict[str, float]]
    baselines: dict[str, dict[str, float]]
    header: list[str]
    rows: Iterable[Sequence[Any]]
    pictures: dict[str, bytes]


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
        report = report_prices(files.read_prices(windows), models, title, params.evaluation.confidence)
    else:
        report = report_text(files.read_text(windows), models, title)
    with storage.new_artefact(root / "data/evaluation" / item) as folder:
        _write(folder, report, {"dataset": entry.dataset, "task": entry.task, "variant": entry.label}, seeds, title)


def report_prices(data: files.PriceData, models: dict[int, Model], title: str, confidence: float) -> Report:
    """Every seed's forecasts of the test part, the naive last value, and the pictures of both.

    Where each ticker has a network of its own, a seed is all of its networks, and tickers count that every seed has.

    raises  TrainingDiverged when there is no such ticker
    """
    found = {seed: forecasts.outcomes(model, data.series, data.parts["test"]) for seed, model in models.items()}
    shared = set.intersection(*(set(each.tickers.tolist()) for each in found.values()))
    if not shared:
        had = ", ".join(f"seed {seed} of {len(set(each.tickers.tolist()))}" for seed, each in found.items())
        raise TrainingDiverged(
            f"{title}: no ticker has a network of every seed, since the others diverged (networks are left with {had}), "
            "so seeds cannot be compared. Lower `training.forecast.learning_rate` in params.yaml."
        )
    found = {seed: each.only(np.isin(each.tickers, list(shared))) for seed, each in found.items()}
    history = _training_levels(data)
    scored = {seed: forecasts.score(each, history, confidence) for seed, each in found.items()}
    one = next(iter(found.values()))
    naive = forecasts.score(forecasts.Outcomes(one.tickers, one.targets, one.last, one.actual, one.naive), history, confidence)
    naive_figures = {name: naive[name] for name in ("rmse", "mae", "mase", "skill")}
    each_alone = next(iter(models.values())).tickers
    parts = [data.of_ticker(ticker) for ticker in each_alone if ticker in shared] or [data]
    naive_figures["validation_loss"] = float(np.mean([naive_losses(part)["last_value"] for part in parts]))
    return Report(
        unit="scaled squared error",
        test={"windows": len(one.targets), "first_target": str(one.targets.min()), "last_target": str(one.targets.max())},
        seeds=scored,
        baselines={"last_value": naive_figures},
        header=["ticker", "target", "actual", "naive", *(f"seed_{seed}" for seed in found)],
        rows=zip(one.tickers, one.targets, one.actual[:, 0], one.last, *(each.forecast[:, 0] for each in found.values()), strict=True),
        pictures=_price_pictures(found, scored, naive["rmse"], title),
    )


def _training_levels(data: files.PriceData) -> dict[str, forecasts.Array]:
    levels: dict[str, list[forecasts.Array]] = {}
    train = data.parts["train"]
    for segment, start, stop in zip(data.series.segments, train.starts, train.stops, strict=True):
        levels.setdefault(segment.ticker, []).append(data.series.price[start:stop])
    return {ticker: max(stretches, key=len) for ticker, stretches in levels.items()}


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
        pictures={"words.png": picture},
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
            "seeds": seeds,
            "mean": {name: float(values.mean()) for name, values in table.items()},
            # over seeds, n - 1 in the divisor; one seed has none
            "sd": {name: float(values.std(ddof=1)) if len(values) > 1 else 0.0 for name, values in table.items()},
        },
    )
    epochs = [(seed, e["epoch"], e["train_loss"], e["validation_loss"]) for seed, run in runs.items() for e in run["history"]]
    storage.write_bytes(folder / "history.csv", _csv(["seed", "epoch", "train_loss", "validation_loss"], epochs))
    storage.write_bytes(folder / "scores.csv", _csv(report.header, report.rows))
    naive = min(figures["validation_loss"] for figures in report.baselines.values())
    best = {seed: run["best_epoch"] for seed, run in runs.items()}
    curves = pictures.loss_curves({s: r["history"] for s, r in runs.items()}, naive, best, f"{title}: how it learned", report.unit)
    for name, png in {"loss.png": curves, **report.pictures}.items():
        storage.write_bytes(folder / "pictures" / name, png)


def _csv(header: list[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return repr(float(value)) if isinstance(value, float | np.floating) else value
