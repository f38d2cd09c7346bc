"""Translation: what is read and asked, what a decoder is charged, where it looks, and what it says by itself."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch

from longshort.config import TranslateTask as Settings
from longshort.config import TranslateWindows, Variant
from longshort.errors import ConfigError
from longshort.models.decoding import Tongue, search
from longshort.models.encoder import Carried
from longshort.models.masks import FRONT, Behind, Draw, stream
from longshort.models.network import Network
from longshort.tasks.cross_entropy import IGNORED
from longshort.tasks.rows import PADDING
from longshort.tasks.spoken import smoothed
from longshort.tasks.translate import TranslateTask
from longshort.training.loop import generator_of
from longshort.windows.labelled import translate_data

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = TranslateWindows(min_count=1, max_vocabulary=100, validation=0.2, test=0.2, seed=0, tokens="words", max_length=9)
SETTINGS = Settings(embedding_size=5, dropout=0.0, attention="luong")
VARIANTS = {
    "lstm": {"cell": "lstm"},
    "both ways": {"cell": "lstm", "bidirectional": True},
    "two layers of gru": {"cell": "gru", "num_layers": 2},
    "projected": {"cell": "lstmp", "projection_size": 2},
    "learned beginning": {"cell": "rnn", "initial_state": "learned"},
    "by a scan": {"cell": "mingru"},
}


def pairs():
    draw = np.random.Generator(np.random.Philox(0))
    sources = [" ".join([f"s{n}", *(f"w{k}" for k in draw.integers(0, 9, draw.integers(0, 6)))]) for n in range(50)]
    targets = [" ".join(f"v{k}" for k in draw.integers(0, 9, draw.integers(1, 7))) for _ in range(50)]
    return translate_data(sources, targets, None, SPEC)


DATA = pairs()


def task_with(**settings):
    return TranslateTask.of(DATA, SETTINGS.model_copy(update=settings))


def variant(**own):
    return Variant(**{"hidden_size": 4, "num_layers": 1, "bidirectional": False, "dropout": 0.0, **own})


def network_of(task, *seeds, name="lstm", dtype=torch.float64):
    network = Network(task, variant(**VARIANTS[name]), "reference", [generator_of(seed) for seed in seeds or (0,)]).to(dtype)
    with torch.no_grad():  # bias begins with 0, which would hide where it is left out
        network.head.bias.copy_(torch.randn(network.head.bias.shape, generator=torch.Generator().manual_seed(1)))
    return network


def batch_of(task, count=6):
    numbers = np.arange(count)
    return task.read(numbers)[None], task.asked(numbers)[None]


def gradients_of(network, loss):
    network.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


# --- examples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [True, False])
def test_a_source_is_read_from_its_end_and_a_target_ends_with_its_end(turned):
    task = task_with(reversed_source=turned)
    for part in ("train", "validation"):
        first, _ = task.range_of(part)
        for read, target in task.batches(part, 7, seed=0, epoch=1):
            for ids, asked in zip(read.tolist(), target.tolist(), strict=True):
                own = [word for word in ids if word != PADDING]
                said = [word for word in asked if word != IGNORED]
                assert ids[: len(own)] == own and asked[: len(said)] == said  # padding stands behind
                assert said[-1] == task.end and task.end not in said[:-1] and task.start not in said
                own = own[::-1] if turned else own
                numbers = range(first, task.range_of(part)[1])
                assert any(own == DATA.sources.row(n).tolist() and said[:-1] == DATA.targets.row(n).tolist() for n in numbers)


def test_an_epoch_has_every_pair_once_and_rows_of_a_batch_are_alike():
    task, found = task_with(), []
    for _, target in task.batches("train", 4, seed=3, epoch=2):
        lengths = (target != IGNORED).sum(1)
        found += [lengths.tolist()]
    first, end = task.range_of("train")
    assert sorted(itertools.chain(*found)) == sorted((np.diff(DATA.targets.offsets[first : end + 1]) + 1).tolist())
    assert max(max(row) - min(row) for row in found) <= 2
    assert found != [(target != IGNORED).sum(1).tolist() for _, target in task.batches("train", 4, seed=3, epoch=3)]


def test_a_decoder_that_is_taught_is_fed_the_word_before():
    task = task_with()
    target = torch.tensor([[[7, 8, task.end, IGNORED]]])
    assert task.fed(target).tolist() == [[[task.start, 7, 8, task.end]]]


# --- loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["none", "luong"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_padded_batch_equals_its_rows_one_by_one_in_loss_and_gradient(name, attention):
    task = task_with(attention=attention)
    network = network_of(task, name=name)
    read, target = batch_of(task)
    together = task.loss(network, read, target)
    found = gradients_of(network, together.losses.sum())
    alone, terms = 0, 0
    for n in range(read.shape[1]):
        own = (torch.from_numpy(ids.astype(np.int64))[None, None] for ids in (DATA.sources.row(n)[::-1], DATA.targets.row(n)))
        source, words = own
        charge = task.loss(network, source, torch.cat([words, torch.full((1, 1, 1), task.end)], dim=2))
        alone, terms = alone + charge.losses, terms + charge.terms
    torch.testing.assert_close(together.losses, alone)
    assert torch.equal(together.terms, terms) and terms.tolist() == [len(DATA.targets.ids[: DATA.targets.offsets[6]]) + 6]
    for key, gradient in gradients_of(network, alone.sum()).items():
        torch.testing.assert_close(found[key], gradient)
        assert gradient.abs().max() > 0, key


@pytest.mark.parametrize("attention", ["none", "luong"])
def test_a_target_is_charged_word_by_word_as_it_is_when_it_is_said(attention):
    task = task_with(attention=attention)
    network = network_of(task)
    read, target = batch_of(task)
    weight, bias = network.head.of_member(0)
    whole = 0.0
    for n in range(read.shape[1]):
        own = read[:, n : n + 1, : len(DATA.sources.row(n))]
        carried, before = Carried(), task.start
        for word in [*DATA.targets.row(n).tolist(), task.end]:
            heard = *network.encode(own), None
            said, _ = network.decode(torch.tensor([[[before]]]), heard, carried=carried)
            whole -= (said[0, 0, 0] @ weight + bias).log_softmax(-1)[word].item()
            before = word
    assert task.loss(network, read, target).losses.item() == pytest.approx(whole)


def test_a_word_is_known_to_those_behind_it_and_to_no_other():
    task = task_with()
    network = network_of(task)
    read, target = batch_of(task)
    heard = *network.encode(read), task.lengths(read)
    said, _ = network.decode(task.fed(target), heard)
    other = target.clone()
    other[:, :, 2] = (target[:, :, 2].clamp(min=0) + 1) % 9
    changed = (network.decode(task.fed(other), heard)[0] != said).any(-1).any(1)[0]
    assert changed.tolist() == [step > 2 for step in range(target.shape[2])]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_is_torchs_own_in_value_and_gradient(smoothing):
    torch.manual_seed(0)
    given = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((9, 5), (5, 7), (7,))]
    target = torch.randint(0, 7, (9,))
    target[[2, 8]] = IGNORED
    scores = given[0] @ given[1] + given[2]
    wanted = torch.nn.functional.cross_entropy(scores, target, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)
    found = smoothed(*given, target, smoothing)
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(torch.autograd.grad(found, given), torch.autograd.grad(wanted, given), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_smoothing_is_of_training_alone():
    task, plain = task_with(label_smoothing=0.2), task_with()
    network, batch = network_of(task), batch_of(task)
    assert task.loss(network, *batch).losses == plain.loss(network, *batch).losses
    assert task.loss(network, *batch, Draw((0,), 1, 0)).losses != plain.loss(network, *batch).losses


def test_members_of_a_fleet_see_no_other_and_begin_from_their_own_seed():
    task = task_with()
    fleet, batch = network_of(task, 4, 5), batch_of(task)
    losses = task.loss(fleet, *(side.expand(2, -1, -1) for side in batch)).losses
    for k, seed in enumerate((4, 5)):
        alone = network_of(task, seed)
        with torch.no_grad():
            alone.head.bias.copy_(fleet.head.bias[k : k + 1])
        torch.testing.assert_close(task.loss(alone, *batch).losses[0], losses[k])
        for mine, theirs in zip(alone.parameters(), fleet.parameters(), strict=True):
            assert torch.equal(mine[0], theirs[k])


# --- attention ----------------------------------------------------------------------------------


def test_attention_is_the_printed_equation_and_never_looks_at_padding():
    task = task_with()
    network = network_of(task)
    read, target = batch_of(task)
    states, _ = network.encode(read)
    own = torch.randn(1, 6, target.shape[2], 4, dtype=torch.float64)
    said, looked = network.head(own, states, task.lengths(read))
    score, readout = network.head.score, network.head.readout
    for n, length in enumerate(task.lengths(read)[0].tolist()):
        scores = (own[0, n] @ score.weight[0] + score.bias[0]) @ states[0, n, :length].t()
        shares = scores.exp() / scores.exp().sum(1, keepdim=True)
        torch.testing.assert_close(looked[0, n, :, :length], shares)
        assert (looked[0, n, :, length:] == 0).all()
        seen = torch.cat([shares @ states[0, n, :length], own[0, n]], dim=1)
        torch.testing.assert_close(said[0, n], (seen @ readout.weight[0] + readout.bias[0]).tanh())


# --- dropout ------------------------------------------------------------------------------------


def test_a_decoder_drops_by_masks_of_its_own_and_the_same_on_every_run():
    draw = Draw((3,), 1, 0)
    encoders, decoders = (own.dropped_for(torch.zeros(1), FRONT, stream(0), 0.5, (4, 5, 6)) for own in (draw, Behind(draw, 1)))
    assert 0.3 < (encoders != decoders).double().mean() < 0.7
    task = task_with(dropout=0.4)
    network = Network(task, variant(cell="lstm", dropout=0.3), "reference", [generator_of(0)])
    losses = [task.loss(network, *batch_of(task), Draw((3,), epoch, 0)).losses.item() for epoch in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    with pytest.raises(ValueError, match="no `draw` says where"):
        task.loss(network, *batch_of(task))
    network.eval()
    assert task.loss(network, *batch_of(task), Draw((3,), 1, 0)).losses == task.loss(network, *batch_of(task), Draw((3,), 2, 0)).losses


# --- what cannot be -----------------------------------------------------------------------------


def test_a_cell_that_attends_once_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"'alstm' attends to its states once.*Take cell 'lstm', with the task's own `attention`"):
        Network(task_with(), variant(cell="alstm"), "reference", [generator_of(0)])


def test_a_network_that_speaks_has_no_answer_at_once():
    task = task_with()
    with pytest.raises(ValueError, match="one by one: ask `decode`"):
        network_of(task)(batch_of(task)[0])


# --- search -------------------------------------------------------------------------------------

TINY = Tongue(start=1, end=2, unsaid=(0,), longest=2)


@functools.cache
def tiny(seed, attention="luong", name="lstm"):
    """A network of five words to say, sharp enough that a greedy choice is often not the best; and its task."""
    sources = [f"a{n % 3} b{n % 5} c{n}" for n in range(30)]
    data = translate_data(sources, ["p q r s t"] * 30, None, SPEC)
    task = TranslateTask.of(data, SETTINGS.model_copy(update={"attention": attention}))
    network = network_of(task, seed, name=name)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        network.head.bias[:, task.end] += seed  # so that some say little
    return task, network.eval()


def worth(task, network, read, words):
    """ln p a token of a target, taught whole: not the way that a search goes."""
    fed = torch.tensor([[[task.start, *words]]])
    said, _ = network.decode(fed, (*network.encode(read[None]), task.lengths(read[None])))
    weight, bias = network.head.of_member(0)
    scores = said[0, 0] @ weight + bias
    scores[:, [task.start, 0]] = float("-inf")
    chances = scores.log_softmax(-1)
    return sum(chances[n, word].item() for n, word in enumerate([*words, task.end])) / (len(words) + 1)


@pytest.mark.parametrize(("attention", "name"), [("none", "lstm"), ("luong", "both ways"), ("luong", "two layers of gru")])
def test_a_beam_as_wide_as_everything_finds_the_best_of_all(attention, name):
    for seed in range(4):
        task, network = tiny(seed, attention, name)
        read = task.read(np.arange(2))
        everything = [words for length in range(3) for words in itertools.product(range(3, 8), repeat=length)]
        wide = search(network, read, TINY, beam=len(everything))
        for n in range(2):
            own = read[n : n + 1]
            best = max(everything, key=lambda words, own=own: worth(task, network, own, words))
            assert tuple(wide[n]) == best


def test_greedy_is_the_likeliest_word_each_time():
    for seed in range(6):
        task, network = tiny(seed)
        read = task.read(np.arange(4))
        weight, bias = network.head.of_member(0)
        for n, found in enumerate(search(network, read, TINY, beam=1)):
            words = []
            while len(words) < TINY.longest:
                fed = torch.tensor([[[task.start, *words]]])
                own = read[None, n : n + 1]
                said, _ = network.decode(fed, (*network.encode(own), task.lengths(own)))
                scores = said[0, 0, -1] @ weight + bias
                scores[[task.start, 0]] = float("-inf")
                if (word := int(scores.argmax())) == task.end:
                    break
                words.append(word)
            assert found == words


@pytest.mark.parametrize("beam", [1, 2, 4])
def test_a_row_is_said_alone_as_in_a_batch_with_longer_ones(beam):
    task = task_with()
    network, draw = network_of(task).eval(), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        network.head.bias[:, task.end] += 4  # or all would go on to the longest length
    tongue = Tongue(task.start, task.end, (0,), longest=8)
    read = task.read(np.arange(12))
    alone = [search(network, row[row != PADDING][None], tongue, beam)[0] for row in read]
    assert search(network, read, tongue, beam) == alone and len(set(map(len, alone))) > 1
    assert all(len(words) <= 8 and not {0, task.start, task.end} & set(words) for words in alone)


def test_a_wider_beam_finds_what_is_worth_as_much_or_more_on_the_whole():
    sums = dict.fromkeys((1, 3, 31), 0.0)
    for seed in range(6):
        task, network = tiny(seed)
        read = task.read(np.arange(3))
        for beam in sums:
            found = search(network, read, TINY, beam)
            sums[beam] += sum(worth(task, network, read[n : n + 1], words) for n, words in enumerate(found))
    assert sums[1] < sums[3] <= sums[31]
