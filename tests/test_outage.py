"""MLflow away: no epoch is lost, nothing waits, and when it is back everything is there once."""

from __future__ import annotations

import collections
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import clones
import neighbours
import projects
import pytest

from longshort import config, editing, journal, serving, tracking
from longshort.errors import PartlyDone
from longshort.registry import decision, ledger

ONE_ITEM = (
    "ingestion.datasets={goog: {task: forecast, source: embedded}}",
    "training.items={goog-rnn: {dataset: goog, task: forecast, variant: rnn}}",
)


def contents(root: Path, address: str) -> dict[str, object]:
    """What MLflow holds of the data set goog, in a form that two looks can be compared in."""
    import mlflow

    client = mlflow.MlflowClient(address, address)
    place = client.get_experiment_by_name("goog").experiment_id
    runs = client.search_runs([place])
    return {
        "runs": sorted((run.info.run_name, run.info.status) for run in runs),
        "epochs": {
            (run.info.run_name, key): sorted(metric.step for metric in client.get_metric_history(run.info.run_id, key))
            for run in runs
            for key in tracking.EPOCH_METRICS
        },
        "children": sum(tracking.PARENT in run.data.tags for run in runs),
        "logged": len(client.search_logged_models([place])),
        "versions": len(client.search_model_versions("name = 'forecast-goog'")),
        "ledger": [(entry["event"], entry["version"]) for entry in ledger.history(root)],
    }


BASELINES = ("last-value", "drift", "mean-return", "seasonal-naive", "ar1", "ridge", "lightgbm")


def epochs(root: Path) -> dict[tuple[str, str], list[int]]:
    """The steps that MLflow should hold, by run and metric: every epoch of every seed, each once, and the baselines' lines."""
    params = config.read(root / "params.yaml")
    items = [item for item, entry in params.training.items.items() if entry.dataset == "goog"]
    seeds = [seed for item in items for seed in tracking.trained(root, params, item)]
    lengths = {seed.name: len(seed.history) for seed in seeds}
    longest = max(lengths.values())
    lengths |= {f"baseline-{name}": longest for name in BASELINES}
    return {(name, key): list(range(1, length + 1)) for name, length in lengths.items() for key in tracking.EPOCH_METRICS}


@pytest.fixture(scope="module")
def story(retrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """MLflow dies in the middle of a run, stays away for another, and comes back for a third."""
    base = tmp_path_factory.mktemp("outage")
    port = neighbours.free_port()
    address = f"http://{neighbours.HOST}:{port}"
    # an epoch of seconds, so that there is time to see one arrive: batches of two, by the loop over the rule
    settings = "{optimizer: adam, learning_rate: 0.0001, batch_size: 2, max_epochs: 4, patience: 4, clip_norm: 1.0}"
    slow = ("training.engine=reference", f"training.forecast={settings}")
    root = clones.copy(retrained, base / "project")  # its windows are made, and what it had in a store of its own is not asked for
    shutil.rmtree(root / "mlflow/store")
    editing.assign(root / "params.yaml", [*ONE_ITEM, *slow, f"tracking.uri={address}"])
    told = SimpleNamespace(root=root, address=address)

    log = base / "first.log"
    with neighbours.mlflow_server(base / "mlflow", port) as server:
        first = neighbours.start(root, str(clones.BIN / "longshort"), "run", log=log)
        try:
            import mlflow

            client = mlflow.MlflowClient(address, address)

            def arrived() -> list[int]:
                runs = (
                    client.search_runs([client.get_experiment_by_name("goog").experiment_id])
                    if client.get_experiment_by_name("goog")
                    else []
                )
                return [len(client.get_metric_history(run.info.run_id, "validation_loss")) for run in runs]

            told.early = neighbours.wait_for(lambda: sum(arrived()) and arrived(), 400, first)
            told.training_went_on = "training@goog-rnn" not in log.read_text()
            neighbours.stop(server)
            told.first_code = first.wait(timeout=200)
        finally:
            neighbours.stop(first)
    told.first_said = log.read_text()
    told.second = clones.longshort(root, "run", "--set", "training.seeds=[0, 1, 2]", code=6)
    with neighbours.mlflow_server(base / "mlflow", port):
        told.third = clones.longshort(root, "run")
        told.then = contents(root, address)
        told.again = recorded(root)
        told.later = contents(root, address)
    yield told


@pytest.mark.long
def test_epochs_are_in_mlflow_before_their_training_has_ended(story):
    assert story.training_went_on and 0 < sum(story.early) < 8


@pytest.mark.long
def test_a_server_that_dies_in_the_middle_costs_no_epoch(story):
    assert story.first_code == 6 and "no epoch is lost" in story.first_said


@pytest.mark.long
def test_without_a_server_everything_is_trained_and_the_leaderboard_shown(story):
    assert clones.stages(story.second)["training@goog-rnn"] == "ran" and "skill" in story.second.stdout


@pytest.mark.long
def test_an_outage_is_told_with_the_address_and_the_way_on(story):
    assert (
        story.address in story.second.stderr
        and "Start the server" in story.second.stderr
        and "`longshort run` does just the rest" in story.second.stderr
    )


@pytest.mark.long
def test_when_it_is_back_every_stage_is_cached(story):
    assert set(clones.stages(story.third).values()) == {"Cached"}


@pytest.mark.long
def test_when_it_is_back_every_run_and_every_epoch_is_there_once(story):
    wanted = epochs(story.root)
    assert {key: story.then["epochs"][key] for key in wanted} == wanted
    assert collections.Counter(name for name, _ in story.then["runs"] if not name.startswith("retraining")) == {
        name: 1 for name, _ in wanted
    }


@pytest.mark.long
def test_when_it_is_back_every_model_is_logged_once_and_the_best_registered_once(story):
    assert story.then["logged"] == 3 and story.then["versions"] == 1


@pytest.mark.long
def test_to_record_once_more_adds_nothing(story):
    assert story.again and story.later == story.then


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, "oops"), (503, ""), (401, "who are you?"), (403, "no"), (404, "<html>not here</html>"), (200, "<html>another server</html>")],
)
def test_whatever_a_server_refuses_with_becomes_the_sentence(tmp_path, status, body):
    def refuse(request, _):
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body.encode())

    with neighbours.answering(refuse) as port:
        assert "does not answer" in said_of(tmp_path, f"http://{neighbours.HOST}:{port}")


def test_a_refused_connection_becomes_the_sentence_at_once(tmp_path):
    began = time.monotonic()
    assert "Connection refused" in said_of(tmp_path, f"http://{neighbours.HOST}:{neighbours.free_port()}")
    assert time.monotonic() - began < 5


def test_a_server_that_hangs_becomes_the_sentence_in_seconds(tmp_path):
    began = time.monotonic()
    with neighbours.hanging() as port:
        assert "timed out" in said_of(tmp_path, f"http://{neighbours.HOST}:{port}")
    assert time.monotonic() - began < 15


def said_of(root: Path, address: str) -> str:
    """What a person is told about a store at an address."""
    params = config.read(projects.project(root, f"tracking.uri={address}") / "params.yaml")
    with pytest.raises(PartlyDone) as told, tracking.reachable(root, params):
        tracking.connect(root, params)
    return str(told.value)


def test_following_into_a_server_that_hangs_takes_no_time_from_training(tmp_path):
    with neighbours.hanging() as port:
        params = config.read(projects.project(tmp_path, f"tracking.uri=http://{neighbours.HOST}:{port}") / "params.yaml")
        write_journal(tmp_path, epochs=500)
        import mlflow  # noqa: F401  # its import is paid by whoever records; here only the waiting is measured

        follower = tracking.Follower(tmp_path, params)
        began, used = time.monotonic(), time.process_time()
        with follower:
            time.sleep(4)
        share = (time.process_time() - used) / (time.monotonic() - began)
    print(f"a follower of a hanging server takes {100 * share:.1f} % of a core")
    assert share < 0.05 and time.monotonic() - began < 15


def write_journal(root: Path, epochs: int, item: str = "goog-rnn") -> None:
    """What a training would have written by now."""
    path = root / ".state/journal/0123.jsonl"
    journal.append(path, {"kind": "begun", "item": item, "member": "s0", "seed": 0, "identity": "0123"})
    for epoch in range(1, epochs + 1):
        journal.append(path, {"kind": "epoch", "epoch": epoch, "train_loss": 1.0, "validation_loss": 1.0, "seconds": 0.1})


@pytest.mark.long
def test_training_does_not_know_of_mlflow():
    loaded = "{name.partition('.')[0] for name in sys.modules}"
    code = f"import sys, longshort.training.stage; sys.exit(bool({{'mlflow', 'prefect', 'requests'}} & {loaded}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real MLflow server."""
    port = neighbours.free_port()
    with neighbours.mlflow_server(tmp_path_factory.mktemp("mlflow"), port):
        yield port


@pytest.mark.long
def test_a_record_whose_answers_are_lost_gives_nothing_twice(retrained, tmp_path, server):
    root = clones.copy(retrained, tmp_path / "project")
    (root / "mlflow/store/ledger.jsonl").unlink()
    tries = 0
    with neighbours.losing_answers(server) as (way, lost):
        editing.assign(root / "params.yaml", [*ONE_ITEM, f"tracking.uri=http://{neighbours.HOST}:{way}"])
        while not recorded(root):
            tries += 1
            assert tries < 60, sorted(lost)
    once = contents(root, f"http://{neighbours.HOST}:{server}")
    print(f"{tries} tries failed, {len(lost)} kinds of answers lost: {', '.join(sorted(lost))}")
    assert {"POST /api/2.0/mlflow/runs/create", "POST /api/2.0/mlflow/runs/log-batch", "POST /api/2.0/mlflow/model-versions/create"} <= lost
    assert {key: once["epochs"][key] for key in epochs(root)} == epochs(root)
    assert len({name for name, _ in once["runs"]}) == len(once["runs"])
    assert (once["logged"], once["versions"]) == (2, 1)
    assert [event for event, _ in once["ledger"]] == ["registered", "retrained", once["ledger"][-1][0]]


def recorded(root: Path) -> bool:
    """What the flow does after its stages; whether the server answered all the way."""
    params = config.read(root / "params.yaml")
    try:
        with tracking.reachable(root, params):
            client = tracking.connect(root, params)
            known = tracking.record(client, root, params, tracking.origin_of(root, "none"), serving.log_model)
            decision.decide(client, root, params, "goog", known, "asked for")
    except PartlyDone:
        return False
    return True


class Impatient(tracking.Follower):
    PAUSE_SECONDS = AWAY_SECONDS = 0.2


@pytest.mark.long
def test_a_follower_whose_answers_are_lost_logs_no_epoch_twice(tmp_path, server):
    with neighbours.losing_answers(server) as (way, lost):
        settings = [f"tracking.uri=http://{neighbours.HOST}:{way}", "ingestion.datasets.followed={task: forecast, source: embedded}"]
        settings.append("training.items.followed-rnn={dataset: followed, task: forecast, variant: rnn}")
        params = config.read(projects.project(tmp_path, *settings) / "params.yaml")
        with Impatient(tmp_path, params):
            write_journal(tmp_path, epochs=5, item="followed-rnn")
            time.sleep(6)
    assert "POST /api/2.0/mlflow/runs/log-batch" in lost
    import mlflow

    client = mlflow.MlflowClient(f"http://{neighbours.HOST}:{server}")
    (run,) = client.search_runs([client.get_experiment_by_name("followed").experiment_id])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "validation_loss")] == [1, 2, 3, 4, 5]
