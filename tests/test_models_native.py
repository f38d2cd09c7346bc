"""Models, the engine native: the reference's states and gradients, the same bytes whatever the threads and vectors, whole passes."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import subprocess
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import ROOT, native_is_built
from test_models_cells import variant

from longshort import config, editing
from longshort.config import Optimisation, PriceWindows
from longshort.errors import ConfigError
from longshort.models import artefact, choice, masks
from longshort.models.cells import CELLS, shapes
from longshort.models.cells.cell import starts
from longshort.models.compiled import build, cells, library
from longshort.models.encoder import Encoder, at_hand, opened
from longshort.models.engines import ENGINES, Inside
from longshort.models.engines.engine import Learning
from longshort.models.engines.native import layer, passes
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.task import Stretch
from longshort.training import loop
from longshort.training.loop import Member, train
from longshort.training.optimisers import Rows
from longshort.windows.files import PriceData
from longshort.windows.prices import Segment, Series, fit_scaler, make_parts

OWN = list(cells.GATES)
CPU = torch.device("cpu")
# batch, hidden, inputs, steps: one of each, a lane too few and too many, blocks of rows that come out even and that do not
SHAPES = [(1, 1, 1, 1), (15, 5, 3, 4), (16, 37, 1, 9), (17, 50, 3, 3), (33, 5, 70, 2), (1, 50, 1, 60), (33, 37, 37, 8), (2, 16, 16, 17)]


pytestmark = pytest.mark.usefixtures("one_thread")


# --- a layer ----------------------------------------------------------------------------------


def drawn(name, batch, hidden, inputs, steps, learned=False, members=1, seed=0):
    """Weights, a sequence and a gradient of the states, float32; weights so large that gates are neither open nor shut."""
    draw = torch.Generator().manual_seed(seed)
    made = shapes(CELLS[name], inputs, hidden) | (starts(CELLS[name], hidden) if learned else {})
    size = {key: 1 / math.sqrt(shape[0]) if len(shape) > 1 else 1.0 for key, shape in made.items()}
    weights = {key: (torch.rand(members, *shape, generator=draw) * 2 - 1) * size[key] for key, shape in made.items()}
    return weights, torch.randn(members, steps, batch, inputs, generator=draw), torch.randn(members, steps, batch, hidden, generator=draw)


def run(engine, name, weights, steps, gradient, dtype=torch.float32):
    """States, and gradients of the sequence and of each weight."""
    weights = {key: weight.to(dtype).requires_grad_() for key, weight in weights.items()}
    steps = steps.to(dtype).requires_grad_()
    states = ENGINES[engine].forward(CELLS[name], CELLS[name].activation, weights, steps, Inside())
    found = torch.autograd.grad((states * gradient.to(dtype)).sum(), [steps, *weights.values()])
    return {"h": states.detach(), "x": found[0], **dict(zip(weights, found[1:], strict=True))}


def close(found, wanted, most):
    """Relative to the largest of each, which is what sums of that many terms round to."""
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        worst = (found[key] - value).abs().max() / value.abs().max().clamp(min=1e-3)
        assert worst <= most, f"{key}: {worst:.2g}"


@pytest.mark.few(61)
@native_is_built
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OWN)
def test_states_and_gradients_are_the_references(name, shape):
    given = drawn(name, *shape, learned=shape[0] % 2 == 1)
    found, exact = run("native", name, *given), run("reference", name, *given, torch.float64)
    close({key: value.double() for key, value in found.items()}, exact, 2e-5)
    close(found, run("reference", name, *given), 3e-5)


@native_is_built
@pytest.mark.parametrize("name", OWN)
def test_states_and_gradients_are_the_same_bytes_for_any_threads_and_vectors(name):
    weights, steps, gradient = drawn(name, 50, 21, 5, 7, learned=True)
    found = []
    for width, threads in itertools.product(range(len(library.widths())), (1, 2, 3)):
        torch.set_num_threads(threads)
        given = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
        states = layer.forward(name, given, steps, width)
        found.append([states, *torch.autograd.grad((states * gradient).sum(), list(given.values()))])
    assert len(found) >= 3
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@native_is_built
def test_this_machine_has_two_widths_to_compare():
    assert library.widths()[-1] == "plain" and len(library.widths()) > 1


@native_is_built
@pytest.mark.parametrize("name", OWN)
def test_a_row_alone_has_the_bytes_that_it_has_in_a_batch_and_a_member_those_that_it_has_alone(name):
    weights, steps, gradient = drawn(name, 19, 13, 3, 5, members=3)
    whole = run("native", name, weights, steps, gradient)
    for k, row in ((0, 0), (1, 7), (2, 18)):
        own = {key: weight[k : k + 1] for key, weight in weights.items()}
        alone = run("native", name, own, steps[k : k + 1, :, row : row + 1], gradient[k : k + 1, :, row : row + 1])
        assert torch.equal(alone["h"][0, :, 0], whole["h"][k, :, row]) and torch.equal(alone["x"][0, :, 0], whole["x"][k, :, row])
    for k in range(3):
        own = {key: weight[k : k + 1] for key, weight in weights.items()}
        assert all(
            torch.equal(value[0], whole[key][k]) for key, value in run("native", name, own, steps[k : k + 1], gradient[k : k + 1]).items()
        )


# how many windows, and how many that add nothing fill the last group up to more than eight, so that it takes sixteen lanes
FILLED = [*((count, 9 + count % 8) for count in range(1, 9)), (17, 32), (20, 25), (24, 29), (40, 41), (264, 265)]


@native_is_built
@pytest.mark.parametrize(("count", "filled"), FILLED)
@pytest.mark.parametrize("name", ["lstm", "lstm_peephole", "gru", "rnn", "mgu", "sru"])
def test_a_group_of_eight_windows_has_the_bytes_that_it_has_in_sixteen_lanes(name, count, filled):
    weights, steps, gradient = drawn(name, filled, 37 if count % 2 else 21, 5, 19, learned=count % 3 > 0)
    gradient[:, :, count:] = 0
    wide, narrow = run("native", name, weights, steps, gradient), run("native", name, weights, steps[:, :, :count], gradient[:, :, :count])
    for key, value in narrow.items():
        same = wide[key][:, :, :count] if key in ("h", "x") else wide[key]
        assert value.numpy().tobytes() == same.contiguous().numpy().tobytes(), key


@native_is_built
@pytest.mark.parametrize("name", OWN)
def test_without_a_gradient_states_are_the_same_bytes(name):
    weights, steps, gradient = drawn(name, 5, 9, 2, 6)
    with torch.inference_mode():
        found = ENGINES["native"].forward(CELLS[name], CELLS[name].activation, weights, steps, Inside())
    assert torch.equal(found, run("native", name, weights, steps, gradient)["h"])


@native_is_built
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(OWN), *[st.integers(1, most) for most in (40, 40, 40, 6)], st.booleans(), st.integers(0, 2**20))
def test_any_shape_is_the_references(name, batch, hidden, inputs, steps, learned, seed):
    given = drawn(name, batch, hidden, inputs, steps, learned, seed=seed)
    found = {key: value.double() for key, value in run("native", name, *given).items()}
    close(found, run("reference", name, *given, torch.float64), 5e-5)


@native_is_built
@pytest.mark.parametrize(
    "changes", [{"bidirectional": True}, {"residual": True, "num_layers": 4}, {"dropout": 0.4, "weight_dropout": 0.3}], ids=str
)
@pytest.mark.parametrize("cell", ["lstm", "gru", "mgu", "sru"])
def test_options_outside_the_loop_are_the_references(cell, changes):
    changes = {"num_layers": 2, "initial_state": "learned", **changes}
    if cell == "sru":
        changes.pop("weight_dropout", None)
    found = {}
    for engine, dtype in (("native", torch.float32), ("reference", torch.float64)):
        encoder = Encoder(3, variant(cell, hidden_size=9, **changes), engine, [torch.Generator().manual_seed(3)]).to(dtype)
        states, final = encoder(drawn("lstm", 6, 3, 3, 5)[1].transpose(1, 2).to(dtype), Draw((0,), 1, 3))
        (states.sin().sum() + final.sum()).backward()
        found[engine] = {
            "states": states.detach(),
            **{name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None},
        }
    close({key: value.double() for key, value in found["native"].items()}, found["reference"], 2e-5)


@native_is_built
def test_what_is_no_float_of_the_cpu_is_refused():
    weights, steps, _ = drawn("lstm", 2, 3, 2, 2)
    with pytest.raises(ValueError, match=r"computes in float32 on the CPU, and the input is torch.float64 on cpu"):
        ENGINES["native"].forward(CELLS["lstm"], "tanh", weights, steps.double(), Inside())


@native_is_built
def test_going_back_twice_is_refused():
    weights, steps, _ = drawn("lstm", 2, 3, 2, 2)
    total = (
        ENGINES["native"]
        .forward(CELLS["lstm"], "tanh", {key: weight.requires_grad_() for key, weight in weights.items()}, steps, Inside())
        .sum()
    )
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="goes back through a batch once"):
        total.backward()


# --- functions and masks ----------------------------------------------------------------------

POINTS = np.concatenate([np.linspace(-100, 100, 200_001), np.linspace(-1, 1, 100_001), np.geomspace(1e-38, 1, 10_001), [0.0]]).astype(
    np.float32
)


def of_the_library(which, x, width=0):
    found = np.empty_like(x)
    library.opened().function(width, which, library.address(x), library.address(found), len(x))
    return found


@native_is_built
def test_sigmoid_and_tanh_are_right_to_four_times_ten_to_the_minus_seven():
    x = POINTS.astype(np.float64)
    sigmoid, tanh = of_the_library(0, POINTS).astype(np.float64), of_the_library(1, POINTS).astype(np.float64)
    inner = x >= -87
    exact = 1 / (1 + np.exp(-x))
    assert np.abs(sigmoid / exact - 1)[inner].max() < 4e-7
    assert np.abs(sigmoid - exact)[~inner].max() < 2e-38
    some = x != 0
    assert np.abs(tanh[some] / np.tanh(x[some]) - 1).max() < 4e-7 and (tanh[~some] == 0).all()


@native_is_built
def test_at_the_ends_functions_are_what_they_should_be():
    ends = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38, -0.0], np.float32)
    sigmoid, tanh = of_the_library(0, ends), of_the_library(1, ends)
    assert sigmoid[0] == sigmoid[3] == 1 and 0 < sigmoid[1] == sigmoid[4] < 2e-38 and np.isnan(sigmoid[2]) and sigmoid[5] == 0.5
    assert tanh[0] == tanh[3] == 1 and tanh[1] == tanh[4] == -1 and np.isnan(tanh[2]) and tanh[5] == 0 and np.signbit(tanh[5])


@native_is_built
def test_functions_are_the_same_bytes_for_every_width():
    for which, width in itertools.product((0, 1), range(1, len(library.widths()))):
        assert of_the_library(which, POINTS).tobytes() == of_the_library(which, POINTS, width).tobytes()


@native_is_built
@pytest.mark.parametrize(("units", "steps", "place"), [(1, 1, 0), (16, 3, 0), (50, 2, 31), (17, 4, 10**9)])
@pytest.mark.parametrize("seed", [0, 2**63 - 1])
@pytest.mark.parametrize("rate", [0.2, 0.5, 1e-5, 0.99999])
def test_masks_are_those_of_every_engine_bit_for_bit(units, steps, place, seed, rate):
    wanted = Draw((seed,), 7, place).dropped(masks.OUTPUT, masks.stream(2), rate, (16, steps, units))[0]
    for width, step in itertools.product(range(len(library.widths())), range(steps)):
        found = np.empty(-(-units // 16) * 16, np.uint16)
        where = (place, step, steps, units, masks.threshold(rate))
        library.opened().masks(width, seed, 7, masks.stream(2), masks.OUTPUT, *where, library.address(found))
        dropped = found[None, :units] >> np.arange(16, dtype=np.uint16)[:, None] & 1
        assert (dropped == wanted[:, step]).all()


# --- whole passes -----------------------------------------------------------------------------


def forecasts(steps=120, columns=("close",), lookback=12, horizon=1, seed=0, quantiles=()):
    """A task over a random walk."""
    draw = np.random.Generator(np.random.Philox(seed))
    features = [name for name in columns if name != "close"]
    spec = PriceWindows(
        lookback=lookback,
        horizon=horizon,
        target="close",
        features=["close", *features],
        scaler="minmax",
        gap=horizon,
        max_gap=5,
        validation=0.2,
        test=0.2,
    )
    values = np.cumsum(draw.normal(size=(steps, len(spec.columns))), axis=0).astype(np.float32)
    dates = np.datetime64("2001-01-01") + np.arange(steps)
    series = Series(values, values[:, 0].astype(np.float64), dates, (Segment("AAA", 0, steps // 2), Segment("BBB", steps // 2, steps)))
    parts = make_parts(series, spec)
    return ForecastTask.of(PriceData(spec, series, parts, fit_scaler(series, parts["train"], spec), "XNYS"), quantiles)


TASK = forecasts()


def learning(**changes):
    usual = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 19, "max_epochs": 3, "patience": 3, "clip_norm": 1.0}
    return Optimisation(**{**usual, **changes})


def learn(settings, task=TASK, engine="native", resumed=None, after_epoch=lambda epoch, progress: None, seed=5, **changes):
    """Train a lone network; returns what it came to."""
    told = lambda _, epoch, progress: after_epoch(epoch, progress)  # noqa: E731
    return train([Member("s", seed, task, learning(**changes))], settings, engine, CPU, [resumed], told)[0]


def batch_by_batch(monkeypatch):
    """The same engine without whole passes."""
    monkeypatch.setattr(type(ENGINES["native"]), "epochs", lambda *_: None)


def same(mine, other):
    rows = lambda one: [one.weights, one.best_weights, *one.averages]  # noqa: E731
    return mine.history == other.history and all(map(torch.equal, rows(mine), rows(other)))


def agree(mine, other, *, weights, loss):
    """Hold that two trainings came to the same but for the rounding, epoch by epoch."""
    assert mine.steps == other.steps and mine.best_epoch == other.best_epoch
    torch.testing.assert_close(mine.weights, other.weights, rtol=1e-4, atol=weights)
    for ours, theirs in zip(mine.history, other.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=loss)
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], rel=1e-4)


KINDS = [
    variant("lstm", hidden_size=5, num_layers=2, dropout=0.3),
    variant("lstm", hidden_size=17, num_layers=3, bidirectional=True, residual=True, initial_state="learned", dropout=0.1),
    variant("gru", hidden_size=16, num_layers=4, dropout=0.2),
    variant("lstm_cifg", hidden_size=7, bidirectional=True, initialisation="keras"),
    variant("mgu", hidden_size=9, num_layers=2),
    variant("rnn", hidden_size=4, activation="relu", num_layers=2),
    variant("sru", hidden_size=6, num_layers=2, chrono_steps=5, dropout=0.5),
]


@pytest.mark.few(5)
@native_is_built
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.cell + "-bi" * kind.bidirectional)
def test_whole_passes_are_the_loop_to_the_rounding(kind, optimizer, monkeypatch):
    inside = learn(kind, optimizer=optimizer, learning_rate=0.001)
    reference = learn(kind, engine="reference", optimizer=optimizer, learning_rate=0.001)
    batch_by_batch(monkeypatch)
    outside = learn(kind, optimizer=optimizer, learning_rate=0.001)
    for other in (outside, reference):
        agree(inside, other, weights=2e-5, loss=1e-4)


@native_is_built
@pytest.mark.parametrize("quantiles", [(), (0.9,), (0.05, 0.5, 0.95)], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 2), (12, 1, 3), (5, 18, 1)], ids=str)
def test_one_step_moves_every_weight_as_the_loop_does(shape, quantiles, monkeypatch):
    lookback, horizon, columns = shape
    task = forecasts(300, ("close", "volume", "log_range")[:columns], lookback, horizon, quantiles=quantiles)
    kind = variant("lstm_peephole", hidden_size=5, num_layers=2, bidirectional=True, dropout=0.2)
    ways = {"task": task, "max_epochs": 1, "batch_size": 10**6, "optimizer": "rmsprop"}
    inside = learn(kind, **ways)
    batch_by_batch(monkeypatch)
    outside = learn(kind, **ways)
    # the average of squares after one step is the gradient itself, squared
    torch.testing.assert_close(inside.averages[0].sqrt(), outside.averages[0].sqrt(), rtol=1e-4, atol=1e-6)
    assert inside.history[0]["train_loss"] == pytest.approx(outside.history[0]["train_loss"], rel=1e-6)


@native_is_built
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_whole_passes_with_quantiles_are_the_loop_to_the_rounding(optimizer, monkeypatch):
    ways = {"task": forecasts(horizon=2, quantiles=(0.05, 0.95)), "optimizer": optimizer, "learning_rate": 0.001}
    inside, reference = learn(KINDS[0], **ways), learn(KINDS[0], engine="reference", **ways)
    batch_by_batch(monkeypatch)
    for other in (learn(KINDS[0], **ways), reference):
        agree(inside, other, weights=2e-5, loss=1e-4)


@native_is_built
def test_whole_passes_are_the_same_bytes_for_any_threads_and_vectors():
    kind, task = KINDS[1], forecasts(260, quantiles=(0.1,))
    network = Network(task, kind, "native", [loop.generator_of(1)])
    found = []
    for width, threads in itertools.product(range(len(library.widths())), (1, 2, 3)):
        torch.set_num_threads(threads)
        rows = Rows(Network(task, kind, "native", [loop.generator_of(1)]))
        inside = passes.ForecastPasses(network, task, width)
        averages = (torch.zeros_like(rows.weights[0]), torch.zeros_like(rows.weights[0]))
        passed = inside.learn(rows.weights[0], averages, 0, Learning(1, 1, 41, "adam", 0.01, 1.0, 0.9, 0.999, 1e-8))
        found.append(
            (rows.weights[0], *averages, torch.tensor(passed.loss), torch.tensor(inside.score(rows.weights[0], "validation").loss))
        )
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    assert passed.failed == 0 and passed.steps == -(-len(task.data.parts["train"]) // 41)


def one_batch(inside, network, firsts, counts, monkeypatch, rows=None):
    """Bytes of weights and averages after a step over these windows as one batch, or batches of so many rows, and what the steps and
    a score of them came to.
    """
    stretch = Stretch(0, np.asarray(firsts, np.int64), counts, inside._task.data.spec.lookback, rows or len(firsts))
    monkeypatch.setattr(type(inside._task), "order", lambda *_: [stretch])
    rows = Rows(network)
    weights, averages = rows.weights[0].clone(), tuple(torch.zeros_like(rows.weights[0]) for _ in range(2))
    told = inside.learn(weights, averages, 0, Learning(1, 1, stretch.rows, "adam", 0.01, 1.0, 0.9, 0.999, 1e-8))
    return [told, inside.score(weights, "train"), *(array.numpy().tobytes() for array in (weights, *averages))]


@native_is_built
@pytest.mark.parametrize(("count", "filled"), FILLED[1:])  # a batch of one window is no group
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.cell + "-bi" * kind.bidirectional)
def test_a_pass_over_a_group_of_eight_has_the_bytes_that_it_has_in_sixteen_lanes(kind, count, filled, monkeypatch):
    task = forecasts(400, ("close", "volume"), 12, 2, quantiles=(0.1, 0.8))
    task.scaled[-2:] = np.nan  # targets that are not charged
    network = Network(task, kind, "native", [loop.generator_of(1)])
    found = [
        one_batch(passes.ForecastPasses(network, task), network, [*range(count), *[400 - 14] * more], None, monkeypatch)
        for more in (0, filled - count)
    ]
    assert found[0] == found[1] and found[0][0].terms == 2 * count


@native_is_built
def test_a_pass_in_pieces_is_the_pass(monkeypatch):
    whole = learn(KINDS[0])
    monkeypatch.setattr(passes, "AT_ONCE", 20)
    pieces = learn(KINDS[0])
    assert torch.equal(whole.weights, pieces.weights) and whole.steps == pieces.steps
    assert whole.history[-1]["validation_loss"] == pytest.approx(pieces.history[-1]["validation_loss"], rel=1e-12)


@native_is_built
def test_a_killed_training_goes_on_with_the_same_bits():
    class Killed(Exception):
        pass

    kept = []

    def die(epoch, progress):
        kept.append(progress)
        if epoch.number == 2:
            raise Killed

    whole = learn(KINDS[0])
    with pytest.raises(Killed):
        learn(KINDS[0], after_epoch=die)
    assert same(learn(KINDS[0], resumed=kept[-1]), whole)


@native_is_built
def test_gradients_are_clipped_to_the_norm(monkeypatch):
    found = {}
    for limit in (1e-3, 1e9):
        found[limit] = learn(KINDS[0], clip_norm=limit, max_epochs=1, batch_size=10**6, optimizer="rmsprop").averages[0]
    norm = found[1e-3].div(0.01).sum().sqrt().item()
    assert norm == pytest.approx(1e-3, rel=1e-4) and found[1e9].div(0.01).sum().sqrt().item() > 0.1


@native_is_built
def test_a_loss_that_is_not_finite_ends_the_member_where_it_stands():
    progress = learn(variant("rnn_relu", hidden_size=8), learning_rate=1e30)
    assert progress.dropped.startswith("epoch 1, step 2: loss inf") or "nan" in progress.dropped
    assert "Lower its `learning_rate` (now 1e+30)" in progress.dropped and progress.history == []


@native_is_built
@pytest.mark.parametrize("quantiles", [(), (0.05, 0.95)], ids=str)
def test_an_answer_that_is_no_number_fails_the_first_step(quantiles):
    task = forecasts(quantiles=quantiles)
    network = Network(task, KINDS[0], "native", [loop.generator_of(1)])
    for place in range(1 + len(quantiles)):
        weights = Rows(network).weights[0].clone()
        weights[-1 - place] = math.nan  # the head's biases end a row
        averages = tuple(torch.zeros_like(weights) for _ in range(2))
        passed = passes.ForecastPasses(network, task).learn(weights, averages, 0, Learning(1, 1, 19, "adam", 0.01, 1.0, 0.9, 0.999, 1e-8))
        assert (passed.failed, passed.steps) == (1, 0) and math.isnan(passed.failed_loss)


@native_is_built
def test_targets_that_are_no_numbers_are_not_charged(monkeypatch):
    holed = dataclasses.replace(TASK, scaled=TASK.scaled.copy())
    place = int(TASK.data.parts["train"].stops[0]) - 1  # the last target of a stretch is in no window's past
    holed.scaled[place] = np.nan
    inside = learn(KINDS[0], task=holed, max_epochs=1)
    batch_by_batch(monkeypatch)
    outside = learn(KINDS[0], task=holed, max_epochs=1)
    assert math.isfinite(inside.history[0]["train_loss"])
    torch.testing.assert_close(inside.weights, outside.weights, rtol=1e-4, atol=1e-5)


@native_is_built
def test_a_batch_that_is_not_charged_at_all_is_no_step(monkeypatch):
    task = forecasts(400, ("close", "volume"), 12, 2)
    task.scaled[-2:] = np.nan
    network = Network(task, KINDS[4], "native", [loop.generator_of(1)])
    found = [
        one_batch(passes.ForecastPasses(network, task), network, [*range(4), *[400 - 14] * more, *range(4, 8)], None, monkeypatch, rows=4)
        for more in (0, 4)
    ]
    assert found[0] == found[1] and found[0][0].steps == 2


@native_is_built
def test_what_a_pass_cannot_do_goes_batch_by_batch():
    for changes in ({"weight_dropout": 0.2}, {"cell": "alstm"}):
        kind = variant(changes.pop("cell", "lstm"), **changes)
        network = Network(TASK, kind, "native", [loop.generator_of(0)])
        assert ENGINES["native"].epochs(network, [TASK]) is None
        theirs, mine = learn(kind, engine="reference", max_epochs=1), learn(kind, max_epochs=1)
        torch.testing.assert_close(mine.weights, theirs.weights, rtol=1e-4, atol=1e-5)


# --- who runs what, and where there is no library -------------------------------------------------


def test_the_cells_of_the_library_are_the_same_in_every_list():
    assert list(editing.NATIVE) == OWN
    assert "native" in get_args(config.EngineName)


@native_is_built
@pytest.mark.parametrize("name", CELLS)
def test_the_library_has_the_cells_that_it_says(name):
    number = library.opened().cell(cells.ALIASES.get(name, name).encode())
    assert (number >= 0) == (name in OWN) == (ENGINES["native"].runs(variant(name)) is None)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"cell": "lstm_fgr"}, "the library has no cell 'lstm_fgr', only rnn, .*sru"),
        ({"zoneout": 0.1}, "`zoneout` acts inside the loop over time, where the library drops nothing"),
        ({"variational_dropout": 0.1}, "`variational_dropout` acts inside"),
        ({"recurrent_dropout": 0.1}, "`recurrent_dropout` acts inside"),
        ({"activation": "softsign"}, "the library's cell 'lstm' has no activation 'softsign'"),
        ({"cell": "rnn", "activation": "sigmoid"}, "the library's cell 'rnn' has no activation 'sigmoid'"),
    ],
)
def test_what_the_library_cannot_run_is_refused_with_the_reason_and_a_way_out(settings, reason):
    settings = dict(settings)
    with pytest.raises(ConfigError, match=rf"engine 'native' cannot run this variant: {reason}.*\. Take engine .*'reference'"):
        opened("native", variant(settings.pop("cell", "lstm"), **settings))


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine where the library was not built."""
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "_native.so")


def test_without_the_library_the_engine_says_how_to_get_it(nowhere):
    with pytest.raises(
        ConfigError,
        match=r"engine 'native' is not there: .*_native\.so is not there\. It is built by `.*build\.py`, which needs a C\+\+ comp",
    ):
        opened("native", variant("lstm"))


def test_a_library_of_other_sources_is_refused(monkeypatch):
    if library.absent() is None:
        monkeypatch.setattr(build, "digest", lambda: "of others")
        assert "was built from other sources" in library.absent()


def test_a_file_that_is_no_library_is_refused(nowhere):
    build.LIBRARY.write_bytes(b"no library")
    assert "cannot be opened" in library.absent()


def params_of(tmp_path, engine="native"):
    """A project of an LSTM and a minimal gated unit."""
    text = (ROOT / "tests/params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    mgu = "models.variants.mgu={cell: mgu, hidden_size: 4, num_layers: 1, bidirectional: false, dropout: 0.0}"
    items = "{goog-lstm: {dataset: goog, task: forecast, variant: lstm}, goog-mgu: {dataset: goog, task: forecast, variant: mgu}}"
    editing.assign(tmp_path / "params.yaml", [mgu, f"training.items={items}", f"training.engine={engine}"])
    return config.read(tmp_path / "params.yaml")


def test_without_the_library_others_train_in_its_place_and_it_is_said(nowhere, tmp_path):
    params = params_of(tmp_path)
    assert [choice.engine_of(params, item) for item in params.training.items] == ["torch", "reference"]
    assert choice.settle(params) == []
    said = choice.standing_in(params)
    assert said.startswith("engine 'native' is not there: its library has not been built: ") and "which needs a C++ compiler" in said
    assert said.endswith(". torch and reference train in its place, more slowly")


def test_where_nobody_asks_for_the_library_nothing_is_said_of_it(nowhere, tmp_path):
    params = params_of(tmp_path, "reference")
    assert choice.standing_in(params) is None and choice.engine_of(params, "goog-lstm") == "reference"


@native_is_built
def test_where_the_library_is_it_trains_and_nothing_is_said(tmp_path):
    params = params_of(tmp_path)
    assert choice.standing_in(params) is None and choice.engine_of(params, "goog-mgu") == "native"


def test_what_the_library_cannot_train_is_refused_whether_it_is_there_or_not(nowhere, tmp_path):
    params = params_of(tmp_path)
    params.models.variants["mgu"] = variant("lstm_fgr")
    with pytest.raises(ConfigError, match=r"items\.goog-mgu: engine 'native' cannot train it: the library has no cell 'lstm_fgr'"):
        choice.settle(params)


def test_without_the_library_nothing_measures_it_and_a_model_of_its_is_served_by_another(nowhere, tmp_path):
    lstm = variant("lstm")
    assert "native" not in "".join(choice.settle(params_of(tmp_path, "auto")))
    assert at_hand("native", lstm) == "torch" and at_hand("native", variant("mgu")) == "reference"
    assert at_hand("an engine of tomorrow", lstm) == "torch"


@native_is_built
def test_a_model_that_the_library_trained_forecasts_the_same_elsewhere(tmp_path, monkeypatch):
    kind = KINDS[0]
    progress = learn(kind, max_epochs=1)
    state = loop.state_of(Network(TASK, kind, "native"), progress.best_weights)
    artefact.save(tmp_path / "m", "forecast", TASK, kind, state, {"description": TASK.description(), "origin": {"engine": "native"}})
    here = artefact.load(tmp_path / "m")
    past = torch.from_numpy(TASK.data.parts["test"].gather(TASK.scaled, np.arange(5))[0])
    assert here.network.encoder.engine is ENGINES["native"]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(build, "LIBRARY", tmp_path / "none.so")
        there = artefact.load(tmp_path / "m")
        assert there.network.encoder.engine is ENGINES["torch"]
    torch.testing.assert_close(here(past), there(past), rtol=1e-5, atol=1e-6)


# --- the compiler's own checks ------------------------------------------------------------------


@pytest.mark.skipif(build.compiler() is None, reason="there is no C++ compiler")
def test_without_a_compiler_building_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(FileNotFoundError, match=r"there is no C\+\+ compiler: none of \$CXX, c\+\+, g\+\+ and clang\+\+ was found"):
        build.build()


@pytest.mark.skipif("LONGSHORT_PROVE" not in os.environ, reason="compiling it twice takes minutes: `make prove` does")
@pytest.mark.parametrize("kind", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(kind, tmp_path):
    # what watches every address makes an optimiser slower than the program it saves
    flags = ("-O1" if kind == "thread" else "-O0", "-g1", f"-fsanitize={kind}", "-fno-sanitize-recover=all")
    build.build(tmp_path / "driver", flags, ROOT / "tests/native_driver.cpp")
    done = subprocess.run([tmp_path / "driver"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
