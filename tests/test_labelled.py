"""Labelled texts, tagged words, pairs, and numbers with captions as items of the pipeline: trained, scored, judged and asked."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import clones
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from projects import project, run_stage, take_in

from longshort import config, editing, leaderboard, serving, storage, tracking
from longshort.audit import stage as audit
from longshort.errors import ConfigError, CorruptArtefact, UsageError
from longshort.evaluation import answers, contest, rows, spans, translations
from longshort.models import artefact
from longshort.models.decoding import Tongue
from longshort.models.decoding import search as decoded
from longshort.registry import golden, judgement, versions
from longshort.systems import dates, texts
from longshort.tasks.caption import as_read
from longshort.tasks.task import open_task
from longshort.tuning import search, space
from longshort.windows import files
from longshort.windows.captions import Vectors, keys_of
from longshort.windows.labelled import key_of, keys_in
from longshort.windows.tokens import words_of

TASKS = {"requests": "classify", "slots": "tag", "dates": "translate", "things": "caption"}
FIGURES = {
    "classify": {"accuracy", "macro_f1"},
    "tag": {"f1", "precision", "recall", "word_accuracy"},
    "translate": {"bleu", "chrf", "exact"},
    "caption": {"bleu", "chrf", "exact"},
}
COLOURS, SIZES, KINDS = ("red", "green", "blue"), ("small", "large"), ("box", "ball")


def things(count: int) -> pa.Table:
    """Made rows: how much of each colour a thing has, how wide and how round it is, a depth that never moves; and what it is."""
    draw = np.random.Generator(np.random.Philox(0))
    numbers, captions = draw.normal(0, 0.2, (count, 5)), []
    for row in range(count):
        colour, size, kind = row % 3, row % 2, row // 2 % 2
        numbers[row, [colour, 3, 4]] += [2, 10 * size, 3 * kind]
        captions.append(f"a {SIZES[size]} {COLOURS[colour]} {KINDS[kind]}")
    columns = dict(zip((*COLOURS, "width", "roundness"), numbers.T, strict=True))
    return pa.table({**columns, "depth": np.full(count, 0.1), "caption": captions})


def tables() -> dict[str, pa.Table]:
    """Made rows of each task, in tidy columns."""
    asked = texts.requests(400)
    sources, targets = dates.phrases(300, seed=0)
    return {
        "requests": pa.table({"text": asked.texts, "label": asked.labels}),
        "slots": pa.table({"text": asked.texts, "tags": asked.tags, "label": asked.labels}),
        "dates": pa.table({"source": sources, "target": targets}),
        "things": things(240),
    }


def made(folder: Path, *settings: str) -> Path:
    """A project with an item a task, windowed and trained."""
    how = "{optimizer: adam, learning_rate: 0.02, batch_size: 32, max_epochs: 4, patience: 4, clip_norm: 1.0}"
    datasets = {name: f"{{task: {task}, source: raw}}" for name, task in TASKS.items()}
    items = {name: f"{{dataset: {name}, task: {task}, variant: lstm}}" for name, task in TASKS.items()}
    root = project(
        folder,
        "training.items={" + ", ".join(f"{name}-lstm: {item}" for name, item in items.items()) + "}",
        "ingestion.datasets={" + ", ".join(f"{name}: {entry}" for name, entry in datasets.items()) + "}",
        *(f"training.{task}={how}" for task in TASKS.values()),
        "training.seeds=[0, 1]",
        "models.variants={lstm: {cell: lstm, hidden_size: 24, num_layers: 1, bidirectional: false, dropout: 0.0}}",
        *settings,
    )
    for name, table in tables().items():
        take_in(root, name, table)
        run_stage(root, "windows", name)
        run_stage(root, "training", f"{name}-lstm")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = made(tmp_path_factory.mktemp("labelled") / "project")
    for name in TASKS:
        run_stage(folder, "evaluation", f"{name}-lstm")
    return folder


def model_of(root: Path, name: str, seed: int = 0) -> artefact.Model:
    return artefact.load(root / f"data/training/{name}-lstm/seed-{seed}")


def data_of(root: Path, name: str) -> rows.Data:
    return files.read_rows(root / "data/windows" / name, TASKS[name])


def scored(root: Path, name: str) -> dict:
    return storage.read_json(root / f"data/evaluation/{name}-lstm/metrics.json")


# --- training and evaluation --------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_every_seed_is_scored_beside_the_plain_methods(root, name):
    found = scored(root, name)
    assert set(found["mean"]) == FIGURES[TASKS[name]] | {"best_epoch", "validation_loss"} and list(found["seeds"]) == ["0", "1"]
    rivals = [own for own in found["baselines"].values() if "validation_loss" in own]
    assert found["test"]["rows"] >= 30 and all(0 < own["validation_loss"] < 10 for own in rivals)
    folder = root / f"data/evaluation/{name}-lstm"
    assert {path.stem for path in (folder / "pictures").iterdir()} == {"loss", "groups"}
    with (folder / "scores.csv").open() as lines:
        errors = [float(row["seed_0"]) for row in csv.DictReader(lines)]
    assert len(errors) == found["test"]["rows"] and 0 <= min(errors) <= max(errors) <= 1


def test_what_little_was_learned_shows(root):
    naive = {name: scored(root, name)["baselines"] for name in TASKS}
    assert scored(root, "requests")["mean"]["accuracy"] > naive["requests"]["majority"]["accuracy"] + 0.3
    assert scored(root, "slots")["mean"]["word_accuracy"] > 0.8 and naive["slots"]["most_frequent_tag"]["f1"] > 0.5
    assert scored(root, "dates")["mean"]["validation_loss"] < naive["dates"]["unigram"]["validation_loss"]
    assert scored(root, "things")["mean"]["chrf"] > naive["things"]["majority"]["chrf"] + 10
    assert naive["things"]["nearest_vector"]["exact"] == 100


@pytest.mark.parametrize("name", TASKS)
def test_a_search_stands_beside_the_same_naive_losses(root, name):
    params = config.read(root / "params.yaml")
    losses = search._naive_losses(open_task(TASKS[name], root / "data/windows" / name, params))
    beside = {rival: own["validation_loss"] for rival, own in scored(root, name)["baselines"].items() if "validation_loss" in own}
    assert losses == pytest.approx(beside)
    assert space.misfit(space.of_item(params, f"{name}-lstm"), {"hidden_size": 8}, TASKS[name], "torch") is None


@pytest.mark.parametrize("name", TASKS)
def test_an_answer_does_not_hang_on_who_is_asked_beside(root, name):
    model, asked = model_of(root, name), rows.Part.of(TASKS[name], tables()[name], data_of(root, name)).texts[:12]
    assert answers.said(model, asked) == [answers.said(model, asked[row : row + 1])[0] for row in range(12)]


def test_the_figures_are_those_of_the_answers(root):
    for name, task in TASKS.items():
        part, found = rows.Part.of(task, tables()[name], data_of(root, name)), scored(root, name)["seeds"]["0"]
        said = answers.said(model_of(root, name), part.texts)
        if task == "classify":
            assert found["accuracy"] == pytest.approx(np.mean([own == right for own, right in zip(said, part.wanted, strict=True)]))
        elif task == "tag":
            assert found["f1"] == spans.score([own.split() for own in said], [own.split() for own in part.wanted])["f1"]
        else:
            assert found["bleu"] == translations.score(said, part.wanted, data_of(root, name).spec.tokens)["bleu"]


def test_a_network_that_reads_its_own_words_alone_is_what_was_trained(root):
    task, model = rows.Part.of("classify", tables()["requests"], data_of(root, "requests")), model_of(root, "requests")
    data = data_of(root, "requests")
    ids = torch.from_numpy(data.texts.row(data.division.parts["test"].start).astype(np.int64))[None]
    assert answers.shares(model, task.texts[:1])[0] == pytest.approx(torch.softmax(model(ids)[0].double(), -1).numpy(), abs=1e-12)


def test_a_captioner_is_asked_with_the_numbers_that_it_was_trained_on(root):
    data, model = data_of(root, "things"), model_of(root, "things")
    own = data.division.parts["test"]
    tongue = Tongue.of(data.vocabulary.words, data.longest)
    ids = decoded(model.network, as_read(data.vectors[np.arange(own.start, own.stop)]), tongue, answers.BEAM)
    said = [" ".join(data.vocabulary.words[word] for word in row) for row in ids]
    asked = rows.Part.of("caption", tables()["things"], data).texts
    assert len(set(said)) > 2 and answers.said(model, asked) == said
    assert answers.said(model, Vectors(asked.columns[::-1], asked.values[:, ::-1])) == said  # columns are known by name
    frame = pd.DataFrame(asked.values, columns=asked.columns)
    service = serving.RowService(model)
    assert service.predict(frame[frame.columns[::-1]].assign(more="x"))["caption"].tolist() == said
    with pytest.raises(UsageError, match="the column 'red' stands twice"):
        service.predict(pd.concat([frame[["red"]], frame], axis=1))
    with pytest.raises(UsageError, match="row 1: 'red' is no finite number of 32 bits"):
        service.predict(frame.assign(red=1e300))


def test_a_text_is_read_as_it_was_learned_however_it_was_typed(root):
    for name in ("requests", "slots", "dates"):
        service = serving.RowService(model_of(root, name))
        plain, odd = (service.predict(pd.DataFrame({"text": [text]})) for text in ("play some jazz", "\ufeffplay so\u200bme jazz"))
        assert plain.equals(odd)
        assert serving.unknown_words(model_of(root, name), "pl\u200bay") == serving.unknown_words(model_of(root, name), "play")
    for wrong, said in (({"prompt": ["a"]}, "no column 'text' among 'prompt'"), ({"text": ["a", math.nan]}, "row 2: 'text' is empty")):
        with pytest.raises(UsageError, match=said):
            service.predict(pd.DataFrame(wrong))


def test_the_best_stands_first_on_the_board(root):
    found = leaderboard.rows(root, config.read(root / "params.yaml"))
    assert {row.dataset: row.metric for row in found} == {"requests": "accuracy", "slots": "f1", "dates": "chrf", "things": "chrf"}
    other = dataclasses.replace(found[0], variant="better", mean={**found[0].mean, "accuracy": 1.0})
    assert str(next(iter(leaderboard.tables([other, *found]))).title).startswith("requests: a text's label")
    assert sorted([found[0], other], key=leaderboard.rank)[0] is other


def test_a_cell_that_looks_like_a_formula_is_no_formula_in_the_table():
    part = rows.Part("classify", ["=1+1", "fine"], ["a", "-a"], np.array([0, 1]), np.array([0, 1], np.uint64))
    table = rows.mistaken(part, ["b", "+b"], np.ones(2))
    assert [row[1:] for row in table.rows] == [["'=1+1", "a", "b"], ["fine", "'-a", "'+b"]]


def test_captions_are_grouped_by_themselves_while_they_are_few_and_else_by_their_length(root):
    part = rows.Part.of("caption", tables()["things"], data_of(root, "things"))
    assert set(rows._worth(part, part.wanted)) == set(part.wanted) and set(rows._worth(part, part.wanted).values()) >= {(4, 100.0)}
    many = dataclasses.replace(part, wanted=[f"a thing {'of ' * (n % 3)}{n}" for n in range(len(part.wanted))])
    assert list(rows._worth(many, many.wanted)) == ["1 to 4 words", "5 to 6 words"]
    letters = dataclasses.replace(part, wanted=[f"thing{n}" for n in range(len(part.wanted))])
    assert list(rows._worth(letters, letters.wanted)) == ["5 to 6 characters", "7 to 8 characters"]
    assert rows.mistaken(part, ["=1"] * len(part.wanted), np.ones(len(part.wanted))).header == ["row", "wanted", "said"]


def test_captions_that_are_spelled_have_no_figure_of_runs_of_words():
    assert set(translations.score_captions(["ab"], ["ac"], "characters")) == {"chrf", "exact"}
    assert translations.score_captions(["ab", "a"], ["AB", "b"], "words")["exact"] == 50


# --- the contest --------------------------------------------------------------------------------


def test_only_rows_that_neither_has_learned_from_are_counted(root, tmp_path):
    other = made(tmp_path / "other", "windows.classify.seed=5")
    champion, data, table = model_of(other, "requests"), data_of(root, "requests"), tables()["requests"]
    keys = [" ".join(words_of(text)) for text in table["text"].to_pylist()]
    theirs = data_of(other, "requests").division
    learned = {keys[row] for part in ("train", "validation") for row in theirs.rows[theirs.parts[part].start : theirs.parts[part].stop]}
    own = data.division.parts["test"]
    unseen = [row for row in data.division.rows[own.start : own.stop].tolist() if keys[row] not in learned]
    held = contest.contest_of_rows(table, data, [model_of(root, "requests"), champion])
    wrong: dict[str, list[bool]] = {}  # a text that stands several times counts once
    for row in unseen:
        wrong.setdefault(keys[row], []).append(answers.said(champion, [table["text"][row].as_py()])[0] != table["label"][row].as_py())
    assert 0 < held.count == len(wrong) < len(unseen) < own.stop - own.start
    assert (
        held.champion.error == pytest.approx(np.mean([np.mean(each) for each in wrong.values()]))
        and held.champion.windows_sha256 == held.windows_sha256
    )


def test_rows_that_a_champion_learned_with_its_columns_in_another_order_are_not_counted(root):
    model, data, table = model_of(root, "things"), data_of(root, "things"), tables()["things"]
    part, turned = rows.Part.of("caption", table, data), list(reversed(data.columns))
    known = np.unique(keys_of(part.texts.of(turned)[:20])).astype("<u8")
    extent = {"train": {"rows": 20, "keys": base64.b64encode(known.tobytes()).decode()}, "validation": {"rows": 0, "keys": ""}}
    card = {**model.card, "description": {**model.card["description"], "columns": turned}, "extent": extent}
    assert contest.contest_of_rows(table, data, [model, dataclasses.replace(model, card=card)]).count == len(part.wanted) - 20
    more = {**card, "description": {**card["description"], "columns": [*turned[:-1], "another"]}}
    assert contest.contest_of_rows(table, data, [model, dataclasses.replace(model, card=more)]).count == 0  # it cannot be asked


@pytest.mark.parametrize("name", TASKS)
def test_a_model_meets_itself_with_one_error(root, name):
    model = model_of(root, name)
    held = contest.contest_of_rows(tables()[name], data_of(root, name), [model, model])
    assert held.challenger == held.champion and held.p_champion == 1.0
    assert held.count == len(np.unique(rows.Part.of(TASKS[name], tables()[name], data_of(root, name)).keys))
    assert held.challenger.variation > 0 and held.naive_name in scored(root, name)["baselines"]
    reason = judgement.judge(held, 0.0, 30, 0.05).reason
    assert reason.startswith("kept out: ") and held.measure in reason


def test_a_model_of_which_nobody_knows_what_it_learned_is_not_compared(root):
    model = model_of(root, "requests")
    bare = dataclasses.replace(model, card={**model.card, "extent": {part: {"rows": 5} for part in ("train", "validation", "test")}})
    held = contest.contest_of_rows(tables()["requests"], data_of(root, "requests"), [model, bare])
    assert held.count == 0 and math.isnan(held.challenger.error)
    reason = judgement.judge(held, 0.0, 30, 0.05).reason
    assert "not enough to judge by: 0 unseen" in reason and "the champion learned from is not known" in reason


def test_a_model_of_fewer_rows_does_not_replace_one_of_more(root):
    model = model_of(root, "requests")
    extent = model.card["extent"]
    fewer = dataclasses.replace(model, card={**model.card, "extent": {**extent, "test": {"rows": extent["test"]["rows"] - 1}}})
    held = contest.contest_of_rows(tables()["requests"], data_of(root, "requests"), [fewer, model])
    total = sum(part["rows"] for part in extent.values())
    assert f"its data end at {total - 1} rows, the champion's at {total} rows" in judgement.judge(held, 0.0, 30, None).reason


def test_what_always_says_the_same_is_found_out():
    assert answers.variety("classify", ["a"] * 9) == 0.0 and answers.variety("tag", ["O O", "O"]) == 0.0
    assert answers.variety("classify", ["a", "b"]) == pytest.approx(math.log(2))


def test_errors_go_from_right_to_wrong():
    assert answers.errors("classify", ["a", "b"], ["a", "c"]).tolist() == [0, 1]
    assert answers.errors("tag", ["O B-x O O"], ["O B-x I-x O"]).tolist() == [0.25]
    off = answers.errors("translate", ["1999-01-02", "1999-01-03", ""], ["1999-01-02"] * 3)
    assert off[0] == pytest.approx(0, abs=1e-12) and 0 < off[1] < off[2] == 1


def test_keys_tell_rows_by_their_words(root):
    extent = model_of(root, "requests").card["extent"]
    division = data_of(root, "requests").division
    assert {part: own["rows"] for part, own in extent.items()} == {part: own.stop - own.start for part, own in division.parts.items()}
    learned = keys_in(extent)
    assert set(learned.tolist()) == set(division.keys[: division.parts["validation"].stop].tolist())
    assert key_of("play jazz") != key_of("play jazz .") and keys_in({"train": {"rows": 3}}) is None


# --- golden predictions ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_golden_predictions_find_a_model_that_says_something_else(root, name):
    model = model_of(root, name)
    kept = json.loads(json.dumps(golden.make(model)))
    assert golden.check(model_of(root, name), kept, name) == "bitwise"
    with torch.no_grad():
        next(iter(model.network.head.parameters())).mul_(1.01)
    with pytest.raises(CorruptArtefact, match="it answers otherwise than when it was registered"):
        golden.check(model, kept, name)


# --- settings -------------------------------------------------------------------------------------


AT_EVERY_STEP = [("tag", "a tagger answers"), ("translate", "a decoder answers"), ("caption", "a decoder answers")]


@pytest.mark.parametrize(("task", "said"), AT_EVERY_STEP)
def test_a_cell_that_answers_once_is_refused_where_every_step_is_asked(tmp_path, task, said):
    root = project(tmp_path / "p")
    alstm = "{cell: alstm, hidden_size: 4, num_layers: 1, bidirectional: false, dropout: 0.0}"
    entry = (f"ingestion.datasets.mine={{task: {task}, source: raw}}", f"models.variants.alstm={alstm}")
    with pytest.raises(ConfigError, match=f"{said} at every step"):
        editing.assign(root / "params.yaml", [*entry, f"training.items.mine-alstm={{dataset: mine, task: {task}, variant: alstm}}"])


def test_an_audit_says_why_there_is_none(root):
    with pytest.raises(UsageError, match="the proofs are about time, and rows of a classify data set have none"):
        audit.run(root, "requests-lstm", config.read(root / "params.yaml"))


# --- the whole way ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A project that has taken in a person's files of each task, after `longshort run`."""
    folder = tmp_path_factory.mktemp("whole")
    theirs = folder / "theirs"
    theirs.mkdir()
    made = tables()
    with (theirs / "requests.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("text", "label"), *zip(*(made["requests"][name].to_pylist() for name in ("text", "label")), strict=True)]
        )
    (theirs / "things.csv").write_bytes(as_csv(made["things"]))
    pairs = zip(*(made["dates"][name].to_pylist() for name in ("source", "target")), strict=True)
    (theirs / "dates.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    for name, column in (("seq.in.txt", "text"), ("seq.out.txt", "tags"), ("label.txt", "label")):
        (theirs / "slots").mkdir(exist_ok=True)
        (theirs / "slots" / name).write_text("\n".join(made["slots"][column].to_pylist()) + "\n")
    how = "{optimizer: adam, learning_rate: 0.02, batch_size: 64, max_epochs: 3, patience: 3, clip_norm: 1.0}"
    root = clones.clone(
        folder / "project",
        "models.variants={gru: {cell: gru, hidden_size: 24, num_layers: 1, bidirectional: false, dropout: 0.0}}",
        "ingestion.datasets={}",
        "training.items={}",
        "training.seeds=[0]",
        *(f"training.{task}={how}" for task in TASKS.values()),
    )
    for place, kind in (("requests.csv", "labels"), ("slots", "tags"), ("dates.tsv", "pairs"), ("things.csv", "captions")):
        clones.longshort(root, "ingest", str(theirs / place), "--as", kind)
    clones.longshort(root, "run")
    return root


def test_a_registered_classifier_is_asked_on_the_command_line(registered):
    told = json.loads(clones.longshort(registered, "classify", "play some jazz for zorblax", "--json").stdout)
    assert told["label"] == next(iter(told["probabilities"])) and sum(told["probabilities"].values()) == pytest.approx(1)
    assert told["unknown_words"] == ["zorblax"] and told["model"] == "classify-requests"
    said = clones.longshort(registered, "classify", "play some jazz")
    assert said.stdout.startswith(told["label"]) and "said by classify-requests v1" in said.stdout


def test_a_registered_tagger_and_translator_are_asked_too(registered):
    told = json.loads(clones.longshort(registered, "tag", "will it rain in oslo", "--json").stdout)
    assert told["words"] == ["will", "it", "rain", "in", "oslo"] and len(told["tags"]) == 5 and told["model"] == "tag-slots"
    lines = clones.longshort(registered, "tag", "will it rain in oslo").stdout.splitlines()
    assert [line.split() for line in lines[:5]] == [list(pair) for pair in zip(told["words"], told["tags"], strict=True)]
    said = json.loads(clones.longshort(registered, "translate", "the second of may 1999", "--beam", "1", "--json").stdout)
    assert isinstance(said["translation"], str) and said["model"] == "translate-dates"


def as_csv(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pa.csv.write_csv(table, out)
    return out.getvalue()


def test_a_registered_captioner_says_a_caption_a_row_of_a_file(registered, tmp_path):
    asked = things(9)
    names = asked.column_names
    (tmp_path / "own.csv").write_bytes(as_csv(asked))
    (tmp_path / "turned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked.select(names[-2::-1]).to_pylist()))
    told = json.loads(clones.longshort(registered, "caption", str(tmp_path / "own.csv"), "--json").stdout)
    assert len(told["captions"]) == 9 and told["model"] == "caption-things" and {word for own in told["captions"] for word in own.split()}
    said = clones.longshort(registered, "caption", str(tmp_path / "turned.jsonl"), "--dataset", "things").stdout.splitlines()
    assert said[:-1] == told["captions"] and said[-1].startswith("said by caption-things v1, the challenger")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("red,green,blue,width,depth\n1,2,3,4,5\n", 3, "own.csv:1:1: no column 'roundness'; expected the columns that the model reads"),
        ("red,green,blue,width,round,depth\n1,2,3,4,5,6\n", 3, "a column 'round' that is not known (did you mean 'roundness'?)"),
        ("red,green,blue,width,roundness,depth\n1,2,3,4,5,6\n1,2,3,wide,5,6\n", 3, "own.csv:3:7: 'width' is 'wide', no finite number"),
        ("red,green,blue,width,roundness,depth\n1,2,3,4,5\n", 3, "own.csv:2:1: 5 cells where the header has 6"),
        ("red,green,blue,width,roundness,depth\n", 3, "own.csv:1:1: no row behind the header"),
        (None, 3, "own.csv: there is no such file"),
    ],
)
def test_a_file_that_a_captioner_cannot_read_is_refused_with_its_place(registered, tmp_path, content, code, said):
    if content is not None:
        (tmp_path / "own.csv").write_text(content)
    done = clones.longshort(registered, "caption", str(tmp_path / "own.csv"), code=code)
    assert said in done.stderr and not done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["classify", "  "], "the text holds no word"),
        (["translate", "x" * 10_001], "10,001 characters; at most 10,000 are read"),
        (
            ["tag", "a b", "--dataset", "requests"],
            "no data set 'requests' of texts with a tag a word that a model is trained on. Known: slots.",
        ),
        (
            ["caption", "own.csv", "--dataset", "dates"],
            "no data set 'dates' of rows with captions that a model is trained on. Known: things.",
        ),
        (["audit"], "no item of prices or of running text"),
        (["generate", "the"], "no data set of text that a model is trained on. Known: none."),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(registered, arguments, said):
    done = clones.longshort(registered, *arguments, code=2)
    assert said in done.stderr and "Traceback" not in done.stderr


def test_mlflow_serves_what_the_command_line_says(registered):
    import mlflow.pyfunc

    client = tracking.connect(registered, config.read(registered / "params.yaml"))
    for name, text in {"classify-requests": "play some jazz", "tag-slots": "rain in oslo", "translate-dates": "may 2nd 1999"}.items():
        version = versions.at_alias(client, name, versions.CHALLENGER)
        answered = mlflow.pyfunc.load_model(f"models:/{name}/{version.version}").predict(pd.DataFrame({"text": [text, text]}))
        own = versions.open_version(client, version)
        assert answered.iloc[:, 0].tolist() == answers.said(own, [text, text])
        if own.task == "classify":  # of two texts at once, whose sums are in another order
            assert answered.loc[0, "probability"] == pytest.approx(max(serving.labels(own, text).values()), abs=1e-6)


def test_mlflow_serves_captions_of_columns_by_name(registered):
    import mlflow.pyfunc

    client = tracking.connect(registered, config.read(registered / "params.yaml"))
    own = versions.open_version(client, versions.at_alias(client, "caption-things", versions.CHALLENGER))
    served = mlflow.pyfunc.load_model(f"models:/caption-things/{versions.at_alias(client, 'caption-things', versions.CHALLENGER).version}")
    asked = things(9).drop_columns("caption")
    said = answers.captioned(own, Vectors.from_table(asked))
    assert served.predict(asked.select(asked.column_names[::-1]).to_pandas())["caption"].tolist() == said
    service, frame = serving.RowService(own), asked.to_pandas()
    with pytest.raises(UsageError, match="no column 'width'; the model reads 6"):
        service.predict(frame.drop(columns="width"))
    with pytest.raises(UsageError, match="row 3: 'depth' is no finite number"):
        service.predict(frame.assign(depth=[0.1, 0.1, math.inf, *[0.1] * 6]))


@pytest.mark.parametrize("name", [f"{task}-{dataset}" for dataset, task in TASKS.items()])
def test_a_version_has_a_page(registered, name):
    text = (registered / f"reports/models/{name}-v1.md").read_text()
    assert "## Verdict" in text and "rows, sha256" not in text and "- train: " in text and "## Limits" in text
    assert f"data set {name.split('-')[1]}" in text
    assert " rows that no contender had learned from" in text and "| unigram |" not in text
