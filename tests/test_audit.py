"""Audit: nothing of the future reaches a model on the default data, and each proof fails where something does."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys

import numpy as np
import projects
import pytest

from longshort import cli, config, storage
from longshort.audit import prices, stage, texts
from longshort.audit.learning import Learner
from longshort.errors import UsageError
from longshort.evaluation import forecasts
from longshort.evaluation import texts as charges
from longshort.tasks.forecast import ForecastTask
from longshort.windows import prices as windows
from longshort.windows import stage as cutting
from longshort.windows import text as counting
from longshort.windows import tokens

GOOG, TOPICS = "goog-lstm", "topics-stacked"
SMALL = (
    "models.variants.lstm.hidden_size=4",
    "training.seeds=[0]",
    f"training.items={{{GOOG}: {{dataset: goog, task: forecast, variant: lstm}}}}",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small project whose two data sets have been taken in."""
    root = projects.project(
        tmp_path_factory.mktemp("audit"), *SMALL, "training.items.topics-stacked={dataset: topics, task: language-model, variant: stacked}"
    )
    two = [projects.prices(projects.days(300), "AAA", 1), projects.prices(projects.days(260), "BBB", 2)]
    projects.take_in(root, "goog", projects.pa.concat_tables(two))
    return projects.take_in(root, "topics", projects.texts(200))


def proofs(root, item):
    return {proof.name: proof for proof in stage.run(root, item, config.read(root / "params.yaml"))}


def failing(root, item):
    return {name for name, proof in proofs(root, item).items() if not proof.holds}


# --- what holds --------------------------------------------------------------------------------


def test_all_proofs_hold_on_the_default_data(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(projects.ROOT / name, tmp_path)
    for dataset, item in (("goog", "goog-rnn"), ("topics", "topics-lstm")):
        projects.run_stage(tmp_path, "ingestion", dataset)
        found = proofs(tmp_path, item)
        assert all(proof.holds for proof in found.values()), found
        assert {"weights", "shuffled targets", "planted leaks"} < found.keys()


@pytest.mark.long
@pytest.mark.parametrize("item", [GOOG, TOPICS])
def test_all_proofs_hold_on_several_tickers_and_on_a_text_and_are_left_in_reports(root, item):
    assert failing(root, item) == set()
    left = storage.read_json(root / f"reports/audit/{item}.json")
    assert left["data_sha256"] == storage.verify(root / "data/ingestion" / item.split("-")[0])
    assert [proof["holds"] for proof in left["proofs"]] == [True] * len(proofs(root, item))


def test_every_fold_is_proven(root):
    params = config.read(root / "params.yaml")
    spec = params.windows.forecast.model_copy(update={"folds": 3})
    columns = cutting.tidy_columns(storage.read_table(root / "data/ingestion/goog/table.parquet"))
    make = lambda columns: windows.make_series(columns, spec, cutting.session_numbers("XNYS", columns["date"]))  # noqa: E731
    assert "of 3 folds" in prices.windows(make, columns, spec, prices.of_train).said
    oldest = prices.assemble(make(columns), spec, "", prices.of_train, 0).parts["train"]
    # a scaler of the newest fold's training part, which the oldest fold has not seen the end of
    newest = lambda series, parts, spec: windows.fit_scaler(series, windows.make_parts(series, spec)["train"], spec)  # noqa: E731
    proof = prices.windows(make, columns, spec, newest)
    assert not proof.holds and str(make(columns).dates[oldest.stops[0] - 1]) in proof.said


def test_every_fold_of_a_text_is_proven(root):
    params = config.read(root / "params.yaml")
    spec = params.windows.language_model.model_copy(update={"folds": 3, "test": 0.3})
    blocks, words = tokens.tokenise(cutting.rows(storage.read_table(root / "data/ingestion/topics/table.parquet")))
    make = texts.maker(spec, words)
    learner = Learner(params.models.variants["stacked"], params.optimisation_of(TOPICS), "torch", 0)
    found = texts.prove(blocks, words, spec, make, params.tasks.language_model, learner)
    assert [proof.name for proof in found if proof.holds] == [
        "folds",
        "windows and vocabulary",
        "weights",
        "shuffled targets",
        "planted leaks",
    ]
    assert all("3 folds" in proof.said for proof in found[:3])

    def one_that_leaks(leak, wrong):
        """Parts that are honest in every fold but the second."""
        folds = [counting.split(blocks, spec, fold)[0] for fold in range(3)]
        return folds, lambda parts: leak(parts) if len(parts["train"].ids) == len(folds[wrong]["train"].ids) else make(parts)

    def of_test(parts):
        return dataclasses.replace(make(parts), vocabulary=make({**parts, "train": parts["test"]}).vocabulary)

    folds, leaking = one_that_leaks(of_test, 1)
    assert "fold 2: the vocabulary changes with the words of validation and test" in texts.windows(leaking, folds, words).said

    def of_end(parts):
        data = make(parts)
        ids = np.array(data.ids)
        ids[:40] = ids[-40:]
        return dataclasses.replace(data, ids=ids)

    folds, leaking = one_that_leaks(of_end, 0)
    proof = texts.weights(leaking, folds, words, params.tasks.language_model, learner)
    assert not proof.holds and "fold 1: " in proof.said


def test_a_fold_that_drops_paragraphs_for_what_comes_behind_it_is_found(root, monkeypatch):
    params = config.read(root / "params.yaml")
    spec = params.windows.language_model.model_copy(update={"folds": 3, "test": 0.3})
    lines = projects.texts(200)["text"].to_pylist()
    blocks, words = tokens.tokenise([("a.txt", "\n\n".join([*lines, lines[0]]))])  # the newest piece ends as the text begins
    honest = counting.split

    def looking_ahead(blocks, spec, fold=None):
        parts, dropped, stood = honest(blocks, spec, fold)
        newest = honest(blocks, spec)[0]["test"].ids
        return {**parts, "train": counting._without(parts["train"], [newest])}, dropped, stood

    for split, holds in ((honest, True), (looking_ahead, False)):
        monkeypatch.setattr(counting, "split", split)
        proof = texts.pieces(blocks, words, spec, [split(blocks, spec, fold)[0] for fold in range(3)])
        assert proof.holds is holds
    assert proof.said == "words of train of fold 1 change with those behind the words that it tests"


def test_weights_that_hang_on_the_test_part_of_an_older_fold_are_found(root):
    params = config.read(root / "params.yaml")
    spec = params.windows.forecast.model_copy(update={"folds": 3})
    columns = cutting.tidy_columns(storage.read_table(root / "data/ingestion/goog/table.parquet"))
    session_number = cutting.session_numbers("XNYS", columns["date"])
    learner = Learner(params.models.variants["lstm"], params.optimisation_of(GOOG), "torch", 0)
    honest = lambda columns: windows.make_series(columns, spec, session_number)  # noqa: E731
    proof = prices.weights(honest, columns, spec, (), learner)
    days = [str(prices.last_target(prices.assemble(honest(columns), spec, "", prices.of_train, fold), "train")) for fold in range(3)]
    assert proof.holds and ", ".join(days) in proof.said

    def leaking(columns):
        """Days before the oldest fold's validation part know the last of the middle one's training part."""
        series = honest(columns)
        values = series.values.copy()
        values[series.dates <= np.datetime64(days[0])] += values[series.dates == np.datetime64(days[1])][0]
        return dataclasses.replace(series, values=values)

    proof = prices.weights(leaking, columns, spec, (), learner)
    assert not proof.holds and days[0] in proof.said


# --- what does not: each proof is shown a bug of its kind ------------------------------------------


def test_a_column_that_knows_the_next_session_is_found(root, monkeypatch):
    monkeypatch.setitem(windows.COLUMNS, "log_range", lambda row: np.roll(np.log(row["high"] / row["low"]), -1))
    assert "features" in failing(root, GOOG)


def test_a_column_that_is_smoothed_over_the_whole_series_is_found(root, monkeypatch):
    monkeypatch.setitem(
        windows.COLUMNS, "log_range", lambda row: np.log(row["high"] / row["low"]) - np.log(row["high"] / row["low"]).mean()
    )
    assert {"features", "windows and scaler", "weights"} <= failing(root, GOOG)


def test_a_scaler_that_saw_the_test_part_is_found(root, monkeypatch):
    honest = windows.fit_scaler
    monkeypatch.setattr(
        windows,
        "fit_scaler",
        lambda series, train, spec: honest(
            series, dataclasses.replace(train, stops=train.stops * 0 + [s.stop for s in series.segments]), spec
        ),
    )
    assert {"windows and scaler", "weights"} <= failing(root, GOOG)


def test_weights_that_hang_on_the_test_part_are_found(root, monkeypatch):
    honest = ForecastTask.of.__func__
    leaking = lambda cls, data, *named: dataclasses.replace(  # noqa: E731
        own := honest(cls, data, *named), scaled=own.scaled / np.float32(data.series.values.std())
    )
    monkeypatch.setattr(ForecastTask, "of", classmethod(leaking))
    assert "weights" in failing(root, GOOG)


def test_a_network_that_learned_nothing_and_is_good_is_suspicious(root, monkeypatch):
    honest = forecasts.outcomes
    knowing = lambda *given: dataclasses.replace(own := honest(*given), forecast=(own.forecast + own.actual) / 2)  # noqa: E731
    monkeypatch.setattr(forecasts, "outcomes", knowing)
    assert failing(root, GOOG) == {"shuffled targets"}


def test_an_audit_that_changes_nothing_says_that_it_is_blind(root, monkeypatch):
    monkeypatch.setattr(prices, "changed_after", lambda columns, _: columns)
    monkeypatch.setattr(prices, "cut_after", lambda columns, _: columns)
    monkeypatch.setattr(texts, "changed", lambda parts, *_: parts)
    assert failing(root, GOOG) == failing(root, TOPICS) == {"planted leaks"}


def test_a_vocabulary_that_saw_the_test_part_is_found(root, monkeypatch):
    honest = cutting.text_of_parts

    def leaking(parts, dropped, stood, words, train, spec):
        of_test = counting.count(parts["test"].ids, words)
        return honest(parts, dropped, stood, words, of_test, spec)

    monkeypatch.setattr(cutting, "text_of_parts", leaking)
    assert "windows and vocabulary" in failing(root, TOPICS)


def test_ids_and_weights_that_hang_on_the_test_part_are_found(root, monkeypatch):
    honest = cutting.text_of_parts

    def leaking(parts, *more):
        own = honest(parts, *more)
        ids = np.array(own.ids)
        ids[0] = ids[-1]
        ids[:40] = ids[-40:]
        return dataclasses.replace(own, ids=ids)

    monkeypatch.setattr(cutting, "text_of_parts", leaking)
    assert {"windows and vocabulary", "weights"} <= failing(root, TOPICS)


def test_a_language_model_that_learned_nothing_and_is_good_is_suspicious(root, monkeypatch):
    honest = charges.token_nats
    monkeypatch.setattr(charges, "token_nats", lambda *given: honest(*given) / 2)
    assert failing(root, TOPICS) == {"shuffled targets"}


# --- the command --------------------------------------------------------------------------------


def audit(root, monkeypatch, *arguments):
    """What the command ends with."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["longshort", "audit", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_command_audits_the_first_item_of_each_data_set(root, monkeypatch, capsys):
    assert audit(root, monkeypatch, "--json") in (0, None)
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [GOOG, TOPICS]
    assert all(proof["holds"] for own in found.values() for proof in own)


def test_a_proof_that_does_not_hold_ends_the_command_with_its_name(root, monkeypatch, capsys):
    monkeypatch.setitem(windows.COLUMNS, "log_range", lambda row: np.roll(np.log(row["high"] / row["low"]), -1))
    assert audit(root, monkeypatch, GOOG) == 1
    told = capsys.readouterr()
    assert "  FAILS  features: what is known on " in told.out
    assert "3 of 5 proofs do not hold: goog-lstm: features; goog-lstm: windows and scaler; goog-lstm: weights. Trust no" in told.err


def test_an_item_that_is_not_there_is_named_with_those_that_are(root):
    with pytest.raises(UsageError, match=r"no item 'x' in `training\.items`\. Known: goog-lstm, topics-stacked\."):
        stage.run(root, "x", config.read(root / "params.yaml"))


def test_data_that_were_not_taken_in_are_asked_for(tmp_path):
    root = projects.project(tmp_path, *SMALL)
    with pytest.raises(UsageError, match=r"data/ingestion/goog is not there yet\. Run `longshort run` first\."):
        stage.run(root, GOOG, config.read(root / "params.yaml"))
