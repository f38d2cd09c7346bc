"""Models, the engine native in bfloat16: tiles as Intel defines them, the same bytes whatever multiplies them, learning as in float32."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from projects import ROOT, native_is_built
from test_models_cells import variant
from test_models_native import KINDS, OWN, SHAPES, drawn, forecasts, learn, run
from test_models_native_text import learn as learn_text
from test_models_native_text import texts

from longshort import config, editing
from longshort.errors import ConfigError
from longshort.models import choice
from longshort.models.compiled import library
from longshort.models.engines.native import layer, passes

pytestmark = [pytest.mark.usefixtures("one_thread"), native_is_built]


def ways():
    """The numbers of all that makes products of bfloat16 on this CPU."""
    return range(library.TILES, library.TILES + len(library.tiles()))


def test_this_machine_has_two_ways_to_compare():
    assert library.tiles()[-1] == "plain_tiles" and len(library.tiles()) > 1


# --- tiles ------------------------------------------------------------------------------------


def rounded(values):
    """To bfloat16, half to even, as float32."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(torch.bfloat16).float().numpy()


def by_the_manual(a, b):
    """A · B as TDPBF16PS makes it, tile after tile of 32: the product of two bfloat16 is a float32, so an addition is all that rounds.

    a  (rows, count), b  (count, columns), of bfloat16
    """
    sums = np.zeros((len(a), b.shape[1]), np.float32)
    for first in range(0, a.shape[1], 32):
        even, odd = np.zeros_like(sums), np.zeros_like(sums)
        for p in range(first, min(first + 32, a.shape[1])):
            chain = odd if p % 2 else even
            chain += a[:, p, None] * b[p]
        sums += even + odd
    return sums


@pytest.mark.parametrize("shape", [(1, 1, 1), (15, 3, 5), (16, 37, 15), (17, 50, 31), (33, 5, 130), (5, 64, 700)], ids=str)
def test_a_product_is_what_the_manual_says_bit_for_bit(shape):
    batch, hidden, inputs = shape
    weights, steps, _ = drawn("rnn_relu", batch, hidden, inputs, 1)
    matrix = np.concatenate([weights["W"][0].numpy(), weights["b"].numpy().reshape(1, hidden), weights["R"][0].numpy()]).T
    read = np.concatenate([steps[0, 0].numpy().T, np.ones((1, batch)), np.zeros((hidden, batch))])
    wanted = np.maximum(by_the_manual(rounded(matrix), rounded(read)), 0).T
    for way in ways():
        found = layer.forward("rnn_relu", weights, steps, way)[0, 0].numpy()
        assert (found == wanted).all(), library.tiles()[way - library.TILES]
    assert (wanted != np.maximum(matrix @ read, 0).T.astype(np.float32)).any() or shape == (1, 1, 1)


def test_what_is_smaller_than_float32_holds_in_full_counts_as_nothing():
    weights, steps, _ = drawn("rnn_relu", 16, 16, 16, 1)
    weights = {key: torch.full_like(weight, 1e-20) for key, weight in weights.items()}
    for way in ways():
        assert (layer.forward("rnn_relu", weights | {"b": torch.zeros_like(weights["b"])}, steps.abs() * 1e-20, way) == 0).all()


def there_and_back(way, name, weights, steps, gradient):
    """States, and gradients of the sequence and of each weight."""
    weights = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
    steps = steps.clone().requires_grad_()
    states = layer.forward(name, weights, steps, way)
    return [states.detach(), *torch.autograd.grad((states * gradient).sum(), [steps, *weights.values()])]


def distance(found, wanted):
    """Of all numbers together, beside their size."""
    one, other = (torch.cat([each.double().flatten() for each in own]) for own in (found, wanted))
    return float((one - other).norm() / other.norm())


# where a sum is about zero, rounding turns a rectified unit on or off, and with it all of its gradient
FAR = {"rnn_relu": 0.2, "indrnn": 0.2}


@pytest.mark.parametrize("name", OWN)
def test_states_and_gradients_are_the_references_to_two_digits_at_any_shape(name):
    for shape in [own for own in SHAPES if own != (1, 1, 1, 1)]:  # whose one number may be a difference of near ones
        given = drawn(name, *shape, learned=shape[0] % 2 == 1)
        exact = run("reference", name, *given, torch.float64)
        found = there_and_back(library.TILES, name, *given)
        assert distance(found, exact.values()) < FAR.get(name, 0.015), shape
        for own, other in zip(found[2:], list(exact.values())[2:], strict=True):
            assert distance([own], [other]) < 0.2, shape  # each by itself: one at the wrong place would be off by its whole size


@pytest.mark.parametrize("name", OWN)
def test_states_and_gradients_are_the_same_bytes_for_any_threads_and_whatever_multiplies(name):
    given = drawn(name, 50, 21, 5, 7, learned=True)
    found = []
    for way, threads in itertools.product(ways(), (1, 3)):
        torch.set_num_threads(threads)
        found.append(there_and_back(way, name, *given))
    assert len(found) >= 4
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


# --- whole passes -----------------------------------------------------------------------------

TASK = forecasts(300)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.cell + "-bi" * kind.bidirectional)
def test_the_loss_of_each_epoch_is_that_of_float32_within_two_hundredths(kind):
    ways = {"task": TASK, "max_epochs": 20, "patience": 20, "learning_rate": 0.003, "batch_size": 32}
    mine, other = learn(kind, precision="bfloat16", **ways), learn(kind, **ways)
    assert not torch.equal(mine.weights, other.weights)
    for ours, theirs in zip(mine.history, other.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.02)


@pytest.mark.parametrize("quantiles", [(), (0.05, 0.95)], ids=str)
@pytest.mark.parametrize("kind", [KINDS[1], KINDS[2], KINDS[6]], ids=lambda kind: kind.cell)
def test_one_step_of_any_horizon_and_columns_moves_every_weight_as_in_float32(kind, quantiles):
    task = forecasts(300, ("close", "volume", "log_range"), 12, 18, quantiles=quantiles)
    ways = {"task": task, "max_epochs": 1, "batch_size": 10**6, "optimizer": "rmsprop"}
    mine, other = learn(kind, precision="bfloat16", **ways), learn(kind, **ways)
    # the average of squares after one step is the gradient itself, squared
    assert distance([mine.averages[0].sqrt()], [other.averages[0].sqrt()]) < 0.02


def test_a_language_model_learns_as_in_float32_embeddings_and_head_too():
    for tied, words, size in ((False, 23, 6), (True, 131, 33)):
        task = texts(words, tokens=1200, embedding=size, tied=tied)
        kind = variant("lstm", hidden_size=33 if tied else 17, num_layers=2, dropout=0.2)
        mine, other = (learn_text(kind, task, precision=precision, max_epochs=6) for precision in ("bfloat16", "float32"))
        assert not torch.equal(mine.weights, other.weights)
        for ours, theirs in zip(mine.history, other.history, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.01)
        assert distance([mine.averages[0]], [other.averages[0]]) < 0.3


@pytest.mark.parametrize("task", [TASK, texts()], ids=["forecast", "text"])
def test_whole_passes_are_the_same_bytes_for_any_threads_and_whatever_multiplies(task, monkeypatch):
    found = []
    for tiles, threads in itertools.product(range(len(library.tiles())), (1, 2)):
        torch.set_num_threads(threads)
        for kind in (passes.ForecastPasses, passes.LanguageModelPasses):
            monkeypatch.setattr(kind.__init__, "__defaults__", (0, tiles))
        teach = learn if task is TASK else learn_text
        found.append(teach(variant("gru", hidden_size=21, num_layers=2, dropout=0.2), task=task, precision="bfloat16", max_epochs=2))
    assert len(found) >= 4
    for other in found[1:]:
        assert found[0].history == other.history and torch.equal(found[0].weights, other.weights)


def test_a_score_is_made_in_float32_as_the_model_serves():
    ways = {"task": TASK, "batch_size": 16, "learning_rate": 0.003}
    one = learn(KINDS[0], precision="bfloat16", max_epochs=1, **ways)
    # a rate that moves nothing: the second epoch scores the same weights, whatever it learned with
    still = {**ways, "learning_rate": 1e-38, "max_epochs": 2, "patience": 2}
    scores = [learn(KINDS[0], resumed=dataclasses.replace(one), precision=precision, **still) for precision in ("float32", "bfloat16")]
    assert scores[0].history[1]["validation_loss"] == scores[1].history[1]["validation_loss"] == one.history[0]["validation_loss"]
    assert scores[0].history[1]["train_loss"] != scores[1].history[1]["train_loss"]


def test_windows_one_by_one_are_learned_in_bfloat16_too():
    mine, other = (learn(KINDS[0], batch_size=1, learning_rate=0.001, precision=precision) for precision in ("bfloat16", "float32"))
    assert not torch.equal(mine.weights, other.weights)
    assert mine.history[-1]["train_loss"] == pytest.approx(other.history[-1]["train_loss"], rel=0.02)


# --- who may ask for it ------------------------------------------------------------------------


def params(tmp_path, *changes):
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    editing.assign(path, ["training.items.goog-lstm.precision=bfloat16", *changes])
    return config.read(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["training.engine=torch"], "its precision is bfloat16, and engine 'torch' computes in float32. Write `engine: native`"),
        (["training.items.goog-lstm.engine=auto"], "engine 'auto' computes in float32"),
        (["models.variants.lstm.weight_dropout=0.2"], "`weight_dropout` takes its network through training batch by batch"),
        (["training.items.goog-lstm.optimizer=sgd"], "`optimizer: sgd` takes its network through training batch by batch"),
        (["training.forecast.averaged_after=2"], "`averaged_after` takes its network through training batch by batch"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=r"params\.yaml: training\.items\.goog-lstm: ") as refused:
        choice.settle(params(tmp_path, *changes))
    assert said in str(refused.value) and str(refused.value).endswith("Or leave `precision` out.")


def test_where_the_library_is_missing_nothing_stands_in_for_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "absent", lambda: "its library has not been built")
    with pytest.raises(ConfigError, match="its precision is bfloat16, and engine 'native' is not there: its library has not been built"):
        choice.settle(params(tmp_path))


def test_an_item_may_ask_for_it_alone(tmp_path):
    read = params(tmp_path)
    assert choice.settle(read) == []
    assert [read.optimisation_of(item).precision for item in ("goog-lstm", "goog-gru")] == ["bfloat16", "float32"]


def test_the_loop_refuses_what_nobody_asked_about_before():
    with pytest.raises(ConfigError, match="s: its precision is bfloat16, and engine 'reference' computes in float32"):
        learn(KINDS[0], engine="reference", precision="bfloat16")
    with pytest.raises(ConfigError, match=r"s: its precision is bfloat16, and `optimizer: sgd` takes its network .* in float32"):
        learn(KINDS[0], optimizer="sgd", precision="bfloat16")
