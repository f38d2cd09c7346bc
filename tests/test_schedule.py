"""A served schedule, against a real Prefect server: it fires, retrains when data came, and else ends as "Nothing new".

When its sources have stopped it ends as "Skipped".
"""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import clones
import exports
import neighbours
import projects
import pytest

from longshort import editing, journal


@pytest.fixture(scope="module")
def project(own_prices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose data set `aapl` is read again from a file at each run."""
    base = tmp_path_factory.mktemp("schedule")
    root, export = clones.copy(own_prices, base / "project"), base / "AAPL.csv"
    exports.write_prices(export, 400)
    # the sessions are of 2011: a run would be skipped before it could find nothing new
    editing.assign(root / "params.yaml", [f"ingestion.sources={{aapl: [{export}]}}", "ingestion.stale_after=null"])
    clones.commit(root, "a source")
    return root


def serve(root: Path, *when: str, in_background: bool = False) -> tuple:
    """Start `longshort schedule` on a free port; the process and its Prefect API."""
    port = neighbours.free_port()
    log = root.parent / "schedule.log"
    process = neighbours.start(
        root, str(clones.BIN / "longshort"), "schedule", *when, "--prefect-port", str(port), log=log, in_background=in_background
    )
    return process, f"http://{neighbours.HOST}:{port}/api"


def runs(api: str) -> list[dict]:
    """Every flow run that Prefect knows, oldest first."""
    return neighbours.ask(f"{api}/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})


def due_when_nobody_serves(api: str, deployment: str) -> dt.datetime:
    """Plan a run of ours, and one of another flow's deployment, for ten seconds from now, when the schedule has been stopped."""
    other = neighbours.ask(f"{api}/flows/", {"name": "another"})["id"]
    theirs = neighbours.ask(f"{api}/deployments/", {"name": "scheduled", "flow_id": other})["id"]
    due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=10)
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
    for name, place in (("missed", deployment), ("another's", theirs)):
        neighbours.ask(f"{api}/deployments/{place}/create_flow_run", {"name": name, "state": state})
    return due


@pytest.fixture(scope="module")
def story(project: Path) -> Iterator[SimpleNamespace]:
    """The schedule is served, ten sessions come, a run retrains, another finds nothing new, three find years missing; then SIGTERM."""
    told = SimpleNamespace(root=project, family=[])
    process, api = serve(project, "--every", "5", in_background=True)
    try:
        neighbours.wait_for(lambda: "deployment retraining/scheduled" in (project.parent / "schedule.log").read_text(), 400, process)
        exports.write_prices(project.parent / "AAPL.csv", 410)

        def ended() -> list[dict]:
            # the `longshort run` that the project comes from is known to its Prefect as well, without a deployment
            return [run for run in runs(api) if run["deployment_id"] and run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]

        def settled() -> list[dict] | None:
            done = ended()
            return done if len(done) >= 2 and done[-1]["state_name"] == "Nothing new" else None

        told.runs = neighbours.wait_for(settled, 600, process)
        editing.assign(project / "params.yaml", ["ingestion.stale_after=5"])

        def skipped() -> list[dict] | None:
            done = [run for run in ended() if run["state_name"] == "Skipped"]
            return done if len(done) >= 3 else None

        told.skipped = neighbours.wait_for(skipped, 600, process)
        told.family = neighbours.family(process)
        told.missed = due_when_nobody_serves(api, told.runs[-1]["deployment_id"])
        told.code = neighbours.stop_gently(process, signal.SIGTERM)
        told.left = neighbours.left(told.family)
    finally:
        neighbours.stop_all(process, told.family)
    yield told


@pytest.mark.long
def test_a_scheduled_run_fires_by_itself_and_ends_well(story):
    assert {run["state_type"] for run in story.runs} == {"COMPLETED"} and all(run["auto_scheduled"] for run in story.runs)


@pytest.mark.long
def test_a_scheduled_run_retrains_when_sessions_came(story):
    assert "5 of 5 stages ran" in [run["state"]["message"] for run in story.runs]
    assert len((story.root / "data/raw/aapl/AAPL.csv").read_text().splitlines()) == 411


@pytest.mark.long
def test_dvc_shows_old_and_new(story):
    (changed,) = [
        entry
        for entry in json.loads(clones.dvc(story.root, "diff", "--json", "--show-hash"))["modified"]
        if entry["path"] == "data/raw/aapl/"
    ]
    assert changed["hash"]["old"] in clones.git(story.root, "show", "HEAD:data/raw/aapl.dvc")
    assert changed["hash"]["new"] in (story.root / "data/raw/aapl.dvc").read_text()


@pytest.mark.long
def test_the_ledger_shows_old_and_new(story):
    entries = journal.read(story.root / "mlflow/store/ledger.jsonl")
    assert [entry["version"] for entry in entries if entry["event"] == "registered"] == ["1", "2"]
    assert len({entry["data_sha256"] for entry in entries if entry["event"] in ("promoted", "refused")}) == 2


@pytest.mark.long
def test_a_scheduled_run_without_news_ends_quickly_as_nothing_new(story):
    last = story.runs[-1]
    assert last["state_name"] == "Nothing new" and last["total_run_time"] < 60


@pytest.mark.long
def test_scheduled_runs_whose_sources_have_stopped_end_well_as_skipped_and_the_third_in_a_row_is_an_alarm(story):
    assert {run["state_type"] for run in story.skipped} == {"COMPLETED"}
    said = [run["state"]["message"] for run in story.skipped[:3]]
    newest = projects.days(410)[-1]
    assert re.fullmatch(rf"no new rows since {newest} in aapl \([\d,]+ sessions of XNYS missed\)", said[0]) and said[1] == said[0]
    assert said[2] == f"ALARM, skipped 3 times in a row: {said[0]}. Mend what writes the sources of `ingestion.sources`."
    assert f"skipped: {said[2]}" in (story.root.parent / "schedule.log").read_text()


@pytest.mark.long
def test_terminated_it_leaves_nothing_running(story):
    assert (story.code, story.left) == (143, [])


@pytest.mark.long
def test_a_cron_schedule_makes_its_runs(project, story):
    time.sleep(max(0.0, (story.missed - dt.datetime.now(dt.UTC)).total_seconds()))
    process, api = serve(project, "--cron", "30 22 * * 1-5")
    family = []
    try:

        def planned() -> list[dt.datetime] | None:
            # what the schedule before had planned, every five seconds, and the run that was due when nothing served, are dropped
            waiting = [run for run in runs(api) if run["state_type"] == "SCHEDULED" and run["name"] != "another's"]
            times = [dt.datetime.fromisoformat(run["expected_start_time"]) for run in waiting]
            return times if len(times) > 2 and {(each.hour, each.minute) for each in times} == {(22, 30)} else None

        times = neighbours.wait_for(planned, 300, process)
        family = neighbours.family(process)
        assert {each.weekday() for each in times} <= set(range(5))
        assert {"missed", "another's"} & {run["name"] for run in runs(api)} == {"another's"}
        assert neighbours.stop_gently(process, signal.SIGINT) == 130
        assert neighbours.left(family) == []
    finally:
        neighbours.stop_all(process, family)
