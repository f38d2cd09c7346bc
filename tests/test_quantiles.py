"""Quantiles, from params.yaml to the table of intervals: what networks name beside their forecasts, and what is made of it."""

import csv
import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from projects import contents, days, native_is_built, prices, project, run_stage, take_in
from sklearn.metrics import mean_pinball_loss, mean_squared_error

from longshort import config, editing, serving, storage
from longshort.evaluation import forecasts, intervals
from longshort.evaluation.stage import naive_losses
from longshort.models import artefact
from longshort.models.artefact import Model
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask
from longshort.training.loop import Member, state_of, train
from longshort.windows import files
from longshort.windows.files import PriceData
from longshort.windows.prices import Segment, Series, Windows, fit_scaler

LEVELS = [0.05, 0.5, 0.95]
ITEM = "goog-lstm-per-ticker"


def learned(folder, *settings):
    """A project with two tickers and a network for each, in two folds and of two seeds, trained and scored."""
    learning = "{optimizer: adam, learning_rate: 0.01, batch_size: 16, max_epochs: 3, patience: 3, clip_norm: 1.0}"
    root = project(
        folder,
        f"tasks.forecast.quantiles={LEVELS}",
        "windows.forecast.folds=2",
        "training.seeds=[0, 1]",
        f"training.forecast={learning}",
        "models.variants.lstm.hidden_size=4",
        f"training.items={{{ITEM}: {{dataset: goog, task: forecast, variant: lstm, per: ticker}}}}",
        *settings,
    )
    take_in(root, "goog", pa.concat_tables([prices(days(300), ticker, seed=seed) for seed, ticker in enumerate(("AAA", "BBB"))]))
    for stage, item in (("windows", "goog"), ("training", ITEM), ("evaluation", ITEM)):
        run_stage(root, stage, item)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return learned(tmp_path_factory.mktemp("quantiles"))


@pytest.fixture(scope="module")
def data(root):
    return files.read_prices(root / "data/windows/goog")


@pytest.fixture(scope="module")
def model(root):
    return artefact.load(root / "data/training" / ITEM / "seed-0")


def rows_of(root):
    return {row["method"]: row for row in csv.DictReader((root / "data/evaluation" / ITEM / "tables/intervals.csv").open())}


# --- from stage to stage ----------------------------------------------------------------------


def test_every_fold_seed_and_ticker_has_a_network_that_names_them(root, model):
    assert model.card["shape"]["quantiles"] == LEVELS and model.card["origin"]["task"] == {"quantiles": LEVELS}
    for place in ("seed-0", "seed-1", "fold-1/seed-0", "fold-1/seed-1"):
        loaded = artefact.load(root / "data/training" / ITEM / place)
        assert loaded.network.head.linear.bias.shape == (2, 1 + len(LEVELS)) and loaded.tickers == ["AAA", "BBB"]


@pytest.mark.long
def test_two_processes_and_one_leave_the_same_bytes(root, tmp_path):
    other = learned(tmp_path, "resources.workers=1")
    assert contents(other / "data/training" / ITEM) == contents(root / "data/training" / ITEM)
    assert contents(other / "data/evaluation" / ITEM) == contents(root / "data/evaluation" / ITEM)


def test_the_table_of_intervals_has_a_row_a_method_of_quantiles_and_figures_are_still_of_pid(root):
    rows = rows_of(root)
    assert list(rows) == [*intervals.METHODS, *intervals.OF_QUANTILES]
    for row in rows.values():
        assert 0.5 < float(row["coverage"]) <= 1 and 0 < float(row["interval_width"]) <= float(row["interval_score"])
    assert len({row["interval_score"] for row in rows.values()}) == len(rows)
    whole = storage.read_json(root / "data/evaluation" / ITEM / "metrics.json")
    assert float(rows["pid"]["coverage"]) == pytest.approx(whole["mean"]["coverage"])
    assert whole["unit"] == "scaled squared error + pinball losses"


def test_where_no_two_quantiles_stand_for_the_coverage_the_methods_are_left_out_and_it_is_said(root, tmp_path, capsys):
    other = learned(tmp_path, "evaluation.coverage=0.8", "training.seeds=[0]")
    assert list(rows_of(other)) == list(intervals.METHODS)
    said = capsys.readouterr().err
    assert "name the quantiles 0.05, 0.5, 0.95, and an interval of 80% lies between 0.1 and 0.9" in said
    assert "`tasks.forecast.quantiles`" in said
    editing.assign(other / "params.yaml", ["evaluation.coverage=0.9"])
    run_stage(other, "evaluation", ITEM)
    assert "name the quantiles" not in capsys.readouterr().err


def test_a_served_forecast_is_the_point_forecast(data, model):
    own = model.of("AAA")
    past, _ = data.parts["test"].gather(data.series.values, np.arange(3))
    scaled = torch.from_numpy(forecasts.scaler_of(own).apply(past))
    assert own(scaled).shape == (3, 1) == own.forecaster.answers(scaled.numpy()).shape
    with torch.inference_mode():
        whole = own.head.whole(own.network.encode(scaled[None])[1])[0]
    assert torch.equal(own(scaled), whole[:, 0]) and torch.equal(own.quantiles(scaled), whole[:, 1:])
    said = serving.ForecastService(model).predict({"ticker": np.array(["AAA"] * 3), "past": past.astype(np.float64)})
    assert np.asarray(said).shape == (3, 1)


# --- levels -----------------------------------------------------------------------------------


def crossing(model, data):
    """The model with its lowest and highest quantile the wrong way round."""
    network = Network(ForecastTask.of(data, LEVELS), config.Variant(**model.card["variant"]), "torch").eval()
    with torch.no_grad():
        network.head.linear.weight.zero_()
        network.head.linear.bias.copy_(torch.tensor([[0.0, 2.0, 0.5, -1.0]]))
    return Model("forecast", network, model.card, "")


def test_quantiles_are_levels_of_the_price_and_those_that_cross_are_sorted(data, model):
    alone = data.of_ticker("AAA")
    own = crossing(model.of("AAA"), alone)
    found = forecasts.outcomes(own, alone.series, alone.parts["test"])
    scaler = forecasts.scaler_of(own)
    wanted = found.last[:, None] * np.exp(scaler.undo_target(np.array([-1.0, 0.5, 2.0])))
    assert found.named[:, 0] == pytest.approx(wanted)
    between = found.between((0, 2))[:, 0]
    assert between == pytest.approx((wanted[:, [0, 2]] - found.forecast) / found.last[:, None])
    assert np.array_equal(found.step(1).named, found.named) and np.array_equal(found.only(np.arange(3)).named, found.named[:3])
    assert (
        np.array_equal(forecasts.joined([found, found]).named, np.concatenate([found.named] * 2))
        and found.saying(found.forecast).named is None
    )


@pytest.mark.parametrize("target", ["log_return", "close"])
def test_beyond_the_first_step_a_sum_of_returns_has_no_quantiles_and_a_level_has(data, target):
    own = data.of_ticker("AAA")
    spec = own.spec.model_copy(update={"horizon": 2, "gap": 2, "target": target})
    cut = dataclasses.replace(own, spec=spec, parts={name: dataclasses.replace(part, horizon=2) for name, part in own.parts.items()})
    lstm = config.Variant(cell="lstm", hidden_size=3, num_layers=1, bidirectional=False, dropout=0.0)
    model = Model("forecast", Network(ForecastTask.of(cut, LEVELS), lstm, "torch").eval(), {"description": cut.description()}, "")
    named = forecasts.outcomes(model, cut.series, dataclasses.replace(cut.parts["test"], horizon=5)).named
    assert named.shape[1:] == (5, 3) and np.isfinite(named[:, 0]).all() and np.isnan(named[:, 2:]).all()
    assert np.isnan(named[:, 1]).all() if target == "log_return" else np.isfinite(named[:, 1]).all()


# --- the naive loss beside it -------------------------------------------------------------------


def test_the_last_value_is_charged_for_the_quantiles_of_the_training_part_around_it(data):
    futures = {name: data.parts[name].gather(data.series.values, np.arange(len(data.parts[name])))[1] for name in ("train", "validation")}
    errors = {name: -own[:, 0].astype(np.float64) / data.scaler.scale[0] for name, own in futures.items()}  # of log-returns it says 0
    around = np.quantile(-errors["train"], LEVELS)
    pinball = [
        mean_pinball_loss(-errors["validation"], np.full(len(errors["validation"]), q), alpha=a)
        for q, a in zip(around, LEVELS, strict=True)
    ]
    squared = mean_squared_error(errors["validation"], np.zeros(len(errors["validation"])))
    assert naive_losses(data, LEVELS)["last_value"] == pytest.approx(squared + sum(pinball), rel=1e-6)
    assert naive_losses(data)["last_value"] == pytest.approx(squared, rel=1e-6)


def test_of_a_long_training_part_some_windows_are_enough_and_a_short_ticker_keeps_its_own():
    tickers = np.repeat(["AAA", "BBB", "CCC"], [90_000, 200, 9_800])
    numbers = forecasts.some_of(tickers)
    assert (np.diff(numbers) > 0).all()
    assert [int((tickers[numbers] == name).sum()) for name in ("AAA", "BBB", "CCC")] == [18_000, 200, 1_960]
    assert (numbers[[0, 17_999]] == [0, 89_999]).all() and np.diff(numbers[:18_000]).max() <= 6
    assert (forecasts.some_of(tickers[89_900:90_100]) == np.arange(200)).all()


def test_baselines_are_charged_in_the_unit_of_the_networks_ticker_by_ticker(root, data):
    figures = storage.read_json(root / "data/evaluation" / ITEM / "metrics.json")["baselines"]
    each = [naive_losses(data.of_ticker(ticker), LEVELS)["last_value"] for ticker in ("AAA", "BBB")]
    assert figures["last_value"]["validation_loss"] == pytest.approx(np.mean(each), rel=1e-6)
    plain = np.mean([naive_losses(data.of_ticker(ticker))["last_value"] for ticker in ("AAA", "BBB")])
    assert all(own["validation_loss"] > plain for own in figures.values())


# --- what is learned --------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["torch", pytest.param("native", marks=native_is_built)])
def test_quantiles_of_a_series_whose_volatility_is_seen_hold_their_share_calm_or_rough(engine):
    draw = np.random.default_rng(0)
    rough = draw.random(3_000) < 0.5  # of the next step; known the step before
    changes = draw.normal(size=3_000) * np.where(rough, 3.0, 1.0)
    values = np.stack([changes, np.append(rough[1:], False)], axis=1).astype(np.float32)
    spec = config.PriceWindows(
        lookback=2, horizon=1, target="close", features=["volume"], scaler="standard", gap=1, max_gap=1, validation=0.2, test=0.2
    )
    series = Series(values, changes, np.datetime64("2001-01-01") + np.arange(3_000), (Segment("AAA", 0, 3_000),))
    parts = {
        name: Windows(np.array([start]), np.array([stop]), 2, 1)
        for name, start, stop in (("train", 0, 1_600), ("validation", 1_600, 2_000), ("test", 2_000, 3_000))
    }
    task = ForecastTask.of(PriceData(spec, series, parts, fit_scaler(series, parts["train"], spec), "every row"), LEVELS)
    kind = config.Variant(cell="lstm", hidden_size=8, num_layers=1, bidirectional=False, dropout=0.0)
    learning = config.Optimisation(optimizer="adam", learning_rate=0.02, batch_size=64, max_epochs=40, patience=8, clip_norm=1.0)
    (progress,) = train([Member("s", 0, task, learning)], kind, engine, torch.device("cpu"), [None], lambda *_: None)
    network = Network(task, kind, engine).eval()
    network.load_state_dict(state_of(network, progress.best_weights))
    found = forecasts.outcomes(Model("forecast", network, {"description": task.data.description()}, ""), series, parts["test"])
    came, seen = found.actual[:, 0], rough[2_002:]
    for state, volatility in ((False, 1.0), (True, 3.0)):
        named = found.named[seen == state, 0]
        shares = (came[seen == state, None] <= named).mean(axis=0)
        assert shares == pytest.approx(LEVELS, abs=0.05)
        assert np.median(named, axis=0) == pytest.approx(volatility * np.array([-1.645, 0, 1.645]), abs=0.35 * volatility)
    band = intervals.quantile_pid(found.errors[:, 0] * found.last, found.between((0, 2))[:, 0] * found.last[:, None], 200, 0.9)
    assert intervals.held(found.errors[200:, 0] * found.last[200:], band).mean() == pytest.approx(0.9, abs=0.03)
