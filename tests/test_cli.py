"""The command line: what a person types, what is told on which stream, and the exit code."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import clones
import neighbours
import projects
import pytest

from longshort import graph, leaderboard
from longshort.errors import DataRefused

SLOW = {
    "torch",
    "mlflow",
    "prefect",
    "great_expectations",
    "pandas",
    "dvc",
    "numpy",
    "pyarrow",
    "sklearn",
    "matplotlib",
    "pydantic",
    "optuna",
}
HELP = """
import sys
from longshort import cli
try:
    cli.main()
except SystemExit:
    print(sorted(sys.modules), file=sys.stderr)
"""
DAMAGED, LOST = (1, 3, 4, 8), "\ufffd"  # texts that lost a character, and what stands for it


def prices():
    """Three hundred sessions as CSV."""
    table = projects.prices(projects.days(300)).to_pydict()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Date", "Open", "High", "Low", "Close", "Volume"])
    for row, day in enumerate(table["date"]):
        values = [table[name][row] for name in ("open", "high", "low", "close")]
        writer.writerow([day, *(f"{value:.4f}" for value in values), table["volume"][row]])
    return text.getvalue()


@pytest.fixture
def project(retrained, tmp_path):
    return clones.copy(retrained, tmp_path / "project")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A clone before its first run."""
    return clones.clone(tmp_path_factory.mktemp("fresh") / "project")


# --- help, and where one is -------------------------------------------------------------------


def test_help_imports_no_slow_library():
    done = subprocess.run([sys.executable, "-c", HELP, "--help"], capture_output=True, text=True, check=True)
    assert "forecast" in done.stdout and "rollback" in done.stdout
    loaded = {name.partition(".")[0] for name in re.findall(r"'([\w.]+)'", done.stderr)}
    assert "typer" in loaded and not loaded & SLOW


def test_outside_a_project_a_person_is_told_where_to_go(tmp_path):
    said = clones.main(tmp_path, "leaderboard", code=2).stderr
    assert said.startswith(f"longshort: {tmp_path}: no longshort project here or above") and "Change into the project's folder" in said
    assert list(tmp_path.iterdir()) == []


def test_a_command_works_from_a_folder_below_the_projects(retrained):
    assert "test RMSE" in clones.main(retrained / "data/raw", "leaderboard").stdout


def test_before_the_first_run_a_person_is_told_to_run(fresh):
    for command in (["leaderboard"], ["forecast", "GOOG"], ["generate", "the value of"], ["complete", "the"], ["promote", "forecast-goog"]):
        said = clones.main(fresh, *command, code=2).stderr
        assert said.count("\n") == 1 and "longshort run" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forcast"], "forcast"),
        (["leaderboard", "--jsn"], "--jsn"),
        (["stage", "window", "--item", "goog"], "no stage 'window'. Known: ingestion, validation, windows, training, evaluation."),
        (["stage", "training", "--item", "goog-gru"], "stage training has no item 'goog-gru'. Known: goog-rnn, goog-lstm, topics-gru."),
        (["schedule"], "say when"),
        (["ingest", "x.csv", "--as", "prices"], "--as prices: expected stocks, text, labels, tags, pairs, captions."),
        (["check", "params.yaml", "--decimal", ";"], "--decimal ;: "),
        (["generate", "x", "-n", "0"], "-n"),
    ],
)
def test_a_mistake_in_a_command_is_named_without_a_traceback(retrained, arguments, said):
    told = clones.main(retrained, *arguments, code=2).stderr
    assert said in told and "Traceback" not in told


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("windows.forecast.lokback=40", "params.yaml: windows.forecast.lokback: unknown key. Did you mean 'lookback'?"),
        ("window.forecast.lookback=40", "`params.yaml` has no 'window'. Did you mean 'windows'?"),
        ("training.items.goog-rnn.variant=rn", "variant 'rn' is not in `models.variants`. Did you mean 'rnn'?"),
        ("windows.forecast.lookback=forty", "windows.forecast.lookback: input should be a valid integer (found 'forty')"),
        ("windows.forecast.lookback", "expected section.key=value"),
    ],
)
def test_a_bad_setting_is_refused_with_its_key_and_nothing_is_written(fresh, setting, said):
    before = (fresh / "params.yaml").read_bytes()
    told = clones.main(fresh, "run", "--set", setting, code=2).stderr
    assert said in re.sub(r":\d+:", ":", told)
    assert told.startswith(("longshort: params.yaml:", "longshort: --set ")) and len(told.splitlines()) == 1
    assert (fresh / "params.yaml").read_bytes() == before


def test_a_parameter_file_with_a_mistake_is_refused_by_its_own_name(fresh, tmp_path):
    before = (fresh / "params.yaml").read_text()
    (tmp_path / "other.yaml").write_text(before.replace("min_gain: ", "min_gian: "))
    told = clones.main(fresh, "run", "--params", str(tmp_path / "other.yaml"), code=2).stderr
    assert re.search(r"^other.yaml:\d+: registry.min_gian: unknown key. Did you mean 'min_gain'", told, re.MULTILINE)
    assert (fresh / "params.yaml").read_text() == before


@pytest.mark.parametrize("command", [["run"], ["stage", "windows", "--item", "goog"], ["doctor"], ["rollback", "forecast-goog"]])
def test_a_params_yaml_that_was_edited_wrongly_stops_every_command(fresh, command):
    before = (fresh / "params.yaml").read_text()
    (fresh / "params.yaml").write_text(before.replace("min_gain: ", "min_gian: "))
    try:
        told = clones.main(fresh, *command, code=2).stderr
        assert re.search(r"^params.yaml:\d+: registry.min_gian: unknown key. Did you mean 'min_gain'", told, re.MULTILINE)
    finally:
        (fresh / "params.yaml").write_text(before)


@pytest.mark.long
@pytest.mark.parametrize("command", [("run", "--set", "registry.min_gain=0.5"), ("ingest", "aapl.csv")])
def test_what_a_retraining_reads_is_not_changed_while_it_runs(project, command):
    (project / "aapl.csv").write_text(prices())
    before, log = (project / "params.yaml").read_bytes(), project.parent / "said"
    with graph.lock(project, print):
        process = neighbours.start(project, str(clones.BIN / "longshort"), *command, log=log)
        neighbours.wait_for(
            lambda: f"another retraining holds {project}/.state/lock (process {os.getpid()}, " in log.read_text(), 60, process
        )
        assert (project / "params.yaml").read_bytes() == before and not (project / "data/raw/aapl").exists()
    neighbours.wait_for(lambda: (project / "params.yaml").read_bytes() != before, 300)
    neighbours.stop(process)


# --- data that is refused ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def refused(retrained, tmp_path_factory):
    """A retraining after texts were taken in of which some lost characters, and the texts' rule was changed."""
    base = tmp_path_factory.mktemp("refused")
    root = clones.copy(retrained, base / "project")
    (base / "bad").mkdir()
    for number in range(9):
        words = " ".join(f"word{place * number % 97}" for place in range(400))
        (base / "bad" / f"{number}.txt").write_text(f"{words}{LOST if number in DAMAGED else ''}\n", encoding="utf-8")
    taken = clones.main(root, "ingest", str(base / "bad"))
    done = clones.longshort(root, "run", "--set", "validation.language-model.min_words=1999", code=3)
    return SimpleNamespace(root=root, done=done, taken=taken)


def test_taking_a_file_in_says_what_was_read_what_changed_and_what_comes_next(refused):
    assert "9 in = 9 kept + 0 quarantined + 0 merged" in refused.taken.stdout
    assert "+    bad: {task: language-model, source: raw}" in refused.taken.stdout
    assert "bad-lstm: {dataset: bad, task: language-model, variant: lstm}" in refused.taken.stdout
    assert "git add data/raw/bad.dvc params.yaml" in refused.taken.stdout


def test_a_failed_suite_is_told_with_file_expectation_count_and_first_rows(refused):
    said = refused.done.stderr.partition("longshort: ")[2]
    assert said.startswith("data/ingestion/bad/table.parquet")
    assert "No character was lost to a wrong encoding" in said and "4 of 9 rows break it" in said
    shown = re.findall(r"^ +row (\d+), document (\d)\.txt, replacement_characters 1", said, re.MULTILINE)
    assert shown == [(str(number + 1), str(number)) for number in DAMAGED[:3]]
    assert "src/longshort/validation/suites.py" in said and "data/validation/bad/index.html" in said
    assert "Traceback" not in refused.done.stderr


def test_a_failed_suite_stops_what_waits_for_it_and_nothing_else(refused):
    became = clones.stages(refused.done)
    assert became["ingestion@bad"] == "ran"
    assert [address for address in became if "@bad" in address] == ["ingestion@bad"]
    assert became["validation@topics"] == "ran" and became["training@goog-lstm"] == "Cached"
    assert (refused.root / "data/validation/topics").exists() and not (refused.root / "data/windows/bad").exists()
    assert clones.flow_runs(refused.root)[-1] == "Failed"


def test_a_setting_is_written_with_its_comment_and_shown(refused):
    assert "@@\n-    min_words: 2000\n+    min_words: 1999\n" in refused.done.stderr
    assert "min_words: 1999\n" in (refused.root / "params.yaml").read_text()
    assert "# share of lines (of 13 words and more) that repeat an earlier one" in (refused.root / "params.yaml").read_text()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"data/raw/bad: there is no such .*longshort ingest PATH`, or bring back"),
        (b"", r"0.txt:1:1: the file is empty \(0 bytes.*download it again"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", r"0.txt:1:1: this is an HTML page.*save the file itself"),
    ],
)
def test_raw_data_that_is_missing_or_no_table_stops_the_stage_with_file_and_remedy(refused, content, said):
    raw = refused.root / "data/raw/bad"
    aside = raw.rename(raw.with_name(".aside"))
    if content is not None:
        shutil.copytree(aside, raw)
        (raw / "0.txt").write_bytes(content)
    try:
        assert re.search(said, clones.main(refused.root, "stage", "ingestion", "--item", "bad", code=3).stderr)
        with pytest.raises(DataRefused, match=said) as caught:
            graph.reproduce(refused.root, "ingestion@bad", {}, print)
        assert "Traceback" not in str(caught.value)
    finally:
        shutil.rmtree(raw, ignore_errors=True)
        aside.rename(raw)


# --- taking files in --------------------------------------------------------------------------


def test_a_file_that_was_taken_in_is_a_data_set_that_stages_run_on(project, tmp_path):
    (tmp_path / "aapl.csv").write_text(prices())
    clones.main(project, "ingest", str(tmp_path / "aapl.csv"))
    assert "data/raw/aapl.dvc" in clones.git(project, "status", "--short", "--untracked-files=all")
    for name in ("ingestion", "validation", "windows"):
        clones.main(project, "stage", name, "--item", "aapl")
    assert {"training@aapl-lstm", "evaluation@aapl-gru"} < {stage.address for stage in graph.read(project)}


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("<html>Log in</html>", 3, "aapl.csv:1:1: this is an HTML page"),
        ("", 3, "aapl.csv:1:1: the file is empty"),
        ("Date,Open\n2024-01-02,1\n", 3, "aapl.csv:1:"),
        (None, 3, "there is no such file or folder"),
    ],
)
def test_a_refused_file_changes_nothing(project, tmp_path, content, code, said):
    if content is not None:
        (tmp_path / "aapl.csv").write_text(content)
    before = clones.git(project, "status", "--short", "--ignored")
    assert said in clones.main(project, "ingest", str(tmp_path / "aapl.csv"), code=code).stderr
    assert clones.git(project, "status", "--short", "--ignored") == before
    assert not (project / "data/raw/aapl").exists()


def test_a_dry_run_says_what_would_be_read_and_changes_nothing(project, tmp_path):
    (tmp_path / "aapl.csv").write_text(prices())
    before = clones.git(project, "status", "--short", "--ignored")
    told = json.loads(clones.main(project, "ingest", str(tmp_path / "aapl.csv"), "--dry-run", "--json").stdout)
    assert told["dry_run"] and told["account"]["kept"] == 300
    assert clones.git(project, "status", "--short", "--ignored") == before


# --- results ----------------------------------------------------------------------------------


def test_the_leaderboard_as_json_and_as_a_table_say_the_same(retrained):
    rows = json.loads(clones.main(retrained, "leaderboard", "--json").stdout)
    assert [(row["dataset"], row["variant"], row["seeds"]) for row in rows][-1] == ("topics", "gru", 2)
    table = clones.main(retrained, "leaderboard").stdout
    for row in rows:
        assert re.search(rf"{row['variant']} +{row['mean'][row['metric']]:.2f}", table)


def test_a_forecast_names_its_session_and_its_model(retrained):
    told = json.loads(clones.main(retrained, "forecast", "goog", "--json").stdout)
    assert (told["ticker"], told["last_session"], told["sessions"]) == ("GOOG", "2008-10-14", ["2008-10-15"])
    assert (told["model"], told["version"], told["alias"]) == ("forecast-goog", "1", "challenger")
    text = clones.main(retrained, "forecast", "GOOG").stdout
    assert f"GOOG  Wed 2008-10-15  {told['levels'][0]:.2f}" in text and "no model has beaten what is naive yet" in text


def test_a_text_goes_on_from_its_prompt_and_is_the_same_again(retrained):
    first, again, other = (
        clones.main(retrained, "generate", "the value of", "-n", "8", "--seed", seed, "--json").stdout for seed in ("0", "0", "1")
    )
    assert json.loads(first)["text"].startswith("the value of")  # a mark may follow without a space
    assert first == again and json.loads(first)["text"] != json.loads(other)["text"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forecast", "MSFT"], "no data set holds the ticker 'MSFT'. Take its file in with `longshort ingest FILE`"),
        (["generate", ""], "the prompt holds no word. Give a few to go on from"),
        (["generate", " \n"], "the prompt holds no word"),
        (["generate", "x" * 10_001], "the text has 10,001 characters; at most 10,000 are read"),
        (["generate", "the", "--dataset", "goog"], "no data set 'goog' of text that a model is trained on. Known: topics."),
        (["complete", " "], "the prompt holds no word. Give a few to go on from"),
        (["complete", "the", "--dataset", "goog"], "no data set 'goog' of text that a model is trained on. Known: topics."),
    ],
)
def test_a_question_that_cannot_be_answered_is_told_why(retrained, arguments, said):
    told = clones.main(retrained, *arguments, code=2)
    assert said in told.stderr and told.stdout == ""


def test_a_reader_that_closes_the_pipe_is_no_error(retrained):
    reading, writing = os.pipe()
    os.close(reading)
    command = [str(clones.BIN / "longshort"), "leaderboard", "--json"]
    done = subprocess.run(command, cwd=retrained, env=clones.environment(retrained), stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_interrupts_is_told_how_to_go_on(retrained, monkeypatch):
    monkeypatch.setattr(leaderboard, "rows", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    told = clones.main(retrained, "leaderboard", code=130)
    assert told.stderr == "longshort: interrupted; run the same command again to go on\n"


def test_where_nobody_listens_nothing_is_said(retrained):
    command = ["sh", "-c", f'"{clones.BIN}/longshort" leaderboard >&-']
    done = subprocess.run(command, cwd=retrained, env=clones.environment(retrained), stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
