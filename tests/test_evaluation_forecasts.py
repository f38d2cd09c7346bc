"""Evaluation, forecasts: where each ticker has a network of its own, it is that network which is scored."""

import csv
import dataclasses

import numpy as np
import pytest
import torch
from projects import PER_TICKER

from longshort import config, storage
from longshort.errors import TrainingDiverged
from longshort.evaluation import forecasts
from longshort.evaluation.stage import report_prices
from longshort.models import artefact
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask
from longshort.windows import files


@pytest.fixture(scope="module")
def data(tickers):
    return files.read_prices(tickers / "data/windows/goog")


@pytest.fixture(scope="module")
def models(tickers):
    """By seed; each with a network for AAA and one for BBB."""
    return {seed: artefact.load(tickers / "data/training" / PER_TICKER / f"seed-{seed}") for seed in (0, 1)}


def only(model, folder, *chosen):
    """The same model with the networks of some of its tickers."""
    places = [model.tickers.index(ticker) for ticker in chosen]
    state = {name: tensor[places] for name, tensor in model.network.state_dict().items()}
    shape, variant = artefact.SHAPES[model.task](**model.card["shape"]), config.Variant(**model.card["variant"])
    card = {name: model.card[name] for name in ("description", "origin")} | {"members": [model.card["members"][k] for k in places]}
    artefact.save(folder, model.task, shape, variant, state, card)
    return artefact.load(folder)


def last_values(data):
    """A network that repeats the last value: of log-returns it always answers none."""
    lstm = config.Variant(cell="lstm", hidden_size=1, num_layers=1, bidirectional=False, dropout=0.0)
    network = Network(ForecastTask.of(data), lstm, "torch").eval()
    with torch.no_grad():
        network.head.linear.weight.zero_()
        network.head.linear.bias.fill_(-data.scaler.offset[0] / data.scaler.scale[0])
    return network


def test_each_ticker_is_forecast_by_its_own_network_and_tickers_without_one_are_left_out(data, models):
    windows = data.parts["test"]
    assert set(forecasts.outcomes(models[0].of("AAA"), data.series, windows).tickers) == {"AAA", "BBB", "CCC"}
    found = forecasts.outcomes(models[0], data.series, windows)
    assert set(found.tickers) == {"AAA", "BBB"} and np.isfinite(found.forecast).all()
    for ticker, other in (("AAA", "BBB"), ("BBB", "AAA")):
        alone = data.of_ticker(ticker)
        rows = found.only(found.tickers == ticker)
        own = forecasts.outcomes(models[0].of(ticker), alone.series, alone.parts["test"])
        for field in dataclasses.fields(own):
            assert (getattr(rows, field.name) == getattr(own, field.name)).all(), field.name
        assert (rows.forecast != forecasts.outcomes(models[0].of(other), alone.series, alone.parts["test"]).forecast).all()


def test_the_order_of_the_networks_does_not_matter(data, models, tmp_path):
    turned = only(models[0], tmp_path, "BBB", "AAA")
    ours, theirs = (forecasts.outcomes(model, data.series, data.parts["test"]).forecast for model in (models[0], turned))
    assert (ours == theirs).all()


def test_a_report_is_over_the_tickers_that_have_a_network(data, models):
    report = report_prices(data, models, "goog", 0.95)
    rows = list(report.rows)
    assert [row[0] for row in rows] == ["AAA"] * (len(rows) // 2) + ["BBB"] * (len(rows) // 2)
    assert report.test["windows"] == len(rows) == len(data.of_ticker("AAA").parts["test"]) + len(data.of_ticker("BBB").parts["test"])
    for place, seed in enumerate(models):
        found = forecasts.outcomes(models[seed], data.series, data.parts["test"])
        assert report.seeds[seed]["rmse"] == np.sqrt(np.mean(np.square(found.forecast - found.actual)))
        assert [row[4 + place] for row in rows] == found.forecast[:, 0].tolist()
    naive = np.sqrt(np.mean([(float(row[3]) - float(row[2])) ** 2 for row in rows]))
    assert report.baselines["last_value"]["rmse"] == pytest.approx(naive)


def test_the_naive_loss_is_what_each_tickers_training_would_charge_the_last_value(data, models):
    charged = []
    for ticker in ("AAA", "BBB"):
        own = data.of_ticker(ticker)
        ((past, future),) = ForecastTask.of(own).batches("validation", 9999, 0, 0)
        losses, terms = ForecastTask.of(own).loss(last_values(own), past[None], future[None])
        charged.append(losses.item() / terms.item())
    report = report_prices(data, models, "goog", 0.95)
    assert charged[0] != pytest.approx(charged[1], rel=0.01)
    assert report.baselines["last_value"]["validation_loss"] == pytest.approx(np.mean(charged), rel=1e-5)


def test_a_ticker_that_one_seed_has_no_network_for_counts_for_none(data, models, tmp_path):
    report = report_prices(data, {0: models[0], 1: only(models[1], tmp_path, "BBB")}, "goog", 0.95)
    bbb = data.of_ticker("BBB")
    assert {row[0] for row in report.rows} == {"BBB"} and report.test["windows"] == len(bbb.parts["test"])
    naive = forecasts.naive_loss(bbb.series, bbb.parts["validation"], bbb.scaler, bbb.spec)
    assert report.baselines["last_value"]["validation_loss"] == naive


def test_seeds_that_share_no_ticker_are_refused(data, models, tmp_path):
    apart = {0: only(models[0], tmp_path / "0", "AAA"), 1: only(models[1], tmp_path / "1", "BBB")}
    with pytest.raises(TrainingDiverged, match=r"goog: no ticker has a network of every seed.*seed 0 of 1, seed 1 of 1.*learning_rate"):
        report_prices(data, apart, "goog", 0.95)


def test_the_stage_writes_a_seeds_figures_once_for_all_of_its_networks(tickers):
    metrics = storage.read_json(tickers / "data/evaluation" / PER_TICKER / "metrics.json")
    runs = storage.read_json(tickers / "data/training" / PER_TICKER / "runs.json")["seeds"]
    assert (metrics["variant"], list(metrics["seeds"])) == ("lstm-per-ticker", ["0", "1"])
    for run in runs:
        best = [member["history"][member["best_epoch"] - 1]["validation_loss"] for member in run["members"]]
        scored = metrics["seeds"][str(run["seed"])]
        assert (scored["best_epoch"], scored["validation_loss"]) == (run["best_epoch"], pytest.approx(np.mean(best)))
    with (tickers / "data/evaluation" / PER_TICKER / "history.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["validation_loss"]) for line in lines] == [epoch["validation_loss"] for run in runs for epoch in run["history"]]
