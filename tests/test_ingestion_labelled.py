"""Labelled text from a person's files to the tidy table: what files are taken for, how they are kept, and what is told of each row."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from projects import PARAMS
from test_ingestion import SHARED, bytes_of, dvc, empty_project, project, raw, version_of  # noqa: F401  # fixtures among them

from longshort import accounts, config, editing, storage
from longshort.errors import DataRefused, UsageError
from longshort.ingestion import intake, parts, recognition, source, stage
from longshort.ingestion.dataset import Terms, assemble

SPAM = b"Category,Message\nham,Ok lar...\nspam,Win a prize\nham,\n"
ATIS = {
    f"{part}/{name}": content
    for part, lines in (("train", 3), ("valid", 2), ("test", 1))
    for name, content in (
        ("seq.in", b"to boston now\n" * lines),
        ("seq.out", b"O B-city O\n" * lines),
        ("label", b"flight\n" * (lines - 1) + b"fare\n"),
    )
}
PAIRS = "Go.\tVa !\nWow!\tÇa alors !\nRun!\tCours !\n".encode()
THINGS = b'red,width,caption\n0.5,10,a small box\n-1e-3,2,"a ball, blue"\n'
SUMS = b"16+75  _91  \n52+607 _659 \n"


def lay(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """A person's files in a folder of theirs."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return intake.collect([str(folder)])


def settings(name: str, task: config.Task) -> config.Params:
    return intake.with_dataset(config.read(PARAMS), name, task, {})


# --- what files are -----------------------------------------------------------------------------


@pytest.mark.parametrize(("files", "task"), [
    ({"spam.csv": SPAM}, "classify"),
    ({"spam.csv.gz": gzip.compress(SPAM)}, "classify"),
    ({"spam.csv": SPAM.replace(b",", b";")}, "classify"),
    ({"a.tsv": b"text\tlabel\none\tx\n"}, "classify"),
    ({"a.jsonl": b'{"text": "one", "label": "x"}\n'}, "classify"),
    ({"a.json": b' [\n {"intent": "x", "utterance": "one"}]'}, "classify"),
    ({"train.csv": SPAM, "test.csv": SPAM}, "classify"),
    (ATIS, "tag"),
    ({f"{name}.txt": data for name, data in ATIS.items()}, "tag"),
    ({"fra.txt": PAIRS}, "translate"),
    ({"fra.tsv": PAIRS}, "translate"),
    ({"fra.txt": PAIRS.replace(b"\n", b"\tCC-BY 2.0\n")}, "translate"),
    ({"addition.txt": SUMS}, "translate"),
    ({"things.csv": THINGS}, "caption"),
    ({"things.csv.gz": gzip.compress(THINGS.replace(b"caption", b" Captions"))}, "caption"),
    ({"train.tsv": b"caption\tx\ty\na b\t1\t2\n", "test.tsv": b"caption\tx\ty\na b\t1\tmissing\nc\t1\t2\n"}, "caption"),
    ({"things.jsonl": b'{"x": 1, "caption": "a b", "y": 2.5}\n'}, "caption"),
    ({"films.csv": b"text,label,caption\ngood,x,a b\n"}, "classify"),
    ({"AAPL.csv": b"Date,Open,High,Low,Close\n2024-01-08,1,1,1,1\n"}, "forecast"),
    ({"AAPL.tsv": b"Date\tClose\n2024-01-08\t1\n"}, "forecast"),
    ({"notes.csv": b"Date,Close,Text,Label\n2024-01-08,1,up,good\n"}, "forecast"),
    ({"story.txt": b"Long ago\nthere was\n"}, "language-model"),
    ({"story.txt": b"Chapter\tone\n\nLong ago there was\n"}, "language-model"),
    ({"label.txt": b"Long ago\n"}, "language-model"),
])  # fmt: skip
def test_files_are_taken_for_what_they_hold(tmp_path, files, task):
    assert recognition.guess_task(lay(tmp_path, files)) == task


@pytest.mark.parametrize("files", [
    {"tweets.csv": b"date,text,label\n2024-01-08,up,good\n"},
    {"rt.pos": b"good\n", "rt.neg": b"bad\n"},
    {"categories.json": b'["a", "b"]'},
    {"train.csv": SPAM, "categories.json": b'["a", "b"]'},
    {"spam.csv": SPAM, "story.txt": b"Long ago\n"},
], ids=["a date beside a label", "names that are labels", "a list", "rows and a list", "two kinds"])  # fmt: skip
def test_what_is_not_clear_is_refused_with_the_option_and_what_each_file_looks_like(tmp_path, files):
    with pytest.raises(UsageError) as refusal:
        recognition.guess_task(lay(tmp_path, files))
    assert "`--as labels`, `--as tags`, `--as pairs`, `--as captions`" in str(refusal.value)
    assert any(name in str(refusal.value) for name in files)


def test_labels_without_a_header_are_not_taken_for_pairs(tmp_path):
    rows = b"".join(b"%s\tmessage number %d\n" % ((b"ham", b"spam")[n % 2], n) for n in range(40))
    assert recognition.guess_task(lay(tmp_path, {"sms.txt": rows})) == "language-model"


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.csv")
    assert recognition.guess_task([tmp_path / "a.csv"]) == "forecast"


# --- which are read together, and which part they are -------------------------------------------


def test_words_tags_and_labels_of_a_folder_are_read_together():
    assert recognition.bundles("tag", ATIS) == [tuple(f"{part}/{name}" for name in ("seq.in", "seq.out", "label")) for part in
                                                ("test", "train", "valid")]  # fmt: skip


def test_tables_are_read_alone_and_files_whose_names_are_labels_together():
    names = ["b.csv", "x.pos", "x.neg", "a.jsonl.gz"]
    assert recognition.bundles("classify", names) == [("a.jsonl.gz",), ("b.csv",), ("x.neg", "x.pos")]


@pytest.mark.parametrize(("names", "said"), [
    (["train/seq.in", "train/label"], "train/label: no seq.out beside it"),
    (["seq.in", "seq.out", "label", "slots.txt"], "slots.txt: is none of seq.in, seq.out, label"),
    (["seq.in", "seq.in.txt", "seq.out", "label"], "seq.in.txt: is a second seq.in beside seq.in"),
])  # fmt: skip
def test_files_that_are_no_three_are_refused(names, said):
    with pytest.raises(DataRefused, match=re.escape(said)):
        recognition.bundles("tag", names)


@pytest.mark.parametrize(("names", "found"), [
    (["train.csv", "dev.csv", "test.csv"], ["train", "validation", "test"]),
    (["train/a.csv", "VALID/a.csv", "Testing/a.csv"], ["train", "validation", "test"]),
    (["x-train.csv", "x_val.csv"], ["train", "validation"]),
    (["train/pos/1.txt", "test/neg/1.txt"], ["train", "test"]),
    (["train.csv"], []),
    (["a.csv", "b.csv"], []),
    (["contest.csv", "training_test.csv", "a.csv"], []),
])  # fmt: skip
def test_a_part_is_what_names_or_folders_say_where_they_say_several(names, found):
    assert list(parts.parts_of(names).values()) == found


@pytest.mark.parametrize(("names", "said"), [
    (["train.csv", "test.csv", "more.csv"], "more.csv: says no part of the data set, and 2 other files do (test, train)"),
    (["dev.csv", "test.csv"], "the files are for test and validation, and none is for train"),
])  # fmt: skip
def test_parts_that_do_not_cover_the_files_are_refused(names, said):
    with pytest.raises(DataRefused, match=re.escape(said)):
        parts.parts_of(names)


# --- the table and the account ------------------------------------------------------------------


def balance(counts: dict) -> list[int]:
    return [counts[name] for name in ("rows_in", "kept", "quarantined", "merged")]


def test_a_table_of_texts_has_an_account_of_labels_and_lengths_and_its_bad_rows_are_set_aside():
    made = assemble({"spam.csv": SPAM}, "classify")
    assert made.table.to_pylist() == [{"text": "Ok lar...", "label": "ham"}, {"text": "Win a prize", "label": "spam"}]
    (file,) = made.account["files"]
    assert balance(made.account) == balance(file) == [3, 2, 1, 0]
    assert file["labels"] == {"ham": 1, "spam": 1} and file["lengths"] == {"text": {"unit": "words", "median": 2, "most": 3}}
    assert file["read_as"] == {
        "layout": "text and label", "delimiter": "comma", "encoding": "UTF-8", "columns": "'Message' is the text, 'Category' the label",
    }  # fmt: skip
    ((name, row),) = made.quarantine.items()
    assert name == f"spam.csv.{file['sha256'][:8]}.jsonl"
    told = json.loads(row)
    assert [told[key] for key in ("file", "line", "column", "rule", "raw")] == ["spam.csv", 4, 5, "empty", "ham,"]


def test_the_part_of_each_row_stands_in_a_column_where_files_say_it():
    made = assemble(ATIS, "tag")
    assert made.table.column_names == ["text", "tags", "label", "part"]
    assert made.table["part"].to_pylist() == ["test", "train", "train", "train", "validation", "validation"]
    assert made.account["parts"] == {"train": 3, "validation": 2, "test": 1}
    assert assemble({"a.csv": SPAM}, "classify").table.column_names == ["text", "label"]


def test_every_file_of_three_is_accounted_for_and_its_rows_once():
    account = assemble(ATIS, "tag").account
    assert balance(account) == [6, 6, 0, 0] == [sum(column) for column in zip(*map(balance, account["files"]), strict=True)]
    assert {file["name"] for file in account["files"]} == set(ATIS) and all(len(file["sha256"]) == 64 for file in account["files"])


def test_rows_that_are_the_same_in_several_files_are_told_for_all_together():
    notes = assemble({"a.csv": SPAM, "b.csv": SPAM.replace(b"spam,Win", b"ham,Win")}, "classify").account["notes"]
    assert notes == [
        "all files together: kept 1 rows that repeat an earlier one exactly",
        "warning: all files together: 1 texts come with more than one label; is one a mistake?",
    ]


def test_a_warning_is_a_refusal_where_a_person_is_strict():
    secret = b"text,label\nwrite to me@example.org,a\n"
    assert assemble({"a.csv": secret}, "classify").table.num_rows == 1
    with pytest.raises(DataRefused, match="--strict"):
        assemble({"a.csv": secret}, "classify", Terms(strict=True))


def test_pairs_and_sums_are_a_table_of_sources_and_targets():
    assert assemble({"fra.txt": PAIRS}, "translate").table.to_pylist()[0] == {"source": "Go.", "target": "Va !"}
    made = assemble({"addition.txt": SUMS}, "translate")
    assert made.table["target"].to_pylist() == ["91", "659"]
    assert made.account["files"][0]["lengths"]["source"] == {"unit": "characters", "median": 5, "most": 6}


# --- numbers with captions ----------------------------------------------------------------------


def test_numbers_stand_by_their_names_in_the_files_order_and_a_cell_that_is_none_sets_its_row_aside():
    rows = b"x,2,b\n1,inf,c\n1,2,\n1,2\n1,1_0,d\n1e300,2,e\n1, 3 ,f\n"
    made = assemble({"things.csv": THINGS + rows}, "caption")
    assert made.table.to_pylist() == [
        {"red": 0.5, "width": 10, "caption": "a small box"},
        {"red": -1e-3, "width": 2, "caption": "a ball, blue"},
        {"red": 1, "width": 3, "caption": "f"},
    ]
    assert balance(made.account) == [9, 3, 6, 0]
    (content,) = made.quarantine.values()
    told = [json.loads(line) for line in content.splitlines()]
    assert [(row["line"], row["column"], row["what"]) for row in told] == [
        (4, 1, "'red' is 'x', no finite number"),
        (5, 3, "'width' is 'inf', no finite number"),
        (6, 5, "no caption"),
        (7, 1, "2 cells where the header has 3"),
        (8, 3, "'width' is '1_0', no finite number"),
        (9, 1, "'red' is '1e300', no finite number of 32 bits"),
    ]


def test_objects_of_numbers_and_captions_are_rows_and_what_is_none_is_set_aside():
    good, listed = b'{"x": 1, "caption": "a", "y": "2.5"}', b'{"x": [1], "caption": "a", "y": 2}'
    made = assemble(
        {"a.json": b"[" + b",\n".join([good, listed, b'{"x": 1, "caption": "b"}', b'{"x": true, "caption": "c", "y": 2}']) + b"]"},
        "caption",
    )
    assert made.table.to_pylist() == [{"x": 1, "y": 2.5, "caption": "a"}]
    (content,) = made.quarantine.values()
    told = [json.loads(line) for line in content.splitlines()]
    assert [(row["line"], row["what"]) for row in told] == [
        (2, "'x' is a list, no cell"), (3, "no column 'y'"), (4, "'x' is 'true', no finite number"),
    ]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), [
    (b"x,caption\n1,a\n", "a.csv:1:1: 1 columns beside 'caption'; expected 2 or more"),
    (b"x,y\n1,2\n", "a.csv:1:1: no column for the caption among 'x', 'y'"),
    (b"x,y,x,caption\n1,2,3,a\n", "a.csv:1:5: a second column called 'x'"),
    (b"x,y,caption,Captions\n1,2,a,b\n", "a.csv:1:13: a second column called 'caption'"),
    (b",x,y,caption\n0,1,2,a\n", "a.csv:1:1: a column without a name"),
    (b"x,part,caption\n1,2,a\n", "a.csv:1:3: a column called 'part'"),
    (b"file,x,caption\na.png,1,a\n", "a.csv:2:1: none of 1 rows can be used: 'file' is 'a.png', no finite number"),
    (b"x;y;caption\n1,5;2;a\n", "a.csv:2:1: none of 1 rows can be used: 'x' is '1,5', no finite number"),
    (b"x,y,caption\n", "a.csv:1:1: none of 0 rows can be used"),
    (b'{"x": 1, "caption": "a", "y": 2}\n{"x": 1, "caption": "\\ud800"}', "a.csv:2:1: a text holds half of a surrogate pair (U+D800)"),
    (b'{"x": 1, "y": 2, "caption": "a\\u0000"}', "a.csv:1:1: a text holds NUL"),
    (b'{"x": 1, "y\\udfff": 2, "caption": "a"}', "a.csv:1:1: a text holds half of a surrogate pair (U+DFFF)"),
])  # fmt: skip
def test_a_file_of_captions_is_refused_with_its_place(content, said):
    with pytest.raises(DataRefused, match=re.escape(said)):
        assemble({"a.csv": content}, "caption")


def test_a_decimal_comma_is_read_where_a_person_says_so():
    stated = Terms(dataclasses.replace(Terms().asked, decimal=","))
    assert assemble({"a.csv": b"x;y;caption\n1,5;2;a\n1.5;2;b\n"}, "caption", stated).table.to_pylist() == [
        {"x": 1.5, "y": 2, "caption": "a"}
    ]


def test_a_number_of_json_has_its_own_mark():
    stated = Terms(dataclasses.replace(Terms().asked, decimal=","))
    found = assemble({"a.json": b'{"x": 1.5, "y": "2,5", "caption": "a"}\n{"x": 1e-30, "y": 2, "caption": "b"}\n'}, "caption", stated).table
    assert found.to_pylist() == [{"x": 1.5, "y": 2.5, "caption": "a"}, {"x": 1e-30, "y": 2, "caption": "b"}]


def test_files_of_captions_have_the_same_columns_in_any_order():
    made = assemble({"train.csv": THINGS, "test.csv": b"caption,width,red\na small box,10,0.5\n"}, "caption")
    assert made.table.column_names == ["width", "red", "caption", "part"] and made.table["red"].to_pylist() == [0.5, 0.5, -1e-3]
    assert made.account["notes"] == ["all files together: kept 1 rows that repeat an earlier one exactly"]
    with pytest.raises(
        DataRefused, match=re.escape("b.csv:1:1: no column 'red', and a column 'rad' that is not known (did you mean 'red'?), beside a.csv")
    ):
        assemble({"a.csv": THINGS, "b.csv": THINGS.replace(b"red", b"rad")}, "caption")


def test_the_account_is_told_file_by_file():
    told = "\n".join(accounts.lines(assemble(ATIS, "tag").account))
    for said in (
        "read as    words, a tag a word, and a label a line, UTF-8",
        "holds      2 labels: flight 2, fare 1",
        "tags       2 different ones",
        "text       3 words in the median, 3 at most",
        "parts        3 train, 2 validation, 1 test",
    ):
        assert said in told, said


def test_the_account_of_many_labels_shows_the_most_frequent():
    rows = "".join(f"text {n},{label}\n" for n, label in enumerate("aaabbcdefg"))
    told = accounts.lines(assemble({"x.csv": f"text,label\n{rows}".encode()}, "classify").account)
    assert "  holds      7 labels: a 3, b 2, c 1, d 1, e 1 and 2 more" in told


# --- taking in ----------------------------------------------------------------------------------


def take(root: Path, files: list[Path], task: config.Task, name: str = "mine") -> intake.Intake:
    return intake.take_in(root, name, files, settings(name, task))


@pytest.fixture
def taken(project: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A project that holds the small ATIS as mine, from the folder `theirs`."""
    take(project, lay(tmp_path / "theirs", ATIS), "tag")
    return project


def test_folders_are_kept_and_the_version_is_the_one_that_dvc_gives(taken):
    assert raw(taken, "mine") == ATIS
    done = take(taken, intake.collect([str(taken.parent / "theirs")]), "tag")
    assert not done.changed and done.version == version_of(taken, "mine")
    assert "up to date" in dvc(taken, "status", "data/raw/mine.dvc") and not list((taken / "data/raw").glob(".mine.*"))


def test_the_same_folders_again_do_not_start_dvc(taken, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started a process"))
    assert not take(taken, intake.collect([str(taken.parent / "theirs")]), "tag").changed


def test_a_file_that_changed_in_a_folder_is_another_version(taken):
    before = version_of(taken, "mine")
    (taken.parent / "theirs/train/label").write_bytes(b"fare\nfare\nfare\n")
    done = take(taken, intake.collect([str(taken.parent / "theirs")]), "tag")
    assert done.changed and done.version == version_of(taken, "mine") != before
    assert raw(taken, "mine")["train/label"] == b"fare\nfare\nfare\n"


@pytest.mark.long
@pytest.mark.parametrize("crash", [
    lambda raw: shutil.rmtree(raw / "mine/train"),
    lambda raw: (raw / "mine/train/label").write_bytes(b"damaged"),
    lambda raw: (raw / "mine").rename(raw / ".mine.old.1"),
    lambda raw: (raw / "mine.dvc").write_bytes(b""),
], ids=["no folder", "damaged", "between two renames", "empty .dvc"])  # fmt: skip
def test_what_a_crash_left_in_folders_is_healed_by_the_next_call(taken, crash):
    crash(taken / "data/raw")
    done = take(taken, intake.collect([str(taken.parent / "theirs")]), "tag")
    assert done.version == version_of(taken, "mine") and raw(taken, "mine") == ATIS
    assert "up to date" in dvc(taken, "status", "data/raw/mine.dvc") and not list((taken / "data/raw").glob(".mine.*"))


def test_when_a_copy_fails_no_folder_of_it_stands(taken, monkeypatch):
    before = bytes_of(taken / "data/raw")
    (taken.parent / "theirs/train/label").write_bytes(b"fare\nfare\nfare\n")
    whole = source.copy
    monkeypatch.setattr(source, "copy", lambda path, to: pytest.fail("full") if path.name == "seq.out" else whole(path, to))
    with pytest.raises(pytest.fail.Exception):
        take(taken, intake.collect([str(taken.parent / "theirs")]), "tag")
    assert bytes_of(taken / "data/raw") == before


def test_every_file_in_a_folder_reaches_the_disk_before_the_rename(tmp_path, monkeypatch):
    lay(tmp_path / "new", ATIS)
    synced: set[str] = set()
    monkeypatch.setattr(storage, "_sync_file", lambda path: synced.add(path.relative_to(tmp_path).as_posix()))
    monkeypatch.setattr(storage, "sync_folder", lambda path: synced.add(path.relative_to(tmp_path).as_posix()))
    storage.sync_batch(tmp_path / "new")
    assert synced == {*(f"new/{name}" for name in ATIS), "new", "new/train", "new/valid", "new/test"}


@pytest.mark.parametrize(("files", "said"), [
    ({"taken.json": b'{"text": "a", "label": "b"}'}, "a note of its own"),
    ({"train\u200b/a.csv": SPAM, "test/a.csv": SPAM}, "U+200B"),
])  # fmt: skip
def test_a_name_that_a_data_set_cannot_hold_is_refused(project, tmp_path, files, said):  # noqa: F811
    with pytest.raises(DataRefused, match=re.escape(said)):
        take(project, lay(tmp_path / "theirs", files), "classify")


def test_a_link_in_a_folder_of_the_raw_data_is_refused(taken):
    (taken / "data/raw/mine/train/more").symlink_to("label")
    with pytest.raises(DataRefused, match="this is a symbolic link"):
        stage.read_raw(taken, "mine", "tag")


def test_the_stage_writes_the_table_and_the_quarantine_in_the_files_folders(project, tmp_path):  # noqa: F811
    take(project, lay(tmp_path / "theirs", {"train/a.csv": SPAM, "test/a.csv": SPAM}), "classify")
    stage.run(project, "mine", settings("mine", "classify"))
    made = project / "data/ingestion/mine"
    storage.verify(made)
    assert storage.read_table(made / "table.parquet")["part"].to_pylist() == ["test", "test", "train", "train"]
    assert len(list(made.glob("quarantine/t*/a.csv.*.jsonl"))) == 2


@pytest.mark.parametrize("task", config.LABELLED)
def test_registering_adds_the_data_set_and_an_item_for_every_variant_that_can_learn_it(project, task):  # noqa: F811
    alstm = "{cell: alstm, hidden_size: 4, num_layers: 1, bidirectional: false, dropout: 0.0}"
    editing.assign(project / "params.yaml", [f"models.variants.alstm={alstm}"])
    written = intake.register(project, "mine", task, {})
    assert f"mine: {{task: {task}, source: raw}}" in written
    added = [item for item, entry in config.read(project / "params.yaml").training.items.items() if entry.dataset == "mine"]
    learn = ["rnn", "lstm", "gru", "bilstm", "stacked"] + ["alstm"] * (task == "classify")
    assert added == [f"mine-{variant}" for variant in learn]


# --- what is checked together -------------------------------------------------------------------


def test_files_that_only_say_together_what_they_are_are_checked_together(tmp_path):
    files = lay(tmp_path, {**ATIS, "spam.csv": SPAM, "x/label": b"Long ago\n"})
    groups = [[path.relative_to(tmp_path).as_posix() for path in group] for group in intake.together(files, None)]
    assert sorted(map(len, groups)) == [1, 1, 3, 3, 3] and ["x/label"] in groups
    pair = lay(tmp_path / "rt", {"rt.pos": b"good\n", "rt.neg": b"bad\n"})
    assert intake.together(pair, "classify") == [pair] and len(intake.together(pair, None)) == 2


# --- real files ---------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("place", "task", "kept", "labels"), [
    ("labelled/sms_spam/spam.csv", "classify", 5572, 2),
    ("labelled/banking77/train.csv", "classify", 10003, 77),
    ("labelled/rt_polarity", None, 10662, 2),
    ("labelled/atis", "tag", 5871, 26),
    ("pairs/addition.txt", "translate", 50000, 0),
    ("pairs/fra_every5th.txt", "translate", 33426, 0),
])  # fmt: skip
def test_a_real_data_set_goes_in_whole(place, task, kept, labels):
    if not (SHARED / place).exists():
        pytest.skip(f"{SHARED / place} is not here")
    files = intake.collect([str(SHARED / place)])
    if task is None:
        with pytest.raises(UsageError):
            recognition.guess_task(files)
    else:
        assert recognition.guess_task(files) == task
    account = intake.inspect(files, settings("mine", task or "classify"), "mine")
    assert balance(account) == [kept, kept, 0, 0]
    assert len({label for file in account["files"] for label in file.get("labels", {})}) == labels
