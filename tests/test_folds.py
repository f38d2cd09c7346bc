"""Walk-forward folds: the test part in pieces, each forecast by networks of its own that learned what lies before it."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import projects
import pytest

from longshort import config, leaderboard, storage, tracking
from longshort.config import PriceWindows, TextWindows
from longshort.errors import DataRefused, SeriesTooShort, TrainingDiverged
from longshort.evaluation import contest, forecasts, ngrams, texts
from longshort.models import artefact
from longshort.tasks.language_model import LanguageModelTask
from longshort.training.loop import Member
from longshort.training.runs import Run, of_one_shape
from longshort.windows import files, text
from longshort.windows import stage as cutting
from longshort.windows.prices import split_dates
from longshort.windows.tokens import Paragraphs, tokenise

SPEC = PriceWindows(
    lookback=4, horizon=2, target="close", features=["close"], scaler="standard", gap=3, max_gap=3, validation=0.2, test=0.3, folds=3
)
DAYS = np.datetime64("2020-01-01") + np.arange(100)
LEARNING = "{optimizer: adam, learning_rate: 0.01, batch_size: 6, max_epochs: 2, patience: 6, clip_norm: 1.0}"
ITEM, TEXT = "goog-lstm", "topics-lstm"
ITEMS = f"{{{ITEM}: {{dataset: goog, task: forecast, variant: lstm}}, {TEXT}: {{dataset: topics, task: language-model, variant: lstm}}}}"
WORDS = TextWindows(lookback=6, min_count=1, max_vocabulary=500, validation=0.1, test=0.3, folds=3)


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


def paragraphs(count=400, seed=0):
    """Words 0, 1, 2, ... in paragraphs of one to twenty words."""
    lengths = np.random.Generator(np.random.Philox(seed)).integers(1, 20, count)
    return Paragraphs(np.arange(lengths.sum(), dtype=np.int32), lengths, lengths * 6)


@pytest.mark.parametrize("folds", [1, 2, 3, 7])
@pytest.mark.parametrize("origin", ["expanding", "sliding"])
def test_the_pieces_of_a_text_are_its_test_part_and_lie_right_behind_all_that_their_networks_see(folds, origin):
    blocks, spec = paragraphs(), WORDS.model_copy(update={"folds": folds, "origin": origin})
    bounds = [text.bounds(blocks, spec, fold) for fold in range(folds)]
    whole = text.bounds(blocks, WORDS.model_copy(update={"folds": 1}))
    assert [place for fold in bounds for place in range(*fold["test"])] == list(range(*whole["test"]))
    for fold in bounds:
        assert fold["train"][1] == fold["validation"][0] and fold["validation"][1] == fold["test"][0]
    assert text.bounds(blocks, spec) == bounds[-1] and text.bounds(blocks, spec, 0) | {"test": 0} == whole | {"test": 0}
    learned = [sum(blocks.lengths[slice(*fold["train"])]) for fold in bounds]
    if origin == "expanding":
        assert learned == sorted(set(learned)) and all(fold["train"][0] == 0 for fold in bounds)
    else:
        assert max(learned) - min(learned) < 40  # as many words as the oldest, but for the paragraphs at both ends


@pytest.mark.parametrize("validation, test", [(0.1, 0.1), (0.13, 0.07), (0.05, 0.4)])
def test_a_text_in_one_fold_is_cut_as_before_there_were_folds(validation, test):
    blocks = paragraphs()
    ends, shares = np.cumsum(blocks.lengths), (1 - validation - test, 1 - test)
    first, second = (int(np.searchsorted(ends, len(blocks.ids) * share)) for share in shares)
    spec = WORDS.model_copy(update={"folds": 1, "validation": validation, "test": test})
    assert text.bounds(blocks, spec) == {"train": (0, first), "validation": (first, second), "test": (second, len(blocks))}


def test_a_paragraph_is_dropped_for_what_its_own_fold_tests_and_not_for_what_comes_later():
    blocks, spec = paragraphs(), WORDS.model_copy(update={"folds": 2})
    place = text.bounds(blocks, spec)["test"]
    begin, end = (int(blocks.lengths[:paragraph].sum()) for paragraph in place)
    ids = blocks.ids.copy()
    ids[: end - begin] = ids[begin:end]  # the text begins with the words of the newest piece
    dropped = [text.split(Paragraphs(ids, blocks.lengths, blocks.characters), spec, fold)[1]["train"] for fold in range(2)]
    assert dropped[0] == 0 and dropped[1] > 100


# --- through the rooms ------------------------------------------------------------------------------


def settings(*more):
    small = ("training.seeds=[0, 1]", f"training.forecast={LEARNING}", "models.variants.lstm.hidden_size=4", "resources.workers=2")
    return (*small, f"training.language-model={LEARNING}", f"training.items={ITEMS}", *more)


def growing(count=700):
    """A text of one document in which new words come up as it goes on; a paragraph has nine."""
    draw = np.random.Generator(np.random.Philox(0))
    lines = [" ".join(f"w{n}" for n in draw.integers(0, 20 + number // 20, 9)) for number in range(count)]
    return projects.pa.table({"document": ["a.txt"], "text": ["\n\n".join(lines)]})


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A project of two tickers and a text, both in three folds, trained and scored."""
    three = ("windows.forecast.folds=3", "windows.language-model.folds=3", "windows.language-model.test=0.3")
    root = projects.project(tmp_path_factory.mktemp("walked"), *settings(*three))
    tables = [projects.prices(projects.days(count), ticker, seed) for ticker, count, seed in (("AAA", 300, 1), ("BBB", 295, 2))]
    projects.take_in(root, "goog", projects.pa.concat_tables(tables))
    projects.take_in(root, "topics", growing())
    for dataset, item in (("goog", ITEM), ("topics", TEXT)):
        for stage, name in (("windows", dataset), ("training", item), ("evaluation", item)):
            projects.run_stage(root, stage, name)
    return root


@pytest.fixture(scope="module")
def data(walked):
    return files.read_prices(walked / "data/windows/goog")


@pytest.fixture(scope="module")
def words(walked):
    return files.read_text(walked / "data/windows/topics")


def table(walked, item, name):
    """The rows of a file of an item's evaluation."""
    with (walked / "data/evaluation" / item / name).open() as file:
        return list(csv.DictReader(file))


def test_each_fold_has_windows_and_a_scaler_of_its_own_and_they_are_read_as_written(data):
    assert len(data.folds) == 3 and data.folds[-1] is data
    scales = [fold.scaler.scale[0] for fold in data.folds]
    assert len(set(scales)) == 3
    last = [fold.series.dates[fold.parts["test"].stops[0] - 1] for fold in data.folds]
    assert last == sorted(set(last))


def test_each_fold_of_a_text_has_a_vocabulary_of_its_own_training_part_and_is_read_as_written(walked, words):
    spec, source = (
        config.read(walked / "params.yaml").windows.language_model,
        storage.read_table(walked / "data/ingestion/topics/table.parquet"),
    )
    blocks, spelt = tokenise(cutting.rows(source))
    assert len(words.folds) == 3 and words.folds[-1] is words
    sizes = [len(fold.vocabulary) for fold in words.folds]
    assert sizes == sorted(set(sizes))
    for number, fold in enumerate(words.folds):
        parts, dropped, _ = text.split(blocks, spec, number)
        learned = {spelt[n] for n in parts["train"].ids}
        assert set(fold.vocabulary.words) - {"[UNK]", "[NUM]", "[URL]"} == learned and fold.dropped == dropped
        own = fold.stretches["test"]
        assert [fold.vocabulary.words[n] for n in fold.ids[own.start : own.stop]] == [
            word if word in learned else "[UNK]" for word in (spelt[n] for n in parts["test"].ids)
        ]
        assert fold.reach == text.reach(blocks, spelt, spec, number)


def test_a_text_in_one_fold_says_nothing_of_folds(tmp_path):
    root = projects.take_in(projects.project(tmp_path, *settings()), "topics", growing())
    projects.run_stage(root, "windows", "topics")
    assert "folds" not in projects.described(root / "data/windows/topics")["spec"]
    assert sorted(path.name for path in (root / "data/windows/topics").iterdir()) == ["ids.npy", "manifest.json", "windows.json"]


@pytest.mark.parametrize(
    "folds, more, said",
    [
        (90, (), r"fold 5 of 90, of 6,300 words in all: the test part holds \d tokens but one window needs 6 \(lookback\) \+ 1\. .*"),
        (
            3,
            ("windows.language-model.test=0.9", "windows.language-model.validation=0.01", "windows.language-model.min_count=60"),
            "fold 1 of 3, of 6,300 words in all: the vocabulary would hold 0 words: 2[0-9] different words in the training part, .*",
        ),
    ],
)
def test_a_text_too_short_for_so_many_folds_is_refused_with_the_numbers_and_how_to_mend_it(tmp_path, folds, more, said):
    root = projects.project(tmp_path, *settings(f"windows.language-model.folds={folds}", *more))
    projects.take_in(root, "topics", growing())
    with pytest.raises(DataRefused, match=said + r" Or lower `windows\.language-model\.folds`\."):
        projects.run_stage(root, "windows", "topics")


def test_a_network_is_trained_for_each_fold_and_seed_in_one_fleet(walked, data):
    folder = walked / "data/training" / ITEM
    runs = storage.read_json(folder / "runs.json")
    assert [len(fold) for fold in runs["earlier"]] == [2, 2] and len(runs["seeds"]) == 2
    told = [run["identity"] for fold in (*runs["earlier"], runs["seeds"]) for run in fold]
    assert len(set(told)) == 6
    for number, fold in enumerate(data.folds, start=1):
        place = artefact.place_of(folder, None if number == 3 else number, 1)
        assert artefact.load(place).card["description"]["scaler"]["scale"] == fold.scaler.scale.tolist()


def test_a_network_of_a_text_tells_the_words_of_its_fold_apart(walked, words):
    folder = walked / "data/training" / TEXT
    for number, fold in enumerate(words.folds, start=1):
        for seed in (0, 1):
            card = artefact.load(artefact.place_of(folder, None if number == 3 else number, seed)).card
            assert card["description"]["vocabulary"] == list(fold.vocabulary.words)
            assert card["shape"]["vocabulary_size"] == len(fold.vocabulary) and card["extent"] == fold.extent()


@pytest.mark.parametrize("carried", [False, True])
def test_side_by_side_train_those_whose_vocabularies_are_as_large_and_whose_streams_are_as_long(walked, words, carried):
    params = config.read(walked / "params.yaml")
    task = LanguageModelTask.of(words, params.tasks.language_model.model_copy(update={"carried": carried}))
    oldest, middle = task.earlier()
    alike = dataclasses.replace(middle, vocabulary_size=oldest.vocabulary_size)  # as where `max_vocabulary` is reached
    members = [Member(str(k), 0, own, params.optimisation_of(TEXT)) for k, own in enumerate((oldest, oldest, alike, task, task))]
    variant = params.models.variants["lstm"]
    fleet = [Run(TEXT, one, variant, "", walked, fold=fold) for one, fold in zip(members, (1, 1, 2, None, None), strict=True)]
    assert of_one_shape(fleet, range(5)) == ([[0, 1], [2], [3, 4]] if carried else [[0, 1, 2], [3, 4]])


def test_each_piece_of_a_text_is_charged_by_its_own_folds_network_and_baselines(walked, words):
    wanted = {name: [] for name in ("seed_0", "unigram", "trigram")}
    for number, fold in enumerate(words.folds, start=1):
        model = artefact.load(artefact.place_of(walked / "data/training" / TEXT, None if number == 3 else number, 0))
        own, ids = fold.stretches["test"], np.asarray(fold.ids)
        wanted["seed_0"] += texts.token_nats(model, ids, own).tolist()
        for name, kind in (("unigram", ngrams.Unigram), ("trigram", ngrams.Trigram)):
            learned = fold.stretches["train"]
            fitted = kind.fit(ids[learned.start : learned.stop], len(fold.vocabulary))
            wanted[name] += fitted.nats(ids[: own.stop], own.start).tolist()
    rows = table(walked, TEXT, "scores.csv")
    assert {name: [float(row[name]) for row in rows] for name in wanted} == wanted
    lengths = [fold.stretches["test"].stop - fold.stretches["test"].start for fold in words.folds]
    assert [int(row["fold"]) for row in rows] == np.repeat([1, 2, 3], lengths).tolist()


def test_a_perplexity_is_over_the_words_of_all_folds_and_a_table_has_each(walked, words):
    figures = storage.read_json(walked / "data/evaluation" / TEXT / "metrics.json")
    rows = table(walked, TEXT, "tables/by-fold.csv")
    counts = [fold.stretches["test"].stop - fold.stretches["test"].start for fold in words.folds]
    assert [row["fold"] for row in rows] == ["1", "2", "3"] and [int(row["tokens"]) for row in rows] == counts
    assert figures["test"] == {"tokens": sum(counts), "characters": sum(f.stretches["test"].characters for f in words.folds), "folds": 3}
    for name in ("unigram", "trigram"):
        nats = sum(count * np.log(float(row[name])) for count, row in zip(counts, rows, strict=True)) / sum(counts)
        assert figures["baselines"][name]["perplexity"] == pytest.approx(np.exp(nats))
    scores = table(walked, TEXT, "scores.csv")
    for seed in ("0", "1"):
        loss = np.mean([float(row[f"seed_{seed}"]) for row in scores])
        assert figures["seeds"][seed]["perplexity"] == pytest.approx(np.exp(loss))
    assert figures["sd"]["perplexity"] > 0 and all(float(row["perplexity_sd"]) > 0 for row in rows)
    unknown = sum(count * float(row["unknown_share"]) for count, row in zip(counts, rows, strict=True)) / sum(counts)
    assert figures["mean"]["unknown_share"] == pytest.approx(unknown) and unknown > 0


def test_the_newest_fold_of_a_text_is_what_the_judge_asks(walked, words):
    model = artefact.load(walked / "data/training" / TEXT / "seed-0")
    held = contest.hold(walked, "topics", config.read(walked / "params.yaml"), model, None)
    own = words.stretches["test"]
    assert held.count == (own.stop - own.start) // 6
    assert held.challenger.learned_until.rank == words.reach["validation"].words < held.first.rank


def test_each_piece_of_the_test_part_is_forecast_by_its_own_folds_network(walked, data):
    folder, rows = walked / "data/training" / ITEM, table(walked, ITEM, "scores.csv")
    wanted = {}
    for number, fold in enumerate(data.folds, start=1):
        model = artefact.load(artefact.place_of(folder, None if number == 3 else number, 0))
        found = forecasts.outcomes(model, fold.series, fold.parts["test"])
        wanted |= {(str(t), str(d)): f for t, d, f in zip(found.tickers, found.targets, found.forecast[:, 0], strict=True)}
    assert {(row["ticker"], row["target"]): float(row["seed_0"]) for row in rows} == wanted
    assert len(rows) == len(wanted)


def test_figures_are_over_all_folds_and_a_table_has_each(walked, data):
    figures = storage.read_json(walked / "data/evaluation" / ITEM / "metrics.json")
    rows = table(walked, ITEM, "tables/by-fold.csv")
    assert [row["fold"] for row in rows] == ["1", "2", "3"] and figures["test"]["folds"] == 3
    counts = [int(row["windows"]) for row in rows]
    assert counts == [len(fold.parts["test"]) for fold in data.folds] and sum(counts) == figures["test"]["windows"]
    squares = sum(count * float(row["naive_rmse"]) ** 2 for count, row in zip(counts, rows, strict=True)) / sum(counts)
    assert figures["baselines"]["last_value"]["rmse"] == pytest.approx(np.sqrt(squares))


def test_the_leaderboard_knows_how_many_folds_there_are(walked):
    rows = leaderboard.rows(walked, config.read(walked / "params.yaml"))
    assert [row.folds for row in rows] == [3, 3]
    assert all(", test part, 2 seeds, 3 folds" in str(shown.title) for shown in leaderboard.tables(rows))


@pytest.mark.parametrize("item", [ITEM, TEXT])
def test_every_epoch_of_every_fold_comes_to_mlflow_once(walked, item):
    params = config.read(walked / "params.yaml")
    seeds = tracking.trained(walked, params, item)
    assert [[one["fold"] for one in seed.earlier] for seed in seeds] == [[1, 2], [1, 2]]
    client = tracking.connect(walked, params)
    place = client.create_experiment(f"folds of {item}")
    for _ in range(2):
        for fold in seeds[0].earlier:
            tracking._record_child(client, place, seeds[0], "0" * 32, f"fold-{fold['fold']}", fold, {"fold": str(fold["fold"])})
    found = client.search_runs([place])
    assert sorted(run.data.tags["fold"] for run in found) == ["1", "2"]
    for run in found:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "validation_loss")]
        assert steps == [1, 2]


@pytest.mark.parametrize("item", [ITEM, TEXT])
def test_a_seed_that_was_lost_in_one_fold_does_not_count_in_any(walked, tmp_path, item):
    root = tmp_path / "project"
    projects.shutil.copytree(walked, root)
    trained = root / "data/training" / item
    runs = storage.read_json(trained / "runs.json")
    for lost in (runs["earlier"][0][0], runs["seeds"][1]):
        lost["dropped"] = "epoch 1, step 1: loss nan"
        storage.write_json(trained / "runs.json", runs)
        storage.seal(trained)
        if lost is runs["seeds"][1]:
            with pytest.raises(TrainingDiverged, match="every seed diverged in one fold or another"):
                projects.run_stage(root, "evaluation", item)
        else:
            projects.run_stage(root, "evaluation", item)
            assert list(storage.read_json(root / f"data/evaluation/{item}/metrics.json")["seeds"]) == ["1"]
            assert [seed.seed for seed in tracking.trained(root, config.read(root / "params.yaml"), item)] == [1]


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
    assert {row["ticker"] for row in table(root, item, "scores.csv")} == {"AAA"}
