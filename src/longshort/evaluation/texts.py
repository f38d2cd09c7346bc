"""Texts: what a language model is charged for each word of a part, every word once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.evaluation import metrics
from longshort.evaluation.tables import Table, spread
from longshort.models.artefact import Model
from longshort.models.encoder import Carried
from longshort.windows.text import Streams, Stretch, scoring_streams, scoring_windows
from longshort.windows.tokens import Ids

Array = NDArray[np.float64]
BATCH = 128
UNKNOWN_ID = 0


def token_nats(model: Model, ids: Ids, stretch: Stretch) -> Array:
    """-ln p of each token of a stretch: after half a window of context or more, or where the model carries its state, a whole one.

    ids      (tokens,) the whole text in the model's own vocabulary; what stands before the stretch is context
    returns  (stretch.stop - stretch.start,), less the text's very first token, which nothing comes before
    """
    lookback = int(model.card["description"]["spec"]["lookback"])
    if model.card["description"].get("carried"):  # models of before it was asked do not say
        return _carried_nats(model, ids, scoring_streams(stretch, lookback), lookback)
    starts, counts = scoring_windows(stretch, lookback)
    nats = []
    for first in range(0, len(starts), BATCH):
        some, count = starts[first : first + BATCH], counts[first : first + BATCH]
        losses = _losses(model, ids, some, lookback)
        nats.append(losses[np.arange(lookback) >= lookback - count[:, None]])
    return np.concatenate(nats)


def _carried_nats(model: Model, ids: Ids, streams: Streams, lookback: int) -> Array:
    carried, windows = Carried(), len(streams.starts)
    steps = [lookback] * (windows - 1) + [streams.last]
    losses = np.concatenate([_losses(model, ids, *each, carried) for each in zip(streams.starts, steps, strict=True)], axis=1)
    return losses[np.arange(sum(steps)) >= sum(steps) - streams.counts.sum(axis=0)[:, None]]


def _losses(model: Model, ids: Ids, starts: NDArray[np.int64], steps: int, carried: Carried | None = None) -> Array:
    """-ln p of the token after each that the windows read: (windows, steps)."""
    window = torch.from_numpy(ids[starts[:, None] + np.arange(steps + 1)].astype(np.int64))
    logits = model(window[:, :-1], carried).transpose(1, 2)
    return torch.nn.functional.cross_entropy(logits, window[:, 1:], reduction="none").numpy().astype(np.float64)


def score(nats: Array, characters: int) -> dict[str, float]:
    """Perplexity, and bits a character of the text as it was read (lower case, [NUM], [URL] and [UNK] for what they stand for)."""
    return {
        "loss": float(nats.mean()),
        "perplexity": metrics.perplexity(float(nats.mean())),
        "bits_per_character": metrics.bits_per_character(float(nats.sum()), characters),
    }


def by_frequency(seeds: Mapping[int, Array], rivals: Mapping[str, Array], seen: NDArray[np.int64]) -> Table:
    """Mean nats of the test tokens whose word stands so often in the training part, by powers of ten; seeds as mean and standard deviation.

    seeds, rivals  (tokens,) -ln p of each token, by seed and by baseline
    seen           (tokens,) how often each token's word stands in the training part
    """
    digits = np.where(seen > 0, np.floor(np.log10(np.maximum(seen, 1))) + 1, 0).astype(int)
    rows: list[list[Any]] = []
    for number in np.unique(digits).tolist():
        own = digits == number
        means = [float(nats[own].mean()) for nats in seeds.values()]
        lowest = 10 ** (number - 1) if number else 0
        rows.append([lowest, int(own.sum()), *(float(nats[own].mean()) for nats in rivals.values()), float(np.mean(means)), spread(means)])
    return Table(["seen_at_least", "tokens", *rivals, "loss", "loss_sd"], rows)


def by_fold(folds: NDArray[np.int64], seeds: Mapping[int, Array], rivals: Mapping[str, Array], ids: Ids) -> Table:
    """Perplexity on each fold's piece of the test part; seeds as mean and standard deviation. Each fold has words of its own.

    folds          (tokens,) which fold each token was tested in
    seeds, rivals  as `by_frequency`; ids: (tokens,)
    """
    rows: list[list[Any]] = []
    for fold in np.unique(folds).tolist():
        own = folds == fold
        naive, found = ([metrics.perplexity(float(nats[own].mean())) for nats in each.values()] for each in (rivals, seeds))
        rows.append([fold, int(own.sum()), float(np.mean(ids[own] == UNKNOWN_ID)), *naive, float(np.mean(found)), spread(found)])
    return Table(["fold", "tokens", "unknown_share", *rivals, "perplexity", "perplexity_sd"], rows)


def spelling_nats(words: Iterable[str], ids: Ids) -> float:
    """What it costs to spell out the words that became [UNK], at eight bits a byte and one byte to end.

    Added to a model's own nats, it makes models with different vocabularies comparable: one that calls
    every word unknown is no longer cheap.
    """
    unknown = [word for word, number in zip(words, ids, strict=True) if number == UNKNOWN_ID]
    return float(sum(len(word.encode()) + 1 for word in unknown) * np.log(256))
