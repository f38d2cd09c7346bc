"""Retraining: the flow as a person meets it; run again, run twice at once, killed and interrupted."""

import collections
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from types import SimpleNamespace

import clones
import neighbours
import psutil
import pytest

from longshort import config, journal, servers, serving
from longshort.errors import SeriesTooShort
from longshort.registry import ledger

GOOG = (
    "ingestion.datasets={goog: {task: forecast, source: embedded}}",
    "training.items={goog-rnn: {dataset: goog, task: forecast, variant: rnn}}",
)


def start(root, *arguments, cold=False):
    """`longshort run`, begun; what it says goes to a file."""
    said = root.parent / f"said-{time.monotonic_ns()}"
    process = neighbours.start(root, str(clones.BIN / "longshort"), "run", *arguments, log=said, cold=cold)
    process.said = said
    return process


def alive(root):
    """The processes that work in a project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def task_names(root, flow_run):
    """The kinds of tasks of a flow run."""
    with closing(sqlite3.connect(root / ".state/prefect/prefect.db")) as store:
        found = store.execute("select name from task_run where replace(flow_run_id, '-', '') = ?", [flow_run.replace("-", "")])
        return {name.partition("-")[0].partition("@")[0] for (name,) in found}


def facts(root):
    """What MLflow and the ledger hold."""
    runs = sorted((run.data.tags["longshort.identity"], run.info.status) for run in clones.mlflow_runs(root))
    return runs, ledger.history(root)


def test_the_flow_is_loaded_without_what_a_skipped_run_does_not_need():
    code = "import runpy, sys; runpy.run_path('flows/retraining.py'); sys.exit(bool({'torch', 'mlflow', 'dvc'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=clones.ROOT).returncode == 0


def test_a_model_that_cannot_forecast_is_told_and_fails_no_retraining(retrained, monkeypatch):
    flow = runpy.run_path(str(clones.ROOT / "flows/retraining.py"))

    def refuse(*_):
        raise SeriesTooShort("GOOG has 3 sessions since its last long gap.")

    monkeypatch.setattr(serving, "forecast", refuse)
    said = flow["say_next"].fn(retrained, config.read(retrained / "params.yaml"), "goog", "forecast-goog")
    assert said == "no forecast of GOOG: GOOG has 3 sessions since its last long gap."


# --- two at once ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(retrained, tmp_path_factory):
    """A retraining with one variant changed, and a second one that was started while it ran."""
    root = clones.copy(retrained, tmp_path_factory.mktemp("two") / "project")
    first = start(root, "--set", "models.variants.lstm.hidden_size=5")
    log = root / ".state/logs/training-goog-lstm.log"
    before = log.stat().st_mtime
    neighbours.wait_for(lambda: log.stat().st_mtime > before, 400, first)
    second = start(root)
    first.wait(timeout=200)
    after_first = clones.outputs(root), facts(root)
    second.wait(timeout=200)
    return SimpleNamespace(root=root, first=first, second=second, after_first=after_first)


def said(process):
    """What a retraining said, and what became of each stage."""
    text = process.said.read_text()
    return text, clones.stages(SimpleNamespace(stderr=text))


@pytest.mark.long
def test_two_at_once_both_end_well_and_the_second_says_for_whom_it_waits(two):
    assert (two.first.returncode, two.second.returncode) == (0, 0)
    assert f"process {two.first.pid}, since " in said(two.second)[0]
    assert "another retraining holds" not in said(two.first)[0]


@pytest.mark.long
def test_one_variant_changed_retrains_and_scores_that_variant_and_nothing_else(two):
    ran = {address for address, became in said(two.first)[1].items() if became == "ran"}
    assert ran == {"training@goog-lstm", "evaluation@goog-lstm"}
    assert len(said(two.first)[1]) == 12


@pytest.mark.long
def test_a_second_run_finds_nothing_new_and_leaves_everything_as_it_is(two):
    text, stages = said(two.second)
    assert set(stages.values()) == {"Cached"} and len(stages) == 12
    assert "nothing new" in text and "nothing new" not in said(two.first)[0]
    assert (clones.outputs(two.root), facts(two.root)) == two.after_first
    assert clones.flow_runs(two.root)[-2:] == ["Completed", "Nothing new"]


@pytest.mark.long
def test_a_second_run_says_what_the_first_one_said_without_asking_mlflow_again(two):
    told = [text[text.index("goog: next session's price") :] for text, _ in map(said, (two.first, two.second))]
    assert told[1].replace("nothing new: every stage Cached, every run recorded already\n\n", "") == told[0]
    assert "next session of GOOG: " in told[0]
    asked = [task_names(two.root, flow_run) for flow_run in clones.flow_run_ids(two.root)[-2:]]
    assert {"record", "registry", "forecast"} <= asked[0] and not {"record", "registry", "forecast"} & asked[1]


@pytest.mark.long
def test_two_at_once_leave_what_one_would(two):
    runs, ledger = facts(two.root)
    assert {status for _, status in runs} == {"FINISHED"}
    assert max(collections.Counter(identity for identity, _ in runs).values()) == 1
    assert len({str(entry) for entry in ledger}) == len(ledger)
    assert "up to date" in clones.dvc(two.root, "status")
    assert "Running stage" not in clones.dvc(two.root, "repro")
    assert clones.outputs(two.root) == two.after_first[0]


# --- killed and interrupted -------------------------------------------------------------------


def stage_runs(root, address):
    """Whether DVC has begun a stage's command."""
    log = root / ".state/logs" / f"{address.replace('@', '-')}.log"
    return log.exists() and f"Running stage '{address}'" in log.read_text()


def model_logged(root):
    """Whether MLflow holds a first model."""
    with closing(sqlite3.connect(root / "mlflow/store/mlflow.db")) as store:
        return store.execute("select count(*) from logged_models").fetchone()[0] > 0


def epoch_written(root):
    """Whether a training has told of an epoch."""
    return any(entry["kind"] == "epoch" for path in (root / ".state/journal").glob("*.jsonl") for entry in journal.read(path))


MOMENTS = {
    "ingestion": (signal.SIGTERM, lambda root: stage_runs(root, "ingestion@goog")),
    "windows": (signal.SIGKILL, lambda root: stage_runs(root, "windows@goog")),
    "training": (signal.SIGKILL, epoch_written),
    "evaluation": (signal.SIGINT, lambda root: stage_runs(root, "evaluation@goog-rnn")),
    "recording": (signal.SIGKILL, model_logged),
}


def stop_at(root, moment):
    """Start a retraining, and stop it at a moment; how it ended, after how long, and what it left running."""
    number, come = MOMENTS[moment]
    # a Prefect server that outlives its run is known by the environment that it was started with, which a forked one was not
    process = start(root, cold=moment in ("ingestion", "windows"))
    while not come(root):
        assert process.poll() is None, process.said.read_text()
        time.sleep(0.02)
    os.kill(process.pid, number)
    began = time.monotonic()
    code = process.wait(timeout=60)
    took = time.monotonic() - began
    _, left = psutil.wait_procs(alive(root), timeout=5)  # what was killed takes a moment to be gone
    return SimpleNamespace(code=code, seconds=took, left=left, said=process.said.read_text())


@pytest.fixture(scope="module")
def survivor(tmp_path_factory):
    """A project whose retraining was stopped five times, each at a later moment, and then left to end."""
    root = clones.clone(tmp_path_factory.mktemp("killed") / "project", *GOOG)
    stops = {moment: stop_at(root, moment) for moment in ("ingestion", "windows")}
    with pytest.MonkeyPatch.context() as patch:  # a server that is there saves each start five seconds
        patch.setenv("PREFECT_HOME", str(root / ".state/prefect"))
        patch.setenv("PREFECT_API_URL", "")
        with servers.prefect(root, neighbours.free_port()):
            stops |= {moment: stop_at(root, moment) for moment in ("training", "evaluation", "recording")}
            done = clones.longshort(root, "run")
    return SimpleNamespace(root=root, stops=stops, done=done)


@pytest.mark.long
def test_a_run_that_is_stopped_ends_soon_with_its_code_and_leaves_no_process(survivor):
    for moment, code in {"ingestion": 143, "evaluation": 130}.items():
        stop = survivor.stops[moment]
        assert (stop.code, stop.left) == (code, [])
        assert stop.seconds < 5
        assert "run the same command again to go on" in stop.said


@pytest.mark.long
def test_a_run_that_was_killed_goes_on_when_it_is_run_again(survivor, retrained):
    assert [stop.code for stop in survivor.stops.values() if stop.code < 0] == [-9, -9, -9]
    whole = clones.outputs(retrained)
    own = clones.outputs(survivor.root)
    del own["dvc.lock"]
    assert {name for name in own if "training" in name} == {name for name in whole if "training/goog-rnn" in name}
    assert own == {name: whole[name] for name in own}
    assert "up to date" in clones.dvc(survivor.root, "status")


@pytest.mark.long
def test_what_was_done_before_the_kill_is_not_done_again(survivor):
    became = clones.stages(survivor.done)
    assert became["windows@goog"] == became["training@goog-rnn"] == "Cached"


@pytest.mark.long
def test_every_run_that_was_killed_is_in_mlflow_once_and_none_is_left_running(survivor):
    runs = clones.mlflow_runs(survivor.root)
    assert sorted(run.info.run_name.partition("-")[0] for run in runs if "seed" in run.data.tags) == ["rnn", "rnn"]
    identities = collections.Counter(run.data.tags["longshort.identity"] for run in runs)
    assert set(identities.values()) == {1}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all("longshort.complete" in run.data.tags for run in runs)
    client = clones.mlflow_client(survivor.root)
    for run in runs:
        for key in ("train_loss", "validation_loss"):
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
            assert len(set(steps)) == len(steps)
    ready = client.search_logged_models([runs[0].info.experiment_id])
    assert sorted(model.source_run_id for model in ready) == sorted(run.info.run_id for run in runs if "seed" in run.data.tags)


@pytest.mark.long
def test_no_process_of_a_killed_run_outlives_the_next_one(survivor):
    assert alive(survivor.root) == []


@pytest.mark.long
def test_nothing_half_written_is_left(survivor):
    assert [path for path in survivor.root.glob("data/*/.*") if path.is_dir()] == []
