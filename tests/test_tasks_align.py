"""Reading without alignment: strips, the loss over all paths, the likeliest path, and prefix search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from longshort.config import Variant
from longshort.models.network import Network
from longshort.tasks import paths
from longshort.tasks.align import AlignTask, charge
from longshort.tasks.rows import PADDING, UNCHARGED
from longshort.training.loop import generator_of
from longshort.windows.images import ImageData
from longshort.windows.strips import StripSpec, strip_data

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = StripSpec({"train": 12, "validation": 5, "test": 6}, (2, 4), (-1, 2))
BLANK = 2  # of two symbols
LENGTHS, TARGETS = [4, 3, 4, 2], [[0, 1], [1, UNCHARGED], [0, 0], [1, 0]]


def images(count=10, seed=0):
    draw = np.random.Generator(np.random.Philox(seed))
    parts = {"train": (0, 6), "validation": (6, 8), "test": (8, count)}
    return ImageData(draw.integers(0, 17, (count, 3, 4)).astype(np.uint8), 16, np.arange(count, dtype=np.int32) % 3, ("a", "b", "c"), parts)


def task_with(dropout=0.0):
    return AlignTask.of(strip_data(images(), SPEC, seed=0), dropout)


def network_of(task, *seeds, **own):
    settings = {"cell": "lstm", "hidden_size": 4, "num_layers": 1, "bidirectional": True, "dropout": 0.0, **own}
    return Network(task, Variant(**settings), "reference", [generator_of(seed) for seed in seeds or (0,)]).double()


def by_symbols(chances):
    """What every path comes to, and the chance of all that come to the same, path by path."""
    found = {}
    blank = chances.shape[1] - 1
    for path in itertools.product(range(blank + 1), repeat=len(chances)):
        said = tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)
        found[said] = found.get(said, 0.0) + float(np.prod([chances[step, symbol] for step, symbol in enumerate(path)]))
    return found


def some_logits(rows=4, steps=4, seed=0):
    return torch.randn(rows, steps, BLANK + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- strips -------------------------------------------------------------------------------------


def test_the_images_of_a_strip_are_those_of_its_part():
    marked = images()
    for value, part in enumerate(marked.parts, start=1):
        marked.pixels[slice(*marked.parts[part])] = value
    data = strip_data(marked, SPEC, seed=3)
    for value, (part, (first, end)) in enumerate(data.parts.items(), start=1):
        assert end - first == SPEC.strips[part] and all(set(np.unique(data.strip(n))) <= {0, value} for n in range(first, end))


def test_a_strip_is_its_images_from_left_to_right_and_the_brighter_pixel_counts():
    found = images()
    data = strip_data(found, StripSpec({"train": 30, "validation": 1, "test": 1}, (2, 2), (-2, -2)), seed=1)
    pairs = {(a, b): np.maximum(np.pad(found.pixels[a], ((0, 0), (0, 2))), np.pad(found.pixels[b], ((0, 0), (2, 0))))
             for a in range(6) for b in range(6)}  # fmt: skip
    for number in range(30):
        own = [pair for pair, whole in pairs.items() if np.array_equal(data.strip(number), whole)]
        assert data.labels.row(number).tolist() in [found.labels[list(pair)].tolist() for pair in own]


def test_no_image_comes_again_before_all_have():
    data = strip_data(images(), StripSpec({"train": 9, "validation": 1, "test": 1}, (2, 2), (0, 0)), seed=1)
    columns = [data.columns[data.offsets[n] + 4 * k :][:4].T for n in range(9) for k in range(2)]
    numbers = [next(n for n, own in enumerate(images().pixels) if np.array_equal(own, each)) for each in columns]
    assert all(sorted(numbers[first : first + 6]) == list(range(6)) for first in (0, 6, 12))


def test_the_seed_says_the_strips():
    same, other = (strip_data(images(), SPEC, seed) for seed in (0, 1))
    assert np.array_equal(task_with().data.columns, same.columns) and not np.array_equal(same.offsets, other.offsets)


def test_a_batch_is_padded_behind_and_train_comes_once_each_epoch():
    task = task_with()
    for part in ("train", "validation"):
        first, end = task.data.parts[part]
        strips = [task.data.strip(n).T / 16 for n in range(first, end)]
        seen = []
        for read, target in task.batches(part, 5, seed=0, epoch=2):
            for steps, length, labels in zip(read.numpy(), task.lengths(read).tolist(), target.tolist(), strict=True):
                assert (steps[length:] == PADDING).all() and (steps[:length] >= 0).all()
                seen += [
                    n for n, own in enumerate(strips) if np.allclose(own.shape, steps[:length].shape) and np.allclose(own, steps[:length])
                ]
                assert [each for each in labels if each != UNCHARGED] == task.data.labels.row(first + seen[-1]).tolist()
        assert sorted(seen) == list(range(end - first))


# --- the loss -----------------------------------------------------------------------------------


def test_the_loss_is_the_chance_of_all_paths_that_come_to_the_symbols():
    logits, lengths, targets = some_logits(), torch.tensor(LENGTHS), torch.tensor(TARGETS)
    loss, rows, _ = charge(logits, lengths, targets, BLANK)
    wanted = 0.0
    for own, length, target in zip(logits, LENGTHS, TARGETS, strict=True):
        chances = own[:length].softmax(-1).numpy()
        wanted -= np.log(by_symbols(chances)[tuple(each for each in target if each != UNCHARGED)])
    assert float(loss) == pytest.approx(wanted) and int(rows) == 4


def test_a_row_is_right_where_its_likeliest_path_comes_to_its_symbols():
    path = torch.tensor([[0, 0, 2, 1], [1, 2, 1, 0], [0, 2, 0, 2], [1, 0, 0, 0]])
    logits = torch.nn.functional.one_hot(path, BLANK + 1).double()
    assert int(charge(logits, torch.tensor(LENGTHS), torch.tensor(TARGETS), BLANK)[2]) == 3  # the second says 1 1
    assert int(charge(logits[:1], torch.tensor([4]), torch.tensor([[0]]), BLANK)[2]) == 0  # it says 0 1
    many = torch.tensor([[0, 1, 0, 1, 0]])  # more than there are steps: never right, and the loss is infinite
    assert int(charge(logits[:1], torch.tensor([4]), many, BLANK)[2]) == 0


def test_rows_that_fill_a_batch_up_are_not_charged():
    logits, lengths, targets = some_logits(), torch.tensor(LENGTHS), torch.tensor(TARGETS)
    filled = torch.cat([targets[:2], torch.full((2, 2), UNCHARGED)])
    whole, alone = charge(logits, lengths, filled, BLANK), charge(logits[:2], lengths[:2], targets[:2], BLANK)
    assert all(float(one) == pytest.approx(float(other)) for one, other in zip(whole, alone, strict=True))


@pytest.mark.parametrize("own", [{}, {"cell": "gru", "num_layers": 2}, {"cell": "rnn", "bidirectional": False}], ids=str)
def test_a_padded_batch_costs_and_teaches_what_its_rows_do_one_by_one(own):
    task = task_with()
    network = network_of(task, **own).eval()
    numbers = np.arange(6)
    target = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(task.data.labels.row(n).astype(np.int64)) for n in numbers], batch_first=True, padding_value=UNCHARGED
    )

    def charged(some):
        network.zero_grad()
        read = torch.from_numpy(task.data.padded(numbers[some], PADDING)).double()
        found = task.loss(network, read[None], target[some][None])
        found.losses.sum().backward()
        return found, {name: parameter.grad.clone() for name, parameter in network.named_parameters()}

    whole, gradients = charged(slice(None))
    each = [charged(slice(n, n + 1)) for n in numbers]
    torch.testing.assert_close(whole.losses, sum(found.losses for found, _ in each))
    assert int(whole.terms) == 6 and int(whole.right) == sum(int(found.right) for found, _ in each)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, sum(own[name] for _, own in each), msg=name)


def test_members_of_a_fleet_are_charged_what_each_is_alone():
    task = task_with()
    both, (read, target) = network_of(task, 0, 1), next(task.batches("validation", 5, 0, 0))
    together = task.loss(both.eval(), read.double().expand(2, -1, -1, -1), target.expand(2, -1, -1))
    for seed in (0, 1):
        alone = task.loss(network_of(task, seed).eval(), read.double()[None], target[None])
        torch.testing.assert_close(together.losses[seed], alone.losses[0])


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_beam_as_wide_as_all_prefixes_finds_the_likeliest_symbols(seed):
    chances = (2 * some_logits(1, 5, seed)[0]).softmax(-1).numpy()
    found = by_symbols(chances)
    assert paths.search(chances, BLANK, 1000) == max(found, key=found.get)


def test_the_likeliest_symbols_are_not_always_those_of_the_likeliest_path():
    chances = np.array([[0.4, 0.0, 0.6], [0.4, 0.0, 0.6]])  # nothing: 0.36; the first symbol, by three paths: 0.64
    assert paths.search(chances, BLANK, 4) == (0,)
    assert paths.collapsed(torch.from_numpy(chances.argmax(1))[None], torch.tensor([2]), BLANK, -1).tolist() == [[-1, -1]]


def test_a_symbol_stands_twice_only_where_a_blank_is_between():
    for path, said in (([0, 0, 0], (0,)), ([0, 2, 0], (0, 0)), ([0, 1, 0], (0, 1, 0)), ([2, 2, 2], ())):
        chances = np.eye(3)[path]
        assert paths.search(chances, BLANK, 3) == said
        row = paths.collapsed(torch.tensor([path]), torch.tensor([3]), BLANK, -1)[0].tolist()
        assert tuple(each for each in row if each != -1) == said
    assert paths.collapsed(torch.tensor([[0, 1, 0, 1]]), torch.tensor([2]), BLANK, -1).tolist() == [[0, 1, -1, -1]]  # the rest is padding


def test_a_long_row_does_not_come_to_nothing():
    chances = np.full((3000, 3), 0.15)
    chances[np.arange(3000), np.arange(3000) % 2] = 0.7  # of all steps together 1e-465
    assert paths.search(chances, BLANK, 3) == tuple(np.arange(3000) % 2)
