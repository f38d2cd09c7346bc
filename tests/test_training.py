"""Training: the loop by hand, and runs that are killed and go on to the same bytes."""

import io
import math
import multiprocessing
import os
import random
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from projects import contents, days, flip, prices, project, run_stage, run_training, take_in, texts

from longshort import config, journal, storage
from longshort.errors import ConfigError, TrainingDiverged
from longshort.models import artefact
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks.task import open_task
from longshort.training import checkpoints, loop, stage
from longshort.training.loop import mean_loss, train

CPU = torch.device("cpu")
ITEM = "goog-stacked"
# two layers of four units with dropout: an epoch hangs on torch's generator as well as on the order
SETTINGS = (
    "training.seeds=[0, 1]",
    "training.forecast={optimizer: adam, learning_rate: 0.01, batch_size: 6, max_epochs: 6, patience: 6, clip_norm: 1.0}",
    "training.language-model={optimizer: rmsprop, learning_rate: 0.01, batch_size: 4, max_epochs: 2, patience: 5, clip_norm: 1.0}",
)


def made(folder, *settings):
    """A project whose windows are cut."""
    root = project(folder, *SETTINGS, *settings)
    take_in(root, "goog", prices(days(300)))
    take_in(root, "topics", texts())
    for item in ("goog", "topics"):
        run_stage(root, "windows", item)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def params(root):
    return config.read(root / "params.yaml")


@pytest.fixture(scope="module")
def task(root, params):
    return open_task("forecast", root / "data/windows/goog", params)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def network(task, params, variant="lstm", seed=0):
    loop.seed_everything(seed, epoch=0)
    return Network(task, params.models.variants[variant], "torch")


def settings(params, **changes):
    return params.training.forecast.model_copy(update=changes)


def same(mine, other):
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


# --- the loop ---------------------------------------------------------------------------------


def test_a_mean_loss_is_that_of_all_terms_whatever_the_batches(task, params, monkeypatch):
    model = network(task, params).eval()
    ((past, future),) = task.batches("validation", 9999, 0, 0)
    by_hand = np.mean((model(past).detach().numpy().astype(float) - future.numpy()) ** 2)
    for size in (1, 7, len(past) - 1, 256):
        monkeypatch.setattr(loop, "SCORING_BATCH", size)
        assert mean_loss(model, task, "validation", CPU) == pytest.approx(by_hand, rel=1e-6)


def test_the_training_loss_is_the_mean_over_unequal_batches(task, params):
    model, told = network(task, params), []
    ((past, future),) = task.batches("train", 9999, 0, 1)
    assert len(past) % 100 != 0
    by_hand = torch.square(model.eval()(past) - future).mean().item()  # a variant without dropout, a rate that moves nothing
    train(
        model, task, settings(params, learning_rate=1e-30, batch_size=100, max_epochs=1), 0, CPU, None, lambda epoch, _: told.append(epoch)
    )
    assert told[0].train_loss == pytest.approx(by_hand, rel=1e-6)


def test_dropout_is_on_while_learning_and_off_while_scoring(task, params):
    model = network(task, params, "stacked")
    assert mean_loss(model.train(), task, "validation", CPU) == mean_loss(model, task, "validation", CPU)
    seen = []
    model.encoder.register_forward_pre_hook(lambda module, given: seen.append((module.training, given[1])))
    train(model, task, settings(params, max_epochs=2, batch_size=100), 7, CPU, None, lambda epoch, _: seen.append(f"epoch {epoch.number}"))
    # a window's masks are those of its rank in the epoch, whatever the batch size
    places = range(0, len(task.data.parts["train"]), 100)
    for number, ours in ((1, seen[: seen.index("epoch 1")]), (2, seen[seen.index("epoch 1") + 1 : seen.index("epoch 2")])):
        assert ours == [*((True, Draw((7,), number, place)) for place in places), (False, None)]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_every_optimizer_learns(task, params, optimizer):
    told = []
    train(
        network(task, params), task, settings(params, optimizer=optimizer, max_epochs=5), 0, CPU, None, lambda epoch, _: told.append(epoch)
    )
    assert told[-1].train_loss < told[0].train_loss
    assert [epoch.number for epoch in told] == [1, 2, 3, 4, 5]


SCRIPT = [3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 1.1, 0.5]  # a loss that is as low as the best is no better


def follow(monkeypatch, task, params, script=SCRIPT, **changes):
    """Train with these validation losses; returns what `train` does and the weights after each epoch."""
    losses, after = iter(script), []
    monkeypatch.setattr(loop, "mean_loss", lambda *_: next(losses))
    done = train(
        network(task, params),
        task,
        settings(params, max_epochs=8, batch_size=100, **changes),
        seed=0,
        device=CPU,
        resumed=None,
        after_epoch=lambda _, progress: after.append({name: weights.clone() for name, weights in progress.weights.items()}),
    )
    return done, after


def test_training_ends_after_patience_epochs_without_a_better_one(monkeypatch, task, params):
    done, _ = follow(monkeypatch, task, params, patience=3)
    assert [entry["validation_loss"] for entry in done.history] == SCRIPT[:7]
    assert [entry["best"] for entry in done.history] == [True, True, False, True, False, False, False]


def test_training_ends_at_max_epochs(monkeypatch, task, params):
    done, _ = follow(monkeypatch, task, params, patience=50)
    assert (len(done.history), done.best_epoch) == (8, 8)


def test_the_best_weights_are_kept_and_not_the_last(monkeypatch, task, params):
    done, after = follow(monkeypatch, task, params, patience=3)
    assert done.best_epoch == 4
    assert same(done.best_weights, after[3]) and same(done.weights, after[6])
    assert not same(done.best_weights, done.weights)


def test_gradients_are_clipped_to_their_norm(monkeypatch, task, params):
    norms = []
    step = torch.optim.Adam.step

    def watched(self, *arguments):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients).norm().item())
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    train(network(task, params), task, settings(params, clip_norm=0.01, max_epochs=1), 0, CPU, None, lambda *_: None)
    assert max(norms) == pytest.approx(0.01, rel=1e-3) and len(norms) == math.ceil(len(task.data.parts["train"]) / 6)


def test_a_loss_that_is_not_finite_ends_with_epoch_step_and_remedy(task, params):
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 2: loss .*Lower `training\.forecast\.learning_rate` \(now 1e\+30\)"):
        train(network(task, params), task, settings(params, learning_rate=1e30), 0, CPU, None, lambda *_: None)


def test_a_validation_loss_that_is_not_finite_ends_with_its_epoch_and_remedy(monkeypatch, task, params):
    with pytest.raises(TrainingDiverged, match=r"epoch 2, .* validation loss nan. Lower `training\.forecast\.learning_rate`"):
        follow(monkeypatch, task, params, script=[1.0, math.nan])


def test_a_run_is_a_function_of_its_seed(task, params):
    runs = [
        train(network(task, params, "stacked", s), task, settings(params, max_epochs=2), s, CPU, None, lambda *_: None) for s in (0, 0, 1)
    ]
    assert same(runs[0].best_weights, runs[1].best_weights) and runs[0].history == runs[1].history
    assert not same(runs[0].best_weights, runs[2].best_weights)


# --- checkpoints ------------------------------------------------------------------------------


@pytest.fixture
def checkpointed(tmp_path, task, params):
    """A folder with the checkpoints of three epochs, and what the three were."""
    kept = []

    def after_epoch(_, progress):
        checkpoints.save(tmp_path, progress)
        kept.append(progress)

    train(network(task, params, "stacked"), task, settings(params, max_epochs=3), 0, CPU, None, after_epoch)
    return tmp_path, kept


def test_the_last_two_checkpoints_are_kept(checkpointed):
    folder, kept = checkpointed
    assert sorted(path.name for path in folder.iterdir()) == [f"epoch-0000{n}.{kind}" for n in (2, 3) for kind in ("pt", "sha256")]
    assert checkpoints.load(folder).history == kept[2].history


def test_going_on_from_a_checkpoint_gives_the_same_weights(checkpointed, task, params):
    folder, kept = checkpointed
    for name in ("epoch-00003.pt", "epoch-00003.sha256"):
        (folder / name).unlink()
    torch.manual_seed(999)  # whatever a generator was left at
    other = network(task, params, "stacked", seed=5)
    done = train(other, task, settings(params, max_epochs=3), 0, CPU, checkpoints.load(folder), lambda *_: None)
    assert same(done.weights, kept[2].weights) and same(done.best_weights, kept[2].best_weights)
    assert done.history == kept[2].history


def test_going_on_starts_from_the_last_weights_and_not_the_best(checkpointed, task, params):
    _, kept = checkpointed
    resumed = kept[1]
    resumed.best_weights = {name: torch.zeros_like(weights) for name, weights in resumed.weights.items()}
    done = train(network(task, params, "stacked"), task, settings(params, max_epochs=3), 0, CPU, resumed, lambda *_: None)
    assert same(done.weights, kept[2].weights)


@pytest.mark.parametrize("suffix", ["pt", "sha256"])
@pytest.mark.parametrize("by", [0x01, 0x80])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(checkpointed, suffix, by):
    folder, kept = checkpointed
    size = (folder / f"epoch-00003.{suffix}").stat().st_size
    for place in range(0, size, max(1, size // 20)):
        flip(folder / f"epoch-00003.{suffix}", place, by)
        with pytest.warns(UserWarning, match=r"epoch-00003\.pt: damaged"):
            assert checkpoints.load(folder).history == kept[1].history
        flip(folder / f"epoch-00003.{suffix}", place, by)


def test_a_checkpoint_that_was_not_finished_is_passed_over(checkpointed):
    folder, kept = checkpointed
    (folder / "epoch-00003.sha256").unlink()
    (folder / ".epoch-00004.pt.tmp.1").write_bytes(b"half")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.load(folder).history == kept[1].history


def test_without_a_good_checkpoint_a_run_begins_anew(checkpointed):
    folder, _ = checkpointed
    for path in folder.glob("*.pt"):
        flip(path, 50)
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoints.load(folder) is None
    checkpoints.forget(folder)
    assert checkpoints.load(folder) is None


def test_a_checkpoint_is_read_without_unpickling(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os._exit, (66,))

    buffer = io.BytesIO()
    torch.save({"weights": Trap(), "optimizer": {}, "best_weights": {}, "history": []}, buffer)
    storage.write_bytes(tmp_path / "epoch-00001.pt", buffer.getvalue())
    storage.write_bytes(tmp_path / "epoch-00001.sha256", storage.sha256(tmp_path / "epoch-00001.pt").encode())
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        checkpoints.load(tmp_path)


# --- the stage --------------------------------------------------------------------------------

# children are forked from a server that has imported torch once
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["longshort.training.stage", "longshort.tasks.forecast", "longshort.tasks.language_model", "longshort.windows.stage"]
)


def start(root, item=ITEM):
    child = processes.Process(target=run_training, args=(str(root), item))
    child.start()
    return child


def finish(root, item=ITEM):
    child = start(root, item)
    child.join(60)
    assert child.exitcode == 0
    return contents(root / "data/training" / item)


def told(root):
    """Seed -> its journal's entries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line that is being written
        journals = [journal.read(path) for path in (root / ".state/journal").glob("*.jsonl")]
    return {entries[0]["seed"]: entries for entries in journals if entries}


def epochs_told(root, seed):
    return sum(entry["kind"] == "epoch" for entry in told(root).get(seed, []))


@pytest.fixture(scope="module")
def uninterrupted(root):
    """What a run that nobody killed leaves."""
    return finish(root)


def test_a_run_leaves_a_model_for_each_seed_and_its_history(root, params, uninterrupted):
    folder = root / "data/training" / ITEM
    assert {name.partition("/")[0] for name in uninterrupted} == {"manifest.json", "runs.json", "seed-0", "seed-1"}
    runs = storage.read_json(folder / "runs.json")
    for entry in runs["seeds"]:
        model = artefact.load(folder / f"seed-{entry['seed']}")
        assert model.sha256 == entry["model_sha256"] and model.card["origin"]["identity"] == entry["identity"]
        best = min(each["validation_loss"] for each in entry["history"])
        assert mean_loss(model.network, open_task("forecast", root / "data/windows/goog", params), "validation", CPU) == best
        assert entry["history"][entry["best_epoch"] - 1]["validation_loss"] == best
    assert not list((root / ".state/checkpoints").rglob("*.pt"))


def test_the_journals_hold_every_epoch_with_its_losses(root, uninterrupted):
    for entry in storage.read_json(root / "data/training" / ITEM / "runs.json")["seeds"]:
        lines = told(root)[entry["seed"]]
        assert [line["kind"] for line in lines] == ["begun", *["epoch"] * 6, "finished"]
        assert [{name: line[name] for name in entry["history"][0]} for line in lines[1:-1]] == entry["history"]
        assert lines[0]["identity"] == entry["identity"] and lines[-1]["best_epoch"] == entry["best_epoch"]


def test_two_folders_of_different_names_give_the_same_bytes(tmp_path, uninterrupted):
    assert finish(made(tmp_path / "quite another name")) == uninterrupted


def killed(root, when):
    """Start the stage and kill it as soon as its journal says so; returns whether it was in time."""
    child, deadline = start(root), time.monotonic() + 60
    while child.is_alive() and not when(root) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("when", "resumed"),
    [
        pytest.param(lambda root: 0 in told(root), {0: range(1), 1: range(1)}, id="before any checkpoint"),
        pytest.param(lambda root: epochs_told(root, 0) >= 3, {0: range(2, 6), 1: range(1)}, id="after epochs of the first seed"),
        pytest.param(lambda root: epochs_told(root, 1) >= 2, {0: range(6, 7), 1: range(1, 6)}, id="during the second seed"),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, uninterrupted, when, resumed):
    root = made(tmp_path)
    assert killed(root, when)
    assert not (root / "data/training" / ITEM).exists()
    assert finish(root) == uninterrupted
    for seed, after in resumed.items():
        assert [line["resumed_after"] for line in told(root)[seed] if line["kind"] == "begun"][-1] in after
        assert {line["epoch"] for line in told(root)[seed] if line["kind"] == "epoch"} == set(range(1, 7))
    assert [path.name for path in (root / "data/training").iterdir()] == [ITEM]


def test_a_run_killed_again_and_again_at_any_moment_goes_on_to_the_same_bytes(tmp_path, uninterrupted):
    root, draw = made(tmp_path), random.Random(os.urandom(8))
    waits = [draw.uniform(0.05, 0.9) for _ in range(3)]
    for wait in waits:
        end = time.monotonic() + wait
        killed(root, lambda _, end=end: time.monotonic() > end)
    assert finish(root) == uninterrupted, waits


def test_a_finished_run_done_again_gives_the_same_bytes(root, uninterrupted):
    assert finish(root) == uninterrupted


def test_a_language_model_is_trained_by_the_same_stage(root):
    finish(root, "topics-stacked")
    runs = storage.read_json(root / "data/training/topics-stacked/runs.json")
    assert [len(entry["history"]) for entry in runs["seeds"]] == [2, 2]
    assert runs["seeds"][0]["history"][1]["train_loss"] < math.log(33)


def test_a_variant_that_only_the_reference_engine_runs_goes_through_the_same_stage(tmp_path):
    variant = "{cell: lstm_fgr, hidden_size: 3, num_layers: 2, bidirectional: false, dropout: 0.1, zoneout: 0.2, recurrent_dropout: 0.2}"
    root = made(tmp_path, f"models.variants.stacked={variant}", "training.seeds=[3]", "training.forecast.max_epochs=2")
    finish(root)
    model = artefact.load(root / "data/training" / ITEM / "seed-3")
    assert model.network.encoder.cell.title.endswith("(FGR)") and model.card["variant"]["zoneout"] == 0.2
    (entry,) = storage.read_json(root / "data/training" / ITEM / "runs.json")["seeds"]
    assert entry["history"][1]["train_loss"] < entry["history"][0]["train_loss"]


def test_other_settings_do_not_go_on_from_old_checkpoints(tmp_path, uninterrupted):
    root = made(tmp_path)
    assert killed(root, lambda root: epochs_told(root, 0) >= 2)
    config.assign(root / "params.yaml", ["training.forecast.learning_rate=0.02"])
    assert finish(root).keys() == uninterrupted.keys()
    begun = [journal.read(path)[0] for path in (root / ".state/journal").glob("*.jsonl")]
    assert len(begun) == 3 and {line["resumed_after"] for line in begun} == {0}


def test_a_flipped_byte_in_the_windows_is_refused(tmp_path):
    root = made(tmp_path)
    flip(root / "data/windows/goog/values.npy", 200)
    with pytest.raises(storage.CorruptArtefact, match=r"values\.npy"):
        run_stage(root, "training", ITEM)
    assert not (root / "data/training").exists()


def test_a_seed_that_diverges_is_dropped_with_its_reason_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    root = made(tmp_path, "training.seeds=[0, 1, 2]", "training.forecast.max_epochs=1")

    def unlucky(network, task, settings, seed, *others):
        if seed == 1:
            raise TrainingDiverged("epoch 1, step 5: loss nan")
        return train(network, task, settings, seed, *others)

    monkeypatch.setattr(stage, "train", unlucky)
    run_stage(root, "training", ITEM)
    runs = storage.read_json(root / "data/training" / ITEM / "runs.json")
    assert [entry.get("dropped") for entry in runs["seeds"]] == [None, "epoch 1, step 5: loss nan", None]
    assert sorted(path.name for path in (root / "data/training" / ITEM).iterdir()) == ["manifest.json", "runs.json", "seed-0", "seed-2"]
    assert [line["kind"] for line in told(root)[1]] == ["begun", "dropped"]
    assert "goog-stacked-s1: dropped: epoch 1, step 5" in capsys.readouterr().err


def test_a_run_of_which_every_seed_diverges_is_refused_and_leaves_nothing(tmp_path):
    root = made(tmp_path, "training.forecast.learning_rate=1e30")
    with pytest.raises(TrainingDiverged, match=r"goog-stacked: every seed diverged\. Seed 0: epoch 1, step \d+: .*learning_rate"):
        run_stage(root, "training", ITEM)
    assert not list((root / "data/training").iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none_and_auto_takes_the_cpu():
    with pytest.raises(ConfigError, match=r"`training\.device` is 'cuda'"):
        stage.choose_device("cuda")
    assert stage.choose_device("auto") == stage.choose_device("cpu") == CPU
