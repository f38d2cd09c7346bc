"""Reproduction: a run is made again from what it carries, and what differs first is named."""

import json

import clones
import numpy as np
import pytest
import safetensors.numpy

from longshort import storage, tracking
from longshort.registry import reproduction
from longshort.registry.reproduction import Made, differs

ORIGIN = {"windows_sha256": "w" * 64, "code_sha256": "c" * 64, "optimisation": {"learning_rate": 0.01}, "torch": "2.13.0", "identity": "i"}
BEFORE = Made("d" * 64, ORIGIN, {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}, {"rmse": 1.5, "mae": 1.0})


def made(**changes):
    weights = {**BEFORE.weights, **changes.get("weights", {})}
    figures = {**BEFORE.figures, **changes.get("figures", {})}
    return Made(changes.get("data", BEFORE.data_sha256), {**ORIGIN, **changes.get("origin", {})}, weights, figures)


def nudged(by):
    changed = BEFORE.weights["a"].copy()
    changed[1, 0] += np.float32(by)
    return {"a": changed}


DIFFERENCES = {
    "nothing": (made(), None, None),
    "the identity alone": (made(origin={"identity": "j"}), None, None),
    "the data, before all that follows from it": (
        made(data="e" * 64, weights=nudged(1), figures={"rmse": 9.0}),
        "the data set is eeeeeeeeeeee, was dddddddddddd",
        "the data set is eeeeeeeeeeee, was dddddddddddd",
    ),
    "the windows": (made(origin={"windows_sha256": "x" * 64}), "windows_sha256 is xxxxxxxxxxxx, was wwwwwwwwwwww", None),
    "a setting": (
        made(origin={"optimisation": {"learning_rate": 0.02}}),
        'optimisation is {"learning_rate": 0.02}, was {"learning_rate": 0.01}',
        'optimisation is {"learning_rate": 0.02}, was {"learning_rate": 0.01}',
    ),
    "torch": (made(origin={"torch": "2.14.0"}), "torch is 2.14.0, was 2.13.0", None),
    "one bit of one weight": (made(weights=nudged(3e-7)), "1 of 6 weights of a, the first at 3: 3.00000024, was 3", None),
    "a weight": (
        made(weights=nudged(1)),
        "1 of 6 weights of a, the first at 3: 4, was 3",
        "the weights lie 13.0% of their norm from what they were, asked 5% at most",
    ),
    "no number": (
        made(weights=nudged(np.nan)),
        "1 of 6 weights of a, the first at 3: nan, was 3",
        "the weights lie nan% of their norm from what they were, asked 5% at most",
    ),
    "a shape": (made(weights={"b": np.ones(5, np.float32)}), *["weights b have shape (5,), had (4,)"] * 2),
    "the last bit of a figure": (made(figures={"mae": 1.0 + 1e-15}), "mae is 1, was 1", None),
    "a figure": (made(figures={"mae": 1.1}), "mae is 1.1, was 1", "mae is 1.1, was 1"),
}


@pytest.mark.parametrize(("after", "bitwise", "elsewhere"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_what_differs_first_is_named_to_the_bit_on_one_kind_of_machine_and_within_tolerances_elsewhere(after, bitwise, elsewhere):
    assert differs(BEFORE, after, bitwise=True) == bitwise
    assert differs(BEFORE, after, bitwise=False) == elsewhere


def retraining(root):
    client = clones.mlflow_client(root)
    (run,) = [run for run in clones.mlflow_runs(root) if run.data.tags[tracking.KIND] == "retraining"]
    return client, run


@pytest.mark.long
def test_a_run_is_made_again_bit_for_bit_and_says_so(own_prices, tmp_path):
    root = clones.copy(own_prices, tmp_path / "project")
    client, run = retraining(root)
    before = clones.outputs(root)
    done = clones.longshort(root, "reproduce", run.info.run_id[:8])
    assert done.stdout == "PASS: 2 models made again, compared bitwise\n"
    assert client.get_run(run.info.run_id).data.tags[reproduction.TAG].startswith("PASS: 2 models made again, compared bitwise (")
    assert clones.outputs(root) == before and "up to date" in clones.dvc(root, "status")
    assert not list((root / ".state/reproduction").iterdir())
    assert clones.git(root, "worktree", "list").count("\n") == 1


@pytest.mark.long
def test_a_run_that_came_to_something_else_fails_with_what_differs_first(own_prices, tmp_path):
    root = clones.copy(own_prices, tmp_path / "project")
    client = clones.mlflow_client(root)
    (child,) = [each for each in clones.mlflow_runs(root) if each.data.tags.get("seed") == "1" and each.info.run_name == "rnn-s1"]
    (logged,) = [
        path.parent
        for path in (root / "mlflow/store/artifacts").rglob("manifest.json")
        if storage.read_json(path.parent / "model.json")["origin"]["seed"] == 1
    ]
    weights = safetensors.numpy.load((logged / "weights.safetensors").read_bytes())
    name = min(weights)
    weights[name] = weights[name] + np.float32(1e-6)
    (logged / "manifest.json").unlink()
    storage.write_bytes(logged / "weights.safetensors", safetensors.numpy.save(weights))
    storage.seal(logged)
    done = clones.longshort(root, "reproduce", child.info.run_id, "--json", code=5)
    told = json.loads(done.stdout)
    assert told["difference"].startswith("rnn-s1: ") and f"weights of {name}, the first at 0: " in told["difference"]
    assert client.get_run(child.info.run_id).data.tags[reproduction.TAG].startswith("FAIL: compared bitwise; the first difference: rnn-s1:")
    assert "came to something else" in done.stderr and told["worktree"] in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("asked", ["", "ffff", "no such run"])
def test_a_run_that_is_not_there_is_told(own_prices, asked):
    assert f"no one training or retraining has the id '{asked}'" in clones.main(own_prices, "reproduce", asked, code=2).stderr


def test_a_run_carries_what_was_not_committed_and_new_files_but_no_large_ones(tmp_path):
    root = clones.clone(tmp_path / "project")
    (root / "README.md").write_text("other\n")
    (root / "new file.txt").write_text("new\n")
    (root / "large.txt").write_bytes(b"x\n" * tracking.MOST_NEW)
    (tmp_path / "diff").write_text(tracking.uncommitted(root))
    clones.git(root, "worktree", "add", "--quiet", str(tmp_path / "tree"), "HEAD")
    clones.git(tmp_path / "tree", "apply", str(tmp_path / "diff"))
    assert [(tmp_path / "tree" / name).read_text() for name in ("README.md", "new file.txt")] == ["other\n", "new\n"]
    assert not (tmp_path / "tree/large.txt").exists()
