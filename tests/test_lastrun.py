"""Whether the last run stands: only while nothing that it rests on was touched."""

import os
from pathlib import Path

import clones
import pytest

from longshort import config, editing, lastrun
from longshort.models import choice
from longshort.registry import ledger

TOLD = {"flow_run_id": "7", "nothing_new": False, "decisions": [], "forecasts": []}


@pytest.fixture(scope="module")
def ended(retrained, tmp_path_factory):
    return clones.copy(retrained, tmp_path_factory.mktemp("ended") / "project")


def standing(root):
    return lastrun.standing(root, config.read(root / "params.yaml"))


def append(path, what):
    path.write_bytes(path.read_bytes() + what)


CHANGES = {
    "a setting": lambda root: editing.assign(root / "params.yaml", ["registry.min_gain=0.5"]),
    "an output": lambda root: append(root / "dvc.lock", b"\n"),
    "a promotion by hand": lambda root: ledger.note(root, "promoted", "forecast-goog", version="9"),
    "a run in MLflow's page": lambda root: os.utime(root / "mlflow/store/mlflow.db"),
    "no store any more": lambda root: (root / "mlflow/store/mlflow.db").unlink(),
    "another flow": lambda root: append(root / "flows/retraining.py", b"\n"),
    "a server that others write to": lambda root: editing.assign(root / "params.yaml", ["tracking.uri=http://127.0.0.1:1"]),
}


def test_a_run_that_nobody_touched_stands(ended):
    lastrun.keep(ended, TOLD)
    found = standing(ended)
    assert {name: found[name] for name in TOLD} == TOLD


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_it_rests_on_is_touched_it_stands_no_more(ended, tmp_path, change):
    root = clones.copy(ended, tmp_path / "project")
    lastrun.keep(root, TOLD)
    assert standing(root) is not None
    change(root)
    assert standing(root) is None


def test_a_run_of_other_code_does_not_stand(ended, monkeypatch):
    lastrun.keep(ended, TOLD)
    other = Path(choice.__file__)
    monkeypatch.setattr(lastrun.longshort, "__file__", str(other))  # the folder of models in place of the package
    assert standing(ended) is None


def test_before_the_first_run_nothing_stands(tmp_path):
    root = clones.clone(tmp_path / "project")
    assert standing(root) is None
