"""Captions: a vector in, the words of its label out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longshort.config import CaptionTask as Settings
from longshort.config import CaptionWindows, Optimisation, Variant
from longshort.errors import ConfigError, DataRefused
from longshort.models.decoding import Tongue, search
from longshort.models.network import Network
from longshort.systems import caption
from longshort.tasks.caption import CaptionTask
from longshort.tasks.cross_entropy import IGNORED
from longshort.training.loop import Member, generator_of, state_of, train
from longshort.windows.images import ImageData

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["one", "two", "three"]


def images(count=60):
    """Images of three labels, each of which is bright in a row of its own."""
    draw = np.random.Generator(np.random.Philox(0))
    labels = np.arange(count, dtype=np.int32) % 3
    pixels = draw.integers(0, 5, (count, 3, 4))
    pixels[np.arange(count), labels] += 8
    edges = {"train": (0, count - 20), "validation": (count - 20, count - 10), "test": (count - 10, count)}
    return ImageData(pixels.astype(np.uint8), 16, labels, ("1", "2", "3"), edges)


IMAGES = images()
SPEC = CaptionWindows(tokens="characters", min_count=1, max_vocabulary=99, max_length=9, validation=0.1, test=0.1, seed=0)
TASK = CaptionTask.of(caption.caption_data(IMAGES, NAMES, SPEC), Settings(embedding_size=16, dropout=0.0))
WORDS = TASK.data.vocabulary.words


def network_of(**own):
    settings = {"cell": "lstm", "hidden_size": 6, "num_layers": 1, "bidirectional": False, "dropout": 0.0, **own}
    return Network(TASK, Variant(**settings), "reference", [generator_of(0)]).double()


def test_an_image_is_one_step_of_all_its_pixels_and_its_caption_ends_with_its_end():
    for part, (first, end) in IMAGES.parts.items():
        seen = []
        for read, target in TASK.batches(part, 7, seed=0, epoch=1):
            assert read.shape[1:] == (1, 12)
            for pixels, asked in zip(read[:, 0].numpy(), target.tolist(), strict=True):
                same = (IMAGES.scaled(np.arange(first, end)).reshape(end - first, -1) == pixels).all(axis=1)
                seen.append(first + int(same.argmax()))
                said = [word for word in asked if word != IGNORED]
                assert "".join(WORDS[word] for word in said[:-1]) == NAMES[IMAGES.labels[seen[-1]]] and said[-1] == TASK.end
        assert sorted(seen) == list(range(first, end)) and (part == "train") == (seen != sorted(seen))


@pytest.mark.parametrize("own", [{}, {"cell": "gru", "num_layers": 2}, {"bidirectional": True}], ids=str)
def test_a_batch_costs_and_teaches_what_its_images_do_one_by_one_and_every_pixel_counts(own):
    network, numbers = network_of(**own).eval(), np.arange(6)
    read = TASK.read(numbers).double().requires_grad_()

    def charged(some):
        network.zero_grad()
        found = TASK.loss(network, read[None, some], TASK.asked(numbers[some])[None])
        found.losses.sum().backward()
        return found, {name: parameter.grad.clone() for name, parameter in network.named_parameters()}

    whole, gradients = charged(slice(None))
    assert bool((read.grad != 0).all())
    each = [charged(slice(n, n + 1)) for n in numbers]
    torch.testing.assert_close(whole.losses, sum(found.losses for found, _ in each))
    assert int(whole.terms) == sum(len(NAMES[IMAGES.labels[n]]) + 1 for n in numbers)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, sum(own[name] for _, own in each), msg=name)


def test_a_network_learns_to_spell_images_that_it_was_never_shown():
    variant = Variant(cell="gru", hidden_size=24, num_layers=1, bidirectional=False, dropout=0.0)
    how = Optimisation(optimizer="adam", learning_rate=0.02, batch_size=8, max_epochs=25, patience=25, clip_norm=1.0)
    (done,) = train([Member("s0", 0, TASK, how)], variant, "reference", torch.device("cpu"), [None], lambda *_: None)
    network = Network(TASK, variant, "reference").eval()
    network.load_state_dict(state_of(network, done.best_weights))
    numbers = np.arange(*IMAGES.parts["test"])
    for beam in (1, 3):
        said = search(network, TASK.read(numbers), Tongue.of(WORDS, TASK.data.longest), beam)
        assert ["".join(WORDS[word] for word in own) for own in said] == [NAMES[label] for label in IMAGES.labels_of("test")]


def test_a_cell_that_attends_cannot_speak_and_a_label_without_a_name_is_refused():
    with pytest.raises(ConfigError, match="a decoder answers at every step"):
        network_of(cell="alstm")
    with pytest.raises(DataRefused, match="letters: there is a label 12"):
        caption._name("12", "letters")
