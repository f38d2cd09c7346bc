"""A text: what of it changes when its later parts do.

Paragraphs of the training part that stand in a later part are dropped before anything else (windows.text), which is a use of the
later parts on purpose; all proofs begin behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from longshort.audit.learning import Learner, same
from longshort.audit.proof import Proof
from longshort.config import LanguageModelTask as Settings
from longshort.config import TextWindows
from longshort.evaluation import metrics, texts
from longshort.evaluation.stage import fit_baselines
from longshort.tasks.language_model import LanguageModelTask
from longshort.windows import stage as cutting
from longshort.windows.files import TextData
from longshort.windows.text import count
from longshort.windows.tokens import Paragraphs

Parts = dict[str, Paragraphs]
Make = Callable[[Parts], TextData]

EPOCHS = 1  # of the weights that are compared
MOST_EPOCHS = 3  # of the network that learns shuffled words
CHANCE = 0.02  # how far below the unigram's a perplexity may lie by luck


def prove(parts: Parts, words: list[str], make: Make, settings: Settings, learner: Learner) -> list[Proof]:
    """Every proof for one item.

    parts   as `windows.text.split` leaves them, of numbers below len(words)
    make    the windows of such parts
    raises  DataRefused as the windows room does
    """
    data = make(parts)
    return [
        windows(make, parts, data, words),
        weights(make, parts, data, words, settings, learner),
        shuffled(data, settings, learner),
        planted(make, parts, words),
    ]


# --- futures ------------------------------------------------------------------------------------


def changed(parts: Parts, later: tuple[str, ...], words: list[str]) -> Parts:
    """The same parts, with every word of the later ones another, drawn from all alike."""
    draw = np.random.Generator(np.random.Philox(0))
    return parts | {
        part: dataclasses.replace(parts[part], ids=draw.integers(len(words), size=len(parts[part].ids)).astype(np.int32)) for part in later
    }


def _known(data: TextData, part: str) -> bytes:
    own = data.stretches[part]
    return np.asarray(data.ids[own.start : own.stop]).tobytes()


# --- proofs -------------------------------------------------------------------------------------


def windows(make: Make, parts: Parts, data: TextData, words: list[str]) -> Proof:
    """The vocabulary, and the ids of what comes before a split, are the same bytes whatever comes after it."""
    compared = 0
    for later, before in ((("validation", "test"), ("train",)), (("test",), ("train", "validation"))):
        other = make(changed(parts, later, words))
        if other.vocabulary != data.vocabulary:
            return Proof("windows and vocabulary", False, f"the vocabulary changes with the words of {' and '.join(later)}")
        for part in before:
            if _known(data, part) != _known(other, part):
                return Proof("windows and vocabulary", False, f"ids of {part} change with the words of {' and '.join(later)}")
            compared += data.stretches[part].stop - data.stretches[part].start
    said = f"every word after train, and after validation, another: {compared:,} ids and {len(data.vocabulary):,} words are the same"
    return Proof("windows and vocabulary", True, said)


def weights(make: Make, parts: Parts, data: TextData, words: list[str], settings: Settings, learner: Learner) -> Proof:
    """The weights after an epoch are the same bytes whatever comes after the training part."""
    other = make(changed(parts, ("validation", "test"), words))
    one, two = (learner.epochs(LanguageModelTask.of(each, settings), EPOCHS) for each in (data, other))
    said = f"{EPOCHS} epoch, every word after train another: {one.weights.numel():,} weights"
    return Proof("weights", same(one, two), f"{said} {'are the same bytes' if same(one, two) else 'differ'}")


def shuffled(data: TextData, settings: Settings, learner: Learner) -> Proof:
    """A network that learned words in a random order is no better on the test part than how often each word comes."""
    test = data.stretches["test"]
    ids = np.array(data.ids)
    ids[: test.start] = np.random.Generator(np.random.Philox(0)).permutation(ids[: test.start])
    mixed = dataclasses.replace(data, ids=ids)
    model = learner.model(LanguageModelTask.of(mixed, settings), MOST_EPOCHS)
    found = metrics.perplexity(float(texts.token_nats(model, np.asarray(data.ids), test).mean()))
    chance = metrics.perplexity(float(fit_baselines(mixed)["unigram"].nats(np.asarray(data.ids)[: test.stop], test.start).mean()))
    lucky = found < chance * (1 - CHANCE)
    said = f"words of train and validation in a random order: perplexity {found:.1f} on the test part, the unigram's {chance:.1f}"
    return Proof("shuffled targets", not lucky, said + (", better than chance" if lucky else ", no better than chance"))


def planted(make: Make, parts: Parts, words: list[str]) -> Proof:
    """A leak, planted on purpose, is caught: a vocabulary that was counted on all parts."""

    def of_all(parts: Parts) -> TextData:
        whole = [parts[part] for part in ("train", "validation", "test")]
        counted = Paragraphs(*(np.concatenate([getattr(own, name) for own in whole]) for name in ("ids", "lengths", "characters")))
        vocabulary = make({**parts, "train": counted}).vocabulary
        return dataclasses.replace(make(parts), vocabulary=vocabulary)

    if windows(of_all, parts, of_all(parts), words).holds:
        return Proof("planted leaks", False, "not caught: a vocabulary counted on all parts. This audit sees nothing")
    return Proof("planted leaks", True, "a vocabulary counted on all parts, planted here, is caught")


def maker(spec: TextWindows, words: list[str]) -> Make:
    """The windows room's own way from parts to windows."""
    return lambda parts: cutting.text_of_parts(parts, dict.fromkeys(parts, 0), [], words, count(parts["train"].ids, words), spec)
