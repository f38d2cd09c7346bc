"""Models, the engine cuda, where there is no GPU: the same step runs on the CPU, is the loop's, and asks the device for nothing."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch
from projects import project
from test_models_cells import variant
from test_models_native import CPU, agree, forecasts, learning
from test_models_native_text import texts
from torch.utils._python_dispatch import TorchDispatchMode

from longshort import config, editing
from longshort.errors import ConfigError
from longshort.models import choice, masks
from longshort.models.encoder import at_hand, opened
from longshort.models.engines import ENGINES
from longshort.models.engines.cuda import Cuda, passes
from longshort.models.engines.cuda.graphs import WARM_UP, Graphed
from longshort.models.engines.cuda.masks import DeviceDraw, constants
from longshort.models.engines.engine import Learning
from longshort.models.masks import Draw, stream
from longshort.models.network import Network
from longshort.tasks.cross_entropy import IGNORED, summed_cross_entropy
from longshort.training import loop, runs
from longshort.training.loop import Member, train
from longshort.training.optimisers import Rows

TASK = forecasts()
KINDS = [
    variant("lstm", hidden_size=5, num_layers=2, dropout=0.3),
    variant("lstm", hidden_size=17, num_layers=3, bidirectional=True, residual=True, initial_state="learned", dropout=0.1),
    variant("gru", hidden_size=16, num_layers=2, dropout=0.2, weight_dropout=0.2),
    variant("rnn", hidden_size=4, activation="relu", num_layers=2),
    variant("alstm", hidden_size=6, dropout=0.5),
]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The engine as on a machine with a GPU; what it is handed lies on the CPU."""
    monkeypatch.setattr(Cuda, "absent", lambda self: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def learn(kind, task=TASK, engine="cuda", seed=5, **changes):
    """Train a lone network; returns what it came to."""
    return train([Member("s", seed, task, learning(**changes))], kind, engine, CPU, [None], lambda *_: None)[0]


# --- whole passes -----------------------------------------------------------------------------


@pytest.mark.few(3)
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.cell + "-bi" * kind.bidirectional)
def test_whole_passes_are_the_loop_to_the_rounding(kind, optimizer):
    ways = {"optimizer": optimizer, "learning_rate": 0.001}
    agree(learn(kind, **ways), learn(kind, engine="torch", **ways), weights=2e-5, loss=1e-4)


@pytest.mark.few(3)
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("kind", KINDS[:4], ids=lambda kind: kind.cell + "-bi" * kind.bidirectional)
def test_whole_passes_of_language_models_are_the_loop_to_the_rounding(kind, optimizer):
    kind = kind.model_copy(update={"bidirectional": False})
    ways = {"task": texts(), "optimizer": optimizer, "learning_rate": 0.003, "batch_size": 8}
    agree(learn(kind, **ways), learn(kind, engine="torch", **ways), weights=1e-4, loss=1e-5)


@pytest.mark.parametrize("quantiles", [(), (0.05, 0.95)], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 2), (12, 1, 3), (5, 18, 1)], ids=str)
def test_one_step_moves_every_weight_as_the_loop_does(shape, quantiles):
    lookback, horizon, columns = shape
    task = forecasts(300, ("close", "volume", "log_range")[:columns], lookback, horizon, quantiles=quantiles)
    kind = variant("lstm", hidden_size=5, num_layers=2, bidirectional=True, dropout=0.2)
    ways = {"task": task, "max_epochs": 1, "batch_size": 200, "optimizer": "rmsprop"}
    inside, outside = learn(kind, **ways), learn(kind, engine="torch", **ways)
    # the average of squares after one step is the gradient itself, squared
    torch.testing.assert_close(inside.averages[0].sqrt(), outside.averages[0].sqrt(), rtol=1e-4, atol=1e-6)
    assert inside.history[0]["train_loss"] == pytest.approx(outside.history[0]["train_loss"], rel=1e-6)


def opened_passes(kind=KINDS[0], tasks=(TASK,), recorder=None):
    """Passes of a fleet, its rows and fresh averages."""
    network = Network(tasks[0], kind, "cuda", [loop.generator_of(k) for k in range(len(tasks))])
    rows = Rows(network)
    averages = (torch.zeros_like(rows.weights), torch.zeros_like(rows.weights))
    return passes.WholePasses(network, tasks, passes.source_of(tasks, CPU), recorder), rows, averages


def how(**changes):
    usual = {"seed": 5, "epoch": 1, "batch_size": 19, "optimizer": "adam", "learning_rate": 0.01, "clip_norm": 1.0}
    return Learning(**{**usual, "mean_keeps": 0.9, "square_keeps": 0.999, "epsilon": 1e-8, **changes})


@pytest.mark.parametrize("size", [1, 7, 19, 10**4])
def test_what_fills_up_the_last_batch_is_not_charged(size):
    whole, rows, averages = opened_passes()
    windows = len(TASK.data.parts["train"])
    assert windows % 7 and windows % 19
    passed = whole.learn(rows.weights, averages, [0], {0: how(batch_size=size)})[0]
    assert (passed.terms, passed.steps, passed.failed) == (windows, -(-windows // size), 0)


def test_a_pass_in_pieces_is_the_pass(monkeypatch):
    whole = learn(KINDS[0])
    monkeypatch.setattr(passes, "AT_ONCE", 20)
    pieces = learn(KINDS[0])
    assert torch.equal(whole.weights, pieces.weights) and whole.history == pieces.history


def test_a_killed_training_goes_on_with_the_same_bits():
    class Killed(Exception):
        pass

    kept = []

    def die(_, epoch, progress):
        kept.append(progress)
        if epoch.number == 2:
            raise Killed

    member = Member("s", 5, TASK, learning())
    with pytest.raises(Killed):
        train([member], KINDS[0], "cuda", CPU, [None], die)
    [gone_on] = train([member], KINDS[0], "cuda", CPU, [kept[-1]], lambda *_: None)
    whole = learn(KINDS[0])
    assert torch.equal(gone_on.weights, whole.weights) and gone_on.history == whole.history and gone_on.steps == whole.steps


def test_targets_that_are_no_numbers_are_not_charged():
    holed = dataclasses.replace(TASK, scaled=TASK.scaled.copy())
    holed.scaled[int(TASK.data.parts["train"].stops[0]) - 1] = np.nan  # the last target of a stretch is in no window's past
    inside, outside = (learn(KINDS[0], task=holed, engine=engine, max_epochs=1) for engine in ("cuda", "torch"))
    assert math.isfinite(inside.history[0]["train_loss"])
    agree(inside, outside, weights=1e-5, loss=1e-5)


def test_a_loss_that_is_not_finite_ends_the_member_at_the_step_at_which_the_loop_does():
    kind, ways = variant("rnn_relu", hidden_size=8), {"learning_rate": 1e30}
    inside, outside = learn(kind, **ways), learn(kind, engine="torch", **ways)
    assert inside.dropped.startswith("epoch 1, step 2: loss ") and inside.dropped.partition(":")[0] == outside.dropped.partition(":")[0]
    assert "Lower its `learning_rate` (now 1e+30)" in inside.dropped and inside.history == []


def test_a_gradient_that_is_not_finite_ends_the_member_though_its_loss_is():
    steep = dataclasses.replace(TASK, scaled=TASK.scaled.copy())
    steep.scaled[int(TASK.data.parts["train"].stops[0]) - 1] = 1.2e19  # squared it is a float32, its gradient squared is not
    inside, outside = (learn(KINDS[3], task=steep, engine=engine, batch_size=1) for engine in ("cuda", "torch"))
    assert "loss 1.44e+38, gradient norm inf" in inside.dropped and inside.dropped == outside.dropped


def test_a_member_that_failed_keeps_its_weights_and_its_steps_while_the_others_go_on():
    whole, rows, averages = opened_passes(tasks=(TASK, TASK))
    hows = {0: how(), 1: how(seed=6)}
    rows.weights[1] = math.nan
    began = rows.weights[0].clone()
    passed = whole.learn(rows.weights, averages, [0, 0], hows)
    assert passed[1].failed == 1 and passed[1].steps == 0 and math.isnan(passed[1].failed_loss)
    assert (averages[0][1] == 0).all() and (averages[1][1] == 0).all()
    assert passed[0].failed == 0 and passed[0].steps == 3 and (rows.weights[0] != began).any()
    # what is asked again is tried again: what failed in one pass is not remembered in the next
    rows.weights[1] = began
    assert whole.learn(rows.weights, averages, [3, 0], {1: how(seed=6)})[1].failed == 0


# --- fleets -----------------------------------------------------------------------------------


def side_by_side(fleet, kind, engine="cuda"):
    """The way of a GPU, here: side by side from the first epoch to the last."""
    done = list(loop._begun(fleet, kind, engine, [None] * len(fleet)))
    while going := [place for place, progress in enumerate(done) if not progress.is_over(fleet[place].settings)]:
        loop.side_by_side(going, fleet, kind, engine, CPU, done, lambda *_: None)
    return done


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]], ids=lambda kind: kind.cell)
def test_members_side_by_side_come_to_what_each_comes_to_alone_in_the_loop(kind):
    changes = [{"learning_rate": 0.003}, {"clip_norm": 0.01}, {"max_epochs": 1}, {"learning_rate": 1e30}]
    # a series of its own for one, with fewer windows: its batches end before those of the others
    tasks = [TASK, forecasts(100, seed=3), TASK, TASK]
    fleet = [Member(f"m{k}", k, tasks[k], learning(**{"max_epochs": 2, **each})) for k, each in enumerate(changes)]
    found = side_by_side(fleet, kind)
    assert found[1].steps < found[0].steps == 2 * found[2].steps and found[3].dropped
    for member, mine in zip(fleet[:3], found, strict=False):
        [alone] = train([member], kind, "torch", CPU, [None], lambda *_: None)
        agree(mine, alone, weights=2e-5, loss=1e-4)


def test_language_models_side_by_side_come_to_what_each_comes_to_alone_in_the_loop():
    fleet = [Member(f"m{seed}", seed, texts(), learning(batch_size=8, learning_rate=0.003, max_epochs=2)) for seed in range(3)]
    for member, mine in zip(fleet, side_by_side(fleet, KINDS[0]), strict=True):
        agree(mine, train([member], KINDS[0], "torch", CPU, [None], lambda *_: None)[0], weights=1e-4, loss=1e-4)


def test_series_that_members_share_lie_on_the_device_once():
    other = forecasts(100, seed=3)
    source = passes.source_of((TASK, other, TASK), CPU)
    assert len(source.values) == len(TASK.scaled) + len(other.scaled) and source.offsets == [0, len(TASK.scaled), 0]


# --- recording --------------------------------------------------------------------------------


class Noted(TorchDispatchMode):
    """Notes the operations that the host asks for, outside of what a recorder runs."""

    def __init__(self):
        super().__init__()
        self.inside, self.asked = False, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not self.inside:
            self.asked.append(str(function))
        if self.inside and str(function) in ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.lift_fresh.default"):
            raise AssertionError(f"{function} asks the device, or writes to it, within what is recorded")
        return function(*args, **(kwargs or {}))


class StandIn:
    """A recorder that notes when it is asked for what; a replay is a run of what was recorded."""

    def __init__(self, noted):
        self.noted, self.told = noted, []

    def run(self, work):
        self.told.append("run")
        self.inside(work)

    def record(self, work):
        self.told.append("record")
        return lambda: (self.told.append("replay"), self.inside(work))[0]

    def inside(self, work):
        self.noted.inside = True
        work()
        self.noted.inside = False


@pytest.mark.parametrize("task", [TASK, texts()], ids=["forecast", "language model"])
def test_after_the_warm_up_a_batch_is_two_copies_and_a_replay(task):
    noted = Noted()
    recorder = StandIn(noted)
    whole, rows, averages = opened_passes(tasks=(task, task), recorder=recorder)
    hows = {0: how(batch_size=8), 1: how(batch_size=8, seed=6)}
    with noted:
        first = whole.learn(rows.weights, averages, [0, 0], hows)
        steps = first[0].steps
        assert recorder.told == ["run"] * WARM_UP + ["record"] + ["replay"] * (steps - WARM_UP)
        recorder.told.clear()
        batches = whole._places("train", {0: (5, 2), 1: (6, 2)}, 8)
        next(batches)
        noted.asked.clear()
        for places in itertools.islice(batches, 2):
            whole._step.batch.put(*places)
            whole._step.run()
        assert recorder.told == ["replay"] * 2
        of_a_view = ("aten.select.int", "aten.unbind.int")  # move nothing
        assert [name for name in noted.asked if name not in of_a_view] == ["aten.copy_.default"] * 2 * 2


def test_a_pass_that_is_replayed_is_the_pass():
    noted = Noted()
    found = []
    for recorder in (None, StandIn(noted)):
        whole, rows, averages = opened_passes(recorder=recorder)
        passed = [whole.learn(rows.weights, averages, [0], {0: how(epoch=epoch)}) for epoch in (1, 2)]
        scored = [whole.score(rows.weights, part, [0]) for part in ("validation", "test")]
        found.append((passed, scored, rows.weights.tolist()))
    assert found[0] == found[1]


def test_a_recording_is_kept_from_pass_to_pass_and_made_anew_for_other_settings_or_arrays():
    recorder = StandIn(Noted())
    whole, rows, averages = opened_passes(recorder=recorder)
    for _ in range(3):
        whole.learn(rows.weights, averages, [0], {0: how()})
    whole.learn(rows.weights, averages, [0], {0: how(learning_rate=0.1, clip_norm=0.5, seed=9, epoch=4)})
    assert recorder.told.count("record") == 1
    whole.learn(rows.weights, averages, [0], {0: how(batch_size=7)})
    whole.learn(rows.weights, tuple(average.clone() for average in averages), [0], {0: how(batch_size=7)})
    assert recorder.told.count("record") == 3


def test_work_is_done_once_a_call_whether_run_or_replayed():
    done = []
    work = Graphed(lambda: done.append(1), StandIn(Noted()))
    for number in range(1, WARM_UP + 4):
        work()
        assert len(done) == number


# --- masks ------------------------------------------------------------------------------------


@pytest.mark.few(6)
@pytest.mark.parametrize(("units", "steps", "place"), [(1, 1, 0), (16, 3, 0), (50, 2, 31), (17, 4, 10**9)])
@pytest.mark.parametrize("seeds", [(0,), (2**63 - 1, 3)], ids=str)
@pytest.mark.parametrize("epoch", [1, 2**40])
def test_masks_are_those_of_every_engine_bit_for_bit(units, steps, place, seeds, epoch):
    host = Draw(seeds, epoch, place)
    device = DeviceDraw(torch.tensor(seeds), torch.tensor(epoch), torch.tensor(place), constants(CPU))
    for kind, where, rate in itertools.product((masks.FRONT, masks.ZONEOUT), (stream(0), stream(3, 1, 2)), (0.2, 0.5, 1e-5, 0.99999)):
        for like in (torch.zeros(1), torch.zeros(1, dtype=torch.float64)):
            asked = (like, kind, where, rate, (16, steps, units))
            assert torch.equal(device.dropped_for(*asked), host.dropped_for(*asked))
            wanted, found = host.factors_for(*asked), device.factors_for(*asked)
            assert torch.equal(found, wanted) and found.dtype == like.dtype and found.shape == (len(seeds), 16, steps, units)


# --- what is not charged ----------------------------------------------------------------------


def test_words_that_are_ignored_add_nothing_to_the_loss_and_to_no_gradient():
    draw = torch.Generator().manual_seed(0)
    given = [torch.randn(*shape, generator=draw, requires_grad=True) for shape in ((300, 5), (5, 7), (7,))]
    target = torch.randint(7, (300,), generator=draw)
    target[::3] = IGNORED
    kept = target != IGNORED
    for found, wanted in (
        (summed_cross_entropy(*given, target), summed_cross_entropy(given[0][kept], *given[1:], target[kept])),
        (summed_cross_entropy(*given, target), torch.nn.functional.cross_entropy(given[0] @ given[1] + given[2], target, reduction="sum")),
    ):
        torch.testing.assert_close(found, wanted)
        for mine, theirs in zip(torch.autograd.grad(found, given), torch.autograd.grad(wanted, given), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(summed_cross_entropy(*given, target), found)


# --- where there is no GPU --------------------------------------------------------------------


@pytest.fixture
def nowhere(monkeypatch):
    """A machine where torch sees no GPU, whatever this one has."""
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_the_engine_says_how_to_get_it(nowhere):
    with pytest.raises(ConfigError, match=r"engine 'cuda' is not there: torch sees no CUDA device here: it takes an NVIDIA GPU.*'torch'"):
        opened("cuda", KINDS[0])
    with pytest.raises(ConfigError, match=r"engine 'cuda' is not there: torch sees no CUDA device here.*Name another engine\."):
        runs.choose_device("auto", "cuda")


def test_a_model_that_it_trained_is_served_where_there_is_no_gpu(nowhere):
    assert at_hand("cuda", KINDS[0]) == "torch"


def test_the_engine_does_not_run_on_the_cpu_on_purpose():
    with pytest.raises(ConfigError, match=r"`training.device` is 'cpu', and the engine 'cuda' runs on a GPU"):
        runs.choose_device("cpu", "cuda")


ITEMS = "training.items={goog-lstm: {dataset: goog, task: forecast, variant: lstm, engine: cuda}}"


def test_without_a_gpu_it_is_refused_before_anything_runs(nowhere, tmp_path):
    with pytest.raises(ConfigError, match=r"params.yaml: training.items.goog-lstm: engine 'cuda' is not there: torch sees no CUDA device"):
        choice.settle(config.read(project(tmp_path, ITEMS) / "params.yaml"))


def test_a_device_that_it_does_not_run_on_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match=r"goog-lstm: its engine is 'cuda', and `training.device` is 'cpu'"):
        choice.settle(config.read(project(tmp_path, ITEMS, "training.device=cpu") / "params.yaml"))
    assert choice.settle(config.read(project(tmp_path / "auto", ITEMS, "training.device=auto") / "params.yaml")) == []


def test_what_it_cannot_run_is_refused_with_the_reason_and_a_way_out(tmp_path):
    with pytest.raises(ConfigError, match=r"engine 'cuda' cannot run this variant: torch has no kernel for cell 'mgu'.*'reference'"):
        opened("cuda", variant("mgu"))
    mgu = "models.variants.lstm={cell: mgu, hidden_size: 4, num_layers: 1, bidirectional: false, dropout: 0.0}"
    with pytest.raises(ConfigError, match=r"goog-lstm: engine 'cuda' cannot train it: torch has no kernel for cell 'mgu'"):
        choice.settle(config.read(project(tmp_path, mgu, ITEMS) / "params.yaml"))


def test_the_name_is_known_to_the_settings_and_to_a_list_of_variants(tmp_path):
    assert set(get_args(config.EngineName)) == set(ENGINES)
    path = project(tmp_path, "training.engine=cuda", ITEMS) / "params.yaml"
    editing.assign(path, ["models.variants=[lstm, lstm_cifg]"])
    params = config.read(path)
    assert params.engine_of("goog-lstm") == "cuda" and params.engine_of("goog-lstm_cifg") == "reference"
