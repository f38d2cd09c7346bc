"""Models, the engine native: training on one window at a time is the reference's in float64, and has the same bytes whoever works on it."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import native_is_built
from test_models_cells import variant
from test_models_native import agree, batch_by_batch, forecasts, same
from test_models_native import learn as learn_forecasts
from test_models_native_text import learn as learn_text
from test_models_native_text import texts

from longshort.models.compiled import cells, library
from longshort.models.engines.engine import Learning
from longshort.models.engines.native.passes import ForecastPasses, LanguageModelPasses
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks.language_model import LanguageModelTask
from longshort.training.optimisers import Rows
from longshort.windows.prices import Windows
from longshort.windows.text import Stretch

OWN = [name for name in cells.GATES if name != "alstm"]
FREE = 1e30  # a norm that clips nothing


pytestmark = pytest.mark.usefixtures("one_thread")


def one_forecast(lookback=5, horizon=1, columns=1, seed=0, quantiles=()):
    """A task with one window to learn from."""
    task = forecasts(8 * (lookback + horizon) + 80, ("close", "volume", "log_range")[:columns], lookback, horizon, seed, quantiles)
    alone = {**task.data.parts, "train": Windows(np.array([3]), np.array([3 + lookback + horizon]), lookback, horizon)}
    return dataclasses.replace(task, data=dataclasses.replace(task.data, parts=alone))


def one_text(words=23, lookback=5, embedding=6, dropout=0.0, tied=False, seed=0):
    """The same of a text."""
    task = texts(words, lookback, 8 * lookback + 80, embedding, dropout, seed, tied)
    task.data.stretches["train"] = Stretch(0, lookback + 1, 9)
    return task


def network_of(task, kind, engine="native", seed=1):
    """A network whose every weight is drawn, large enough for gates to open and shut."""
    network = Network(task, kind, engine, [torch.Generator().manual_seed(seed)])
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.uniform_(-1, 1, generator=draw).div_(weight.shape[1] ** 0.5 if weight.dim() > 2 else 1)
    return network


def stepped(task, kind, clip=FREE, width=0, optimizer="rmsprop", rate=1e-3, seed=5, weights=None):
    """An epoch of one window a step: what is told of it, the weights before and after, and the averages."""
    network = network_of(task, kind)
    rows = Rows(network)
    before = rows.weights[0].clone()
    passes = (LanguageModelPasses if hasattr(task, "vocabulary_size") else ForecastPasses)(network, task, width)
    averages = tuple(torch.zeros_like(before) for _ in range(2 if optimizer == "adam" else 1))
    keeps = (0.9, 0.999) if optimizer == "adam" else (0.0, 0.99)
    told = passes.learn(rows.weights[0], averages, 0, Learning(seed, 1, 1, optimizer, rate, clip, *keeps, 1e-8))
    return told, before, rows.weights[0].clone(), averages


def exact(task, kind, seed=5):
    """Loss and gradient of that window by the reference in float64."""
    network = network_of(task, kind, "reference").double().train()
    read, target = next(iter(task.batches("train", 1, seed, 1)))
    if read.is_floating_point():
        read, target = read.double(), target.double()
    losses, counts, _ = task.loss(network, read[None], target[None], Draw((seed,), 1, 0))
    (losses / counts).sum().backward()
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in network.parameters()]
    return losses.item(), torch.cat([gradient[0].reshape(-1) for gradient in gradients])


def gradient_is_exact(task, kind, most=2e-5):
    """RMSProp's average after one step is the gradient squared; its weights have moved against the gradient's sign."""
    told, before, after, (square,) = stepped(task, kind)
    loss, wanted = exact(task, kind)
    assert told.steps == 1 and told.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)
    found = (square.double() / 0.01).sqrt() * (before - after).sign()
    largest = wanted.abs().max().clamp(min=1e-3)
    assert (found - wanted).abs().max() <= most * largest
    assert ((before - after).abs()[wanted.abs() > 1e-3 * largest] > 0.0098).all()  # a first step of RMSProp is ten times the rate


# --- gradients ------------------------------------------------------------------------------------

# lookback, hidden, features, horizon: one of each, a lane too few and too many; up to 8 steps no gradient is written, from 9 on it is
SHAPES = [(1, 1, 1, 1), (2, 16, 1, 1), (3, 37, 3, 2), (5, 15, 2, 17), (8, 33, 1, 1), (9, 33, 1, 3), (17, 5, 3, 1)]


@pytest.mark.few(52)
@native_is_built
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OWN)
def test_every_gradient_of_a_forecaster_is_the_references(name, shape):
    lookback, hidden, columns, horizon = shape
    kind = variant(name, hidden_size=hidden, num_layers=2, initial_state="learned" if hidden % 2 else "zero")
    gradient_is_exact(one_forecast(lookback, horizon, columns), kind)


@native_is_built
@pytest.mark.parametrize(("horizon", "quantiles"), [(1, (0.5,)), (3, (0.05, 0.95)), (17, (0.1, 0.2, 0.7, 0.8))], ids=str)
def test_every_gradient_of_a_forecaster_with_quantiles_is_the_references(horizon, quantiles):
    gradient_is_exact(one_forecast(5, horizon, 2, quantiles=quantiles), variant("lstm", hidden_size=33, num_layers=2))


@native_is_built
@pytest.mark.parametrize("lookback", [4, 11])
@pytest.mark.parametrize(
    "changes", [{"bidirectional": True}, {"residual": True}, {"bidirectional": True, "residual": True, "dropout": 0.3}], ids=str
)
@pytest.mark.parametrize("name", ["lstm", "gru", "mgu", "sru", "lstm_peephole", "indrnn"])
def test_options_have_the_references_gradient(name, changes, lookback):
    kind = variant(name, **{"hidden_size": 19, "num_layers": 3, "initial_state": "learned", **changes})
    gradient_is_exact(one_forecast(lookback, 2, 3), kind)


@native_is_built
@pytest.mark.parametrize(
    ("words", "lookback", "embedding", "dropout"),
    [(3, 1, 1, 0.0), (16, 3, 1, 0.0), (17, 8, 70, 0.5), (64, 9, 16, 0.1), (65, 3, 5, 0.0), (131, 2, 33, 0.3), (200, 17, 4, 0.2)],
)
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "mgu"])
def test_every_gradient_of_a_language_model_is_the_references(name, words, lookback, embedding, dropout):
    kind = variant(name, hidden_size=21, num_layers=2, dropout=dropout)
    gradient_is_exact(one_text(words, lookback, embedding, dropout), kind)


@native_is_built
@pytest.mark.parametrize(("words", "size", "lookback"), [(3, 6, 4), (65, 17, 8), (65, 17, 9), (131, 33, 1)])
def test_tied_weights_have_the_references_gradient(words, size, lookback):
    gradient_is_exact(one_text(words, lookback, size, 0.2, tied=True), variant("lstm", hidden_size=size, num_layers=2))


class LastWord(LanguageModelTask):
    """A language model that is charged for the last word of a window alone."""

    def windows(self, part, seed, epoch):
        starts, counts = super().windows(part, seed, epoch)
        return starts, np.ones_like(counts)


@native_is_built
@pytest.mark.parametrize("lookback", [1, 3, 12])
@pytest.mark.parametrize("tied", [False, True])
def test_a_window_charged_for_its_last_word_alone_has_the_references_gradient(lookback, tied):
    task = one_text(70, lookback, 21, 0.2, tied)
    own = {one.name: getattr(task, one.name) for one in dataclasses.fields(task)}
    gradient_is_exact(LastWord(**own), variant("lstm", hidden_size=21, num_layers=2))


@native_is_built
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(OWN), *[st.integers(1, most) for most in (12, 40, 3, 20, 3)], st.booleans(), st.integers(0, 2**20))
def test_any_shape_has_the_references_gradient(name, lookback, hidden, columns, horizon, layers, both, seed):
    gradient_is_exact(
        one_forecast(lookback, horizon, columns, seed), variant(name, hidden_size=hidden, num_layers=layers, bidirectional=both), 5e-5
    )


# --- whole trainings ------------------------------------------------------------------------------

FORECASTERS = [
    variant("lstm", hidden_size=17, num_layers=3, bidirectional=True, residual=True, initial_state="learned", dropout=0.1),
    variant("gru", hidden_size=16, num_layers=2, dropout=0.2),
    variant("sru", hidden_size=6, num_layers=2, dropout=0.5),
]


@pytest.mark.few(1)
@native_is_built
@pytest.mark.parametrize("lookback", [3, 12])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("kind", FORECASTERS, ids=lambda kind: kind.cell)
def test_forecasters_train_as_the_loop_does_to_the_rounding(kind, optimizer, lookback, monkeypatch):
    ways = {"task": forecasts(lookback=lookback), "optimizer": optimizer, "learning_rate": 1e-4, "batch_size": 1}
    inside, reference = learn_forecasts(kind, **ways), learn_forecasts(kind, engine="reference", **ways)
    batch_by_batch(monkeypatch)
    for other in (learn_forecasts(kind, **ways), reference):
        agree(inside, other, weights=2e-5, loss=1e-4)


@pytest.mark.few(2)
@native_is_built
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("lookback", [3, 12])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_language_models_train_as_the_loop_does_to_the_rounding(optimizer, lookback, tied, monkeypatch):
    task, kind = texts(lookback=lookback, embedding=17, tied=tied), variant("lstm", hidden_size=17, num_layers=2, dropout=0.1)
    ways = {"optimizer": optimizer, "learning_rate": 3e-4, "batch_size": 1}
    inside, reference = learn_text(kind, task, **ways), learn_text(kind, task, "reference", **ways)
    batch_by_batch(monkeypatch)
    for other in (learn_text(kind, task, **ways), reference):
        agree(inside, other, weights=1e-4, loss=1e-4)


WIDE = variant("lstm", hidden_size=130, num_layers=2, dropout=0.2)  # large enough for three threads


@pytest.mark.few(1)
@native_is_built
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (lambda: texts(lookback=3, words=150, tokens=60, embedding=40), WIDE),
        (lambda: texts(lookback=10, words=150, tokens=120, embedding=130, tied=True), WIDE),
        (lambda: texts(lookback=3, words=150, tokens=60, embedding=130, tied=True), WIDE),
        (lambda: forecasts(330, lookback=3, horizon=20), variant("mgu", hidden_size=149, num_layers=2, bidirectional=True)),
        (lambda: forecasts(80, lookback=9), variant("gru", hidden_size=150, num_layers=2, initial_state="learned", residual=True)),
    ],
    ids=["text", "tied, written", "tied", "bidirectional", "learned"],
)
def test_steps_are_the_same_bytes_for_any_threads_and_vectors(task, kind, optimizer):
    task, found = task(), []
    for width, threads in itertools.product(range(len(library.widths())), (1, 2, 3)):
        torch.set_num_threads(threads)
        told, _, weights, averages = stepped(task, kind, 1.0, width, optimizer)
        found.append((told, weights, *averages))
    assert found[0][0].steps > 2 and len(weights) >= 3 * 65536
    for told, *arrays in found[1:]:
        assert told == found[0][0] and all(map(torch.equal, arrays, found[0][1:]))


@native_is_built
def test_a_network_trains_the_same_alone_and_again():
    task = texts(lookback=3)
    kind = variant("gru", hidden_size=9, dropout=0.2)
    mine = learn_text(kind, task, batch_size=1)
    assert same(mine, learn_text(kind, task, batch_size=1)) and not same(mine, learn_text(kind, task, batch_size=1, seed=6))


# --- clipping, failures, rows that nobody reads ---------------------------------------------------


@native_is_built
@pytest.mark.parametrize(
    "task",
    [
        one_forecast(3),
        one_forecast(20),
        one_text(lookback=3),
        one_text(lookback=20),
        one_text(lookback=6, tied=True),
        one_text(lookback=20, tied=True),
    ],
    ids=["folded", "written", "text", "written text", "tied", "written tied"],
)
def test_gradients_are_clipped_to_the_norm(task):
    kind = variant("lstm_peephole", hidden_size=6, num_layers=2, initial_state="learned")
    _, _, _, (square,) = stepped(task, kind, clip=1e-3)
    assert (square.double() / 0.01).sum().sqrt().item() == pytest.approx(1e-3, rel=1e-4)
    assert torch.linalg.vector_norm(exact(task, kind)[1]) > 1e-2


@native_is_built
@pytest.mark.parametrize("lookback", [3, 12])
def test_a_loss_that_is_no_number_ends_the_member_at_the_step_at_which_the_loop_does(lookback, monkeypatch):
    task, kind, ways = (
        texts(lookback=lookback),
        variant("lstm", hidden_size=5),
        {"learning_rate": 1e38, "optimizer": "rmsprop", "batch_size": 1},
    )
    inside = learn_text(kind, task, **ways).dropped
    batch_by_batch(monkeypatch)
    outside = learn_text(kind, task, **ways).dropped
    assert inside.startswith("epoch 1, step ") and inside.partition(":")[0] == outside.partition(":")[0]
    assert "Lower its `learning_rate`" in inside


@native_is_built
def test_a_window_whose_target_is_no_number_is_no_step(monkeypatch):
    task = forecasts(lookback=3)
    holed = dataclasses.replace(task, scaled=task.scaled.copy())
    holed.scaled[int(task.data.parts["train"].stops[0]) - 1] = np.nan  # the last target of a stretch is in no window's past
    kind, ways = variant("gru", hidden_size=5), {"task": holed, "max_epochs": 1, "batch_size": 1}
    inside = learn_forecasts(kind, **ways)
    batch_by_batch(monkeypatch)
    outside = learn_forecasts(kind, **ways)
    assert inside.steps == outside.steps < learn_forecasts(kind, **{**ways, "task": task}).steps
    assert math.isfinite(inside.history[0]["train_loss"])
    torch.testing.assert_close(inside.weights, outside.weights, rtol=1e-4, atol=1e-5)


@native_is_built
def test_a_word_that_nobody_reads_stays_where_it_is_while_its_average_fades():
    task, kind = texts(words=60, lookback=3, dropout=0.0), variant("rnn", hidden_size=4)
    told, before, after, (square,) = stepped(task, kind)
    read = set(task.data.ids[: task.data.stretches["train"].stop - 1].tolist())
    unread = [word for word in range(60) if word not in read]
    table = slice(0, 60 * task.inputs)
    assert unread and told.steps > 10
    before, after, square = (row[table].view(60, task.inputs) for row in (before, after, square))
    assert torch.equal(before[unread], after[unread]) and (square[unread] == 0).all()
    assert (before[sorted(read)] != after[sorted(read)]).any(1).sum() > 10


@native_is_built
@pytest.mark.parametrize("name", OWN)
def test_units_of_a_gate_stand_side_by_side_and_rows_equally_far_apart(name):
    """What single.h takes for granted of where weights are."""
    from longshort.models.cells import CELLS, shapes

    hidden, inputs = 5, 3
    found = cells.find(name, shapes(CELLS[name], inputs, hidden))
    matrix = found.matrix.reshape(len(found.matrix), -1, hidden)
    for rows in (matrix[:inputs], matrix[inputs + 1 : inputs + 1 + hidden], matrix[inputs + 1 + hidden :], matrix[inputs : inputs + 1]):
        there = rows[:, (rows >= 0).all((0, 2))]
        assert ((rows >= 0).all((0, 2)) | (rows < 0).all((0, 2))).all()
        assert (np.diff(there, axis=2) == 1).all() and len(np.unique(np.diff(there[:, :, 0], axis=0))) <= 1
