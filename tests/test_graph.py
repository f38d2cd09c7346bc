"""Graph: DVC alone decides what must run, whether it is asked by `dvc repro` or by a retraining."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import clones
import pytest
from dvc.repo import Repo

from longshort import config, editing, graph
from longshort.errors import UsageError

ITEMS = {"goog-rnn", "goog-lstm", "topics-gru"}


def of(*stages):
    """The addresses of all items of some stages."""
    items = {"training": ITEMS, "evaluation": ITEMS}
    return {f"{stage}@{item}" for stage in stages for item in items.get(stage, {"goog", "topics"})}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A second clone in a folder of another name: `dvc repro` alone, what it wrote, and `longshort run` after it."""
    root = clones.clone(tmp_path_factory.mktemp("another") / "name of a folder")
    clones.dvc(root, "repro")
    alone = clones.outputs(root)
    assert not (root / "mlflow/store").exists() and not (root / ".state/prefect").exists()
    return root, alone, clones.longshort(root, "run")


def registered(root):
    """The models that MLflow holds, by run."""
    return {run.info.run_name: run.data.tags["model_sha256"] for run in clones.mlflow_runs(root) if "seed" in run.data.tags}


@pytest.fixture(scope="module")
def project(retrained, tmp_path_factory):
    return clones.copy(retrained, tmp_path_factory.mktemp("graph") / "project")


# --- one graph, two ways to walk it -----------------------------------------------------------


@pytest.mark.long
def test_dvc_alone_and_a_retraining_write_the_same_bytes_and_the_same_lock(retrained, reproduced):
    _, alone, _ = reproduced
    assert alone == clones.outputs(retrained)


@pytest.mark.long
def test_after_dvc_alone_a_retraining_finds_every_stage_cached_and_only_registers(reproduced, retrained):
    root, alone, done = reproduced
    assert clones.stages(done) == dict.fromkeys(of(*clones.STAGES), "Cached")
    assert clones.outputs(root) == alone
    assert "nothing new" not in done.stdout
    assert registered(root) == registered(retrained) and len(registered(root)) == 2 * len(ITEMS)


@pytest.mark.long
def test_after_a_retraining_dvc_has_nothing_to_do(reproduced):
    root, alone, _ = reproduced
    assert "up to date" in clones.dvc(root, "status")
    assert "Running stage" not in clones.dvc(root, "repro")
    assert clones.outputs(root) == alone


# --- what must run ----------------------------------------------------------------------------


def test_stages_come_after_what_they_read(project):
    stages = graph.read(project)
    assert {stage.address for stage in stages} == of(*clones.STAGES)
    seen = set()
    for stage in stages:
        assert seen.issuperset(stage.upstream)
        seen.add(stage.address)
    (scoring,) = (stage for stage in stages if stage.address == "evaluation@goog-rnn")
    assert scoring.upstream == ("ingestion@goog", "training@goog-rnn", "windows@goog")


def test_of_one_generation_the_first_in_params_comes_first(project):
    path = project / "params.yaml"
    before = path.read_text()
    content = config.load(path)
    items = content["training"]["items"]
    for order in (sorted(items), sorted(items, reverse=True)):
        content["training"]["items"] = {item: items[item] for item in order}
        path.write_text(json.dumps(content))  # YAML as well
        try:
            trained = [stage.address for stage in graph.read(project) if stage.address.startswith("training")]
        finally:
            path.write_text(before)
        assert trained == [f"training@{item}" for item in order]


@pytest.mark.parametrize(
    ("workers", "device", "gpus", "expected"),
    [
        (3, "auto", [], [{}, {}, {}]),
        ("auto", "auto", ["0", "2"], [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "2"}]),
        (3, "cuda", ["0", "2"], [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "0"}]),
        (1, "auto", ["0", "2", "3"], [{"CUDA_VISIBLE_DEVICES": "0,2,3"}]),
        (2, "auto", ["0", "2", "3"], [{"CUDA_VISIBLE_DEVICES": "0,3"}, {"CUDA_VISIBLE_DEVICES": "2"}]),
        (2, "cpu", ["0", "2"], [{}, {}]),
        ("auto", "cpu", ["0", "2"], [{}] * len(os.sched_getaffinity(0))),
        ("auto", "auto", [], [{}] * len(os.sched_getaffinity(0))),
    ],
)
def test_there_are_as_many_places_as_workers_and_each_gpu_has_its_own(project, workers, device, gpus, expected):
    params = config.read(project / "params.yaml")
    resources = params.resources.model_copy(update={"workers": workers})
    training = params.training.model_copy(update={"device": device})
    assert graph.slots(params.model_copy(update={"resources": resources, "training": training}), gpus) == expected


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("module", "rerun"),
    [
        ("storage.py", of(*clones.STAGES)),
        ("ingestion/prices.py", of("ingestion")),
        ("sessions.py", of("ingestion", "validation", "windows")),
        ("validation/suites.py", of("validation")),
        ("windows/prices.py", of("windows", "training", "evaluation")),
        ("models/encoder.py", of("training", "evaluation")),
        ("training/loop.py", of("training")),
        ("journal.py", of("training")),
        ("evaluation/metrics.py", of("evaluation")),
        ("evaluation/new_module.py", of("evaluation")),
        ("registry/judgement.py", set()),
        ("serving.py", set()),
    ],
)
def test_a_changed_module_reruns_the_stages_that_run_through_it_and_no_other(project, module, rerun):
    path = project / "src/longshort" / module
    before = path.read_bytes() if path.exists() else None
    path.write_bytes((before or b"") + b"\nCHANGED = True\n")
    try:
        assert graph.changed(project) == rerun
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    assert graph.changed(project) == set()


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("setting", "rerun"),
    [
        ("models.variants.lstm.hidden_size=5", {"training@goog-lstm"}),
        ("models.variants.bilstm.hidden_size=5", set()),
        ("training.forecast.patience=2", {"training@goog-lstm", "training@goog-rnn"}),
        ("training.seeds=[0]", of("training")),
        ("windows.language-model.min_count=9", {"windows@topics"}),
        ("validation.forecast.min_sessions=200", {"ingestion@goog", "validation@goog", "windows@goog"}),
        ("ingestion.columns={close: [kurs]}", of("ingestion")),
        ("ingestion.datasets.goog.read.skip_rows=1", {"ingestion@goog", "validation@goog", "windows@goog"}),
        ("evaluation.confidence=0.9", of("evaluation")),
        ("registry.min_gain=0.1", set()),
        ("resources.workers=1", set()),
    ],
)
def test_a_changed_setting_reruns_the_stages_that_read_it_and_no_other(project, setting, rerun):
    before = (project / "params.yaml").read_bytes()
    try:
        editing.assign(project / "params.yaml", [setting])
        assert graph.changed(project) == rerun
    finally:
        (project / "params.yaml").write_bytes(before)


def test_another_dvc_that_holds_its_lock_is_waited_for(project):
    pool = ThreadPoolExecutor(1)
    with Repo(str(project)).lock:
        waiting = pool.submit(graph.changed, project)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=4)  # DVC itself gives up after three and a half
    assert waiting.result(timeout=60) == set()


@pytest.mark.few(1)
@pytest.mark.parametrize("left", ["", '{"write": {"data/ingestion/goog": {"pid": 4'])
@pytest.mark.parametrize("asked", [graph.changed, lambda root: graph.reproduce(root, "ingestion@goog", {}, print)], ids=["status", "repro"])
def test_a_list_of_holders_that_a_kill_cut_short_holds_nobody(project, left, asked):
    (project / ".dvc/tmp/rwlock").write_text(left)  # DVC itself runs nothing any more until a person removes it
    asked(project)
    assert not any(json.loads((project / ".dvc/tmp/rwlock").read_text()).values())


# --- what a person is told --------------------------------------------------------------------


def test_a_broken_graph_is_named_with_a_remedy(tmp_path, project):
    root = tmp_path / "broken"
    clones.git(tmp_path, "clone", "--quiet", str(project), str(root))
    (root / "dvc.yaml").write_text("stages:\n  ingestion:\n    comand: true\n")
    with pytest.raises(UsageError, match=r"dvc\.yaml.*git checkout dvc\.yaml"):
        graph.read(root)


@pytest.mark.few(1)
@pytest.mark.parametrize("left", [0, 13, 2000])
def test_a_lock_that_a_crash_cut_short_is_named_and_made_again_from_the_cache(project, left):
    lock, whole = project / "dvc.lock", (project / "dvc.lock").read_bytes()
    lock.write_bytes(whole[:left] + b" [" * (left > 0))
    try:
        with pytest.raises(UsageError, match=r"dvc\.lock.*Remove dvc\.lock"):
            graph.read(project)
        lock.unlink()
        assert not graph.reproduce(project, "ingestion@goog", {}, print).ran
        assert lock.read_bytes().partition(b"stages:\n")[2] in whole
    finally:
        lock.write_bytes(whole)
