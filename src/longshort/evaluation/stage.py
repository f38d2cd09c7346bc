"""The shell of the evaluation room: `data/windows` and `data/training` in, `data/evaluation` out."""

from __future__ import annotations

import csv
import io
import sys
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
from longshort.evaluation import rows as labelled
from longshort.evaluation.intervals import METHODS, OF_QUANTILES, SHOWN
from longshort.evaluation.report import Report
from longshort.evaluation.tables import Table
from longshort.models.artefact import Model, load, place_of
from longshort.windows import files
from longshort.windows.prices import Scaler


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
    title = f"{entry.dataset} · {entry.label}"
    earlier = runs.get("earlier", [])
    lost = {run["seed"] for fold in earlier for run in fold if "dropped" in run}
    if not seeds.keys() - lost:
        raise TrainingDiverged(
            f"{title}: every seed diverged in one fold or another, so none answers for the whole test part. Lower "
            f"`training.{entry.task}.learning_rate` in params.yaml."
        )
    seeds = {seed: run for seed, run in seeds.items() if seed not in lost}
    folds = [*range(1, len(earlier) + 1), None]
    models = [{seed: load(place_of(trained, fold, seed)) for seed in seeds} for fold in folds]
    if entry.task == "forecast":
        named, coverage = _named(models[-1]), params.evaluation.coverage
        if named and forecasts.bracketing(named, coverage) is None:
            print(
                f"{title}: its networks name the quantiles {', '.join(map(str, named))}, and an interval of {coverage:.0%} lies between "
                f"{(1 - coverage) / 2:g} and {(1 + coverage) / 2:g}: tables/intervals.csv has none of their own. Put both into "
                "`tasks.forecast.quantiles`, or change `evaluation.coverage`.",
                file=sys.stderr,
            )
        report = report_prices(files.read_prices(windows), models, title, params.evaluation)
    elif entry.task == "language-model":
        report = report_text(files.read_text(windows), models, title)
    else:
        source = root / "data/ingestion" / entry.dataset
        storage.verify(source)
        table = storage.read_table(source / "table.parquet")
        report = labelled.report(entry.task, table, files.read_rows(windows, entry.task), models[-1], title)
    with storage.new_artefact(root / "data/evaluation" / item) as folder:
        _write(folder, report, {"dataset": entry.dataset, "task": entry.task, "variant": entry.label}, seeds, title)


@dataclass(frozen=True)
class Walked:
    """What was forecast of a fold's test part, or of those of all folds, one behind the other.

    found    seed -> the networks' forecasts; said: baseline -> its
    bands    seed -> the intervals that are shown, (windows, horizon, 2); theirs: baseline -> likewise
    nearest  method -> seed -> the intervals of the first step, (windows, 1, 2)
    regimes  (windows,)
    losses   baseline -> what it would be charged on the newest fold's validation part, in the unit of the training loss
    """

    found: dict[int, forecasts.Outcomes]
    said: dict[str, forecasts.Outcomes]
    bands: dict[int, forecasts.Array]
    theirs: dict[str, forecasts.Array]
    nearest: dict[str, dict[int, forecasts.Array]]
    regimes: NDArray[Any]
    losses: dict[str, float]


def report_prices(data: files.PriceData, models: Sequence[dict[int, Model]], title: str, spec: Evaluation) -> Report:
    """Every seed's forecasts of the test part, what baselines say of it, and tables and pictures of both.

    models  of each fold, oldest first: seed -> model
    Where each ticker has a network of its own, a seed is all of its networks, and tickers count that every seed has in every fold.

    raises  TrainingDiverged when there is no such ticker
    """
    shared = _shared(data, models, title)
    alone = shared if next(iter(models[-1].values())).tickers else []
    folds = [_walk(fold, own, shared, alone, spec) for fold, own in zip(data.folds, models, strict=True)]
    all_folds = _joined(folds)
    found, said = all_folds.found, all_folds.said
    one = next(iter(found.values()))
    # the scale of errors is that of the oldest fold's training part, in which nothing of the test part lies
    history = {ticker: max(stretches, key=len) for ticker, stretches in baselines.training_levels(data.folds[0]).items()}
    scored = {
        seed: forecasts.score(each, history, spec.confidence) | forecasts.banding(each, all_folds.bands[seed], spec.coverage)
        for seed, each in found.items()
    }
    rivals = forecasts.score_baselines(said, history, spec.confidence)
    for name, figures in rivals.items():
        figures |= forecasts.banding(said[name], all_folds.theirs[name], spec.coverage) | {"validation_loss": all_folds.losses[name]}
    seeds = [tables.Scored(each, all_folds.bands[seed]) for seed, each in found.items()]
    lengths = [len(fold.regimes) for fold in folds]
    by_fold = {"by-fold": tables.by("fold", np.repeat(np.arange(1, len(folds) + 1), lengths), seeds, spec.coverage)}
    return Report(
        unit="scaled squared error" + " + pinball losses" * bool(_named(models[-1])),
        test={"windows": len(one.targets), "first_target": str(one.targets.min()), "last_target": str(one.targets.max())}
        | ({"folds": len(folds)} if len(folds) > 1 else {}),
        seeds=scored,
        baselines=rivals,
        naive_loss=rivals["last_value"]["validation_loss"],
        header=["ticker", "target", "actual", "naive", *(f"seed_{seed}" for seed in found)],
        rows=zip(one.tickers, one.targets, one.actual[:, 0], one.last, *(each.forecast[:, 0] for each in found.values()), strict=True),
        tables={
            "by-step": tables.by_step(seeds, spec.coverage),
            "by-ticker": tables.by("ticker", one.tickers, seeds, spec.coverage),
            **(by_fold if len(folds) > 1 else {}),
            "by-regime": tables.by("regime", all_folds.regimes, seeds, spec.coverage, (*tables.REGIMES, "unknown")),
            "intervals": tables.of_methods(found, all_folds.nearest, spec.coverage),
            "backtest-illustration": tables.of_backtest(found, said, spec.cost),
            **_recursively(data, models, shared, spec),
        },
        pictures=_price_pictures(found, scored, rivals["last_value"]["rmse"], title)
        | _interval_picture(found, all_folds.nearest, scored, title, spec.coverage),
        leak_alarm=any(figures["skill"] > metrics.LEAK for figures in scored.values()),
        asked={"confidence": spec.confidence, "coverage": spec.coverage},
    )


def _named(models: dict[int, Model]) -> tuple[float, ...]:
    """The quantiles that every seed names."""
    return forecasts.quantiles_of(next(iter(models.values())))


def _shared(data: files.PriceData, models: Sequence[dict[int, Model]], title: str) -> list[str]:
    """The tickers that every seed forecasts in every fold.

    raises  TrainingDiverged when there is none
    """
    everybody = set(data.tickers())
    had = {(place, seed): set(model.tickers) or everybody for place, own in enumerate(models) for seed, model in own.items()}
    shared = set.intersection(*had.values())
    if not shared:
        of = f" of {len(models)} folds" if len(models) > 1 else ""
        left = ", ".join(f"seed {seed} of {len(own)}" for (place, seed), own in had.items() if place == len(models) - 1)
        raise TrainingDiverged(
            f"{title}: no ticker has a network of every seed{of}, since the others diverged (networks are left with {left}), "
            "so seeds cannot be compared. Lower `training.forecast.learning_rate` in params.yaml."
        )
    return sorted(shared)


def _walk(data: files.PriceData, models: dict[int, Model], shared: list[str], alone: list[str], spec: Evaluation) -> Walked:
    """A fold: forecasts of its test part by what learned from its training part, and intervals calibrated on its validation part.

    alone  the tickers that have a network, and so a scale, of their own
    """
    before, found = (
        {seed: forecasts.outcomes(model, data.series, data.parts[part]) for seed, model in models.items()}
        for part in ("validation", "test")
    )
    found = {seed: each.only(np.isin(each.tickers, shared)) for seed, each in found.items()}
    one, named = next(iter(found.values())), _named(models)
    places = forecasts.bracketing(named, spec.coverage)
    fitted = baselines.Baselines.fit(data)
    windows = data.parts["validation"]
    mine, tickers = (forecasts.tickers_of(data.series, data.parts[part]) for part in ("test", "validation"))
    said = {name: one.saying(levels[np.isin(mine, shared)]) for name, levels in fitted.forecast(data.parts["test"]).items()}
    origins = windows.origins(np.arange(len(windows)))
    actual = data.series.price[origins[:, None] + np.arange(1, windows.horizon + 1)]
    earlier = {
        name: forecasts.Outcomes(tickers, data.series.dates[origins + 1], data.series.price[origins], actual, levels)
        for name, levels in fitted.forecast(windows).items()
    }
    return Walked(
        found,
        said,
        {seed: forecasts.bands(before[seed], each, spec.coverage, SHOWN) for seed, each in found.items()},
        {name: forecasts.bands(earlier[name], each, spec.coverage, SHOWN) for name, each in said.items()},
        {
            name: {seed: forecasts.bands(before[seed].step(1), each.step(1), spec.coverage, name, between) for seed, each in found.items()}
            for between, methods in ((None, METHODS), *(((places, OF_QUANTILES),) if places else ()))
            for name in methods
        },
        _regimes(data, set(shared)),
        _charged(data, fitted, earlier, alone, named),
    )


def _charged(
    data: files.PriceData, fitted: baselines.Baselines, earlier: dict[str, forecasts.Outcomes], alone: list[str], named: Sequence[float]
) -> dict[str, float]:
    """What each baseline would be charged on the validation part by the training loss; with scales a ticker, the mean over them.

    earlier  what each said of that part; named: the quantiles that are charged too
    """
    said = {"validation": {name: each.forecast for name, each in earlier.items()}}
    numbers = {"validation": np.arange(len(data.parts["validation"]))}
    if named:
        numbers["train"] = forecasts.some_of(forecasts.tickers_of(data.series, data.parts["train"]))
        said["train"] = fitted.forecast(data.parts["train"], numbers["train"])
    whose = {part: forecasts.tickers_of(data.series, data.parts[part])[own] for part, own in numbers.items()}
    cut: list[tuple[Scaler, dict[str, Any]]] = [
        (data.of_ticker(ticker).scaler, {part: np.flatnonzero(own == ticker) for part, own in whose.items()}) for ticker in alone
    ]
    found = {}
    for name in earlier:
        errors = {
            part: forecasts.target_errors(levels[name], data.series, data.parts[part], data.spec, numbers[part])
            for part, levels in said.items()
        }
        losses = []
        for scaler, rows in cut or [(data.scaler, dict.fromkeys(errors, slice(None)))]:
            own = {part: each[rows[part]] / scaler.scale[0] for part, each in errors.items()}
            losses.append(forecasts.training_loss(own["validation"], own.get("train", own["validation"]), named))
        found[name] = float(np.mean(losses))
    return found


def _joined(folds: Sequence[Walked]) -> Walked:
    """All folds, one behind the other."""

    def outcomes(own: Sequence[dict[Any, forecasts.Outcomes]]) -> dict[Any, forecasts.Outcomes]:
        return {key: forecasts.joined([each[key] for each in own]) for key in own[0]}

    return Walked(
        outcomes([fold.found for fold in folds]),
        outcomes([fold.said for fold in folds]),
        _concatenated([fold.bands for fold in folds]),
        _concatenated([fold.theirs for fold in folds]),
        {name: _concatenated([fold.nearest[name] for fold in folds]) for name in folds[0].nearest},
        np.concatenate([fold.regimes for fold in folds]),
        folds[-1].losses,
    )


def _concatenated(folds: Sequence[dict[Any, forecasts.Array]]) -> dict[Any, forecasts.Array]:
    return {key: np.concatenate([each[key] for each in folds]) for key in folds[0]}


def _recursively(data: files.PriceData, models: Sequence[dict[int, Model]], shared: list[str], spec: Evaluation) -> dict[str, Table]:
    """A table by step as far as ``spec.steps``, of forecasts that read their own answers; nothing within the horizon."""
    pieces = [(fold, own, replace(fold.parts["test"], horizon=spec.steps)) for fold, own in zip(data.folds, models, strict=True)]
    pieces = [piece for piece in pieces if len(piece[2])]
    if spec.steps <= data.spec.horizon or not pieces:
        return {}
    seeds = []
    for seed in models[0]:
        found = forecasts.joined([forecasts.outcomes(own[seed], fold.series, windows) for fold, own, windows in pieces])
        found = found.only(np.isin(found.tickers, shared))
        seeds.append(tables.Scored(found, np.full((*found.actual.shape, 2), np.nan)))
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
    bands: dict[str, dict[int, forecasts.Array]],
    scored: dict[int, dict[str, float]],
    title: str,
    coverage: float,
) -> dict[str, bytes]:
    """Of one ticker; nothing where there is no interval around its forecasts."""
    one = next(iter(found.values()))
    rows = one.tickers == one.tickers[0]
    shown = {name: np.stack([each[rows, 0] for each in bands[name].values()]) for name in (SHOWN, "split_conformal")}
    if not np.isfinite(shown[SHOWN]).all():
        return {}
    held, cost = (float(np.mean([figures[name] for figures in scored.values()])) for name in ("coverage", "interval_score"))
    changes = np.stack([each.forecast[rows, 0] / each.last[rows] - 1 for each in found.values()])
    heading = f"{title}: {one.tickers[0]}, intervals of {coverage:.0%} hold {held:.1%}, interval score {100 * cost:.2f} %"
    came = one.actual[rows, 0] / one.last[rows] - 1
    return {
        "intervals.png": pictures.intervals(one.targets[rows], came, changes, shown[SHOWN], shown["split_conformal"], coverage, heading)
    }


@dataclass(frozen=True)
class Read:
    """What each word of a fold's test part was charged; every array is (tokens,).

    nats    seed -> the networks' -ln p; rivals: baseline -> its
    ids     in the fold's own vocabulary
    seen    how often each token's word stands in the fold's training part
    losses  baseline -> what it is charged a token on the fold's validation part
    """

    nats: dict[int, texts.Array]
    rivals: dict[str, texts.Array]
    ids: NDArray[Any]
    seen: NDArray[np.int64]
    losses: dict[str, float]


def report_text(data: files.TextData, models: Sequence[dict[int, Model]], title: str) -> Report:
    """Every seed's charge for each word of the test part, unigram's and trigram's, and tables and pictures of them.

    models  of each fold, oldest first: seed -> model
    """
    folds = [_read(fold, own) for fold, own in zip(data.folds, models, strict=True)]
    nats, rival_nats = _concatenated([fold.nats for fold in folds]), _concatenated([fold.rivals for fold in folds])
    ids, seen = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("ids", "seen"))
    characters = sum(fold.stretches["test"].characters for fold in data.folds)
    scored = {seed: {**texts.score(each, characters), "unknown_share": float(np.mean(ids == 0))} for seed, each in nats.items()}
    losses = folds[-1].losses
    figures = {name: texts.score(each, characters) | {"validation_loss": losses[name]} for name, each in rival_nats.items()}
    perplexity = np.mean([each["perplexity"] for each in scored.values()])
    heading = f"{title}: perplexity {perplexity:.1f}, trigram {figures['trigram']['perplexity']:.1f}"
    picture = pictures.token_losses(np.stack(list(nats.values())), rival_nats["unigram"], rival_nats["trigram"], seen, heading)
    # ids and not words: a cell that starts with = or + is a formula to a spreadsheet
    columns = {"position": range(len(ids)), "word_id": ids, **rival_nats, **{f"seed_{seed}": each for seed, each in nats.items()}}
    made = {"by-frequency": texts.by_frequency(nats, rival_nats, seen)}
    if len(folds) > 1:
        numbers = np.repeat(np.arange(1, len(folds) + 1), [len(fold.ids) for fold in folds])
        columns = {"fold": numbers, **columns}
        made["by-fold"] = texts.by_fold(numbers, nats, rival_nats, ids)
    return Report(
        unit="nats per token",
        test={"tokens": len(ids), "characters": characters} | ({"folds": len(folds)} if len(folds) > 1 else {}),
        seeds=scored,
        baselines=figures,
        naive_loss=min(losses.values()),
        header=list(columns),
        rows=zip(*columns.values(), strict=True),
        tables=made,
        pictures={"words.png": picture},
        leak_alarm=False,
        asked={},
    )


def _read(data: files.TextData, models: dict[int, Model]) -> Read:
    """A fold: what the words of its test part are charged by what learned from its training part."""
    train, test = data.stretches["train"], data.stretches["test"]
    ids = np.asarray(data.ids)
    own, fitted = ids[test.start : test.stop], fit_baselines(data)
    return Read(
        {seed: texts.token_nats(model, ids, test) for seed, model in models.items()},
        {name: each.nats(ids[: test.stop], test.start) for name, each in fitted.items()},
        own,
        np.bincount(ids[train.start : train.stop], minlength=len(data.vocabulary))[own],
        {name: _mean_nats(each, data) for name, each in fitted.items()},
    )


def naive_losses(data: files.PriceData | files.TextData, named: Sequence[float] = ()) -> dict[str, float]:
    """Each baseline's loss on the validation part, in the unit of the training loss; named: the quantiles that it charges."""
    if isinstance(data, files.PriceData):
        return {"last_value": forecasts.naive_loss(data, named)}
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
