"""Language model: the next word at every word, by a network whose states go on from window to window; and what its embeddings hold.

The head is tied to the embeddings, so a word is likely where the state lies in its direction, and words that are used alike come to lie
together. Perplexity on test is that of one stream: every token once, behind all that stands before it in the part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longshort import serving
from longshort.config import LanguageModelTask as Settings
from longshort.config import Optimisation, Variant, unfit
from longshort.errors import UsageError
from longshort.evaluation import metrics
from longshort.evaluation.ngrams import Trigram, Unigram
from longshort.evaluation.tables import Table
from longshort.models.artefact import Model, shape_of
from longshort.models.encoder import Carried
from longshort.systems import pictures, sources
from longshort.systems.fitting import Fitted, described, fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.systems.sources import Source
from longshort.tasks.language_model import LanguageModelTask

Array = NDArray[np.float64]

FIELD = {"small": 114.5, "medium": 82.7, "large": 78.4, "AWD-LSTM": 57.3}  # test perplexity on the Penn Treebank, as published
UNIGRAM, TRIGRAM = "unigram", "Kneser-Ney trigram"
STEPS = 256  # words read at a time where nothing is learned; states go on, so no figure hangs on it
OPENING, WRITTEN = {True: "the company said", False: "the value of"}, 60  # what a passage begins with, and words of it
SEEN = 20  # times in train, of words whose neighbours are told: of rarer ones little was learned
NEIGHBOURS = 5
# whose neighbours are told, where the text has them
ASKED = {
    True: ("monday", "million", "president", "bank", "shares", "october", "japan", "rose", "he", "should", "oil", "computer"),
    False: ("function", "integer", "tuple", "must", "raised", "two", "module", "first", "method", "statement", "list", "true"),
}


def run(occasion: Occasion) -> Outcome:
    """Train a network a seed, and read the test part.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    source = sources.read(occasion)
    task, variant, how = asked(occasion, source)
    fitted, seconds = fit(occasion, "language-model", [task], variant, how)
    data, test = source.data, source.data.stretches["test"]
    found = [stream_nats(one, data.ids, test.start) for one in fitted]
    naive = naive_nats(source)
    perplexity = Figure.over(
        f"test perplexity, {described(variant)}",
        [metrics.perplexity(float(nats.mean())) for nats in found],
        naive={name: metrics.perplexity(float(nats.mean())) for name, nats in naive.items()},
    )
    bits = Figure.over(
        "bits a character",
        [metrics.bits_per_character(float(nats.sum()), test.characters) for nats in found],
        naive={name: metrics.bits_per_character(float(nats.sum()), test.characters) for name, nats in naive.items()},
    )
    validation = [math.exp(one.best["validation_loss"]) for one in fitted]
    words = sum(len(one.history) for one in fitted) * (data.stretches["train"].stop - data.stretches["train"].start)
    model = as_model(fitted[0], task, variant)
    near = neighbours(model, source)
    passage, _ = serving.generate(model, OPENING[source.penn], WRITTEN)
    best = min(FIELD, key=lambda name: abs(FIELD[name] - perplexity.value))
    beside = f"the field's {best} {FIELD[best]:g}, " if source.treebank else ""
    return Outcome(
        data=source.name,
        real=source.treebank,
        figures=[
            perplexity,
            bits,
            Figure.over("validation perplexity", validation),
            Figure("words a second in training", words / seconds),
        ],
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "task": {"embedding_size": task.inputs, "dropout": task.dropout, "tied": task.tied, "carried": task.carried},
            "vocabulary": len(data.vocabulary),
            "parameters": sum(own[0].numel() for own in fitted[0].network.parameters()),
            "seconds": round(seconds),
        },
        tables={"neighbours": near, "curve": _by_epoch(fitted)},
        pictures={
            "curve": pictures.perplexity_curves(
                [one.history for one in fitted],
                {name: metrics.perplexity(float(nats.mean())) for name, nats in naive.items() if name == TRIGRAM},
                FIELD if beside else {},
                perplexity.value,
                f"{described(variant)}: {perplexity.value:.1f} on test; {beside}trigram {perplexity.naive[TRIGRAM]:.1f}",
            ),
            **_map(model, near, source),
        },
        said=_told(near, passage),
    )


def asked(occasion: Occasion, source: Source) -> tuple[LanguageModelTask, Variant, Optimisation]:
    """The task, the network and its training, as a person set them; embeddings are as wide as states, for the head is tied to them.

    raises  UsageError when the network reads both ways, or its cell answers once alone
    """
    if source.penn:
        variant = occasion.variant(cell="lstm", hidden_size=200, num_layers=2, dropout=0.2)
        how = occasion.optimisation(optimizer="adam", learning_rate=0.003, decay=0.82, batch_size=20, max_epochs=14, patience=3)
    else:
        variant = occasion.variant(cell="lstm", hidden_size=150, dropout=0.4)
        how = occasion.optimisation(optimizer="adam", learning_rate=0.003, decay=0.9, batch_size=16, max_epochs=20, patience=3)
    if occasion.fast:
        how = how.model_copy(update={"max_epochs": min(how.max_epochs, 2)})
    if reason := unfit("language-model", variant, None):
        raise UsageError(f"--set: the network {reason.replace('take `bidirectional: false`', 'leave it out')}.")
    settings = Settings(
        embedding_size=variant.projection_size or variant.hidden_size, dropout=min(variant.dropout, 0.95), tied=True, carried=True
    )
    return LanguageModelTask.of(source.data, settings), variant, how


def as_model(fitted: Fitted, task: LanguageModelTask, variant: Variant) -> Model:
    """A trained network as the pipeline's own are held, so that what serves those serves it."""
    shape = {"shape": shape_of("language-model", task), "variant": variant.model_dump()}
    card = {"task": "language-model", **shape, "description": task.description(), "origin": {"engine": "native"}}
    return Model("language-model", fitted.network, card, "")


@torch.inference_mode()
def stream_nats(fitted: Fitted, ids: NDArray[np.integer[Any]], start: int) -> Array:
    """-ln p of each of ``ids[start:]``, read in one stream from a state of zeros: the first behind the one token before it."""
    read, carried, nats = torch.from_numpy(np.array(ids[start - 1 :], np.int64)), Carried(), []
    for first in range(0, len(read) - 1, STEPS):
        some = read[first : first + STEPS + 1]
        logits = fitted.network(some[None, None, :-1], carried=carried)[0, 0]
        nats.append(torch.nn.functional.cross_entropy(logits, some[1:], reduction="none").double().numpy())
    return np.concatenate(nats)


def naive_nats(source: Source) -> dict[str, Array]:
    """The same of what is counted on the training part."""
    data, (train, test) = source.data, (source.data.stretches[part] for part in ("train", "test"))
    ids, size = data.ids[train.start : train.stop], len(data.vocabulary)
    fits: dict[str, Unigram | Trigram] = {UNIGRAM: Unigram.fit(ids, size), TRIGRAM: Trigram.fit(ids, size)}
    return {name: each.nats(data.ids, test.start) for name, each in fits.items()}


def _directions(model: Model) -> Array:
    """The embeddings, each as long as 1: (vocabulary, size)."""
    table = model.network.state_dict()["front.table"][0].double().numpy()
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12))


def neighbours(model: Model, source: Source) -> Table:
    """Of some words the nearest ones by the cosine of their embeddings, of those seen often enough."""
    words, train = source.data.vocabulary.words, source.data.stretches["train"]
    seen = np.bincount(source.data.ids[train.start : train.stop], minlength=len(words))
    often = np.flatnonzero((seen >= SEEN) & np.array([word.isalpha() for word in words]))
    of = {words[number]: number for number in often}
    frequent = sorted(of, key=lambda word: -seen[of[word]])
    # a text that has none of these is asked of its own words, the most frequent that are no particles
    told = [word for word in ASKED[source.penn] if word in of] or [word for word in frequent if len(word) > 4][: len(ASKED[True])]
    directions = _directions(model)
    rows = []
    for word in told:
        likeness = directions[often] @ directions[of[word]]
        near = [number for number in np.argsort(-likeness, kind="stable") if often[number] != of[word]][:NEIGHBOURS]
        rows.append([word, *(f"{words[often[number]]} {likeness[number]:.2f}" for number in near)])
    return Table(["word", *map(str, range(1, NEIGHBOURS + 1))], rows)


def _map(model: Model, near: Table, source: Source) -> dict[str, bytes]:
    """The words of the table and their neighbours on a plane; none where there are too few words to have neighbours."""
    groups = [[row[0], *(told.rpartition(" ")[0] for told in row[1:])] for row in near.rows]
    number = {word: place for place, word in enumerate(source.data.vocabulary.words)}
    shown = list(dict.fromkeys(word for group in groups for word in group))
    if len(shown) <= NEIGHBOURS:
        return {}
    points = _directions(model)[[number[word] for word in shown]]
    title = "Words that are used alike lie together"
    return {"neighbours": pictures.word_map(shown, points, [group[0] for group in groups], groups, title)}


def _by_epoch(fitted: Sequence[Fitted]) -> Table:
    rows = [
        [one.seed, epoch["epoch"], math.exp(epoch["train_loss"]), math.exp(epoch["validation_loss"])]
        for one in fitted
        for epoch in one.history
    ]
    return Table(["seed", "epoch", "train perplexity", "validation perplexity"], rows)


def _told(near: Table, passage: str) -> str:
    lines = [f"  {row[0]}: {', '.join(told.rpartition(' ')[0] for told in row[1:])}" for row in near.rows]
    return "\n".join([*(["nearest words", *lines, ""] if lines else []), passage.replace(f" {sources.END}", ".")])
