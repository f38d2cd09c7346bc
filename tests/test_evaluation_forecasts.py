"""Evaluation, forecasts: where each ticker has a network of its own, it is that network which is scored."""

import csv
import dataclasses

import numpy as np
import pytest
import torch
from projects import PER_TICKER

from longshort import config, storage
from longshort.errors import TrainingDiverged
from longshort.evaluation import baselines, forecasts, intervals, metrics
from longshort.evaluation.stage import report_prices
from longshort.models import artefact
from longshort.models.artefact import Model
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


ASKED = config.Evaluation(confidence=0.95, coverage=0.9, cost=0.0005, steps=5)


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
            assert np.array_equal(getattr(rows, field.name), getattr(own, field.name)), field.name
        assert (rows.forecast != forecasts.outcomes(models[0].of(other), alone.series, alone.parts["test"]).forecast).all()


def made(tickers, sessions, horizon=1, seed=0):
    """Forecasts of so many tickers in so many sessions, ticker by ticker, better than naive."""
    draw = np.random.default_rng(seed)
    count = tickers * sessions
    last = draw.uniform(50, 150, count)
    came = draw.normal(0, 0.02, (count, horizon))
    said = 0.5 * came + draw.normal(0, 0.015, (count, horizon))
    days = np.tile(np.arange(sessions) + np.datetime64("2020-01-01"), tickers)
    levels = [last[:, None] * (1 + change) for change in (came, said)]
    return forecasts.Outcomes(np.repeat([f"T{number:02}" for number in range(tickers)], sessions), days, last, *levels)


def test_the_test_against_naive_is_of_a_sessions_mean_loss_and_not_of_its_tickers_one_by_one():
    found = made(5, 40, horizon=3)
    losses = np.square(found.forecast - found.actual) - np.square(found.naive - found.actual)
    by_session = losses.reshape(5, 40, 3).mean(axis=(0, 2))
    statistic, p_value = metrics.loss_difference_test(by_session, 3)
    assert forecasts.against_naive(found) == pytest.approx({"dm_statistic": statistic, "dm_p_value": p_value})
    turned = found.only(np.arange(200)[::-1])
    assert forecasts.against_naive(turned) == pytest.approx(forecasts.against_naive(found))


def test_tickers_that_all_move_together_are_no_more_certain_than_one():
    one = made(1, 40)
    together = one.only(np.tile(np.arange(40), 10))
    assert forecasts.against_naive(together) == pytest.approx(forecasts.against_naive(one))


def test_three_tickers_are_ordered_and_two_are_not():
    history = {f"T{number:02}": np.array([1.0, 2.0]) for number in range(9)}
    figures = forecasts.score(made(9, 30), history, 0.95)
    assert figures["ic"] > 0.3 < figures["rank_ic"] and figures["icir"] > 1 and figures["ic_sessions"] == 30
    assert "ic" not in forecasts.score(made(2, 30), history, 0.95)


def test_a_ticker_without_a_training_part_has_no_part_in_scaled_errors():
    found = made(2, 30)
    both = {"T00": np.array([1.0, 3.0]), "T01": np.array([1.0, 2.0])}
    alone = forecasts.errors(found.only(found.tickers == "T00"), both)
    for missing in ({}, {"T01": np.empty(0)}, {"T01": np.ones(5)}):
        told = forecasts.errors(found, {"T00": both["T00"], **missing})
        assert (told["mase"], told["rmsse"]) == pytest.approx((alone["mase"], alone["rmsse"]))


def test_a_baseline_that_leaves_nothing_to_test_is_still_scored():
    found = made(1, 40)
    constant = found.saying(found.actual)
    steady = dataclasses.replace(constant, last=found.actual[:, 0] - 1)
    told = forecasts.score_baselines({"last_value": steady.saying(steady.naive), "drift": steady}, {"T00": np.array([1.0, 2.0])}, 0.95)
    assert told["drift"]["skill"] == 1 and "dm_p_value" not in told["drift"]
    assert told["drift"]["directional_accuracy"] == 1 and "directional_accuracy" not in told["last_value"]


def test_intervals_are_made_ticker_by_ticker_and_step_by_step_from_the_validation_part_on():
    before, found = made(2, 50, horizon=2, seed=1), made(2, 30, horizon=2, seed=2)
    bands = forecasts.bands(before, found, 0.9, "pid")
    for ticker in ("T00", "T01"):
        rows, earlier = found.tickers == ticker, before.errors[before.tickers == ticker]
        for step in (0, 1):
            errors = np.concatenate([earlier[:, step], found.errors[rows, step]])
            assert (bands[rows, step] == intervals.pid(errors, 50, 0.9, step + 1)).all()


def test_bands_that_are_named_are_taken_ticker_by_ticker_and_step_by_step_too():
    before, found = (
        dataclasses.replace(
            each, named=np.sort(each.actual[..., None] * np.random.default_rng(3).uniform(0.9, 1.1, (*each.actual.shape, 3)))
        )
        for each in (made(2, 50, horizon=2, seed=1), made(2, 30, horizon=2, seed=2))
    )
    bands = forecasts.bands(before, found, 0.9, "quantile_pid", (0, 2))
    for ticker in ("T00", "T01"):
        parts = [each.only(each.tickers == ticker) for each in (before, found)]
        for step in (0, 1):
            errors = np.concatenate([part.errors[:, step] for part in parts])
            named = np.concatenate([(part.named[:, step][:, [0, 2]] - part.forecast[:, [step]]) / part.last[:, None] for part in parts])
            assert (bands[found.tickers == ticker, step] == intervals.quantile_pid(errors, named, 50, 0.9, step + 1)).all()


def test_a_ticker_that_cannot_be_calibrated_has_no_intervals_and_the_others_have():
    before, found = made(2, 50, seed=1), made(2, 30, seed=2)
    fewer = before.only((before.tickers == "T00") | (np.arange(100) % 50 < 5))
    bands = forecasts.bands(fewer, found, 0.9, "pid")
    assert np.isfinite(bands[found.tickers == "T00"]).all() and np.isnan(bands[found.tickers == "T01"]).all()
    told = forecasts.banding(found, bands, 0.9)
    assert told == pytest.approx(forecasts.banding(found.only(found.tickers == "T00"), bands[:30], 0.9))
    assert forecasts.banding(found, np.full((60, 1, 2), np.nan), 0.9) == {}


@pytest.mark.parametrize("target", ["log_return", "close"])
def test_levels_and_the_target_are_each_others_way_back(data, target):
    spec = data.spec.model_copy(update={"target": target})
    said, last = np.array([[101.0, 103.0], [55.0, 50.0]]), np.array([100.0, 52.0])
    assert forecasts.levels_of(spec, forecasts.target_of(spec, said, last), last) == pytest.approx(said)


@pytest.fixture(scope="module")
def two_steps(data):
    """AAA's data cut for two steps at once, and a model of them."""
    spec = data.spec.model_copy(update={"horizon": 2, "gap": 2})
    own = data.of_ticker("AAA")
    cut = dataclasses.replace(own, spec=spec, parts={name: dataclasses.replace(part, horizon=2) for name, part in own.parts.items()})
    lstm = config.Variant(cell="lstm", hidden_size=3, num_layers=1, bidirectional=False, dropout=0.0)
    torch.manual_seed(0)
    task = ForecastTask.of(cut)
    return cut, Model("forecast", Network(task, lstm, "torch").eval(), {"description": cut.description()}, "")


def test_beyond_its_horizon_a_model_reads_its_own_answers(two_steps):
    data, model = two_steps
    windows = dataclasses.replace(data.parts["test"], horizon=5)
    found = forecasts.outcomes(model, data.series, windows)
    assert found.forecast.shape == (len(windows), 5)
    past, _ = windows.gather(data.series.values, np.arange(1))
    read, said = past[0].tolist(), []
    for _ in range(3):
        answer = forecasts._targets(model, np.array([read[-data.spec.lookback :]], np.float32))[0].tolist()
        said += answer
        read += [[step, *read[-1][1:]] for step in answer]
    assert found.forecast[0] == pytest.approx(found.last[0] * np.exp(np.cumsum(said[:5])), rel=1e-6)


def test_within_its_horizon_a_longer_forecast_is_the_direct_one(two_steps):
    data, model = two_steps
    direct = forecasts.outcomes(model, data.series, data.parts["test"])
    longer = forecasts.outcomes(model, data.series, dataclasses.replace(data.parts["test"], horizon=5))
    assert (longer.forecast[:, :2] == direct.forecast[: len(longer.last)]).all()


def test_a_recursive_forecast_knows_nothing_of_what_came_after_its_origin(two_steps):
    data, model = two_steps
    windows = dataclasses.replace(data.parts["test"], horizon=5)
    origin, values = windows.origins(np.array([3]))[0], data.series.values.copy()
    values[origin + 1 :] = 9.0
    other = forecasts.outcomes(model, dataclasses.replace(data.series, values=values), windows)
    assert (other.forecast[:4] == forecasts.outcomes(model, data.series, windows).forecast[:4]).all()


def test_the_recursive_table_reaches_as_far_as_asked_and_its_first_step_is_the_direct_one(data, models):
    report = report_prices(data, [models], "goog", ASKED)
    rows = {name: [dict(zip(table.header, row, strict=True)) for row in table.rows] for name, table in report.tables.items()}
    assert [row["step"] for row in rows["by-step-recursive"]] == [1, 2, 3, 4, 5]
    fewer = rows["by-step"][0]["windows"] - rows["by-step-recursive"][0]["windows"]
    assert fewer == 2 * 4  # two tickers, whose last four origins have no fifth session after them
    assert "by-step-recursive" not in report_prices(data, [models], "goog", ASKED.model_copy(update={"steps": 1})).tables


def test_a_figure_too_good_to_be_true_is_an_alarm(data, models, monkeypatch):
    assert not report_prices(data, [models], "goog", ASKED).leak_alarm
    honest = forecasts.outcomes

    def knowing(model, series, windows):
        found = honest(model, series, windows)
        return found.saying(0.1 * found.naive + 0.9 * found.actual)

    monkeypatch.setattr(forecasts, "outcomes", knowing)
    assert report_prices(data, [models], "goog", ASKED).leak_alarm


def test_the_baselines_of_a_report_are_scored_on_the_windows_of_the_networks(data, models):
    report = report_prices(data, [models], "goog", ASKED)
    said = baselines.Baselines.fit(data).forecast(data.parts["test"])
    mine = np.isin(forecasts.tickers_of(data.series, data.parts["test"]), ["AAA", "BBB"])
    actual = [float(row[2]) for row in report.rows]
    assert list(report.baselines) == list(said) and len(actual) < len(mine)
    for name, levels in said.items():
        assert report.baselines[name]["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(levels[mine, 0] - actual))))
        assert np.isfinite(list(report.baselines[name].values())).all() and "validation_loss" in report.baselines[name]


def test_the_order_of_the_networks_does_not_matter(data, models, tmp_path):
    turned = only(models[0], tmp_path, "BBB", "AAA")
    ours, theirs = (forecasts.outcomes(model, data.series, data.parts["test"]).forecast for model in (models[0], turned))
    assert (ours == theirs).all()


def test_a_report_is_over_the_tickers_that_have_a_network(data, models):
    report = report_prices(data, [models], "goog", ASKED)
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
        losses, terms, _ = ForecastTask.of(own).loss(last_values(own), past[None], future[None])
        charged.append(losses.item() / terms.item())
    report = report_prices(data, [models], "goog", ASKED)
    assert charged[0] != pytest.approx(charged[1], rel=0.01)
    assert report.baselines["last_value"]["validation_loss"] == pytest.approx(np.mean(charged), rel=1e-5)


def test_a_ticker_that_one_seed_has_no_network_for_counts_for_none(data, models, tmp_path):
    report = report_prices(data, [{0: models[0], 1: only(models[1], tmp_path, "BBB")}], "goog", ASKED)
    bbb = data.of_ticker("BBB")
    assert {row[0] for row in report.rows} == {"BBB"} and report.test["windows"] == len(bbb.parts["test"])
    naive = forecasts.naive_loss(bbb)
    assert report.baselines["last_value"]["validation_loss"] == naive


def test_seeds_that_share_no_ticker_are_refused(data, models, tmp_path):
    apart = {0: only(models[0], tmp_path / "0", "AAA"), 1: only(models[1], tmp_path / "1", "BBB")}
    with pytest.raises(TrainingDiverged, match=r"goog: no ticker has a network of every seed.*seed 0 of 1, seed 1 of 1.*learning_rate"):
        report_prices(data, [apart], "goog", ASKED)


def test_the_stage_writes_its_tables_with_a_row_a_ticker_a_step_and_a_regime(tickers):
    folder = tickers / "data/evaluation" / PER_TICKER / "tables"
    tables = {path.stem: list(csv.DictReader(path.open())) for path in folder.iterdir()}
    assert set(tables) == {"by-step", "by-ticker", "by-regime", "intervals", "backtest-illustration", "by-step-recursive"}
    assert [row["ticker"] for row in tables["by-ticker"]] == ["AAA", "BBB"]
    whole = storage.read_json(folder.parent / "metrics.json")
    (step,) = tables["by-step"]
    assert (float(step["rmse"]), float(step["rmse_sd"])) == pytest.approx((whole["mean"]["rmse"], whole["sd"]["rmse"]))
    for name in ("by-ticker", "by-regime"):
        assert sum(int(row["windows"]) for row in tables[name]) == whole["test"]["windows"]
    assert [row["method"] for row in tables["intervals"]] == list(intervals.METHODS)
    assert float(tables["intervals"][-1]["coverage"]) == pytest.approx(whole["mean"]["coverage"])


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
