"""Models that carry their states from window to window: by every engine, in the loop and in whole passes, and what it is good for."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch
from projects import native_is_built
from test_models_cells import sequence, variant, weights
from test_models_native import agree, batch_by_batch, same
from test_models_native_text import KINDS, learn, texts
from torch import nn

from longshort.config import LanguageModelTask as Settings
from longshort.config import Optimisation, TextWindows
from longshort.errors import SeriesTooShort
from longshort.evaluation.texts import token_nats
from longshort.models.artefact import Model
from longshort.models.cells import CELLS
from longshort.models.cells.cell import starts, state_sizes
from longshort.models.cells.kernels import GATES
from longshort.models.compiled import cells, library
from longshort.models.encoder import Carried, Encoder
from longshort.models.engines import ENGINES, Inside
from longshort.models.engines.engine import Learning
from longshort.models.engines.kernels import torch_weights
from longshort.models.engines.native import layer
from longshort.models.engines.native.passes import LanguageModelPasses
from longshort.models.network import Network
from longshort.tasks.language_model import LanguageModelTask
from longshort.training import checkpoints, loop
from longshort.training.loop import Member, generator_of, means, state_of, train
from longshort.training.optimisers import Rows
from longshort.windows.files import TextData
from longshort.windows.text import Stretch, Vocabulary

CPU = torch.device("cpu")
SOME = {"reference": CELLS, "torch": [name for name in CELLS if name in GATES], "native": cells.GATES}
EACH = [pytest.param(engine, name, marks=native_is_built if engine == "native" else ()) for engine in SOME for name in SOME[engine]]


pytestmark = pytest.mark.usefixtures("one_thread")


# --- an engine --------------------------------------------------------------------------------


def learned(name, members, dtype):
    given = weights(name, members=members) | {
        key: torch.randn(members, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for key, shape in starts(CELLS[name], *hidden_of(name)).items()
    }
    return {key: weight.to(dtype) for key, weight in given.items()}


def hidden_of(name):
    given = weights(name)
    return given["W"].shape[-1] // len(CELLS[name].gates), given["P"].shape[-1] if CELLS[name].projects else 0


@pytest.mark.few(20)
@pytest.mark.parametrize(("engine", "name"), EACH)
def test_two_stretches_are_the_whole_whatever_the_cell_and_the_engine(engine, name):
    dtype = torch.float32 if engine == "native" else torch.float64
    cell, given, steps = CELLS[name], learned(name, 2, dtype), sequence(steps=7, members=2, batch=19).to(dtype)
    way = cell, cell.activation, given
    whole = ENGINES[engine].forward(*way, steps, Inside())
    states, _ = ENGINES[engine].carry(*way, steps, Inside(), {})
    assert torch.equal(states, whole)
    first, between = ENGINES[engine].carry(*way, steps[:, :3], Inside(), {})
    assert {key: tuple(state.shape) for key, state in between.items()} == {
        key: (2, 19, size) for key, size in state_sizes(cell, *hidden_of(name)).items()
    }
    second, after = ENGINES[engine].carry(*way, steps[:, 3:], Inside(), between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(after["h"], whole[:, -1])


@native_is_built
@pytest.mark.parametrize("name", cells.GATES)
def test_a_stretch_that_goes_on_has_the_references_gradients_and_none_for_learned_states(name):
    cell, found = CELLS[name], {}
    for engine in ("native", "reference"):
        given = {key: weight.requires_grad_() for key, weight in learned(name, 1, torch.float32).items()}
        steps = sequence(steps=7, batch=19).float().requires_grad_()
        with torch.no_grad():
            _, between = ENGINES[engine].carry(cell, cell.activation, given, steps[:, :3], Inside(), {})
        states, _ = ENGINES[engine].carry(cell, cell.activation, given, steps[:, 3:], Inside(), between)
        asked = [steps, *given.values()]
        found[engine] = torch.autograd.grad(states.pow(2).sum(), asked, allow_unused=True, materialize_grads=True)
    for key, mine, wanted in zip(["x", *given], *found.values(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5, msg=key)
        assert key.startswith("start_") == bool((mine == 0).all())


@native_is_built
def test_states_that_are_carried_are_the_same_bytes_for_any_threads_and_vectors():
    given, steps, found = learned("lstm_peephole", 1, torch.float32), sequence(steps=5, batch=50).float(), []
    for width, threads in itertools.product(range(len(library.widths())), (1, 2, 3)):
        torch.set_num_threads(threads)
        carried = layer.carried({}, steps, hidden_of("lstm_peephole")[0])
        stretches = [layer.forward("lstm_peephole", given, steps, width, carried, goes_on) for goes_on in (False, True)]
        found.append([carried, *stretches])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


CANNOT = [(variant("lstm", bidirectional=True), {}), (variant("alstm"), {}), (variant("lstm"), {"lengths": torch.tensor([2, 6, 1])})]


@pytest.mark.parametrize(("kind", "more"), CANNOT, ids=["bidirectional", "attention", "lengths"])
def test_what_cannot_go_on_from_the_window_before_is_refused(kind, more):
    with pytest.raises(ValueError, match=r"none of them can go on from the window before. Carry states of a network that reads forward"):
        Encoder(2, kind, "reference")(torch.zeros(1, 3, 6, 2), carried=Carried(), **more)


# --- the loop ---------------------------------------------------------------------------------


def carried(**changes):
    return dataclasses.replace(texts(**changes), carried=True)


class ByHand(nn.Module):
    """The network in torch's own layers and float64, with its initial states; states go on without gradient."""

    def __init__(self, network):
        super().__init__()
        table = network.front.table[0].detach().double()
        self.table, self.head = nn.Embedding.from_pretrained(table, freeze=False), nn.Linear(*network.head.linear.weight.shape[1:]).double()
        own = network.encoder.directions(0)[0].tensors()
        self.layer = nn.LSTM(table.shape[1], own["start_h"].shape[-1], batch_first=True).double()
        self.start = nn.Parameter(torch.stack([own["start_h"], own["start_c"]]).double().detach())
        self.layer.load_state_dict({name: tensor.detach().double() for name, tensor in torch_weights(CELLS["lstm"], own).items()})
        self.layer.bias_hh_l0.requires_grad_(False)  # torch adds two, and here is one
        self.head.load_state_dict({"weight": network.head.linear.weight[0].t().double(), "bias": network.head.linear.bias[0].double()})

    def loss(self, ids, target, before):
        """The summed cross-entropy of (streams, steps), and the states after them."""
        if before is None:
            h, c = (start.unsqueeze(1).expand(-1, len(ids), -1).contiguous() for start in self.start)
        else:
            h, c = (state.detach() for state in before)
        states, after = self.layer(self.table(ids), (h, c))
        return nn.functional.cross_entropy(self.head(states).flatten(0, 1), target.flatten(), reduction="sum"), after


WAYS = [("reference", True), ("torch", True), *(pytest.param("native", alone, marks=native_is_built) for alone in (True, False))]


@pytest.mark.parametrize(("engine", "batches"), WAYS, ids=lambda way: {True: "batch by batch", False: "whole passes"}.get(way, way))
def test_the_loop_is_autograd_in_float64_by_hand_in_which_no_gradient_crosses_a_boundary(engine, batches, monkeypatch):
    if batches:
        batch_by_batch(monkeypatch)
    kind, task = variant("lstm", hidden_size=9, initial_state="learned"), carried(words=11, dropout=0.0, lookback=5)
    # four streams of 19 words in the text's order: windows of 5, 5, 5 and 4 of them, twice over
    task.data.stretches["train"] = Stretch(0, 77, 9)
    network = Network(task, kind, "reference", [generator_of(5)])
    by_hand, ids = ByHand(network), torch.from_numpy(task.data.ids[:77].astype(np.int64))
    read, target = ids[:-1].view(4, 19), ids[1:].view(4, 19)
    parameters = [parameter for parameter in by_hand.parameters() if parameter.requires_grad]
    optimizer, losses = torch.optim.RMSprop(parameters, lr=0.01), []
    for _ in range(2):
        before, total = None, 0.0
        for some in (slice(0, 5), slice(5, 10), slice(10, 15), slice(15, 19)):
            optimizer.zero_grad(set_to_none=False)  # as in our loop, averages shrink where nothing reaches
            loss, before = by_hand.loss(read[:, some], target[:, some], before)
            (loss / target[:, some].numel()).backward()
            nn.utils.clip_grad_norm_(parameters, 0.3)
            optimizer.step()
            total += loss.item()
        losses.append(total / target.numel())
    found = learn(kind, task, engine, optimizer="rmsprop", learning_rate=0.01, batch_size=4, max_epochs=2, clip_norm=0.3)
    assert [entry["train_loss"] for entry in found.history] == pytest.approx(losses, rel=1e-6)
    network.load_state_dict(state_of(network, found.weights))
    ours = ByHand(network)
    for name, wanted in by_hand.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name], wanted, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.few(6)
@native_is_built
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.cell}-{kind.hidden_size}")
@pytest.mark.parametrize(("batch", "tokens"), [(1, 300), (7, 600), (17, 900), (40, 1200)])
def test_whole_passes_are_the_loop_to_the_rounding(kind, batch, tokens, monkeypatch):
    task, ways = carried(tokens=tokens), {"batch_size": batch, "max_epochs": 2}
    inside, reference = learn(kind, task, **ways), learn(kind, task, "reference", **ways)
    batch_by_batch(monkeypatch)
    for other in (learn(kind, task, **ways), reference):
        agree(inside, other, weights=1e-4, loss=1e-5)


@native_is_built
def test_passes_are_the_same_bytes_for_any_threads_vectors_and_stretches_of_a_call(monkeypatch):
    task, kind, found = carried(tokens=2000, words=90), KINDS[1], []
    for at_once, width, threads in itertools.product((2**16, 80), range(len(library.widths())), (1, 2, 3)):
        monkeypatch.setattr("longshort.models.engines.native.passes.AT_ONCE", at_once)
        torch.set_num_threads(threads)
        network = Network(task, kind, "native", [torch.Generator().manual_seed(1)])
        rows, passes = Rows(network), LanguageModelPasses(network, task, width)
        averages = (torch.zeros_like(rows.weights[0]), torch.zeros_like(rows.weights[0]))
        told = passes.learn(rows.weights[0], averages, 0, Learning(3, 2, 40, "adam", 0.01, 1.0, 0.9, 0.999, 1e-8))
        assert (told.steps, told.terms) == (4, 999) and passes.score(rows.weights[0], "validation").terms == 500
        found.append((told, rows.weights[0].clone(), *averages))
    for told, *arrays in found[1:]:
        assert told.loss == pytest.approx(found[0][0].loss, rel=1e-12) and all(map(torch.equal, arrays, found[0][1:]))


@pytest.mark.few(1)
@pytest.mark.parametrize("engine", ["reference", "torch", pytest.param("native", marks=native_is_built)])
def test_a_fleet_and_its_members_alone_come_to_the_same(engine, monkeypatch):
    own = Optimisation(optimizer="adam", learning_rate=0.003, batch_size=6, max_epochs=2, patience=2, clip_norm=1.0)
    fleet = [Member(f"m{seed}", seed, carried(), own) for seed in range(3)]
    alone = [train([member], KINDS[1], engine, CPU, [None], lambda *_: None)[0] for member in fleet]
    assert all(map(same, train(fleet, KINDS[1], engine, CPU, [None] * 3, lambda *_: None), alone))
    # the way of a GPU, here: side by side from the first epoch to the last
    batch_by_batch(monkeypatch)
    done = list(loop._begun(fleet, KINDS[1], engine, [None] * 3))
    loop.side_by_side(range(3), fleet, KINDS[1], engine, CPU, done, lambda *_: None)
    for together, lone in zip(done, alone, strict=True):
        agree(together, lone, weights=1e-4, loss=1e-5)


@pytest.mark.parametrize("engine", ["reference", pytest.param("native", marks=native_is_built)])
def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(engine):
    task, kept = carried(), []
    own = Optimisation(optimizer="adam", learning_rate=0.003, batch_size=6, max_epochs=4, patience=4, clip_norm=1.0)
    member = Member("m", 3, task, own)
    [whole] = train([member], KINDS[1], engine, CPU, [None], lambda _, epoch, progress: kept.append(checkpoints.packed(progress)))
    for checkpoint in kept:
        assert same(train([member], KINDS[1], engine, CPU, [checkpoints.unpacked(checkpoint)], lambda *_: None)[0], whole)


# --- what it is good for ----------------------------------------------------------------------

GAP, LOOKBACK = 12, 6


def remembered(tokens=20_000):
    """Words 0 to 3 at random, each said again 12 words later, after a word that asks for it; between them stands always the same."""
    draw, ids = np.random.Generator(np.random.Philox(0)), []
    while len(ids) < tokens:
        said = int(draw.integers(4))
        ids += [said, *[4] * (GAP - 2), 5, said]
    half = tokens * 3 // 4
    parts = {"train": Stretch(0, half, 9), "validation": Stretch(half, tokens, 9), "test": Stretch(half, tokens, 9)}
    spec = TextWindows(lookback=LOOKBACK, min_count=1, max_vocabulary=6, validation=0.25, test=0.25)
    data = TextData(spec, np.array(ids[:tokens], np.int32), parts, Vocabulary(tuple("abcd-?")), {}, [])
    return LanguageModelTask.of(data, Settings(embedding_size=8, dropout=0.0, tied=False, carried=True))


@native_is_built
def test_a_word_that_was_said_before_the_window_began_is_remembered():
    # gates that forget little, as in Jozefowicz et al. (2015): no gradient reaches from the question back to the word
    kind, task, best = variant("lstm", hidden_size=32, forget_bias=5.0), remembered(), {}
    for way in (False, True):
        own = dataclasses.replace(task, carried=way)
        found = learn(kind, own, max_epochs=16, patience=16, learning_rate=0.01)
        best[way] = min(entry["validation_loss"] for entry in found.history)
    assert best[True] < 0.65 * best[False]
    # the same weights are at a loss where every window begins anew
    network = Network(own, kind, "native")
    network.load_state_dict(state_of(network, found.best_weights))
    assert means(network, [own], "validation", CPU, [0])[0].loss == pytest.approx(best[True], rel=1e-5)
    assert means(network, [dataclasses.replace(own, carried=False)], "validation", CPU, [0])[0].loss > best[False]


# --- scoring ----------------------------------------------------------------------------------


def scored(task, kind):
    network = Network(task, kind, "reference", [generator_of(1)]).eval()
    card = {"description": {"spec": {"lookback": task.data.spec.lookback}, "carried": task.carried}}
    return network, Model("language-model", network, card, "")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_every_word_is_charged_once_by_the_state_that_its_stream_came_to(part):
    task, kind = carried(tokens=3000, lookback=7), variant("lstm", hidden_size=5, num_layers=2)
    network, model = scored(task, kind)
    ids, stretch = task.data.ids, task.data.stretches[part]
    found = token_nats(model, ids, stretch)
    anew = dataclasses.replace(model, card={"description": {"spec": {"lookback": 7}}})
    assert len(found) == len(token_nats(anew, ids, stretch)) == stretch.stop - stretch.start
    assert (found != token_nats(anew, ids, stretch)).any()
    # 750 words in 16 streams, the first 14 of 47 words and two of 46; each has read a window of 7 before, the shorter ones 8
    ends = stretch.start + np.cumsum([47] * 14 + [46] * 2)
    by_hand = []
    for end, words in zip(ends, [47] * 14 + [46] * 2, strict=True):
        read = torch.from_numpy(ids[end - 55 : end].astype(np.int64))
        logits = model(read[None, :-1])[0]
        by_hand.append(nn.functional.cross_entropy(logits, read[1:], reduction="none")[-words:])
    assert found == pytest.approx(torch.cat(by_hand).numpy(), rel=1e-5)
    assert means(network, [task], part, CPU, [0])[0].loss == pytest.approx(found.mean(), rel=1e-5)


def test_a_text_without_two_words_a_stream_is_refused_with_the_remedy():
    task = carried()
    task.data.stretches["train"] = Stretch(0, 15, 9)
    said = (
        "the train part holds 15 tokens, and 8 streams (one a row of a batch) of two tokens take 16. Take in more text, lower "
        "`training.language-model.batch_size` in params.yaml (or that of the item), or set `tasks.language-model.carried` to false."
    )
    with pytest.raises(SeriesTooShort, match=re.escape(said)):
        learn(KINDS[0], task, "reference")
    assert len(learn(KINDS[0], task, "reference", batch_size=7).history) == 3
