"""`longshort ui`: Prefect and MLflow show what was run, to this machine alone, and end when it ends."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import clones
import neighbours
import pytest

from longshort import graph


@pytest.fixture(scope="module")
def ui(retrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The two servers, started after a run."""
    base = tmp_path_factory.mktemp("ui")
    root, log = clones.copy(retrained, base / "project"), base / "ui.log"
    told = SimpleNamespace(root=root, mlflow=neighbours.free_port(), prefect=neighbours.free_port(), log=log, family=[])
    command = [str(clones.BIN / "longshort"), "ui", "--mlflow-port", str(told.mlflow), "--prefect-port", str(told.prefect)]
    told.process = neighbours.start(root, *command, log=log)
    try:
        neighbours.wait_for(lambda: "Stop with Ctrl-C" in log.read_text(), 400, told.process)
        told.family = neighbours.family(told.process)
        yield told
    finally:
        neighbours.stop_all(told.process, told.family)


def last_run(root: Path) -> str:
    """The id of the newest flow run."""
    return json.loads((root / ".state/last-run.json").read_text())["flow_run_id"]


def test_prefect_shows_that_flow_run_with_a_task_a_stage(ui):
    api, own = f"http://{neighbours.HOST}:{ui.prefect}/api", last_run(ui.root)
    assert neighbours.ask(f"{api}/flow_runs/{own}")["state_type"] == "COMPLETED"
    tasks = neighbours.ask(f"{api}/task_runs/filter", {"flow_runs": {"id": {"any_": [own]}}})
    assert {stage.address for stage in graph.read(ui.root)} <= {task["name"] for task in tasks}


def test_mlflow_shows_those_runs(ui):
    api = f"http://{neighbours.HOST}:{ui.mlflow}/api/2.0/mlflow"
    place = neighbours.ask(f"{api}/experiments/get-by-name?experiment_name=goog")["experiment"]["experiment_id"]
    found = neighbours.ask(f"{api}/runs/search", {"experiment_ids": [place], "max_results": 100})["runs"]
    assert {"rnn-s0", "rnn-s1", "lstm-s0", "lstm-s1", "baseline-last-value"} <= {run["info"]["run_name"] for run in found}
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in found]
    assert {own["prefect_flow_run_id"] for own in tags} == {last_run(ui.root)}


def test_the_servers_listen_on_this_machine_only(ui):
    heard = neighbours.listening(ui.family)
    assert {ui.mlflow, ui.prefect} <= {port for _, port in heard} and {address for address, _ in heard} == {"127.0.0.1"}


def test_addresses_and_data_docs_are_told(ui):
    said = ui.log.read_text()
    assert f"http://127.0.0.1:{ui.mlflow}\n" in said and f"http://127.0.0.1:{ui.prefect}\n" in said
    assert (ui.root / "data/validation/goog/index.html").as_uri() in said


def asked_from(address: str, **headers: str) -> tuple[int, str | None]:
    """The status of an answer, and the origin that may read it."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as reply:
            return reply.status, reply.headers["Access-Control-Allow-Origin"]
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["Access-Control-Allow-Origin"]


def test_a_page_of_another_site_may_read_neither_server(ui):
    foreign = {"Origin": "http://elsewhere.example"}
    assert asked_from(f"http://127.0.0.1:{ui.prefect}/api/health", **foreign) == (200, None)
    assert asked_from(f"http://127.0.0.1:{ui.mlflow}/health", **foreign)[1] is None
    own = f"http://127.0.0.1:{ui.prefect}"
    assert asked_from(f"{own}/api/health", Origin=own) == (200, own)


def test_mlflow_refuses_another_host_name(ui):
    address = f"http://127.0.0.1:{ui.mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name=goog"
    assert asked_from(address, Host="elsewhere.example")[0] == 403


@pytest.mark.long
def test_a_run_meanwhile_uses_the_server_that_runs(ui):
    clones.longshort(ui.root, "run")
    api = f"http://{neighbours.HOST}:{ui.prefect}/api"
    assert neighbours.ask(f"{api}/flow_runs/{last_run(ui.root)}")["state_name"] == "Nothing new"


def test_a_port_that_is_taken_is_told(ui):
    done = clones.longshort(ui.root, "ui", "--mlflow-port", str(ui.mlflow), code=2)
    assert f"port {ui.mlflow} is taken" in done.stderr and "--mlflow-port" in done.stderr


def test_ctrl_c_ends_both_servers(ui):
    assert neighbours.stop_gently(ui.process, signal.SIGINT) == 130
    assert neighbours.left(ui.family) == []
