"""Tracking: what a retraining leaves in MLflow, so that runs can be compared there."""

import json
from types import SimpleNamespace

import clones
import mlflow
import numpy as np
import pandas as pd
import pytest

from longshort import config, serving, storage, tracking

TAGS = {"git_commit", "data_sha256", "dvc_lock_sha256", "params_sha256", "prefect_flow_run_id"}


@pytest.fixture(scope="module")
def store(retrained):
    """The store of the retrained project: a client, and its runs by experiment, kind and name."""
    client = clones.mlflow_client(retrained)
    runs = {}
    for experiment in client.search_experiments(filter_string="name != 'Default'"):
        for run in client.search_runs([experiment.experiment_id]):
            kind = runs.setdefault(experiment.name, {}).setdefault(run.data.tags["longshort.kind"], {})
            assert run.info.run_name not in kind
            kind[run.info.run_name] = run
    return SimpleNamespace(root=retrained, client=client, runs=runs, params=config.read(retrained / "params.yaml"))


@pytest.fixture(scope="module")
def seeds(store):
    """Every seed as the stages left it, with its run."""
    everything = [seed for item in store.params.training.items for seed in tracking.trained(store.root, store.params, item)]
    return [(seed, store.runs[seed.dataset]["training"][seed.name]) for seed in everything]


def history(store, run, key):
    """A metric as (step, value), in the order of steps."""
    return sorted((metric.step, metric.value) for metric in store.client.get_metric_history(run.info.run_id, key))


# --- runs -------------------------------------------------------------------------------------


def test_there_is_one_experiment_a_data_set_and_one_run_a_variant_and_seed(store):
    assert {name: set(kinds["training"]) for name, kinds in store.runs.items()} == {
        "goog": {"rnn-s0", "rnn-s1", "lstm-s0", "lstm-s1"},
        "topics": {"gru-s0", "gru-s1"},
    }


def test_every_run_is_finished_and_a_child_of_its_data_sets_parent(store):
    for kinds in store.runs.values():
        (parent,) = kinds["retraining"].values()
        children = [*kinds["training"].values(), *kinds["baseline"].values()]
        assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
        assert {run.info.status for run in [parent, *children]} == {"FINISHED"}


def test_every_epoch_is_a_step_with_the_losses_of_the_stages_output(store, seeds):
    for seed, run in seeds:
        for key in ("train_loss", "validation_loss"):
            assert history(store, run, key) == [(epoch["epoch"], epoch[key]) for epoch in seed.history]


def test_variants_of_a_data_set_have_the_same_metric_keys(store):
    for kinds in store.runs.values():
        keys = {frozenset(run.data.metrics) for run in kinds["training"].values()}
        assert len(keys) == 1 and keys.pop() > {"train_loss", "validation_loss", "best_epoch", "best_validation_loss", "seconds"}


def test_a_runs_figures_are_those_of_the_evaluation(store, seeds):
    for seed, run in seeds:
        scored = storage.read_json(store.root / "data/evaluation" / seed.item / "metrics.json")["seeds"][str(seed.seed)]
        main = {"forecast": "rmse", "language-model": "perplexity"}[seed.task]
        assert run.data.metrics[f"test_{main}"] == scored[main]
        assert run.data.metrics["best_epoch"] == scored["best_epoch"]
        assert run.data.metrics["best_validation_loss"] == scored["validation_loss"]


def test_a_baseline_is_a_constant_line_over_every_step_with_the_variants_metric(store):
    for dataset, kinds in store.runs.items():
        last = max(run.data.metrics["best_epoch"] for run in kinds["training"].values())
        main = {"goog": "test_rmse", "topics": "test_perplexity"}[dataset]
        assert kinds["baseline"]
        for run in kinds["baseline"].values():
            for key in ("train_loss", "validation_loss"):
                steps, values = zip(*history(store, run, key), strict=True)
                assert steps == tuple(range(1, len(steps) + 1)) and len(steps) >= last
                assert len(set(values)) == 1
            assert main in run.data.metrics


def test_a_run_says_where_it_comes_from(store):
    (flow_run,) = clones.flow_run_ids(store.root)
    for dataset, kinds in store.runs.items():
        for run in [run for kind in kinds.values() for run in kind.values()]:
            assert {name: run.data.tags[name] for name in TAGS} == {
                "git_commit": clones.git(store.root, "rev-parse", "HEAD").strip(),
                "data_sha256": storage.verify(store.root / "data/ingestion" / dataset),
                "dvc_lock_sha256": storage.sha256(store.root / "dvc.lock"),
                "params_sha256": storage.sha256(store.root / "params.yaml"),
                "prefect_flow_run_id": flow_run,
            }


def test_a_run_names_its_settings_and_its_data(store, seeds):
    for seed, run in seeds:
        variant = store.params.models.variants[seed.variant]
        assert run.data.params["variant.hidden_size"] == str(variant.hidden_size)
        assert run.data.params["seed"] == str(seed.seed)
        assert run.data.params["windows.lookback"] == {"goog": "10", "topics": "20"}[seed.dataset]
        (data,) = run.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.source) == (seed.dataset, f"data/ingestion/{seed.dataset}")
        assert run.data.tags["data_sha256"].startswith(data.dataset.digest)


def test_a_run_has_the_pictures_of_its_item(store, seeds):
    for seed, run in seeds:
        folder = store.root / "data/evaluation" / seed.item / "pictures"
        there = {path.path for path in store.client.list_artifacts(run.info.run_id, "pictures")}
        assert there == {f"pictures/{path.name}" for path in folder.iterdir()}
        assert "pictures/loss.png" in there


def test_the_parent_carries_what_reproduces_it(store):
    for kinds in store.runs.values():
        (parent,) = kinds["retraining"].values()
        for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
            kept = mlflow.artifacts.download_artifacts(run_id=parent.info.run_id, artifact_path=name)
            assert storage.sha256(store.root / name) == storage.sha256(store.root.joinpath(kept))


# --- models -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(store, seeds):
    """One model a variant, as MLflow loads it: (seed, its folder in MLflow, the loaded model)."""
    found = []
    for seed, run in seeds:
        if seed.seed == 0:
            address = f"models:/{run.data.tags['longshort.model_id']}"
            found.append((seed, store.root.joinpath(mlflow.artifacts.download_artifacts(address)), mlflow.pyfunc.load_model(address)))
    return found


def rows(loaded, count):
    """So many different inputs of the form that a model takes."""
    example = loaded.input_example
    if isinstance(example, pd.DataFrame):
        return pd.DataFrame({"prompt": [f"the value of {word}" for word in ("a", "the", "class", "an", "object", "this", "it")[:count]]})
    draw = np.random.Generator(np.random.Philox(0))
    return np.asarray(example)[:1] + draw.normal(0, 0.02, (count, *np.shape(example)[1:]))


def test_a_model_has_a_signature_and_an_input_example_and_no_pickle(models):
    for _, folder, loaded in models:
        assert loaded.metadata.signature.inputs and loaded.metadata.signature.outputs
        assert loaded.input_example is not None
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".yaml", ""}
        for path in files:
            assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04"))


def test_a_model_in_mlflow_is_the_one_that_was_trained(models):
    for seed, folder, _ in models:
        kept = next(folder.glob("data/*"))
        assert storage.verify(kept) == storage.verify(seed.folder) == seed.model_sha256


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_model_answers_a_batch_as_it_answers_each_row_alone(models, count):
    for seed, _, loaded in models:
        batch = rows(loaded, count)
        together = loaded.predict(batch)
        alone = [loaded.predict(batch[number : number + 1]) for number in range(count)]
        assert len(together) == count
        if seed.task == "forecast":
            np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5)
            assert len(np.unique(together)) == count
        else:
            pd.testing.assert_frame_equal(together, pd.concat(alone, ignore_index=True))
            assert together["probability"].nunique() == count


def test_a_model_answers_as_the_network_does(models):
    for seed, folder, loaded in models:
        direct = serving._load_pyfunc(str(next(folder.glob("data/*"))))
        batch = rows(loaded, 2)
        answers = [np.asarray(pd.DataFrame(answer)) for answer in (loaded.predict(batch), direct.predict(batch))]
        assert (answers[0] == answers[1]).all(), seed.name


# --- doing it twice is doing it once ----------------------------------------------------------


@pytest.fixture(scope="module")
def project(retrained, tmp_path_factory):
    return clones.copy(retrained, tmp_path_factory.mktemp("tracking") / "project")


def record(root):
    """What the flow's step `record` does."""
    params = config.read(root / "params.yaml")
    return tracking.record(tracking.connect(root, params), root, params, tracking.origin_of(root, "none"), serving.log_model)


def dump(root):
    """All that MLflow holds of a project's runs."""
    client = clones.mlflow_client(root)
    return {
        run.info.run_id: (run.to_dictionary(), [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "validation_loss")])
        for run in clones.mlflow_runs(root)
    }


def test_recording_twice_is_recording_once(project):
    before = dump(project)
    recorded = record(project)
    assert recorded.new == 0 and set(recorded.runs.values()) <= set(before)
    assert dump(project) == before


@pytest.mark.parametrize("lost", ["longshort.complete", "longshort.model_id"])
def test_a_run_that_a_crash_left_unfinished_is_completed_and_not_doubled(project, lost):
    client, before = clones.mlflow_client(project), dump(project)
    run = next(run for run in clones.mlflow_runs(project) if run.info.run_name == "rnn-s0")
    for tag in {"longshort.complete", lost}:
        client.delete_tag(run.info.run_id, tag)
    client.update_run(run.info.run_id, "RUNNING")
    record(project)
    after = dump(project)
    assert set(after) == set(before)
    assert after[run.info.run_id][1] == before[run.info.run_id][1]
    assert after[run.info.run_id][0]["info"]["status"] == "FINISHED"
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert after[run.info.run_id][0]["data"]["tags"]["longshort.model_id"] == model.model_id
    assert record(project).new == 0


def test_a_run_of_a_killed_retraining_that_nobody_will_finish_is_ended(project):
    client = clones.mlflow_client(project)
    place = client.get_experiment_by_name("goog").experiment_id
    stray = client.create_run(place, tags={"longshort.identity": "of other settings", "longshort.kind": "training"}, run_name="lstm-s0")
    strangers = client.create_run(place, run_name="a person's own")
    record(project)
    assert client.get_run(stray.info.run_id).info.status == "KILLED"
    assert client.get_run(strangers.info.run_id).info.status == "RUNNING"


def test_the_uncommitted_difference_goes_with_the_parent(project):
    with (project / "params.yaml").open("a") as file:
        file.write("# a thought\n")
    parent = record(project).parents["goog"]
    kept = mlflow.artifacts.download_artifacts(run_id=parent, artifact_path="uncommitted.diff")
    assert "+# a thought" in project.joinpath(kept).read_text()
    children = json.loads(project.joinpath(mlflow.artifacts.download_artifacts(run_id=parent, artifact_path="children.json")).read_text())
    assert set(children) == {"rnn-s0", "rnn-s1", "lstm-s0", "lstm-s1"}
