"""Texts: what a language model is charged for each word of a part, every word once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.evaluation import metrics
from longshort.models.artefact import Model
from longshort.windows.text import Stretch, scoring_windows
from longshort.windows.tokens import Ids

Array = NDArray[np.float64]
BATCH = 128
UNKNOWN_ID = 0


def token_nats(model: Model, ids: Ids, stretch: Stretch) -> Array:
    """-ln p of each token of a stretch, after half a window of context or more.

    ids      (tokens,) the whole text in the model's own vocabulary; what stands before the stretch is context
    returns  (stretch.stop - stretch.start,), less the text's very first token, which nothing comes before
    """
    lookback = int(model.card["description"]["spec"]["lookback"])
    starts, counts = scoring_windows(stretch, lookback)
    nats = []
    for first in range(0, len(starts), BATCH):
        some, count = starts[first : first + BATCH], counts[first : first + BATCH]
        window = torch.from_numpy(ids[some[:, None] + np.arange(lookback + 1)].astype(np.int64))
        losses = torch.nn.functional.cross_entropy(model(window[:, :-1]).transpose(1, 2), window[:, 1:], reduction="none")
        charged = np.arange(lookback) >= lookback - count[:, None]
        nats.append(losses.numpy()[charged].astype(np.float64))
    return np.concatenate(nats)


def score(nats: Array, stretch: Stretch) -> dict[str, float]:
    """Perplexity, and bits a character of the text as it was read (lower case, [NUM], [URL] and [UNK] for what they stand for)."""
    return {
        "loss": float(nats.mean()),
        "perplexity": metrics.perplexity(float(nats.mean())),
        "bits_per_character": metrics.bits_per_character(float(nats.sum()), stretch.characters),
    }


def spelling_nats(words: Iterable[str], ids: Ids) -> float:
    """What it costs to spell out the words that became [UNK], at eight bits a byte and one byte to end.

    Added to a model's own nats, it makes models with different vocabularies comparable: one that calls
    every word unknown is no longer cheap.
    """
    unknown = [word for word, number in zip(words, ids, strict=True) if number == UNKNOWN_ID]
    return float(sum(len(word.encode()) + 1 for word in unknown) * np.log(256))
