"""Rows of different lengths: what is behind a row's end reaches no answer, no loss and no gradient, for every task that reads them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_windows_labelled import numbered

from longshort.config import ClassifyTask as ClassifySettings
from longshort.config import ClassifyWindows, Optimisation, TagWindows, Variant
from longshort.config import TagTask as TagSettings
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks import rows
from longshort.tasks.classify import ClassifyTask, charge
from longshort.tasks.tag import TagTask
from longshort.training.loop import Member, means, together, train
from longshort.windows.images import image_data
from longshort.windows.labelled import Sequences, classify_data, tag_data

CPU = torch.device("cpu")
COMMON = {"min_count": 1, "max_vocabulary": 500, "validation": 0.2, "test": 0.2, "seed": 0}
TEXTS = [f"{text} {'more ' * (n % 5)}".strip() for n, text in enumerate(numbered(60))]
LABELS = [f"l{n % 3}" for n in range(60)]


def variant(**settings):
    return Variant(**{"cell": "lstm", "hidden_size": 5, "num_layers": 2, "bidirectional": True, "dropout": 0.0, **settings})


def classify(pooling="final", **settings):
    data = classify_data(TEXTS, LABELS, None, ClassifyWindows(**COMMON, max_length=50))
    return ClassifyTask.of(data, ClassifySettings(embedding_size=4, dropout=0.0, pooling=pooling, **settings))


def tag():
    tags = [" ".join(f"B-{word[-1]}" for word in text.split()) for text in TEXTS]
    return TagTask.of(tag_data(TEXTS, tags, LABELS, None, TagWindows(**COMMON)), TagSettings(embedding_size=4, dropout=0.0))


def images():
    draw = np.random.Generator(np.random.Philox(0))
    pixels = draw.integers(0, 17, (30, 4, 3)).astype(np.uint8)
    data = image_data(pixels, 16, np.arange(30) % 3, {"validation": 6, "test": 6})
    return ClassifyTask.of(data, ClassifySettings(embedding_size=1, dropout=0.0, pooling="final"))


TASKS = {**{pooling: lambda pooling=pooling: classify(pooling) for pooling in ("final", "mean", "max")}, "tag": tag, "images": images}


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize("name", TASKS)
def test_a_padded_batch_costs_and_teaches_what_its_rows_do_one_by_one(name, engine):
    torch.manual_seed(0)
    task = TASKS[name]()
    network = Network(task, variant(), engine)
    ((read, target),) = task.batches("validation", 99, 0, 0)
    charged = task.loss(network, read[None], target[None])
    charged.losses.sum().backward()
    together = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    losses = 0.0
    for row, wanted in zip(read, target, strict=True):
        own = slice(None) if name == "images" else slice(int(task.lengths(row[None])[0]))
        alone = task.loss(network, row[own][None, None], (wanted[own] if name == "tag" else wanted)[None, None])
        alone.losses.sum().backward()
        losses += alone.losses.item()
    assert charged.losses.item() == pytest.approx(losses, rel=1e-5)
    for parameter, gradient in zip(network.parameters(), together, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_members_side_by_side_are_charged_what_each_is_alone_though_their_rows_differ_in_length():
    task = tag()
    network = Network(task, variant(), "torch", [torch.Generator().manual_seed(seed) for seed in range(2)])
    found = sorted((batch for batch in task.batches("train", 6, 0, 1) if len(batch[0]) == 6), key=lambda batch: batch[0].shape[1])
    batches = [found[0], found[-1]]
    assert batches[0][0].shape[1] < batches[1][0].shape[1]
    (both,) = together([iter([batch]) for batch in batches], task)
    charged = task.loss(network, *both)
    for k, (read, target) in enumerate(batches):
        whole = [torch.full((2, *each.shape), int(filler)) for each, filler in ((read, task.padding), (target, task.uncharged))]
        whole[0][k], whole[1][k] = read, target
        alone = task.loss(network, *whole)
        assert charged.losses[k].item() == pytest.approx(alone.losses[k].item(), rel=1e-6)
        assert (charged.terms[k], charged.right[k]) == (alone.terms[k], alone.right[k])


def test_an_epoch_reads_every_row_once_in_an_order_that_only_seed_and_epoch_decide():
    lengths = np.arange(100) % 7
    batches = list(rows.at_random(lengths, 8, seed=1, epoch=2))
    assert sorted(np.concatenate(batches).tolist()) == list(range(100)) and max(map(len, batches)) == 8
    assert np.mean([len(set(lengths[own])) for own in batches]) < 3  # rows of like length come together
    again, other = (np.concatenate(list(rows.at_random(lengths, 8, 1, epoch))).tolist() for epoch in (2, 3))
    assert np.concatenate(batches).tolist() == again != other


def test_rows_lie_side_by_side_with_padding_behind_the_end_of_each_and_an_empty_one_is_one_step_long():
    found = Sequences(np.array([5, 6, 7, 8], np.int32), np.array([0, 1, 1, 4]))
    assert rows.padded(found, np.array([2, 0, 1])).tolist() == [[6, 7, 8], [5, -1, -1], [-1, -1, -1]]
    assert rows.lengths_of(rows.padded(found, np.array([2, 0, 1]))).tolist() == [3, 1, 1]
    assert rows.padded(found, np.array([1])).tolist() == [[-1]]


def test_a_label_that_train_never_shows_is_not_charged_and_what_is_scored_highest_is_right():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]]])
    charged = charge(logits, torch.tensor([[0, 0, rows.UNCHARGED]]), 0.0)
    wanted = np.log1p(np.exp(-2)) + np.log1p(np.exp(3))
    assert charged.losses.item() == pytest.approx(wanted, rel=1e-6)
    assert (charged.terms.tolist(), charged.right.tolist()) == ([2], [1])


def test_smoothing_is_for_learning_alone():
    task = classify(label_smoothing=0.5)
    network = Network(task, variant(), "torch")
    read, target = next(task.batches("validation", 8, 0, 0))
    plain = task.loss(network.eval(), read[None], target[None])
    smoothed = task.loss(network.train(), read[None], target[None], Draw((0,), 1, 0))
    assert smoothed.losses.item() != pytest.approx(plain.losses.item(), rel=1e-3)


def test_epochs_tell_how_many_were_right_and_a_network_learns_to_be():
    task = images()
    settings = {"optimizer": "adam", "learning_rate": 0.02, "batch_size": 6, "max_epochs": 100, "patience": 100, "clip_norm": 1.0}
    one = variant(bidirectional=False, num_layers=1, hidden_size=16)
    (done,) = train([Member("s0", 0, task, Optimisation(**settings))], one, "native", CPU, [None], lambda *_: None)
    assert done.history[-1]["train_accuracy"] > 0.9 > done.history[0]["train_accuracy"]
    network = Network(task, one, "native")
    assert means(network, [task], "validation", CPU, [0])[0].accuracy in [k / 6 for k in range(7)]
