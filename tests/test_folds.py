"""Walk-forward folds: the test part in pieces, each forecast by networks of its own that learned what lies before it."""

from __future__ import annotations

import csv

import numpy as np
import projects
import pytest

from longshort import config, leaderboard, storage, tracking
from longshort.config import PriceWindows
from longshort.errors import SeriesTooShort, TrainingDiverged
from longshort.evaluation import forecasts
from longshort.models import artefact
from longshort.windows import files
from longshort.windows.prices import split_dates

SPEC = PriceWindows(
    lookback=4, horizon=2, target="close", features=["close"], scaler="standard", gap=3, max_gap=3, validation=0.2, test=0.3, folds=3
)
DAYS = np.datetime64("2020-01-01") + np.arange(100)
LEARNING = "{optimizer: adam, learning_rate: 0.01, batch_size: 6, max_epochs: 2, patience: 6, clip_norm: 1.0}"
ITEM = "goog-lstm"
ITEMS = f"{{{ITEM}: {{dataset: goog, task: forecast, variant: lstm}}}}"


def numbers(bounds):
    return {part: tuple(int((day - DAYS[0]).astype(int)) for day in own) for part, own in bounds.items()}


# --- where folds are cut --------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [1, 2, 3, 7])
@pytest.mark.parametrize("origin", ["expanding", "sliding"])
def test_the_pieces_are_the_test_part_and_each_lies_behind_all_that_its_networks_see(folds, origin):
    spec = SPEC.model_copy(update={"folds": folds, "origin": origin})
    bounds = [numbers(split_dates(DAYS, spec, fold)) for fold in range(folds)]
    tested = [day for fold in bounds for day in range(fold["test"][0], fold["test"][1] + 1)]
    assert tested == list(range(70, 100))
    for fold in bounds:
        assert fold["validation"][0] - fold["train"][1] == fold["test"][0] - fold["validation"][1] == SPEC.gap + 1
    assert numbers(split_dates(DAYS, spec)) == bounds[-1]


def test_one_fold_is_the_split_of_before():
    spec = SPEC.model_copy(update={"folds": 1})
    assert numbers(split_dates(DAYS, spec)) == {"train": (0, 46), "validation": (50, 66), "test": (70, 99)}


def test_an_expanding_origin_learns_from_all_sessions_and_a_sliding_one_from_as_many_as_the_oldest_fold():
    begun = {}
    for origin in ("expanding", "sliding"):
        spec = SPEC.model_copy(update={"origin": origin})
        begun[origin] = [numbers(split_dates(DAYS, spec, fold))["train"] for fold in range(3)]
    assert begun["expanding"] == [(0, 46), (0, 56), (0, 66)]
    assert begun["sliding"] == [(0, 46), (10, 56), (20, 66)]


def test_more_folds_than_the_test_part_can_hold_are_refused_with_the_fold():
    with pytest.raises(SeriesTooShort, match=r"the test part of fold 40 of 40 would hold 1 of 100 sessions.*`\.folds` or `\.gap`"):
        split_dates(DAYS, SPEC.model_copy(update={"folds": 40}))


# --- through the rooms ------------------------------------------------------------------------------


def settings(*more):
    small = ("training.seeds=[0, 1]", f"training.forecast={LEARNING}", "models.variants.lstm.hidden_size=4", "resources.workers=2")
    return (*small, f"training.items={ITEMS}", *more)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A project of two tickers and three folds, trained and scored."""
    root = projects.project(tmp_path_factory.mktemp("walked"), *settings("windows.forecast.folds=3"))
    tables = [projects.prices(projects.days(count), ticker, seed) for ticker, count, seed in (("AAA", 300, 1), ("BBB", 295, 2))]
    projects.take_in(root, "goog", projects.pa.concat_tables(tables))
    for stage, item in (("windows", "goog"), ("training", ITEM), ("evaluation", ITEM)):
        projects.run_stage(root, stage, item)
    return root


@pytest.fixture(scope="module")
def data(walked):
    return files.read_prices(walked / "data/windows/goog")


def test_each_fold_has_windows_and_a_scaler_of_its_own_and_they_are_read_as_written(data):
    assert len(data.folds) == 3 and data.folds[-1] is data
    scales = [fold.scaler.scale[0] for fold in data.folds]
    assert len(set(scales)) == 3
    last = [fold.series.dates[fold.parts["test"].stops[0] - 1] for fold in data.folds]
    assert last == sorted(set(last))


def test_a_network_is_trained_for_each_fold_and_seed_in_one_fleet(walked, data):
    folder = walked / "data/training" / ITEM
    runs = storage.read_json(folder / "runs.json")
    assert [len(fold) for fold in runs["earlier"]] == [2, 2] and len(runs["seeds"]) == 2
    told = [run["identity"] for fold in (*runs["earlier"], runs["seeds"]) for run in fold]
    assert len(set(told)) == 6
    for number, fold in enumerate(data.folds, start=1):
        place = artefact.place_of(folder, None if number == 3 else number, 1)
        assert artefact.load(place).card["description"]["scaler"]["scale"] == fold.scaler.scale.tolist()


def test_each_piece_of_the_test_part_is_forecast_by_its_own_folds_network(walked, data):
    folder = walked / "data/training" / ITEM
    with (walked / "data/evaluation" / ITEM / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = {}
    for number, fold in enumerate(data.folds, start=1):
        model = artefact.load(artefact.place_of(folder, None if number == 3 else number, 0))
        found = forecasts.outcomes(model, fold.series, fold.parts["test"])
        wanted |= {(str(t), str(d)): f for t, d, f in zip(found.tickers, found.targets, found.forecast[:, 0], strict=True)}
    assert {(row["ticker"], row["target"]): float(row["seed_0"]) for row in rows} == wanted
    assert len(rows) == len(wanted)


def test_figures_are_over_all_folds_and_a_table_has_each(walked, data):
    folder = walked / "data/evaluation" / ITEM
    figures = storage.read_json(folder / "metrics.json")
    with (folder / "tables/by-fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["1", "2", "3"] and figures["test"]["folds"] == 3
    counts = [int(row["windows"]) for row in rows]
    assert counts == [len(fold.parts["test"]) for fold in data.folds] and sum(counts) == figures["test"]["windows"]
    squares = sum(count * float(row["naive_rmse"]) ** 2 for count, row in zip(counts, rows, strict=True)) / sum(counts)
    assert figures["baselines"]["last_value"]["rmse"] == pytest.approx(np.sqrt(squares))


def test_the_leaderboard_knows_how_many_folds_there_are(walked):
    (row,) = leaderboard.rows(walked, config.read(walked / "params.yaml"))
    assert row.folds == 3


def test_every_epoch_of_every_fold_comes_to_mlflow_once(walked, data):
    params = config.read(walked / "params.yaml")
    seeds = tracking.trained(walked, params, ITEM)
    assert [[one["fold"] for one in seed.earlier] for seed in seeds] == [[1, 2], [1, 2]]
    client = tracking.connect(walked, params)
    place = client.create_experiment("folds")
    for _ in range(2):
        for fold in seeds[0].earlier:
            tracking._record_child(client, place, seeds[0], "0" * 32, f"fold-{fold['fold']}", fold, {"fold": str(fold["fold"])})
    found = client.search_runs([place])
    assert sorted(run.data.tags["fold"] for run in found) == ["1", "2"]
    for run in found:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "validation_loss")]
        assert steps == [1, 2]


def test_a_seed_that_was_lost_in_one_fold_does_not_count_in_any(walked, tmp_path):
    root = tmp_path / "project"
    projects.shutil.copytree(walked, root)
    trained = root / "data/training" / ITEM
    runs = storage.read_json(trained / "runs.json")
    for lost in (runs["earlier"][0][0], runs["seeds"][1]):
        lost["dropped"] = "epoch 1, step 1: loss nan"
        storage.write_json(trained / "runs.json", runs)
        storage.seal(trained)
        if lost is runs["seeds"][1]:
            with pytest.raises(TrainingDiverged, match="every seed diverged in one fold or another"):
                projects.run_stage(root, "evaluation", ITEM)
        else:
            projects.run_stage(root, "evaluation", ITEM)
            assert list(storage.read_json(root / f"data/evaluation/{ITEM}/metrics.json")["seeds"]) == ["1"]
            assert [seed.seed for seed in tracking.trained(root, config.read(root / "params.yaml"), ITEM)] == [1]


def test_a_ticker_too_young_for_the_oldest_fold_has_a_network_and_does_not_count(tmp_path):
    item = "goog-lstm-per-ticker"
    items = f"training.items={{{item}: {{dataset: goog, task: forecast, variant: lstm, per: ticker}}}}"
    root = projects.project(tmp_path, *settings("windows.forecast.folds=3", "training.seeds=[0]", items))
    whole = projects.days(300)
    tables = [projects.prices(own, ticker, seed) for ticker, own, seed in (("AAA", whole, 1), ("YYY", whole[205:], 2))]
    projects.take_in(root, "goog", projects.pa.concat_tables(tables))
    for stage, name in (("windows", "goog"), ("training", item), ("evaluation", item)):
        projects.run_stage(root, stage, name)
    tickers = [artefact.load(artefact.place_of(root / "data/training" / item, fold, 0)).tickers for fold in (1, None)]
    assert tickers == [["AAA"], ["AAA", "YYY"]]
    with (root / "data/evaluation" / item / "scores.csv").open() as file:
        assert {row["ticker"] for row in csv.DictReader(file)} == {"AAA"}
