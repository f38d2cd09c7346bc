"""Ingestion: what becomes of a person's files, byte by byte and row by row."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import projects
import pytest

from longshort import config, sessions, storage
from longshort.errors import ConfigError, DataRefused, LongshortError, UsageError
from longshort.ingestion import embedded, intake, prices, recognition, source, stage, text, versions
from longshort.ingestion.dataset import Terms, assemble
from longshort.ingestion.reading import Counts

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared/data"

HEADER = "Date,Open,High,Low,Close,Volume"
MONDAY, TUESDAY = "2024-01-08,10,12,9,11,500", "2024-01-09,11,13,10,12,600"
ANY = Terms(calendar="none")  # days that follow one another are no exchange's
CSV = f"{HEADER}\n{MONDAY}\n{TUESDAY}\n".encode()


def csv_of(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def days(count: int, first: dt.date = dt.date(2000, 1, 1)) -> list[str]:
    return [f"{first + dt.timedelta(day)},10,12,9,{10.5 + day % 7 / 10},500" for day in range(count)]


def among_good_rows(*bad: str) -> bytes:
    """A file of enough good rows (from line 2) that the bad ones behind them stay below 1 %."""
    return csv_of(*days(100 * len(bad)), *bad)


def refusal(data: bytes, name: str = "AAPL.csv", parse=prices.parse) -> str:
    with pytest.raises(DataRefused) as caught:
        parse(data, name)
    assert str(caught.value).count("; ") >= 2, "what was found; what was expected; what to do"
    return str(caught.value)


# --- prices: the breadth of them is in test_ingestion_prices.py -------------------------------


def test_a_plain_file_becomes_the_tidy_table():
    table = prices.parse(CSV, "aapl.csv").table
    assert table.column_names == ["ticker", "date", "open", "high", "low", "close", "adj_close", "volume"]
    assert [str(kind) for kind in table.schema.types] == ["string", "date32[day]", *["double"] * 5, "int64"]
    assert list(table.to_pylist()[0].values()) == ["AAPL", dt.date(2024, 1, 8), 10, 12, 9, 11, None, 500]


@pytest.mark.parametrize("name, ticker", [("aapl.csv", "AAPL"), ("BRK.B.csv", "BRK.B"), ("NA.csv", "NA"), ("1E5.csv", "1E5")])
def test_the_ticker_is_the_stem_of_the_file_as_text(name, ticker):
    assert prices.parse(CSV, name).table["ticker"].to_pylist() == [ticker] * 2


@pytest.mark.parametrize("name", ["-rf.csv", "=cmd.csv", "A" * 41 + ".csv", "Å.csv", "<b>.csv"])
def test_a_name_that_is_no_ticker_is_refused(name):
    assert "rename the file after its ticker" in refusal(CSV, name)


@pytest.mark.parametrize("row, column, rule", [
    ("2024-01-08,10,12,9,11,500,7", 27, "fields"),
    ("2024-01-08,10,12,9", 19, "fields"),
    ("2024-02-30,10,12,9,11,500", 1, "date"),
    ("2024-01-08,1_0,12,9,11,500", 12, "number"),
    ("2024-01-08,10,nan,9,11,500", 15, "number"),
    ("2024-01-08,10,12,9,11,-1", 23, "number"),
    ("2024-01-08,10,12,9,0,500", 20, "price"),
    ("2024-01-08,10,12,9,13,500", 20, "outside the range"),
])  # fmt: skip
def test_a_bad_row_is_set_aside_unchanged_with_its_place_and_rule(row, column, rule):
    reading = prices.parse(among_good_rows(row), "AAPL.csv")
    (bad,) = reading.quarantined
    assert (bad.file, bad.line, bad.column, bad.rule, bad.raw) == ("AAPL.csv", 102, column, rule, row)
    assert reading.counts == Counts(rows_in=101, kept=100, quarantined=1, merged=0)


def test_a_price_of_zero_in_the_adjusted_column_is_set_aside_too():
    header, good = f"{HEADER},Adj Close", [f"{row},10" for row in days(100)]
    (bad,) = prices.parse(csv_of(*good, f"{MONDAY},0", header=header), "AAPL.csv").quarantined
    assert bad.what == "Adj Close is 0; expected a price from 1e-06 to 1e+09"


def test_line_numbers_count_blank_lines():
    (bad,) = prices.parse(csv_of("", *days(100), "", "x,10,12,9,11,500"), "AAPL.csv").quarantined
    assert bad.line == 104


def test_one_percent_of_bad_rows_passes_and_more_is_refused():
    assert prices.parse(csv_of(*days(198), "bad", "bad"), "AAPL.csv").counts.quarantined == 2
    said = refusal(csv_of(*days(198), "bad", "bad", "bad"))
    assert said.startswith("AAPL.csv:200:4: 1 fields, the header has 6") and "3 of 201 rows (1.5%)" in said


def test_fifty_bad_rows_together_pass_and_more_are_refused():
    many, gap = days(6000), ["2024-01-08,10,12,9,0,500"] * 50
    assert prices.parse(csv_of(*many[:3000], *gap, *many[3000:]), "AAPL.csv").counts.quarantined == 50
    assert "51 rows together" in refusal(csv_of(*many[:3000], *gap, gap[0], *many[3000:]))


@pytest.mark.parametrize("rows_in, kept", [(3, 2), (2, 3)])
def test_counts_that_do_not_balance_cannot_be_made(rows_in, kept):
    with pytest.raises(LongshortError, match=f"{rows_in} rows came in, but {kept} kept"):
        Counts(rows_in=rows_in, kept=kept, quarantined=0, merged=0)


# --- text -------------------------------------------------------------------------------------


def document(data: bytes) -> str:
    return text.parse(data, "story.txt").table["text"].to_pylist()[0]


def test_a_text_becomes_one_document():
    table = text.parse("Long ago,\nthere was a café.\n".encode(), "story.txt").table
    assert table.to_pylist() == [{"document": "story.txt", "text": "Long ago,\nthere was a café.\n"}]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\u0085", "\u2028", "\u2029"])
def test_every_line_end_becomes_a_line_feed(end):
    reading = text.parse(f"one{end}two{end}".encode(), "story.txt")
    assert reading.table["text"].to_pylist() == ["one\ntwo\n"] and reading.notes == ("rewrote 2 line ends as line feeds",)


def test_characters_are_composed_and_the_byte_order_mark_goes():
    assert document("\ufeffcafe\u0301".encode()) == "café"


def test_control_characters_are_stripped_and_counted_but_tabs_stay():
    reading = text.parse(b"a\x07\tb\x1b[0m\x0c", "story.txt")
    assert reading.table["text"].to_pylist() == ["a\tb[0m"] and reading.notes == ("stripped 3 control characters",)


def test_joined_emoji_and_right_to_left_letters_are_untouched():
    assert document("👩‍👩‍👧 שלום".encode()) == "👩‍👩‍👧 שלום"


@pytest.mark.parametrize("data, lines", [(b"one", 1), (b"one\n", 1), (b"one\ntwo", 2), (b"one\n\n", 2)])
def test_a_text_keeps_all_its_lines(data, lines):
    assert text.parse(data, "story.txt").counts == Counts(rows_in=lines, kept=lines, quarantined=0, merged=0)


@pytest.mark.parametrize("data, said", [
    (b"", "story.txt:1:1: the file is empty"),
    (b" \n\t\n", "story.txt:1:1: the file is empty"),
    (b"\x01\x02\n", "story.txt:1:1: the file holds only control characters"),
    (b"one\ntw\x00o", "story.txt:2:3: NUL byte at offset 6"),
    (b"one\r\ntw\xe9", "story.txt:2:3: byte 0xE9 at offset 7"),
    (b"<html><body>", "story.txt:1:1: this is an HTML page"),
    (b"%PDF-1.4", "story.txt:1:1: this is a PDF document"),
    (b"\x1f\x8b", "story.txt:1:1: this is a gzip archive"),
])  # fmt: skip
def test_a_file_that_is_no_text_is_refused_with_its_place(data, said):
    assert said in refusal(data, "story.txt", text.parse)


# --- several files, and those that come embedded ----------------------------------------------


def test_several_tickers_are_sorted_and_their_accounts_add_up():
    other = among_good_rows("bad", days(1)[0])
    dataset = assemble({"MSFT.csv": other, "AAPL.csv": CSV}, "forecast", ANY)
    assert dataset.table["ticker"].to_pylist() == ["AAPL"] * 2 + ["MSFT"] * 200
    account = dataset.account
    assert [account[key] for key in ("rows_in", "kept", "quarantined", "merged")] == [204, 202, 1, 1]
    assert [sum(file[key] for file in account["files"]) for key in ("rows_in", "kept", "quarantined", "merged")] == [204, 202, 1, 1]


def test_files_of_one_ticker_are_one_history():
    old, new = csv_of(*days(120)), csv_of(*days(200)[100:])
    dataset = assemble({"aapl.csv": old, "AAPL.txt": new}, "forecast", ANY)
    assert dataset.table == prices.parse(csv_of(*days(200)), "AAPL.csv").table
    assert [dataset.account[key] for key in ("rows_in", "kept", "quarantined", "merged")] == [220, 200, 0, 20]


def test_files_of_one_ticker_that_contradict_one_another_are_refused_unless_the_newer_is_preferred():
    old, new = csv_of(*days(120)), csv_of(*(row.replace(",500", ",501") for row in days(200)[100:]))
    with pytest.raises(DataRefused, match=r"AAPL on 2000-04-10 has volume 501, and 500 in aapl\.csv; .*--prefer newer"):
        assemble({"aapl.csv": old, "AAPL.txt": new}, "forecast", ANY)
    merged = assemble({"aapl.csv": old, "AAPL.txt": new}, "forecast", dataclasses.replace(ANY, prefer="newer"))
    assert merged.table["volume"].to_pylist() == [500] * 100 + [501] * 100 and merged.account["merged"] == 20


def some_files(tmp_path: Path, *names: str) -> dict[str, Path]:
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(csv_of(*(row.replace(",10,", f",{10 + seed / 10},") for row in days(300)), "bad"))
    return {name: tmp_path / name for name in names}


@pytest.mark.parametrize("rows", [2**20, 250], ids=["one group", "groups that end within files"])
def test_files_of_a_ticker_each_go_through_and_give_the_bytes_of_all_at_once(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(storage, "ROW_GROUP", rows)
    files = some_files(tmp_path, "C.csv", "a.csv", "B.csv")
    monkeypatch.setattr(stage, "assemble", lambda *_: pytest.fail("all were held"))
    poured = stage.write(files, "forecast", ANY, tmp_path / "poured.parquet")
    whole = assemble(files, "forecast", ANY)
    storage.write_table(tmp_path / "whole.parquet", whole.table)
    assert (tmp_path / "poured.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert (poured.account, poured.quarantine) == (whole.account, whole.quarantine)
    assert whole.table["ticker"].unique().to_pylist() == ["A", "B", "C"]


def test_files_whose_tickers_come_out_of_order_are_put_in_order(tmp_path):
    files = some_files(tmp_path, "B.csv", "C.csv")
    (tmp_path / "all.csv").write_bytes(
        csv_of(*(f"{row},Z" for row in days(300)), *(f"{row},A" for row in days(300)), header=f"{HEADER},Ticker")
    )
    files["all.csv"] = tmp_path / "all.csv"
    stage.write(files, "forecast", ANY, tmp_path / "table.parquet")
    assert storage.read_table(tmp_path / "table.parquet")["ticker"].unique().to_pylist() == ["A", "B", "C", "Z"]


def test_a_name_that_cannot_be_shown_is_refused():
    with pytest.raises(DataRefused, match=r"'a\\nb.txt'.*rename"):
        assemble({"a\nb.txt": b"one"}, "language-model")


def test_goog_is_1047_sessions_of_one_ticker():
    table = embedded.load("goog").table
    assert table.num_rows == 1047 and set(table["ticker"].to_pylist()) == {"GOOG"}
    dates = table["date"].to_pylist()
    assert (dates[0], dates[-1]) == (dt.date(2004, 8, 19), dt.date(2008, 10, 14)) and dates == sorted(set(dates))
    assert list(table.to_pylist()[0].values())[2:] == [100.0, 104.06, 95.96, 100.34, 100.34, 22351900]


def test_topics_are_documents_in_the_order_of_their_names():
    names = embedded.load("topics").table["document"].to_pylist()
    assert names == sorted(set(names)) and "lambda" in names


def test_an_embedded_data_set_names_its_library_version_and_content():
    found = embedded.load("goog")
    assert (found.origin, len(found.sha256)) == ("matplotlib", 64) and found.version[0].isdigit()


# --- the stage --------------------------------------------------------------------------------


def params_of(name: str, task: str = "forecast", source: str = "raw", sources: dict | None = None) -> config.Params:
    """The tests' settings with one data set, whose every row counts."""
    params = config.read(projects.PARAMS)
    datasets = {name: config.Dataset(task=task, source=source, read=config.Read(calendar="none"))}
    rules = params.validation.forecast.model_copy(update={"min_sessions": 1})
    validation = params.validation.model_copy(update={"forecast": rules})
    return params.model_copy(update={"ingestion": config.Ingestion(datasets=datasets, sources=sources or {}), "validation": validation})


def put(root: Path, files: dict[str, bytes]) -> Path:
    """A raw data set called mine, beside the hidden files that are none of its own."""
    place = root / "data/raw/mine"
    place.mkdir(parents=True)
    for name, data in {".gitignore": b"/x", ".DS_Store": b"\0", **files}.items():
        (place / name).write_bytes(data)
    return place


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_stage_writes_table_account_and_quarantine(tmp_path):
    data = among_good_rows("2024-01-08,x,12,9,11,500")
    put(tmp_path, {"AAPL.csv": data, "MSFT.csv": CSV})
    stage.run(tmp_path, "mine", params_of("mine"))
    made = tmp_path / "data/ingestion/mine"
    storage.verify(made)
    assert storage.read_table(made / "table.parquet") == assemble({"AAPL.csv": data, "MSFT.csv": CSV}, "forecast", ANY).table
    account = storage.read_json(made / "account.json")
    assert account["rows_in"] == 103 and [file["name"] for file in account["files"]] == ["AAPL.csv", "MSFT.csv"]
    (aside,) = (made / "quarantine").iterdir()
    assert aside.name == f"AAPL.csv.{account['files'][0]['sha256'][:8]}.jsonl"
    row = json.loads(aside.read_text(encoding="utf-8"))
    assert (row["line"], row["column"], row["rule"], row["raw"]) == (102, 12, "number", "2024-01-08,x,12,9,11,500")


def test_the_same_files_give_the_same_bytes_anywhere(tmp_path):
    made = []
    for place, names in (("here", ["AAPL.csv", "MSFT.csv"]), ("there", ["MSFT.csv", "AAPL.csv"])):
        put(tmp_path / place, {name: among_good_rows("bad") for name in names})
        stage.run(tmp_path / place, "mine", params_of("mine"))
        stage.run(tmp_path / place, "mine", params_of("mine"))
        made.append(bytes_of(tmp_path / place / "data/ingestion/mine"))
    assert made[0] == made[1] and len(made[0]) == 5


def test_a_text_data_set_has_a_row_a_document_and_no_quarantine(tmp_path):
    words = " ".join(f"word{place}" for place in range(80)).encode()
    put(tmp_path, {"b.txt": words, "a.md": words[::-1]})
    stage.run(tmp_path, "mine", params_of("mine", task="language-model"))
    made = tmp_path / "data/ingestion/mine"
    assert storage.read_table(made / "table.parquet")["document"].to_pylist() == ["a.md", "b.txt"]
    assert sorted(bytes_of(made)) == ["account.json", "manifest.json", "table.parquet"]


@pytest.mark.parametrize("name, task, rows", [("goog", "forecast", 1047), ("topics", "language-model", None)])
def test_the_stage_needs_no_file_for_an_embedded_data_set(tmp_path, name, task, rows):
    stage.run(tmp_path, name, params_of(name, task=task, source="embedded"))
    account = storage.read_json(tmp_path / "data/ingestion" / name / "account.json")
    assert account["rows_in"] == account["kept"] and account["embedded"]["sha256"] == embedded.load(name).sha256
    assert rows in (None, account["rows_in"])


def test_an_embedded_data_set_that_does_not_exist_is_refused_with_those_that_do(tmp_path):
    with pytest.raises(ConfigError, match="those that exist: goog, topics"):
        stage.run(tmp_path, "gogg", params_of("gogg", source="embedded"))


def test_an_embedded_data_set_under_another_task_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="task is 'language-model', but the data are for 'forecast'"):
        stage.run(tmp_path, "goog", params_of("goog", task="language-model", source="embedded"))


@pytest.mark.parametrize("files", [None, {}])
def test_a_raw_folder_that_is_missing_or_empty_is_refused_with_both_remedies(tmp_path, files):
    if files is not None:
        put(tmp_path, files)
    with pytest.raises(DataRefused, match=r"data/raw/mine: .*`longshort ingest PATH`.*`dvc pull data/raw/mine.dvc`"):
        stage.run(tmp_path, "mine", params_of("mine"))


@pytest.mark.parametrize("make, said", [
    (lambda path: path.mkdir(), "this is a folder"),
    (lambda path: path.symlink_to("AAPL.csv"), "this is a symbolic link"),
    (lambda path: os.mkfifo(path), "this is a pipe"),
], ids=["folder", "link", "pipe"])  # fmt: skip
def test_only_regular_files_are_read(tmp_path, make, said):
    make(put(tmp_path, {"AAPL.csv": CSV}) / "B.csv")
    with pytest.raises(DataRefused, match=said):
        stage.run(tmp_path, "mine", params_of("mine"))
    with pytest.raises(DataRefused, match=said):
        intake.inspect([tmp_path / "data/raw/mine/B.csv"], params_of("mine"), "mine")


def test_a_refused_file_leaves_the_old_table_as_it_was(tmp_path):
    place = put(tmp_path, {"AAPL.csv": CSV})
    stage.run(tmp_path, "mine", params_of("mine"))
    before = bytes_of(tmp_path / "data/ingestion")
    (place / "AAPL.csv").write_bytes(b"")
    with pytest.raises(DataRefused):
        stage.run(tmp_path, "mine", params_of("mine"))
    assert bytes_of(tmp_path / "data/ingestion") == before


# --- which files, which data set, which task --------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """prices/AAPL.csv, prices/old/MSFT.csv and hidden files, as a person's folder."""
    for name in ("AAPL.csv", "old/MSFT.csv", ".DS_Store", ".git/config"):
        path = tmp_path / "prices" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CSV)
    return tmp_path / "prices"


def test_a_file_a_folder_and_a_glob_are_collected_each_file_once(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    both = [folder / "AAPL.csv", folder / "old/MSFT.csv"]
    assert intake.collect([str(folder)]) == both
    assert intake.collect(["~/prices/*.csv", "~/prices/AAPL.csv", f"{folder}/old/../AAPL.csv"]) == both[:1]
    assert intake.collect(["~/prices/**/*.csv"]) == both


@pytest.mark.parametrize("path, said", [("nowhere.csv", "there is no such file or folder"), ("*.parquet", "matches no file")])
def test_a_path_that_names_nothing_is_refused(folder, path, said):
    with pytest.raises(DataRefused, match=said):
        intake.collect([str(folder), str(folder / path)])


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(DataRefused, match="no file in it"):
        intake.collect([str(tmp_path)])


@pytest.mark.parametrize("target", ["AAPL.csv", "old", "."])
def test_a_link_within_a_folder_is_refused_and_not_followed(folder, target):
    (folder / "link").symlink_to(target)
    with pytest.raises(DataRefused, match="link: this is a symbolic link"):
        intake.collect([str(folder)])


def test_a_hidden_file_that_is_named_is_refused(folder):
    with pytest.raises(DataRefused, match="a hidden file"):
        intake.collect([str(folder / ".DS_Store")])


def test_a_folder_of_too_many_files_is_refused(folder, monkeypatch):
    monkeypatch.setattr(intake, "MOST_FILES", 1)
    with pytest.raises(DataRefused, match="more than 1 files"):
        intake.collect([str(folder)])


def test_a_data_set_is_named_after_its_file_or_the_folder_of_its_files(folder):
    assert intake.dataset_name([folder / "AAPL.csv"]) == "aapl"
    assert intake.dataset_name([folder / "AAPL.csv", folder / "old/MSFT.csv"]) == "prices"


@pytest.mark.parametrize("stem", ["日本", "___", "a" * 41])
def test_a_name_that_gives_none_for_a_data_set_is_refused(stem):
    with pytest.raises(UsageError, match="gives no name"):
        intake.dataset_name([Path(f"/x/{stem}.csv")])


def test_the_task_is_told_by_the_suffix():
    assert recognition.guess_task([Path("a.csv"), Path("b.CSV")]) == "forecast"
    assert recognition.guess_task([Path("a.txt"), Path("b.md")]) == "language-model"


@pytest.mark.parametrize("names", [["a.csv", "b.txt"], ["a.json"], ["a"], ["a.csv", "b.json"]])
def test_a_mixture_or_an_unknown_suffix_asks_for_as(names):
    with pytest.raises(UsageError, match="--as stocks"):
        recognition.guess_task([Path(name) for name in names])


# --- taking in --------------------------------------------------------------------------------


def command(root: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, env={**os.environ, "DVC_NO_ANALYTICS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def dvc(root: Path, *words: str) -> str:
    return command(root, sys.executable, "-m", "dvc", *words)


@pytest.fixture(scope="module")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    command(root, "git", "init", "-q")
    dvc(root, "init", "-q")
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "data/raw/goog", root / "data/raw/goog")
    return root


@pytest.fixture
def project(empty_project: Path, tmp_path: Path) -> Path:
    """A real Git and DVC repository with this project's params.yaml and dvc.yaml."""
    return Path(shutil.copytree(empty_project, tmp_path / "project"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A person's file."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/AAPL.csv").write_bytes(CSV)
    return tmp_path / "mine/AAPL.csv"


def version_of(root: Path, name: str) -> str:
    """As DVC itself recorded it."""
    return next(line.split()[-1] for line in (root / f"data/raw/{name}.dvc").read_text().splitlines() if "md5:" in line)


def take(root: Path, *files: Path, name: str = "aapl", accept: bool = True) -> intake.Intake:
    return intake.take_in(root, name, list(files), params_of(name), accept)


def raw(root: Path, name: str = "aapl") -> dict[str, bytes]:
    """The files of a data set, without the note of when they were taken in."""
    return {file: data for file, data in bytes_of(root / "data/raw" / name).items() if file != stage.TAKEN}


@pytest.fixture(scope="module")
def project_with_aapl(empty_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(empty_project, tmp_path_factory.mktemp("template") / "project"))
    (root.parent / "AAPL.csv").write_bytes(CSV)
    take(root, root.parent / "AAPL.csv")
    return root


@pytest.fixture
def taken(project_with_aapl: Path, tmp_path: Path) -> Path:
    """The project, with the person's file taken in as aapl."""
    return Path(shutil.copytree(project_with_aapl, tmp_path / "project"))


def test_files_are_copied_and_get_the_version_that_dvc_gives_them(project, mine):
    other = mine.with_name("MSFT.csv")
    other.write_bytes(csv_of(MONDAY))
    done = take(project, other, mine, name="both")
    assert raw(project, "both") == {"AAPL.csv": CSV, "MSFT.csv": csv_of(MONDAY)}
    assert done.changed and done.version == version_of(project, "both") and done.account["rows_in"] == 3
    assert "up to date" in dvc(project, "status", "data/raw/both.dvc")
    assert not list((project / "data/raw").glob(".both.*"))
    assert "data/raw/both/" not in command(project, "git", "status", "--short", "-uall")


def test_taking_in_the_same_files_again_does_not_start_dvc(taken, mine, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started a process"))
    again = take(taken, mine)
    assert not again.changed and again.version == version_of(taken, "aapl")


def test_other_content_is_another_version_and_files_that_are_gone_go(taken, mine):
    before = version_of(taken, "aapl")
    renamed = mine.rename(mine.with_name("APPL.csv"))
    renamed.write_bytes(csv_of(MONDAY))
    done = take(taken, renamed)
    assert done.changed and done.version == version_of(taken, "aapl") != before
    assert raw(taken) == {"APPL.csv": csv_of(MONDAY)}


def test_a_refused_file_changes_nothing(taken, mine):
    before = bytes_of(taken / "data/raw")
    bad = mine.with_name("BAD.csv")
    bad.write_bytes(b"<html>")
    for attempt in (lambda: intake.inspect([mine, bad], params_of("aapl"), "aapl"), lambda: take(taken, mine, bad)):
        with pytest.raises(DataRefused, match=r"BAD\.csv:1:1: this is an HTML page"):
            attempt()
    assert bytes_of(taken / "data/raw") == before


def test_inspecting_gives_the_account_and_writes_nothing(project, mine):
    before = bytes_of(project)
    account = intake.inspect([mine], params_of("aapl"), "aapl")
    assert account["kept"] == 2 and bytes_of(project) == before


def test_two_files_of_one_name_are_refused(folder):
    (folder / "old/AAPL.csv").write_bytes(CSV)
    with pytest.raises(DataRefused, match=r"a second file called AAPL\.csv"):
        intake.inspect(intake.collect([str(folder)]), params_of("aapl"), "aapl")


def test_when_dvc_fails_the_old_version_stands(taken, mine):
    before = bytes_of(taken / "data/raw")
    mine.write_bytes(csv_of(MONDAY))
    (taken / "dvc.yaml").write_text("stages: [")
    with pytest.raises(LongshortError, match=r"`dvc add` failed: .*dvc.yaml.* Nothing was changed"):
        take(taken, mine)
    assert bytes_of(taken / "data/raw") == before


def test_when_dvc_fails_the_first_time_nothing_stands(project, mine):
    (project / "dvc.yaml").write_text("stages: [")
    before = bytes_of(project / "data/raw")
    with pytest.raises(LongshortError):
        take(project, mine)
    assert bytes_of(project / "data/raw") == before


def test_when_a_copy_fails_the_old_version_stands(taken, mine, monkeypatch):
    before = bytes_of(taken / "data/raw")
    mine.write_bytes(csv_of(MONDAY))

    def full(path: Path, to: Path) -> Path:
        to.write_bytes(path.read_bytes()[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(source, "copy", full)
    with pytest.raises(OSError):
        take(taken, mine)
    assert bytes_of(taken / "data/raw") == before


@pytest.mark.few(1)
@pytest.mark.parametrize("crash", [
    lambda raw: (raw / "aapl.dvc").unlink(),
    lambda raw: (raw / "aapl.dvc").write_bytes(b""),
    lambda raw: (raw / "aapl.dvc").write_text((raw / "aapl.dvc").read_text()[:-1]),
    lambda raw: (raw / "aapl.dvc").write_text((raw / "aapl.dvc").read_text()[:-3]),
    lambda raw: (raw / "aapl.dvc").write_text("outs:\n- md5:"),
    lambda raw: shutil.rmtree(raw / "aapl"),
    lambda raw: (raw / "aapl/AAPL.csv").write_bytes(b"damaged"),
    lambda raw: (raw / "aapl").rename(raw / ".aapl.old.1"),
], ids=["no .dvc", "empty .dvc", "no line end", "cut .dvc", "shorter .dvc", "no folder", "damaged", "between two renames"])  # fmt: skip
def test_what_a_crash_left_is_healed_by_the_next_call(taken, mine, crash):
    crash(taken / "data/raw")
    done = take(taken, mine)
    assert done.version == version_of(taken, "aapl") and raw(taken) == {"AAPL.csv": CSV}
    assert "up to date" in dvc(taken, "status", "data/raw/aapl.dvc")
    assert not list((taken / "data/raw").glob(".aapl.*"))


def test_new_files_whose_version_a_crash_kept_from_dvc_are_healed(taken, mine):
    mine.write_bytes(csv_of(MONDAY))
    shutil.copy(mine, taken / "data/raw/aapl/AAPL.csv")
    (taken / "data/raw/.aapl.old.1").mkdir()
    (taken / "data/raw/.aapl.tmp.1").mkdir()
    assert take(taken, mine).changed and "up to date" in dvc(taken, "status", "data/raw/aapl.dvc")
    assert not list((taken / "data/raw").glob(".aapl.*"))


def test_the_name_of_an_embedded_data_set_is_taken(project, mine):
    with pytest.raises(UsageError, match="data set 'goog' comes embedded"):
        take(project, mine, name="goog")


# --- params.yaml ------------------------------------------------------------------------------


def test_registering_adds_the_data_set_and_an_item_for_every_variant(project):
    before = (project / "params.yaml").read_text()
    difference = intake.register(project, "aapl", "forecast", {})
    params = config.read(project / "params.yaml")
    assert params.ingestion.datasets["aapl"] == config.Dataset(task="forecast", source="raw")
    assert {f"aapl-{variant}" for variant in params.models.variants} <= set(params.training.items)
    removed, added = ([line for line in difference.splitlines()[2:] if line.startswith(sign)] for sign in "-+")
    assert removed == [] and len(added) == 1 + len(params.models.variants)
    assert [line for line in (project / "params.yaml").read_text().splitlines() if not line.startswith("    aapl")] == before.splitlines()


def test_a_language_model_gets_no_bidirectional_variant(project):
    intake.register(project, "story", "language-model", {})
    items = config.read(project / "params.yaml").training.items
    assert "story-lstm" in items and "story-bilstm" not in items


def test_registering_again_changes_nothing_and_a_missing_item_comes_back(project):
    intake.register(project, "aapl", "forecast", {})
    assert intake.register(project, "aapl", "forecast", {}) == ""
    path = project / "params.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "aapl-gru" not in line))
    assert "aapl-gru" in intake.register(project, "aapl", "forecast", {})


@pytest.mark.parametrize("name, task", [("goog", "forecast"), ("aapl", "language-model")])
def test_a_name_that_is_taken_by_another_kind_is_refused(project, name, task):
    intake.register(project, "aapl", "forecast", {})
    with pytest.raises(ConfigError, match=f"ingestion.datasets.{name}: is "):
        intake.with_dataset(config.read(project / "params.yaml"), name, task, {})


def test_what_a_person_said_about_files_is_remembered(project):
    intake.register(project, "aapl", "forecast", {})
    intake.register(project, "aapl", "forecast", {"date_format": "%d.%m.%y", "decimal": ","})
    intake.register(project, "aapl", "forecast", {"decimal": ".", "skip_rows": 2})
    read = config.read(project / "params.yaml").ingestion.datasets["aapl"].read
    assert (read.date_format, read.decimal, read.skip_rows) == ("%d.%m.%y", ".", 2)


@pytest.mark.parametrize("said, told", [({"decimal": ";"}, "--decimal ;: "), ({"on_duplicate": "first"}, "--on-dup first: "),
                                        ({"date_format": "d/m"}, "--date-format d/m: 'd/m' is no form of dates"),
                                        ({"encoding": "utf-9"}, "--encoding utf-9: ")])  # fmt: skip
def test_what_nobody_can_mean_is_refused_with_the_option(project, said, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        intake.with_dataset(config.read(project / "params.yaml"), "aapl", "forecast", said)


# --- versions ---------------------------------------------------------------------------------


@pytest.fixture
def held(project: Path, tmp_path: Path) -> Path:
    """A project that holds 200 sessions of AAPL."""
    (tmp_path / "AAPL.csv").write_bytes(csv_of(*days(200)))
    take(project, tmp_path / "AAPL.csv")
    return project


def test_new_rows_are_counted_and_nothing_else_differs(held, tmp_path):
    (tmp_path / "AAPL.csv").write_bytes(csv_of(*days(210)))
    assert take(held, tmp_path / "AAPL.csv", accept=False).difference == {"held": 200, "new": 10, "gone": 0, "changed": 0}


def test_a_restated_row_is_told(held, tmp_path):
    (tmp_path / "AAPL.csv").write_bytes(csv_of(*days(200)).replace(b"2000-01-05,10,", b"2000-01-05,11,"))
    first = {"ticker": "AAPL", "date": "2000-01-05", "column": "open", "before": 10.0, "after": 11.0}
    assert take(held, tmp_path / "AAPL.csv", accept=False).difference == {"held": 200, "new": 0, "gone": 0, "changed": 1, "first": first}


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "rows", [[row.replace(",500", ",501") for row in days(200)], days(210)[180:]], ids=["other values", "new rows only"]
)
def test_a_history_that_is_rewritten_needs_leave_and_the_old_one_stands(held, tmp_path, rows):
    before = bytes_of(held / "data/raw")
    (tmp_path / "AAPL.csv").write_bytes(csv_of(*rows))
    with pytest.raises(DataRefused, match=r"of 200 sessions held, .* --accept-restatement"):
        take(held, tmp_path / "AAPL.csv", accept=False)
    assert bytes_of(held / "data/raw") == before
    assert take(held, tmp_path / "AAPL.csv", accept=True).changed


@pytest.mark.parametrize("harm", [None, lambda table: table.unlink(), lambda table: table.write_bytes(table.read_bytes()[:-100])],
                         ids=["kept", "lost", "damaged"])  # fmt: skip
@pytest.mark.few(1)
def test_the_last_version_is_compared_from_its_kept_table_or_read_again(held, tmp_path, monkeypatch, harm):
    [table] = (held / ".state/versions").iterdir()
    if harm:
        harm(table)
    read, whole = [], intake.assemble
    monkeypatch.setattr(intake, "assemble", lambda *given: read.append(given) or whole(*given))
    (tmp_path / "AAPL.csv").write_bytes(csv_of(*days(210)))
    assert take(held, tmp_path / "AAPL.csv", accept=False).difference == {"held": 200, "new": 10, "gone": 0, "changed": 0}
    assert len(read) == (harm is not None)
    [new] = (held / ".state/versions").iterdir()
    assert new != table


def test_a_table_that_was_read_on_other_terms_is_not_compared_with(tmp_path):
    place = tmp_path
    assert versions.kept(place, "aapl", "1.dir", Terms()) != versions.kept(place, "aapl", "1.dir", Terms(calendar="XNYS"))
    assert versions.kept(place, "aapl", "1.dir", Terms()) != versions.kept(place, "aapl", "2.dir", Terms())


def test_a_session_that_was_not_over_is_held_back_until_the_file_comes_again(project, tmp_path, time_machine):
    ten = projects.days(10, dt.date(2024, 3, 4))
    body = csv_of(*(f"{day},10,12,9,{11 + place % 3 / 10},500" for place, day in enumerate(ten)))
    (tmp_path / "AAPL.csv").write_bytes(body)
    params = params_of("aapl")
    datasets = {"aapl": config.Dataset(task="forecast", source="raw", read=config.Read(calendar="XNYS"))}
    params = params.model_copy(update={"ingestion": config.Ingestion(datasets=datasets, sources={})})
    kept = []
    for moment in ("2024-03-15T15:00:00+00:00", "2024-03-15T23:00:00+00:00"):  # a Friday, before and after New York closes
        time_machine.move_to(moment, tick=False)
        kept.append(intake.take_in(project, "aapl", [tmp_path / "AAPL.csv"], params).account["kept"])
    assert kept == [9, 9]  # the same bytes are the same version, with the same outcome
    (tmp_path / "AAPL.csv").write_bytes(body + b"\n")
    assert intake.take_in(project, "aapl", [tmp_path / "AAPL.csv"], params).account["kept"] == 10


def test_refreshing_takes_in_what_the_sources_hold_now(project, mine):
    mine.write_bytes(csv_of(*days(40)))
    params = params_of("aapl", sources={"aapl": ["../mine/*.csv"]})
    assert [done.changed for done in intake.refresh(project, params)] == [True]
    assert [done.changed for done in intake.refresh(project, params)] == [False]
    mine.write_bytes(csv_of(*days(41)))
    assert [done.changed for done in intake.refresh(project, params)] == [True]
    assert raw(project) == {"AAPL.csv": csv_of(*days(41))}


@pytest.mark.parametrize("params", [
    params_of("other", sources={"aapl": ["x.csv"]}),
    params_of("aapl", source="embedded", sources={"aapl": ["x.csv"]}),
])  # fmt: skip
def test_a_source_that_is_no_raw_data_set_is_refused(tmp_path, params):
    with pytest.raises(ConfigError, match=r"ingestion\.sources\.aapl"):
        intake.refresh(tmp_path, params)


# --- a real file ------------------------------------------------------------------------------


def test_a_real_yahoo_export_goes_in_whole(tmp_path):
    export = SHARED / "stocks/yahoo_GOOG_2018_2023.csv"
    if not export.is_file():
        pytest.skip(f"{export} is not here")
    shutil.copy(export, tmp_path / "GOOG.csv")
    account = intake.inspect([tmp_path / "GOOG.csv"], params_of("goog"), "goog")
    assert [account[key] for key in ("rows_in", "kept", "quarantined", "merged")] == [1258, 1258, 0, 0]


def shanghai(**cells: str) -> bytes:
    """400 sessions of Shanghai, whose calendar begins in 1990; a row's date is what is given by its number."""
    days = sessions.sessions("XSHG", dt.date(2015, 1, 5), dt.date(2018, 1, 5))[:400]
    rows = [f"{cells.get(f'row{n}', day.date())},{10 + n % 7},{20 + n % 7},{5 + n % 7},{11 + n % 5}" for n, day in enumerate(days)]
    return "\n".join(["Date,Open,High,Low,Close", *rows, ""]).encode()


@pytest.mark.parametrize("misprint", ["1965-01-05", "2015-13-40", "x"])
def test_a_misprinted_day_that_the_exchanges_calendar_does_not_reach_is_set_aside_like_any_other(misprint):
    found = assemble({"A.csv": shanghai(row7=misprint)}, "forecast")
    assert found.account["calendar"]["name"] == "XSHG"
    assert (found.account["kept"], found.account["quarantined"]) == (399, 1)


def test_an_exchange_whose_calendar_does_not_reach_a_series_is_not_guessed():
    early = sessions.sessions("XNYS", dt.date(1975, 1, 1), dt.date(1977, 1, 1)).to_numpy("datetime64[D]")
    late = sessions.sessions("XSHG", dt.date(1999, 1, 1), dt.date(2003, 1, 1)).to_numpy("datetime64[D]")
    assert sessions.best(late)[0] == "XSHG" and sessions.best(np.concatenate([early, late]))[0] != "XSHG"
