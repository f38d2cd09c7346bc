"""Training: the loop by hand, and runs that are killed and go on to the same bytes."""

import dataclasses
import io
import math
import multiprocessing
import os
import random
import re
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from projects import PER_TICKER, contents, days, flip, native_is_built, prices, project, run_stage, run_training, take_in, texts

from longshort import config, editing, journal, serving, storage
from longshort.errors import ConfigError, DataRefused, LongshortError, TrainingDiverged
from longshort.models import artefact
from longshort.models.encoder import Encoder
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.next_word import NextWordTask
from longshort.tasks.task import open_task
from longshort.training import checkpoints, fleet, loop, optimisers, shards
from longshort.training import runs as training_runs
from longshort.training.loop import Mean, Member, means, train
from longshort.training.optimisers import Rows
from longshort.windows.files import TextData
from longshort.windows.text import Stretch, Vocabulary

CPU = torch.device("cpu")
ITEM = "goog-stacked"
# two layers of four units with dropout: an epoch hangs on torch's generator as well as on the order
SETTINGS = (
    "training.seeds=[0, 1]",
    "resources.workers=1",
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
    return Network(task, params.models.variants[variant], "torch", [loop.generator_of(seed)])


def learn(task, params, variant="lstm", seed=0, resumed=None, after_epoch=lambda epoch, progress: None, **changes):
    """Train a lone network; returns what it came to."""
    member = Member(f"s{seed}", seed, task, settings(params, **changes))
    told = lambda _, epoch, progress: after_epoch(epoch, progress)  # noqa: E731
    return train([member], params.models.variants[variant], "torch", CPU, [resumed], told)[0]


def validation_loss(model, task):
    return means(model, [task], "validation", CPU, [0])[0].loss


def settings(params, **changes):
    return params.training.forecast.model_copy(update=changes)


def same(mine, other):
    """Whether what two networks came to is the same to the bit."""
    rows = lambda one: [one.weights, one.best_weights, *one.averages]  # noqa: E731
    return mine.history == other.history and all(map(torch.equal, rows(mine), rows(other)))


# --- the loop ---------------------------------------------------------------------------------


def test_a_mean_loss_is_that_of_all_terms_whatever_the_batches(task, params, monkeypatch):
    model = network(task, params).eval()
    ((past, future),) = task.batches("validation", 9999, 0, 0)
    by_hand = np.mean((model(past[None])[0].detach().numpy().astype(float) - future.numpy()) ** 2)
    for size in (1, 7, len(past) - 1, 256):
        monkeypatch.setattr(loop, "SCORING_BATCH", size)
        assert validation_loss(model, task) == pytest.approx(by_hand, rel=1e-6)


def test_the_training_loss_is_the_mean_over_unequal_batches(task, params):
    model, told = network(task, params), []
    ((past, future),) = task.batches("train", 9999, 0, 1)
    assert len(past) % 100 != 0
    by_hand = torch.square(model.eval()(past[None])[0] - future).mean().item()  # a variant without dropout, a rate that moves nothing
    learn(task, params, learning_rate=1e-30, batch_size=100, max_epochs=1, after_epoch=lambda epoch, _: told.append(epoch))
    assert told[0].train_loss == pytest.approx(by_hand, rel=1e-6)


def test_dropout_is_on_while_learning_and_off_while_scoring(task, params, monkeypatch):
    model = network(task, params, "stacked")
    assert validation_loss(model.train(), task) == validation_loss(model, task)
    seen, forward = [], Encoder.forward
    watched = lambda self, steps, draw, **more: seen.append((self.training, draw)) or forward(self, steps, draw, **more)  # noqa: E731
    monkeypatch.setattr(Encoder, "forward", watched)
    learn(task, params, "stacked", 7, max_epochs=2, batch_size=100, after_epoch=lambda epoch, _: seen.append(f"epoch {epoch.number}"))
    # a window's masks are those of its rank in the epoch, whatever the batch size
    places = range(0, len(task.data.parts["train"]), 100)
    for number, ours in ((1, seen[: seen.index("epoch 1")]), (2, seen[seen.index("epoch 1") + 1 : seen.index("epoch 2")])):
        assert ours == [*((True, Draw((7,), number, place)) for place in places), (False, None)]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_every_optimizer_learns(task, params, optimizer):
    told = []
    learn(task, params, optimizer=optimizer, max_epochs=5, after_epoch=lambda epoch, _: told.append(epoch))
    assert told[-1].train_loss < told[0].train_loss
    assert [epoch.number for epoch in told] == [1, 2, 3, 4, 5]


SCRIPT = [3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 1.1, 0.5]  # a loss that is as low as the best is no better


def follow(monkeypatch, task, params, script=SCRIPT, **changes):
    """Train with these validation losses; returns what `train` does and the weights after each epoch."""
    losses, after = iter(script), []
    monkeypatch.setattr(loop, "means", lambda *_: {0: Mean(next(losses))})
    keep = lambda _, progress: after.append(progress.weights.clone())  # noqa: E731
    return learn(task, params, max_epochs=8, batch_size=100, after_epoch=keep, **changes), after


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
    assert torch.equal(done.best_weights, after[3]) and torch.equal(done.weights, after[6])
    assert not torch.equal(done.best_weights, done.weights)


def test_gradients_are_clipped_to_their_norm(monkeypatch, task, params):
    norms, clip = [], Rows.clip

    def watched(self, most):
        before = clip(self, most)
        norms.append((before[0], self.gradients[0].norm().item()))
        return before

    monkeypatch.setattr(Rows, "clip", watched)
    learn(task, params, clip_norm=0.01, max_epochs=1)
    assert len(norms) == math.ceil(len(task.data.parts["train"]) / 6) and min(before for before, _ in norms) > 0.01
    assert [after for _, after in norms] == pytest.approx([0.01] * len(norms), rel=1e-3)
    norms.clear()
    learn(task, params, clip_norm=1e9, max_epochs=1)
    assert all(before == pytest.approx(after, rel=1e-6) for before, after in norms)


@pytest.mark.parametrize(
    ("name", "theirs", "more"),
    [
        ("adam", torch.optim.Adam, {}),
        ("rmsprop", torch.optim.RMSprop, {}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.7}),
        ("sgd", torch.optim.SGD, {}),
    ],
)
def test_an_optimiser_takes_the_steps_of_torchs_own(name, theirs, more, task, params):
    ours, other = network(task, params), network(task, params)
    rows, optimizer = Rows(ours), theirs(other.parameters(), lr=0.01, **more)
    said = {"smoothing": more["alpha"]} if more else {}
    how = params.training.forecast.model_copy(update={"optimizer": name, **said})
    keeps, moments = optimisers.keeps_of(how), optimisers.fresh(how, rows)
    past, future = next(task.batches("train", 32, 0, 1))
    for _ in range(5):
        optimizer.zero_grad()
        task.loss(other.eval(), past[None], future[None])[0].sum().backward()
        rows.backward(task.loss(ours.eval(), past[None], future[None])[0].sum())
        optimisers.OPTIMIZERS[name][0](rows, moments, [0.01], [keeps], [0])
        optimizer.step()
    for mine, torchs in zip(ours.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, torchs)


def test_averaged_weights_are_those_of_torchs_averaged_descent(task, params):
    ours, by_torch = learn(task, params, optimizer="sgd", averaged_after=1, max_epochs=3), network(task, params)
    steps = sum(1 for _ in task.batches("train", 6, 0, 1))
    optimizer = torch.optim.ASGD(by_torch.parameters(), lr=0.01, lambd=0, alpha=0, t0=steps - 1)
    for epoch in (1, 2, 3):
        for step, (past, future) in enumerate(task.batches("train", 6, 0, epoch)):
            optimizer.zero_grad()
            charge = task.loss(by_torch.train(), past[None], future[None], Draw((0,), epoch, 6 * step))
            (charge.losses / charge.terms).sum().backward()
            torch.nn.utils.clip_grad_norm_(by_torch.parameters(), 1.0)
            optimizer.step()
    last, mean = (
        torch.cat([one.flatten() for one in each])
        for each in (list(by_torch.parameters()), [optimizer.state[one]["ax"] for one in by_torch.parameters()])
    )
    torch.testing.assert_close(ours.weights, last)
    torch.testing.assert_close(ours.averages[-1], mean)
    assert not torch.allclose(last, mean)


@pytest.mark.parametrize("engine", ["torch", pytest.param("native", marks=native_is_built)])
def test_the_mean_of_the_weights_is_what_is_scored_and_kept_and_training_goes_on_from_the_last(engine, task, params):
    def trained(epochs, resumed=None, after=1):
        how = settings(params, optimizer="adam", patience=9, max_epochs=epochs, averaged_after=after)
        return train([Member("s0", 0, task, how)], params.models.variants["lstm"], engine, CPU, [resumed], lambda *_: None)[0]

    done, plain = trained(3), trained(3, after=None)
    torch.testing.assert_close(done.weights, plain.weights)
    own = Network(task, params.models.variants["lstm"], engine)
    own.load_state_dict(loop.state_of(own, done.averages[-1]))
    assert validation_loss(own, task) == pytest.approx(done.history[-1]["validation_loss"])
    assert done.history[-1]["validation_loss"] != pytest.approx(plain.history[-1]["validation_loss"], rel=1e-6)
    assert torch.equal(done.best_weights, done.averages[-1]) or not done.history[-1]["best"]
    assert same(trained(3, resumed=trained(2)), done)


@pytest.mark.parametrize("engine", ["torch", pytest.param("native", marks=native_is_built)])
def test_a_rate_decays_from_the_second_epoch_on(engine, task, params):
    def trained(**changes):
        member = Member("s0", 0, task, settings(params, patience=9, **changes))
        return train([member], params.models.variants["lstm"], engine, CPU, [None], lambda *_: None)[0]

    first, halved, still = trained(max_epochs=1), trained(max_epochs=2, decay=0.5), trained(max_epochs=3, decay=1e-30)
    assert torch.equal(still.weights, first.weights)
    assert halved.history[0] == first.history[0] and not torch.equal(halved.weights, trained(max_epochs=2).weights)


def test_what_is_not_asked_of_an_optimiser_is_not_written_into_a_runs_identity(params):
    written = settings(params).model_dump()
    assert not {"decay", "smoothing", "averaged_after"} & set(written)
    assert settings(params, decay=0.5).model_dump() == {**written, "decay": 0.5}


def test_a_loss_that_is_not_finite_ends_with_epoch_step_and_remedy(task, params):
    said = r"epoch 1, step 2: loss .*Lower its `learning_rate` \(now 1e\+30\) in params\.yaml"
    assert re.search(said, learn(task, params, learning_rate=1e30).dropped)


def test_a_validation_loss_that_is_not_finite_ends_with_its_epoch_and_remedy(monkeypatch, task, params):
    done, _ = follow(monkeypatch, task, params, script=[1.0, math.nan])
    assert re.search(r"epoch 2, .* validation loss nan. Lower its `learning_rate`", done.dropped)
    assert len(done.history) == 1


def test_a_run_is_a_function_of_its_seed(task, params):
    runs = [learn(task, params, "stacked", seed, max_epochs=2) for seed in (0, 0, 1)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


# --- fleets -----------------------------------------------------------------------------------


def fleet_of(task, params, *members):
    """Seeds, and what each has else than the usual settings."""
    usual = {"batch_size": 30}
    return [Member(f"m{place}", seed, task, settings(params, **usual | own)) for place, (seed, own) in enumerate(members)]


@pytest.mark.few(2)
@pytest.mark.parametrize("quantiles", [(), (0.05, 0.95)], ids=str)
@pytest.mark.parametrize("engine", ["torch", "reference", pytest.param("native", marks=native_is_built)])
@pytest.mark.parametrize("variant", ["stacked", "bilstm", "gru"])
def test_members_of_a_fleet_come_to_the_bits_that_each_has_alone(task, params, variant, engine, quantiles):
    task = ForecastTask.of(task.data, quantiles)
    fleet = fleet_of(
        task,
        params,
        (0, {"max_epochs": 3}),
        (1, {"max_epochs": 3, "learning_rate": 0.003}),
        (7, {"max_epochs": 2, "clip_norm": 0.1}),
        (2, {"max_epochs": 3, "patience": 1}),
    )
    shape = params.models.variants[variant]
    done = train(fleet, shape, engine, CPU, [None] * 4, lambda *_: None)
    for member, found in zip(fleet, done, strict=True):
        [alone] = train([member], shape, engine, CPU, [None], lambda *_: None)
        assert same(found, alone), member.name
    assert len({len(found.history) for found in done}) > 1, "each stops by itself"


def together(fleet, shape, engine):
    """The way of a GPU, here: side by side from the first epoch to the last."""
    done = list(loop._begun(fleet, shape, engine, [None] * len(fleet)))
    while going := [place for place, progress in enumerate(done) if not progress.is_over(fleet[place].settings)]:
        loop.side_by_side(going, fleet, shape, engine, CPU, done, lambda *_: None)
    return done


@pytest.mark.few(2)
@pytest.mark.parametrize("quantiles", [(), (0.05, 0.95)], ids=str)
@pytest.mark.parametrize("engine", ["torch", "reference"])
@pytest.mark.parametrize("variant", ["stacked", "bilstm", "gru"])
def test_members_side_by_side_come_to_what_each_comes_to_alone(task, params, variant, engine, quantiles):
    task = ForecastTask.of(task.data, quantiles)
    changes = [{"learning_rate": 0.003}, {"clip_norm": 0.1}, {"max_epochs": 1}, {}]
    fleet = [Member(f"m{k}", k, task, settings(params, **{"max_epochs": 2, "batch_size": 30, **each})) for k, each in enumerate(changes)]
    # three windows less for one: its last batch is filled up, and what fills it up is not charged
    fleet[1] = dataclasses.replace(fleet[1], task=ForecastTask.of(shortened(task.data, 50), quantiles))
    shape = params.models.variants[variant]
    found = together(fleet, shape, engine)
    alone = train(fleet, shape, engine, CPU, [None] * 4, lambda *_: None)
    assert found[1].steps < found[0].steps == 2 * found[2].steps
    for mine, lone in zip(found, alone, strict=True):
        assert (mine.steps, len(mine.history)) == (lone.steps, len(lone.history))
        torch.testing.assert_close(mine.weights, lone.weights, rtol=1e-4, atol=1e-5)
        for one, other in zip(mine.history, lone.history, strict=True):
            assert one == pytest.approx(other, rel=1e-5)


def test_language_models_side_by_side_come_to_what_each_comes_to_alone(root, params):
    task = open_task("language-model", root / "data/windows/topics", params)
    own = params.training.language_model.model_copy(update={"max_epochs": 1})
    fleet = [Member(f"m{seed}", seed, task, own) for seed in range(3)]
    shape = params.models.variants["stacked"]
    for mine, lone in zip(together(fleet, shape, "torch"), train(fleet, shape, "torch", CPU, [None] * 3, lambda *_: None), strict=True):
        torch.testing.assert_close(mine.weights, lone.weights, rtol=1e-4, atol=1e-5)


def test_a_language_model_that_carries_its_states_is_trained_judged_on_the_same_words_and_served(tmp_path):
    told = {}
    for way in ("false", "true"):
        root = made(tmp_path / way, f"tasks.language-model.carried={way}")
        for stage in ("training", "evaluation"):
            run_stage(root, stage, "topics-lstm")
        model = artefact.load(root / "data/training/topics-lstm/seed-0")
        assert model.card["description"]["carried"] == (way == "true")
        told[way] = storage.read_json(root / "data/evaluation/topics-lstm/metrics.json")
        assert len(serving.generate(model, "w1 w2", 9)[0].split()) == 2 + 9
    anew, carried = told["false"], told["true"]
    assert anew["test"] == carried["test"] and anew["baselines"] == carried["baselines"]
    assert anew["seeds"].keys() == carried["seeds"].keys()
    for seed, own in carried["seeds"].items():
        assert own["perplexity"] != anew["seeds"][seed]["perplexity"]
        assert own["perplexity"] == pytest.approx(anew["seeds"][seed]["perplexity"], rel=0.2)


def shortened(data, windows):
    """The same data, with so many windows to train on."""
    train_windows = data.parts["train"]
    stops = train_windows.stops.copy()
    stops[0] = train_windows.starts[0] + data.spec.span - 1 + windows
    cut = dataclasses.replace(train_windows, starts=train_windows.starts[:1], stops=stops[:1])
    return dataclasses.replace(data, parts={**data.parts, "train": cut})


@pytest.mark.parametrize("quantiles", [(), (0.05, 0.95)], ids=str)
def test_a_member_that_fails_is_dropped_and_the_others_go_on_as_alone(task, params, quantiles):
    task = ForecastTask.of(task.data, quantiles)
    fleet = fleet_of(task, params, (0, {"max_epochs": 2}), (1, {"max_epochs": 2, "learning_rate": 1e30}), (2, {"max_epochs": 2}))
    shape = params.models.variants["lstm"]
    told = []
    found = train(fleet, shape, "torch", CPU, [None] * 3, lambda place, epoch, _: told.append((place, epoch.number)))
    assert re.match(r"epoch 1, step 2: loss", found[1].dropped) and not found[0].dropped and not found[2].dropped
    assert told == [(0, 1), (0, 2), (2, 1), (2, 2)]
    assert [bool(each.dropped) for each in together(fleet, shape, "torch")] == [False, True, False]
    for place in (0, 2):
        assert same(found[place], train([fleet[place]], shape, "torch", CPU, [None], lambda *_: None)[0])


@pytest.mark.parametrize("quantiles", [(), (0.05, 0.95)], ids=str)
def test_members_that_had_come_to_different_epochs_go_on_together_to_the_same_bits(task, params, quantiles):
    task = ForecastTask.of(task.data, quantiles)
    fleet = fleet_of(task, params, *((seed, {"max_epochs": 4}) for seed in range(3)))
    shape, kept = params.models.variants["stacked"], {}
    whole = train(fleet, shape, "torch", CPU, [None] * 3, lambda place, epoch, progress: kept.setdefault((place, epoch.number), progress))
    again = train(fleet, shape, "torch", CPU, [kept[0, 3], None, kept[2, 1]], lambda *_: None)
    assert all(map(same, whole, again))


def test_what_is_done_is_not_done_again(task, params):
    [done] = train(fleet_of(task, params, (0, {"max_epochs": 1})), params.models.variants["lstm"], "torch", CPU, [None], lambda *_: None)
    told = []
    again = train(
        fleet_of(task, params, (0, {"max_epochs": 1})), params.models.variants["lstm"], "torch", CPU, [done], lambda *_: told.append(1)
    )
    assert not told and same(again[0], done)


# --- checkpoints ------------------------------------------------------------------------------


@pytest.fixture
def checkpointed(tmp_path, task, params):
    """A folder with the checkpoints of three epochs, and what the three were."""
    kept = []

    def after_epoch(_, progress):
        checkpoints.store(tmp_path, len(progress.history), checkpoints.packed(progress))
        kept.append(progress)

    learn(task, params, "stacked", max_epochs=3, after_epoch=after_epoch)
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
    assert same(learn(task, params, "stacked", resumed=checkpoints.load(folder), max_epochs=3), kept[2])


def test_going_on_starts_from_the_last_weights_and_not_the_best(checkpointed, task, params):
    _, kept = checkpointed
    resumed = dataclasses.replace(kept[1], best_weights=torch.zeros_like(kept[1].weights))
    assert torch.equal(learn(task, params, "stacked", resumed=resumed, max_epochs=3).weights, kept[2].weights)


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
    torch.save({"weights": Trap(), "averages": (), "steps": 0, "best_weights": 0, "history": [], "dropped": ""}, buffer)
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
        assert validation_loss(model.network, open_task("forecast", root / "data/windows/goog", params)) == best
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
    child.kill()  # which minds when it has ended by itself
    child.join()
    return child.exitcode == -signal.SIGKILL


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("when", "resumed"),
    [
        pytest.param(lambda root: 0 in told(root), {0: range(1), 1: range(1)}, id="before any checkpoint"),
        pytest.param(lambda root: epochs_told(root, 0) >= 3, {0: range(2, 6), 1: range(1)}, id="after epochs of the first seed"),
        pytest.param(lambda root: epochs_told(root, 1) >= 2, {0: range(1), 1: range(1, 6)}, id="during the second seed"),
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


# --- fleets over the cores --------------------------------------------------------------------


def test_two_processes_leave_the_bytes_of_one(tmp_path, uninterrupted):
    assert finish(made(tmp_path, "resources.workers=2")) == uninterrupted


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "when",
    [
        pytest.param(lambda root: 0 in told(root), id="before any checkpoint"),
        pytest.param(lambda root: epochs_told(root, 0) + epochs_told(root, 1) >= 4, id="with both members on their way"),
        pytest.param(lambda root: any(line["kind"] == "finished" for line in told(root).get(0, [])), id="when one member has ended"),
    ],
)
def test_a_fleet_that_is_killed_goes_on_to_the_same_bytes_and_repeats_no_member(tmp_path, uninterrupted, when):
    root = made(tmp_path, "resources.workers=2")
    assert killed(root, when)
    ended = [seed for seed, lines in told(root).items() if lines[-1]["kind"] == "finished"]
    assert finish(root) == uninterrupted
    for seed in ended:
        assert sum(line["kind"] == "begun" for line in told(root)[seed]) == 1


def test_numbers_of_less_than_full_precision_are_zero_while_a_shard_is_trained_and_not_behind_it(task, params):
    member, seen = Member("s0", 0, task, settings(params, max_epochs=1)), []
    tiny = torch.tensor(1e-30)

    def tell(told):
        seen.append((told.entry["kind"], float(tiny * 1e-10)))

    shards.work(shards.Shard((member,), params.models.variants["lstm"], "torch", "cpu", (None,), None), tell)
    assert dict(seen)["epoch"] == 0.0 and dict(seen)["begun"] == pytest.approx(1e-40, rel=1e-4)
    assert float(tiny * 1e-10) == pytest.approx(1e-40, rel=1e-4)


def test_no_more_processes_compute_than_there_are_cores(tmp_path):
    began = time.monotonic()
    spans = []

    def work(place, tell):
        start = time.monotonic() - began
        time.sleep(0.3)
        tell((start, time.monotonic() - began))

    threads = [
        threading.Thread(target=fleet.spread, args=(range(4), work, tmp_path / "cores", 2, spans.append)) for _ in range(2)
    ]  # two stages side by side
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(spans) == 8
    for start, _ in spans:
        assert sum(first <= start < last for first, last in spans) <= 2


def test_what_a_member_raises_is_raised_and_a_process_that_dies_is_told(tmp_path):
    def refused(place, tell):
        raise DataRefused("member 1: no")

    def shot(place, tell):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DataRefused, match="member 1: no"):
        fleet.spread([0, 1], refused, tmp_path, 2, print)
    with pytest.raises(LongshortError, match=r"ended with -9; the machine may be out of memory\. Run this again"):
        fleet.spread([0, 1], shot, tmp_path, 2, print)


# --- a network a ticker -----------------------------------------------------------------------


def test_a_fleet_has_a_network_for_each_ticker_that_is_long_enough_and_names_the_rest(tickers):
    folder = tickers / "data/training" / PER_TICKER
    runs = storage.read_json(folder / "runs.json")
    assert re.match(
        r"CCC: 39 sessions; the train part needs a stretch of \d+ that ends in it, and there is none: \d+ are missing",
        runs["left_out"]["CCC"],
    )
    for seed in runs["seeds"]:
        assert [member["ticker"] for member in seed["members"]] == ["AAA", "BBB"]
        assert artefact.load(folder / f"seed-{seed['seed']}").tickers == ["AAA", "BBB"]


def test_a_tickers_network_is_the_one_that_it_gets_alone(tickers):
    params = config.read(tickers / "params.yaml")
    data = open_task("forecast", tickers / "data/windows/goog", params).data
    model = artefact.load(tickers / "data/training" / PER_TICKER / "seed-1")
    for ticker in ("AAA", "BBB"):
        own = data.of_ticker(ticker)
        assert model.of(ticker).card["description"] == own.description()
        alone = learn(ForecastTask.of(own), params, "lstm", 1, max_epochs=2)
        assert torch.equal(torch.cat([tensor.flatten() for tensor in model.of(ticker).network.parameters()]), alone.best_weights)


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
    with pytest.raises(ConfigError, match=r"engine 'torch' cannot run this variant: torch has no kernel for cell 'lstm_fgr'"):
        run_stage(root, "training", ITEM)  # and nothing takes another in silence
    editing.assign(root / "params.yaml", [f"training.items.{ITEM}.engine=reference"])
    finish(root)
    assert [line["engine"] for line in told(root)[3] if line["kind"] == "begun"] == ["reference"]
    model = artefact.load(root / "data/training" / ITEM / "seed-3")
    assert model.network.encoder.cell.title.endswith("(FGR)") and model.card["variant"]["zoneout"] == 0.2
    (entry,) = storage.read_json(root / "data/training" / ITEM / "runs.json")["seeds"]
    assert entry["history"][1]["train_loss"] < entry["history"][0]["train_loss"]


def test_other_settings_do_not_go_on_from_old_checkpoints(tmp_path, uninterrupted):
    root = made(tmp_path)
    assert killed(root, lambda root: epochs_told(root, 0) >= 2)
    editing.assign(root / "params.yaml", ["training.forecast.learning_rate=0.02"])
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

    def unlucky(members, *others):
        done = train(members, *others)
        return [dataclasses.replace(done[0], dropped="epoch 1, step 5: loss nan")] if members[0].seed == 1 else done

    monkeypatch.setattr(shards, "train", unlucky)
    run_stage(root, "training", ITEM)
    runs = storage.read_json(root / "data/training" / ITEM / "runs.json")
    assert [entry.get("dropped") for entry in runs["seeds"]] == [None, "epoch 1, step 5: loss nan", None]
    assert sorted(path.name for path in (root / "data/training" / ITEM).iterdir()) == ["manifest.json", "runs.json", "seed-0", "seed-2"]
    assert [line["kind"] for line in told(root)[1]] == ["begun", "epoch", "dropped"]
    assert "goog-stacked-s1: dropped: epoch 1, step 5" in capsys.readouterr().err


def test_a_run_of_which_every_seed_diverges_is_refused_and_leaves_nothing(tmp_path):
    root = made(tmp_path, "training.forecast.learning_rate=1e30")
    with pytest.raises(TrainingDiverged, match=r"goog-stacked: every seed diverged\. s0: epoch 1, step \d+: .*learning_rate"):
        run_stage(root, "training", ITEM)
    assert not list((root / "data/training").iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none_and_auto_takes_the_cpu():
    with pytest.raises(ConfigError, match=r"`training\.device` is 'cuda'"):
        training_runs.choose_device("cuda")
    assert training_runs.choose_device("auto") == training_runs.choose_device("cpu") == CPU


@pytest.mark.few(2)
@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_what_a_module_calls_fixed_never_moves_and_the_rest_does(engine, optimizer):
    ids = (np.arange(60) * 7 % 5).astype(np.int32)
    spec = config.TextWindows(lookback=3, min_count=1, max_vocabulary=5, validation=0.1, test=0.1)
    part = Stretch(0, 60, 60)
    data = TextData(spec, ids, {"train": part, "validation": part}, Vocabulary(tuple("abcde")), {}, [])
    task = NextWordTask(1, 5, 0.0, data, numbers=True)
    rate = 3.0 if optimizer == "sgd" else 0.01
    settings = config.Optimisation(optimizer=optimizer, learning_rate=rate, batch_size=1, max_epochs=3, patience=3, clip_norm=1.0)
    variant = config.Variant(cell="lstm", hidden_size=8, num_layers=2, bidirectional=False, dropout=0.0)
    (done,) = train([Member("s0", 0, task, settings)], variant, engine, CPU, [None], lambda *_: None)
    assert done.best_weights[:5].tolist() == [-1, -0.5, 0, 0.5, 1]
    began = Rows(Network(task, variant, engine, [loop.generator_of(0)])).weights[0]
    assert (done.weights[5:] != began[5:]).all()
    # the words say one another, so the last epoch names more of them; both engines count them alike
    accuracies = [epoch["train_accuracy"] for epoch in done.history]
    assert accuracies[-1] > accuracies[0] and 0 <= accuracies[0] < 0.9 and accuracies[0] * 57 == pytest.approx(round(accuracies[0] * 57))
