"""A text: what of it changes when its later parts do.

Paragraphs of the training part that stand in a later part are dropped before anything else (windows.text), which is a use of the
later parts on purpose; all proofs begin behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from longshort.audit.learning import Learner, same
from longshort.audit.proof import Proof
from longshort.config import LanguageModelTask as Settings
from longshort.config import TextWindows
from longshort.evaluation import metrics, texts
from longshort.evaluation.stage import fit_baselines
from longshort.tasks.language_model import LanguageModelTask
from longshort.windows import stage as cutting
from longshort.windows import text
from longshort.windows.files import TextData
from longshort.windows.tokens import Ids, Paragraphs

Parts = dict[str, Paragraphs]
Make = Callable[[Parts], TextData]

EPOCHS = 1  # of the weights that are compared
MOST_EPOCHS = 3  # of the network that learns shuffled words
CHANCE = 0.02  # how far below the unigram's a perplexity may lie by luck


def prove(blocks: Paragraphs, words: list[str], spec: TextWindows, make: Make, settings: Settings, learner: Learner) -> list[Proof]:
    """Every proof for one item.

    blocks  of numbers below len(words)
    make    the windows of such parts as `windows.text.split` leaves
    raises  DataRefused as the windows room does
    """
    folds = [text.split(blocks, spec, fold)[0] for fold in range(spec.folds)]
    return [
        *([pieces(blocks, words, spec, folds)] if spec.folds > 1 else []),
        windows(make, folds, words),
        weights(make, folds, words, settings, learner),
        shuffled(make(folds[-1]), settings, learner),
        planted(make, folds, words),
    ]


# --- futures ------------------------------------------------------------------------------------


def changed(parts: Parts, later: tuple[str, ...], words: list[str]) -> Parts:
    """The same parts, with every word of the later ones another, drawn from all alike."""
    draw = np.random.Generator(np.random.Philox(0))
    return parts | {part: dataclasses.replace(parts[part], ids=_others(parts[part].ids, words, draw)) for part in later}


def changed_behind(blocks: Paragraphs, last: int, words: list[str]) -> Paragraphs:
    """The same text, with every word behind a paragraph, exclusive, another; paragraphs stay as long as they are."""
    kept = int(blocks.lengths[:last].sum())
    others = _others(blocks.ids[kept:], words, np.random.Generator(np.random.Philox(0)))
    return dataclasses.replace(blocks, ids=np.concatenate([blocks.ids[:kept], others]))


def _others(ids: Ids, words: list[str], draw: np.random.Generator) -> Ids:
    return draw.integers(len(words), size=len(ids)).astype(np.int32)


def _of(folds: Sequence[Parts]) -> str:
    return f" of {len(folds)} folds" if len(folds) > 1 else ""


def _in(number: int, folds: Sequence[Parts]) -> str:
    return f"fold {number}: " if len(folds) > 1 else ""


def _known(data: TextData, part: str) -> bytes:
    own = data.stretches[part]
    return np.asarray(data.ids[own.start : own.stop]).tobytes()


# --- proofs -------------------------------------------------------------------------------------


def pieces(blocks: Paragraphs, words: list[str], spec: TextWindows, folds: Sequence[Parts]) -> Proof:
    """The parts of a fold, with what was dropped from them, are the same bytes whatever comes behind its piece of the test part."""
    for number, parts in enumerate(folds[:-1], start=1):
        last = text.bounds(blocks, spec, number - 1)["test"][1]
        other = text.split(changed_behind(blocks, last, words), spec, number - 1)[0]
        for part, own in parts.items():
            if own.ids.tobytes() != other[part].ids.tobytes():
                return Proof("folds", False, f"words of {part} of fold {number} change with those behind the words that it tests")
    return Proof("folds", True, f"every word behind each fold's test words another, in {len(folds)} folds: its parts are the same")


def windows(make: Make, folds: Sequence[Parts], words: list[str]) -> Proof:
    """The vocabulary, and the ids of what comes before a split, are the same bytes whatever comes after it, in every fold."""
    name, compared, known = "windows and vocabulary", 0, 0
    for number, parts in enumerate(folds, start=1):
        data = make(parts)
        known += len(data.vocabulary)
        for later, before in ((("validation", "test"), ("train",)), (("test",), ("train", "validation"))):
            other, behind = make(changed(parts, later, words)), f"with the words of {' and '.join(later)}"
            if other.vocabulary != data.vocabulary:
                return Proof(name, False, f"{_in(number, folds)}the vocabulary changes {behind}")
            for part in before:
                if _known(data, part) != _known(other, part):
                    return Proof(name, False, f"{_in(number, folds)}ids of {part} change {behind}")
                compared += data.stretches[part].stop - data.stretches[part].start
    said = f"every word after train, and after validation{_of(folds)}, another: {compared:,} ids and {known:,} words are the same"
    return Proof(name, True, said)


def weights(make: Make, folds: Sequence[Parts], words: list[str], settings: Settings, learner: Learner) -> Proof:
    """The weights after an epoch are the same bytes whatever comes after the training part, in every fold."""
    said, count = f"{EPOCHS} epoch, every word after train{_of(folds)} another", 0
    for number, parts in enumerate(folds, start=1):
        both = make(parts), make(changed(parts, ("validation", "test"), words))
        one, two = (learner.epochs(LanguageModelTask.of(each, settings), EPOCHS) for each in both)
        if not same(one, two):
            return Proof("weights", False, f"{said}: {_in(number, folds)}{one.weights.numel():,} weights differ")
        count += one.weights.numel()
    return Proof("weights", True, f"{said}: {count:,} weights are the same bytes")


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


def planted(make: Make, folds: Sequence[Parts], words: list[str]) -> Proof:
    """A leak, planted on purpose, is caught: a vocabulary that was counted on all parts."""

    def of_all(parts: Parts) -> TextData:
        whole = [parts[part] for part in ("train", "validation", "test")]
        counted = Paragraphs(*(np.concatenate([getattr(own, name) for own in whole]) for name in ("ids", "lengths", "characters")))
        vocabulary = make({**parts, "train": counted}).vocabulary
        return dataclasses.replace(make(parts), vocabulary=vocabulary)

    if windows(of_all, folds, words).holds:
        return Proof("planted leaks", False, "not caught: a vocabulary counted on all parts. This audit sees nothing")
    return Proof("planted leaks", True, "a vocabulary counted on all parts, planted here, is caught")


def maker(spec: TextWindows, words: list[str]) -> Make:
    """The windows room's own way from parts to windows."""
    return lambda parts: cutting.text_of_parts(parts, dict.fromkeys(parts, 0), [], words, text.count(parts["train"].ids, words), spec)
