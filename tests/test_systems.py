"""Systems: every row of the table is run by one command, written down and logged; what cannot be run is refused before anything begins."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import clones
import numpy as np
import pytest
import requests
from mlflow import MlflowClient

from longshort import cli, config, editing, journal, tracking
from longshort.errors import DataRefused, PartlyDone, UsageError
from longshort.evaluation import metrics
from longshort.systems import (
    cell,
    digits,
    digits_deep,
    digits_rnn,
    google_stock,
    intent,
    record,
    running,
    sentiment,
    series,
    showing,
    story,
    texts,
)
from longshort.systems.catalogue import SYSTEMS, system
from longshort.systems.fitting import Fitted
from longshort.systems.occasion import Figure, Outcome

SHARED = Path(__file__).parents[2] / "shared/data"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project with a commit, and nothing in it but its settings."""
    root = tmp_path_factory.mktemp("systems")
    (root / "params.yaml").write_bytes((Path(__file__).parent / "params.yaml").read_bytes())
    editing.assign(root / "params.yaml", ["training.engine=native"])
    (root / "dvc.yaml").write_text("stages: {}\n")
    for arguments in (("init",), ("add", "--all"), ("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-m", "settings")):
        subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)
    return root


def planned(root, *names, data=None, fast=True, settings=()):
    return running.planned(root, config.read(root / "params.yaml"), names, data, fast, [0], settings, print)


def ran(root, *names, **more):
    """The entries of systems that were run."""
    entries = []
    running.run(planned(root, *names, **more), entries.append)
    return entries


def command(monkeypatch, root, *arguments):
    """What `longshort systems` ends with in a project."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["longshort", "systems", *arguments])
    monkeypatch.setattr(cli, "_end_on_sigterm", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def logged(root):
    """The names and the tags of MLflow's runs, oldest first."""
    client = MlflowClient(f"sqlite:///{root}/mlflow/store/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name(record.EXPERIMENT).experiment_id])
    return [(run.info.run_name, run.data.tags["git_commit"]) for run in reversed(found)]


def away(*_):
    raise requests.ConnectionError("Caused by nobody at home")


def refuse(*_):
    raise DataRefused("no such words")


def module_of(name):
    return importlib.import_module(system(name).module)


# --- running ----------------------------------------------------------------------------------


def test_a_run_leaves_figures_pictures_and_tables_in_a_folder_and_in_mlflow(root):
    (entry,) = ran(root, "cell")
    folder = record.place(root, "cell", fast=True)
    assert json.loads((folder / record.OUTCOME).read_text()) == entry and entry["fast"] and entry["figures"][0]["value"] < 1e-6
    pictures = sorted(path.name for path in folder.glob("*.png"))
    assert pictures and list(folder.glob("*.csv")) and showing.line(entry["figures"][0]) in "\n".join(showing.lines(entry, folder))
    client = MlflowClient(f"sqlite:///{root}/mlflow/store/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name(record.EXPERIMENT).experiment_id])
    assert run.info.run_name == "cell" and run.info.status == "FINISHED" and run.data.tags["git_commit"] == entry["commit"]
    assert run.data.metrics[record._key(entry["figures"][0]["name"])] == entry["figures"][0]["value"]
    assert {*pictures, record.OUTCOME} <= {each.path for each in client.list_artifacts(run.info.run_id)}


def test_of_several_those_that_fail_are_named_in_the_end_and_the_others_stand(root, monkeypatch):
    monkeypatch.setattr(intent, "run", refuse)
    with pytest.raises(DataRefused, match="no such words"):
        ran(root, "intent")
    with pytest.raises(PartlyDone, match="1 of 2 systems ran; intent did not"):
        ran(root, "intent", "cell")
    assert not record.place(root, "intent", fast=True).exists()


def test_the_table_shows_whole_runs_of_this_machine_in_place_of_what_was_given_and_never_fast_ones(root, monkeypatch):
    figure = Figure("accuracy", 97.25, "%", 0.5, 3, {"majority": 50.0})
    monkeypatch.setattr(cell, "run", lambda _: Outcome("rows", True, [figure], {}))
    (root / "docs/systems").mkdir(parents=True)
    (entry,) = ran(root, "cell")
    (root / record.GIVEN).write_text(json.dumps({"cell": {**entry, "data": "given", "fast": False}}))
    assert showing.data(record.read(root)["cell"]).startswith("given; ")
    (whole,) = ran(root, "cell", fast=False)
    ran(root, "cell")
    entry = record.read(root)["cell"]
    assert entry == {**whole, "here": True}
    assert showing.data(entry).startswith("rows; ") and showing.ours(entry) == "accuracy 97.25 % ± 0.5 over 3 seeds (majority 50.00 %)"


def test_what_a_person_set_stands_beside_the_figures_in_the_table_and_behind_the_run(root):
    (entry,) = ran(root, "cell", fast=False, settings=["cell=gru", "activation=null"])
    said = "set: activation=null, cell=gru"
    assert f"; {said}; " in showing.data(record.read(root)["cell"]) and said in showing.lines(entry, root)


def test_a_damaged_record_is_named_in_its_row_and_the_others_are_shown(root, monkeypatch, capsys):
    ran(root, "cell", fast=False)
    (record.place(root, "cell") / record.OUTCOME).write_text("{}")
    assert command(monkeypatch, root) == 0
    assert "damaged" in capsys.readouterr().out and "`longshort systems cell` again" in record.read(root)["cell"]["damaged"]
    shutil.rmtree(record.place(root, "cell"))


def test_what_was_trained_before_a_kill_is_taken_up_and_comes_to_the_same_bytes(root, monkeypatch):
    def run():
        (entry,) = ran(root, "digits-deep", settings=["cell=rnn", "hidden_size=4", "max_epochs=1"])
        folder = record.place(root, "digits-deep", fast=True)
        return entry["figures"], {path.name: path.read_bytes() for kind in ("*.csv", "*.png") for path in folder.glob(kind)}

    def epochs():
        return sum(entry["kind"] == "epoch" for path in (root / ".state/journal").iterdir() for entry in journal.read(path))

    def killed_before_the_second(occasion, label, *more):
        if fitted:
            raise KeyboardInterrupt
        fitted.append(label)
        return fit(occasion, label, *more)

    uninterrupted, fit, fitted = run(), digits_deep.fit, []
    trained = epochs()
    monkeypatch.setattr(digits_deep, "fit", killed_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.undo()
    assert run() == uninterrupted and epochs() == trained + 2  # each network once
    assert not list((root / ".state/checkpoints").glob("systems-digits-deep-*"))


def test_seconds_of_a_training_that_was_taken_up_are_those_that_it_took(root):
    (occasion,), (again,) = planned(root, "intent"), planned(root, "intent")
    first = module_of("intent").run(occasion)
    module_of("intent").run(again)
    assert occasion.trained.earlier == 0 < again.trained.earlier and first.figures
    for folder in again.trained.checkpoints:
        shutil.rmtree(folder)


def test_what_mlflow_was_away_for_is_logged_from_the_record_and_only_that(root, monkeypatch):
    before = len(logged(root))
    monkeypatch.setattr(tracking, "connect", away)
    with pytest.raises(PartlyDone, match="then `longshort systems` does just the rest"):
        ran(root, "cell")
    monkeypatch.undo()
    for _ in range(2):
        running.log(root, config.read(root / "params.yaml"))
        assert len(logged(root)) == before + 1 and not record.unlogged(root)


def test_what_ended_is_printed_as_json_also_where_mlflow_was_away_or_another_system_failed(root, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "connect", away)
    monkeypatch.setattr(intent, "run", refuse)
    assert command(monkeypatch, root, "cell", "intent", "--fast", "--json") == PartlyDone.exit_code
    told = capsys.readouterr()
    assert [entry["system"] for entry in json.loads(told.out)] == ["cell"]
    assert "intent did not" in told.err and "MLflow at" in told.err


@pytest.mark.few(8)
@pytest.mark.parametrize("name", [name for name in SYSTEMS if name not in ("cell", "variable-length", "gradients", "gates", "translation")])
def test_every_system_runs_small_and_gives_figures_pictures_and_what_it_ran_on(root, name):
    (occasion,) = planned(root, name)
    outcome = module_of(name).run(occasion)
    assert outcome.figures and outcome.pictures and outcome.data and not outcome.real
    assert all(picture.startswith(b"\x89PNG") for picture in outcome.pictures.values())
    assert all(folder.is_dir() for folder in occasion.trained.checkpoints)  # which stay until the run is on record


@pytest.mark.few(3)
@pytest.mark.parametrize("name", ["digits-rnn", "intent", "tagging", "google-stock", "caption", "ctc", "anomaly"])
def test_the_cell_and_its_size_are_one_setting_on_every_row(root, name):
    (occasion,) = planned(root, name, settings=["cell=gru", "hidden_size=7", "max_epochs=1"])
    variant = module_of(name).run(occasion).settings["variant"]
    assert (variant["cell"], variant["hidden_size"]) == ("gru", 7)


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (["digits-rn"], {}, "there is no system 'digits-rn'. Did you mean 'digits-rnn'"),
        (["cell"], {"settings": ["hiden_size=3"]}, "--set hiden_size: no setting.* Did you mean 'hidden_size'"),
        (["cell"], {"settings": ["hidden_size"]}, "write it as name=value"),
        (["cell"], {"settings": ["cell=["]}, r"--set cell=\[: no value in YAML's words"),
        (["cell"], {"settings": ["learning_rate=2024-13-01"]}, "--set learning_rate=2024-13-01: no value in YAML's words"),
        (["cell"], {"settings": ["learning_rate=.inf"]}, "--set learning_rate: Input should be a finite number"),  # which it has no use for
        (["gradients"], {"settings": ["cell=[1]"]}, "--set cell: Input should be 'rnn'"),
        (["gates"], {"settings": ["bidirectional=no"]}, "--set bidirectional: Input should be a valid boolean"),
        (["digits-rnn"], {"settings": ["hidden_size=-3"]}, "--set hidden_size: Input should be greater than 0"),
        (["story"], {"data": Path("x" * 5000)}, "xx: there is no such file or folder"),
        (["cell"], {"data": Path("/")}, "cell runs on the tutorial's eight rows, and takes no other data"),
        (["story"], {"data": Path("/nowhere/at/all")}, "/nowhere/at/all: there is no such file or folder"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_begins(root, names, more, said):
    with pytest.raises(UsageError, match=said):
        planned(root, *names, **more)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("tagging", ["cell=alstm"], "--set cell: 'alstm' attends to all states for one answer at the end, and here .* Take cell 'lstm'"),
        ("series", ["cell=alstm"], "--set cell: 'alstm' attends"),
        ("google-stock", ["cell=lstmp"], "^--set: cell 'lstmp' projects its state"),
        ("cell", ["hidden_size=200000000"], "cell: this machine's memory does not hold it.* Lower hidden_size"),
    ],
)
def test_a_network_that_this_system_cannot_have_is_refused_with_a_sentence(root, name, settings, said):
    kept = set((root / ".state/checkpoints").glob("*"))  # of other tests
    with pytest.raises(UsageError, match=said):
        ran(root, name, settings=settings)
    assert set((root / ".state/checkpoints").glob("*")) == kept


def test_what_the_rooms_advise_about_params_yaml_and_other_commands_is_turned_round(root, tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_bytes(b"text,label\n" + "".join(f"un café {n},{n % 2}\n" for n in range(60)).encode("cp1252"))
    with pytest.raises(DataRefused, match=r"save the file as UTF-8\.$"):
        ran(root, "intent", data=tmp_path)
    (tmp_path / "rows.csv").write_bytes(BAD["intent"][1])
    with pytest.raises(DataRefused) as refused:
        ran(root, "intent", data=tmp_path)
    assert "params.yaml" not in str(refused.value)
    monkeypatch.setattr(intent, "run", lambda _: metrics.perplexity(1e6))
    with pytest.raises(DataRefused, match=r"no probability\. Change learning_rate with --set\.$"):
        ran(root, "intent")


@pytest.mark.parametrize(
    ("place", "fast"),
    [("reports/systems", []), ("reports/systems", ["--fast"]), ("reports/systems/story", []), ("reports/systems/fast", ["--fast"])],
)
def test_a_place_that_cannot_be_written_is_found_before_anything_is_trained(tmp_path, monkeypatch, capsys, place, fast):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes(Path(__file__).with_name("params.yaml").read_bytes())
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("a file")
    monkeypatch.setattr(story, "run", refuse)
    assert command(monkeypatch, tmp_path, "story", *fast) == 74
    said = capsys.readouterr().err
    assert f"{place}: " in said and "Move away what stands in a folder's place; nothing was half-written." in said


@pytest.mark.parametrize(
    ("arguments", "said"), [(["nonsense", "--all"], "and nonsense is named besides"), (["--fast", "--set", "foo=bar"], "and none is named")]
)
def test_words_that_would_say_nothing_are_refused(root, monkeypatch, capsys, arguments, said):
    assert command(monkeypatch, root, *arguments) == UsageError.exit_code and said in capsys.readouterr().err


BAD = {
    "story": ("few.txt", b"two words", "2 words, and a story takes 30"),
    "intent": (
        "labels.csv",
        b"text,label\n" + b"".join(b"a row of words,%d\n" % (n % 2) for n in range(60)),
        r"60 rows: .* holds no row.*Give more rows",
    ),
    "tagging": (
        "rows.csv",
        b"text,label\n" + b"".join(b"row %d of words,%d\n" % (n, n % 2) for n in range(60)),
        "takes words with a tag each",
    ),
    "google-stock": ("other.csv", b"", r"Google_Stock_Price_Train\.csv: there is no such file"),
    "anomaly": ("series.csv", b"timestamp,value\n", r"combined_windows\.json: there is no such file"),
    "ctc": ("t10k-images-idx3-ubyte", b"\0\0\x08\x03", "there is no train-images-idx3-ubyte"),
    "digits-rnn": ("t10k-images-idx3-ubyte", b"\0\0\x08\x03", "there is no train-images-idx3-ubyte"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_are_none_for_a_system_are_refused_and_nothing_is_left(root, tmp_path, name):
    file, content, said = BAD[name]
    (tmp_path / file).write_bytes(content)
    data = tmp_path / file if name == "story" else tmp_path
    (occasion,) = planned(root, name, data=data)
    with pytest.raises(DataRefused, match=said):
        module_of(name).run(occasion)
    assert not record.place(root, name).exists()


def test_a_series_that_is_read_both_ways_is_refused_since_each_step_would_have_read_the_next(root):
    for name in ("series", "anomaly"):
        (occasion,) = planned(root, name, settings=["bidirectional=true"])
        with pytest.raises(UsageError, match="it would have read the next one"):
            module_of(name).run(occasion)


def test_speeds_are_of_what_was_trained(root, monkeypatch):
    epochs = [{"epoch": k, "train_loss": 1.0, "train_accuracy": 0.5, "validation_accuracy": 0.5, "best": True} for k in (1, 2, 3)]
    fitted = [Fitted(0, None, epochs[:1]), Fitted(1, None, epochs)]
    for row in (story, google_stock):
        monkeypatch.setattr(row, "fit", lambda *_: (fitted, 8.0))
    monkeypatch.setattr(story, "tell", lambda *_: [])
    monkeypatch.setattr(google_stock, "_levels", lambda *_: np.zeros(google_stock.TEST))
    told, prices = (module_of(name).run(replace(planned(root, name)[0], seeds=(0, 1))).figures for name in ("story", "google-stock"))
    windows = len(story.STORY.split()) - story.LOOKBACK
    assert (told[-1].value, prices[-1].value) == (4 * windows / 8, 8 / 4)
    assert told[0].name == f"2 layers, accuracy of the last {windows} steps"  # one network had no more


@pytest.mark.few(1)
@pytest.mark.parametrize(("name", "reaches"), [("series", 0), ("tagging", 0), ("memory", 4)])
def test_figures_over_seeds_say_how_far_these_lie_apart(root, name, reaches):
    figures = module_of(name).run(replace(planned(root, name)[0], seeds=(0, 1))).figures[reaches:]  # a reach is of the seeds' mean
    assert [(figure.seeds, figure.sd is None) for figure in figures] == [(2, False)] * len(figures)


def test_two_networks_that_a_person_made_alike_have_figures_of_two_names(root, monkeypatch):
    history = [{"epoch": 1, "validation_accuracy": 0.5}]
    monkeypatch.setattr(digits_rnn, "fit", lambda *_: ([Fitted(0, None, history)], 1.0))
    monkeypatch.setattr(digits, "named", lambda one, task, part: task.data.labels_of(part))
    (occasion,) = planned(root, "digits-rnn", settings=["cell=gru", "bidirectional=false"])
    names = [figure.name for figure in digits_rnn.run(occasion).figures]
    assert names == ["test accuracy, gru of 150", "test accuracy, gru of 150, trained as our best"]


NUMBERS = [f"{k},{k % 17}" for k in range(400)]


def column(tmp_path, *rows, header="t,v"):
    (tmp_path / "own.csv").write_text("\n".join([header, *rows]))
    task, name = series._read(tmp_path / "own.csv")
    return task.values[:, 0], name


def test_the_last_column_that_holds_numbers_alone_is_the_series(tmp_path):
    values, name = column(tmp_path, *(f"{row},,a note" for row in NUMBERS), header="t,v,empty,said")
    assert name == "own.csv: v, 400 steps" and values[16] > values[0] == values[17]
    assert column(tmp_path, *NUMBERS[:250], "250,null", *NUMBERS[251:])[1] == "own.csv: v, 399 steps"


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([f"{k};{k % 17},5" for k in range(400)], "t;v", r"own\.csv:2: 2 cells, and the header has 1\. Save it with commas"),
        ([*NUMBERS[:33], "33,inf", *NUMBERS[34:]], "t,v", r"own\.csv:35: 'v' is inf, and no number that can be scaled"),
        ([f"{k},{(k % 17) * 1e307}" for k in range(400)], "t,v", r"own\.csv:3: 'v' is 1e\+307"),
        (["a,1_0"] * 400, "t,v", r"own\.csv: 400 rows, and no column of numbers alone"),
        (NUMBERS[:199], "t,v", r"own\.csv: 199 rows with a number in 'v'; a series takes 200"),
        (['"', *["x" * 999] * 200], "t,v", r"own\.csv:2: a row that cannot be read"),
        (['1,"5', *["1,5"] * 9], "t,v", r"own\.csv:2: a row that cannot be read"),
        ([], "", r"own\.csv:1:1: the file is empty"),
    ],
)
def test_a_table_without_a_series_in_it_is_refused_with_its_line(tmp_path, rows, header, said):
    with pytest.raises(DataRefused, match=said):
        column(tmp_path, *rows, header=header)


def rows_of(tmp_path, labels):
    content = "".join(f"words {k} of row {k * k % 97},{label}\n" for k, label in enumerate(labels))
    (tmp_path / "rows.csv").write_text(f"text,label\n{content}")
    return tmp_path


@pytest.mark.parametrize("name", ["intent", "sentiment"])
def test_rows_of_one_label_are_refused_since_there_is_nothing_to_tell_apart(root, tmp_path, name):
    (occasion,) = planned(root, name, data=rows_of(tmp_path, ["same"] * 60))
    with pytest.raises(DataRefused, match=r", 60 rows: all rows to learn from are labelled 'same', and a classifier needs two"):
        module_of(name).run(occasion)


def test_rows_that_are_too_few_for_folds_are_refused(root, tmp_path):
    (occasion,) = planned(root, "sentiment", data=rows_of(tmp_path, ["good", "bad"] * 6))
    with pytest.raises(DataRefused, match="12 rows, at most 6 of one label; 2 folds take 20 rows, and 2 of a label"):
        sentiment.run(occasion)
    found = texts.read(planned(root, "sentiment", data=rows_of(tmp_path, [str(k % 40) for k in range(120)]))[0], None, ())
    with pytest.raises(DataRefused, match="120 rows, at most 3 of one label; 10 folds take 100 rows, and 10 of a label"):
        sentiment.folds_of(found, 10)


def test_a_label_of_one_row_cannot_be_in_folds_and_one_of_two_can_without_a_warning(recwarn):
    def folds(*odd):
        labels = [*["good", "bad"] * 60, *odd]
        words = ["".join(chr(ord("a") + int(digit)) for digit in str(k)) for k in range(len(labels))]
        return sentiment.folds_of(texts.Texts("rows", [f"word {word}" for word in words], labels, None, None), 10)

    with pytest.raises(DataRefused, match="rows: the label 'odd' has one row, so the fold that asks for it cannot have learned it"):
        folds("odd")
    assert all(not own.unseen for fold in folds("odd", "odd") for own in fold.division.parts.values())
    assert not recwarn.list


# --- what they are made of --------------------------------------------------------------------


def test_our_story_has_as_many_symbols_as_the_tutorials():
    assert len(set(story.STORY.split())) == story.SYMBOLS and 190 <= len(story.STORY.split()) <= 230


def test_a_look_up_of_trigrams_is_right_where_two_words_say_the_third():
    assert story.look_up(["a", "b", "c", "a", "b", "c", "a", "b", "d"]) == pytest.approx(5 / 6)  # it says c behind a b, and once d comes


def test_made_sentences_hang_on_the_seed_alone_and_have_a_tag_a_word():
    assert texts.requests(50) == texts.requests(50) != texts.requests(50, seed=1)
    found = texts.requests(200)
    assert all(len(words.split()) == len(tags.split()) for words, tags in zip(found.texts, found.tags, strict=True))
    assert set(texts.opinions(200).labels) == {"good", "bad"}


def test_the_command_prints_the_table_and_json(root):
    def said(*arguments):
        command = [f"{clones.BIN}/longshort", "systems", *arguments]
        return subprocess.run(command, cwd=root, env=clones.environment(root), check=True, capture_output=True, text=True).stdout

    assert isinstance(json.loads(said("--json")), dict)
    table = said()
    assert all(name in table for name in SYSTEMS)
