"""Models, the engine native: whole passes of language models are those of the loop, whatever the batch, the threads and the vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from projects import native_is_built
from test_models_cells import variant
from test_models_native import FILLED, agree, batch_by_batch, one_batch, same

from longshort.config import LanguageModelTask as Settings
from longshort.config import Optimisation, TextWindows
from longshort.models.compiled import library
from longshort.models.engines.engine import Learning
from longshort.models.engines.native.passes import LanguageModelPasses
from longshort.models.network import Network
from longshort.tasks.language_model import LanguageModelTask
from longshort.training.loop import Member, train
from longshort.training.optimisers import Rows
from longshort.windows.files import TextData
from longshort.windows.text import Stretch, Vocabulary

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def texts(words=23, lookback=7, tokens=400, embedding=6, dropout=0.3, seed=0, tied=False):
    """A task over words at random, frequent ones first."""
    draw = np.random.Generator(np.random.Philox(seed))
    ids = np.minimum(draw.geometric(0.15, tokens), words - 1).astype(np.int32)
    third = tokens // 4
    stretches = {"train": Stretch(0, 2 * third, 9), "validation": Stretch(2 * third, 3 * third, 9), "test": Stretch(3 * third, tokens, 9)}
    spec = TextWindows(lookback=lookback, min_count=1, max_vocabulary=words + 1, validation=0.25, test=0.25)
    data = TextData(spec, ids, stretches, Vocabulary(tuple(map(str, range(words)))), {}, [])
    return LanguageModelTask.of(data, Settings(embedding_size=embedding, dropout=dropout, tied=tied))


def learn(kind, task, engine="native", seed=5, **changes):
    """Train a lone network; returns what it came to."""
    usual = {"optimizer": "adam", "learning_rate": 0.003, "batch_size": 8, "max_epochs": 3, "patience": 3, "clip_norm": 1.0}
    member = Member("s", seed, task, Optimisation(**{**usual, **changes}))
    return train([member], kind, engine, CPU, [None], lambda *_: None)[0]


KINDS = [
    variant("lstm", hidden_size=5),
    variant("lstm", hidden_size=16, num_layers=3, dropout=0.2, residual=True, initial_state="learned"),
    variant("gru", hidden_size=17, num_layers=2, dropout=0.1),
    variant("rnn", hidden_size=4, activation="relu"),
    variant("mgu", hidden_size=9),
]


@native_is_built
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.cell}-{kind.hidden_size}")
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_whole_passes_are_the_loop_to_the_rounding(kind, optimizer, monkeypatch):
    task = texts()
    inside = learn(kind, task, optimizer=optimizer)
    reference = learn(kind, task, "reference", optimizer=optimizer)
    batch_by_batch(monkeypatch)
    outside = learn(kind, task, optimizer=optimizer)
    for other in (outside, reference):
        agree(inside, other, weights=1e-4, loss=1e-5)


@native_is_built
@pytest.mark.parametrize(("words", "size", "layers", "batch"), [(23, 6, 1, 8), (5, 17, 2, 8), (131, 33, 1, 8), (9, 5, 1, 600)])
def test_whole_passes_of_tied_weights_are_the_loop_to_the_rounding(words, size, layers, batch, monkeypatch):
    task, kind = (
        texts(words, 2 if batch > 100 else 7, max(400, 4 * batch), size, tied=True),
        variant("lstm", hidden_size=size, num_layers=layers),
    )
    inside, reference = learn(kind, task, batch_size=batch), learn(kind, task, "reference", batch_size=batch)
    batch_by_batch(monkeypatch)
    for other in (learn(kind, task, batch_size=batch), reference):
        agree(inside, other, weights=1e-4, loss=1e-5)


@native_is_built
@pytest.mark.parametrize(
    ("batch", "words", "lookback", "embedding", "dropout"),
    [
        (1, 2, 1, 1, 0.0),
        (15, 16, 5, 3, 0.5),
        (16, 17, 2, 70, 0.0),
        (17, 33, 16, 5, 0.1),
        (33, 5, 3, 16, 0.9),
        (600, 7, 2, 3, 0.1),
        (10**6, 129, 17, 4, 0.2),
    ],
)
def test_one_step_moves_every_weight_as_the_loop_does(batch, words, lookback, embedding, dropout, monkeypatch):
    task = texts(words, lookback, 2 * lookback * min(batch, 600) + 80, embedding, dropout)
    task.data.stretches["train"] = Stretch(0, min(task.data.stretches["train"].stop, lookback * batch + 1), 9)
    kind = variant("lstm", hidden_size=5, num_layers=2, dropout=dropout)
    inside = learn(kind, task, optimizer="rmsprop", max_epochs=1, batch_size=batch)
    batch_by_batch(monkeypatch)
    outside = learn(kind, task, optimizer="rmsprop", max_epochs=1, batch_size=batch)
    assert inside.steps == 1
    # the average of squares after one step is the gradient itself, squared
    torch.testing.assert_close(inside.averages[0].sqrt(), outside.averages[0].sqrt(), rtol=2e-4, atol=1e-6)
    assert inside.history[0]["train_loss"] == pytest.approx(outside.history[0]["train_loss"], rel=1e-6)


@native_is_built
def test_passes_are_the_same_bytes_for_any_threads_and_vectors():
    task, kind = texts(tokens=2000, words=90), KINDS[1]
    found = []
    for width, threads in itertools.product(range(len(library.widths())), (1, 2, 3)):
        torch.set_num_threads(threads)
        network = Network(task, kind, "native", [torch.Generator().manual_seed(1)])
        rows, passes = Rows(network), LanguageModelPasses(network, task, width)
        averages = (torch.zeros_like(rows.weights[0]), torch.zeros_like(rows.weights[0]))
        how = Learning(3, 2, 50, "adam", 0.01, 1.0, 0.9, 0.999, 1e-8)
        told = passes.learn(rows.weights[0], averages, 0, how), passes.score(rows.weights[0], "validation")
        found.append((told, rows.weights[0].clone(), *averages))
    assert len(found) >= 3
    for told, *arrays in found[1:]:
        assert told == found[0][0] and all(map(torch.equal, arrays, found[0][1:]))


@native_is_built
@pytest.mark.parametrize(("count", "filled"), FILLED[1:])  # a batch of one window is no group
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.cell}-{kind.hidden_size}")
def test_a_pass_over_a_group_of_eight_has_the_bytes_that_it_has_in_sixteen_lanes(kind, count, filled, monkeypatch):
    task = texts(words=90, tokens=600)
    network = Network(task, kind, "native", [torch.Generator().manual_seed(1)])
    firsts, charged = np.arange(filled), np.where(np.arange(filled) < count, 1 + np.arange(filled) % 7, 0)
    own = LanguageModelPasses(network, task)
    found = [one_batch(own, network, firsts[:size], charged[:size].copy(), monkeypatch) for size in (count, filled)]
    assert found[0] == found[1] and found[0][0].terms == charged.sum()


@native_is_built
def test_a_loss_that_is_no_number_ends_the_member_at_the_step_at_which_the_loop_does(monkeypatch):
    ways = {"learning_rate": 1e38, "optimizer": "rmsprop"}
    inside = learn(KINDS[0], texts(), **ways).dropped
    batch_by_batch(monkeypatch)
    outside = learn(KINDS[0], texts(), **ways).dropped
    assert inside.startswith("epoch 1, step ") and inside.partition(":")[0] == outside.partition(":")[0]
    assert "Lower its `learning_rate`" in inside


@native_is_built
def test_every_token_of_a_part_is_charged_once_whatever_the_stretches_of_a_call(monkeypatch):
    task = texts(tokens=1200)
    network = Network(task, KINDS[2], "native", [torch.Generator().manual_seed(1)])
    whole = LanguageModelPasses(network, task).score(Rows(network).weights[0], "test")
    monkeypatch.setattr("longshort.models.engines.native.passes.AT_ONCE", 5)
    cut = LanguageModelPasses(network, task).score(Rows(network).weights[0], "test")
    assert whole.terms == cut.terms == 300 and whole.loss == pytest.approx(cut.loss, rel=1e-12)


@native_is_built
def test_a_network_trains_the_same_alone_and_again():
    task = texts()
    assert same(learn(KINDS[2], task), learn(KINDS[2], task)) and not same(learn(KINDS[2], task), learn(KINDS[2], task, seed=6))


@native_is_built
def test_a_language_model_whose_cell_attends_goes_batch_by_batch():
    # its row holds the attention's weights between the layers and the head, which the library knows nothing of
    task, kind = texts(), variant("alstm", hidden_size=5)
    agree(learn(kind, task, max_epochs=2), learn(kind, task, "reference", max_epochs=2), weights=1e-4, loss=1e-5)
