"""Tracking: what a retraining leaves in MLflow, so that runs can be compared there."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import clones
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow.utils.validation import MAX_METRICS_PER_BATCH
from projects import PER_TICKER

from longshort import config, editing, journal, serving, storage, tracking
from longshort.models import artefact

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


@pytest.mark.parametrize("kind", ["pictures", "tables"])
def test_a_run_has_the_pictures_and_tables_of_its_item(store, seeds, kind):
    for seed, run in seeds:
        folder = store.root / "data/evaluation" / seed.item / kind
        there = {path.path for path in store.client.list_artifacts(run.info.run_id, kind)}
        assert there and there == {f"{kind}/{path.name}" for path in folder.iterdir()}


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


def record(root, log_model=serving.log_model):
    """What the flow's step `record` does."""
    params = config.read(root / "params.yaml")
    return tracking.record(tracking.connect(root, params), root, params, tracking.origin_of(root, "none"), log_model)


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


# --- a network a ticker -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(tickers, tmp_path_factory):
    """A project with a network a ticker, recorded; its seeds, and its runs by kind and name."""
    root = tmp_path_factory.mktemp("fleet") / "project"
    shutil.copytree(tickers, root)
    record(root)
    seeds = tracking.trained(root, config.read(root / "params.yaml"), PER_TICKER)
    return SimpleNamespace(root=root, client=clones.mlflow_client(root), seeds=seeds, runs=by_kind(root))


def by_kind(root):
    """Kind -> name -> run; no name twice."""
    runs = {}
    for run in clones.mlflow_runs(root):
        kind = runs.setdefault(run.data.tags["longshort.kind"], {})
        assert run.info.run_name not in kind
        kind[run.info.run_name] = run
    return runs


def test_a_seed_is_a_run_and_each_of_its_few_networks_a_child_of_it(fleet):
    assert set(fleet.runs["training"]) == {"lstm-per-ticker-s0", "lstm-per-ticker-s1"}
    assert set(fleet.runs["member"]) == {f"{ticker}-lstm-per-ticker-s{seed}" for ticker in ("AAA", "BBB") for seed in (0, 1)}
    for seed in fleet.seeds:
        for member in seed.members:
            child = fleet.runs["member"][f"{member['ticker']}-{seed.name}"]
            assert child.data.tags["mlflow.parentRunId"] == fleet.runs["training"][seed.name].info.run_id
            assert (child.data.tags["ticker"], child.data.tags["seed"]) == (member["ticker"], str(seed.seed))
            for key in ("train_loss", "validation_loss"):
                assert history(fleet, child, key) == [(epoch["epoch"], epoch[key]) for epoch in member["history"]]
    assert {run.info.status for kind in fleet.runs.values() for run in kind.values()} == {"FINISHED"}


def test_a_seeds_run_has_the_table_of_its_networks_and_how_they_spread(fleet):
    for seed in fleet.seeds:
        run = fleet.runs["training"][seed.name]
        assert history(fleet, run, "validation_loss") == [(epoch["epoch"], epoch["validation_loss"]) for epoch in seed.history]
        assert run.data.metrics["seconds"] > 0
        for place, name in ((0.1, "p10"), (0.5, "p50"), (0.9, "p90")):
            wanted = [np.quantile([each["history"][step]["validation_loss"] for each in seed.members], place) for step in (0, 1)]
            assert history(fleet, run, f"validation_loss_{name}") == [(1, wanted[0]), (2, wanted[1])]
        assert history(fleet, run, "validation_loss_members") == [(1, 2), (2, 2)]
        table = members_of(fleet.root, run)
        assert [row["ticker"] for row in table] == ["AAA", "BBB"]
        for row, member in zip(table, seed.members, strict=True):
            best = member["history"][member["best_epoch"] - 1]
            assert (row["identity"], row["epochs"], row["dropped"]) == (member["identity"], len(member["history"]), "")
            assert (row["best_epoch"], row["validation_loss"]) == (best["epoch"], best["validation_loss"])


def members_of(root, run):
    clones.mlflow_client(root)
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="members.parquet")
    return pq.read_table(root.joinpath(path)).to_pylist()


def test_a_fleets_model_in_mlflow_answers_for_each_ticker_with_its_own_network(fleet):
    clones.mlflow_client(fleet.root)
    for seed in fleet.seeds:
        loaded = mlflow.pyfunc.load_model(f"models:/{fleet.runs['training'][seed.name].data.tags['longshort.model_id']}")
        past = np.random.default_rng(0).normal(0, 0.02, (1, 8, 2)).repeat(3, axis=0)
        told = loaded.predict({"ticker": np.array(["BBB", "AAA", "BBB"]), "past": past})
        model = artefact.load(seed.folder)
        alone = {ticker: serving.ForecastService(model.of(ticker)).predict(past[:1])[0] for ticker in ("AAA", "BBB")}
        np.testing.assert_allclose(told, [alone["BBB"], alone["AAA"], alone["BBB"]], rtol=1e-5)
        assert alone["AAA"] != pytest.approx(alone["BBB"], rel=1e-3)
        assert np.isfinite(loaded.predict(loaded.input_example)).all()


def everything(root):
    """All that MLflow holds of a project's runs, each with every point of the curves of its spread."""
    client = clones.mlflow_client(root)
    curves = ("train_loss", "validation_loss", "validation_loss_p50", "validation_loss_members")
    points = {run.info.run_id: [len(client.get_metric_history(run.info.run_id, key)) for key in curves] for run in clones.mlflow_runs(root)}
    return {run.info.run_id: (run.to_dictionary(), points[run.info.run_id]) for run in clones.mlflow_runs(root)}


def test_recording_a_fleet_twice_is_recording_it_once(fleet):
    before = everything(fleet.root)
    assert record(fleet.root).new == 0
    assert everything(fleet.root) == before


@pytest.mark.parametrize("whose", ["the seed", "a member"])
def test_a_fleet_that_a_crash_left_half_recorded_is_completed_and_not_doubled(fleet, whose):
    before = {run: points for run, (_, points) in everything(fleet.root).items()}
    fleet.client.delete_tag(fleet.runs["training"]["lstm-per-ticker-s0"].info.run_id, "longshort.complete")
    if whose == "a member":
        lost = fleet.runs["member"]["BBB-lstm-per-ticker-s0"].info.run_id
        fleet.client.delete_tag(lost, "mlflow.parentRunId")
        fleet.client.update_run(lost, "RUNNING")
    record(fleet.root)
    after = everything(fleet.root)
    assert {run: points for run, (_, points) in after.items()} == before
    for name, run in fleet.runs["member"].items():
        tags = after[run.info.run_id][0]["data"]["tags"]
        assert after[run.info.run_id][0]["info"]["status"] == "FINISHED"
        assert tags["mlflow.parentRunId"] == fleet.runs["training"][name.partition("-")[2]].info.run_id


@pytest.fixture
def unrecorded(tickers, tmp_path):
    """A project with a network a ticker, of which MLflow knows nothing."""
    shutil.copytree(tickers, tmp_path / "project")
    return tmp_path / "project"


def logged_elsewhere(seed):
    return f"m-{seed.seed}"  # logging models takes seconds, and is not what is asked here


def test_many_networks_have_no_run_each_and_the_seed_has_their_table(unrecorded, monkeypatch):
    monkeypatch.setattr(tracking, "MOST_CHILDREN", 1)
    record(unrecorded, logged_elsewhere)
    runs = by_kind(unrecorded)
    assert set(runs) == {"retraining", "training", "baseline"}
    for run in runs["training"].values():
        assert [row["ticker"] for row in members_of(unrecorded, run)] == ["AAA", "BBB"]
        assert "validation_loss_p90" in run.data.metrics


def test_a_network_that_was_dropped_stands_in_the_table_with_its_reason_and_has_no_run(unrecorded, monkeypatch):
    trained, lost = tracking.trained, {"ticker": "DDD", "identity": "0" * 64, "dropped": "epoch 1, step 2: loss nan"}
    with_lost = lambda *where: [dataclasses.replace(seed, members=[*seed.members, lost]) for seed in trained(*where)]  # noqa: E731
    monkeypatch.setattr(tracking, "trained", with_lost)
    record(unrecorded, logged_elsewhere)
    runs = by_kind(unrecorded)
    assert {name.partition("-")[0] for name in runs["member"]} == {"AAA", "BBB"}
    for run in runs["training"].values():
        row = members_of(unrecorded, run)[-1]
        assert (row["ticker"], row["dropped"], row["best_epoch"], row["validation_loss"]) == ("DDD", lost["dropped"], None, None)
        assert history(SimpleNamespace(client=clones.mlflow_client(unrecorded)), run, "validation_loss_members") == [(1, 2), (2, 2)]


@pytest.mark.long
def test_more_epochs_than_a_server_takes_in_one_request_are_all_there(unrecorded, monkeypatch):
    trained, log_batch, sizes = tracking.trained, mlflow.MlflowClient.log_batch, []
    long = [{"epoch": number, "train_loss": 1.0, "validation_loss": 1.0, "best": number == 1} for number in range(1, 1102)]

    def for_long(*where):
        (seed, *_), told = trained(*where), {"history": long, "best_epoch": 1}
        return [dataclasses.replace(seed, members=[{**each, **told} for each in seed.members], **told)]

    def watched(self, run_id, metrics=(), **others):  # a store in a file takes any number
        sizes.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, **others)

    monkeypatch.setattr(tracking, "trained", for_long)
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", watched)
    record(unrecorded, logged_elsewhere)
    assert max(sizes) <= MAX_METRICS_PER_BATCH
    runs, store = by_kind(unrecorded), SimpleNamespace(client=clones.mlflow_client(unrecorded))
    for run in [run for kind in ("training", "member", "baseline") for run in runs[kind].values()]:
        assert [step for step, _ in history(store, run, "validation_loss")] == list(range(1, 1102))
    (run,) = runs["training"].values()
    assert len(history(store, run, "validation_loss_p50")) == 1101


def test_a_training_that_goes_on_has_a_run_and_the_networks_of_tickers_have_none(unrecorded, monkeypatch):
    editing.assign(unrecorded / "params.yaml", ["training.items.goog-rnn={dataset: goog, task: forecast, variant: rnn}"])
    lone = unrecorded / ".state/journal/lone.jsonl"
    journal.append(lone, {"kind": "begun", "item": "goog-rnn", "member": "s7", "seed": 7, "identity": "7" * 64})
    journal.append(lone, {"kind": "epoch", "epoch": 1, "train_loss": 2.0, "validation_loss": 3.0, "best": True, "seconds": 1.0})
    follower = tracking.Follower(unrecorded, config.read(unrecorded / "params.yaml"))
    follower._began = 0.0
    client = clones.mlflow_client(unrecorded)
    follower._pass(client, follower._written_to())
    (run,) = clones.mlflow_runs(unrecorded)
    assert run.info.run_name == "rnn-s7" and history(SimpleNamespace(client=client), run, "validation_loss") == [(1, 3.0)]
    read = []
    monkeypatch.setattr(journal, "read", lambda path: read.append(path) or [])
    follower._pass(client, follower._written_to())
    assert read == [lone], "what has no run is not read again"
