"""A language model of the size of the field's: embeddings of 200, two LSTMs of 200, 10,000 words, 35 steps, batch 20."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from side import Round, interleaved
from stock import RATE, driven
from torch import nn

from longshort.config import LanguageModelTask as Settings
from longshort.config import TextWindows, Variant
from longshort.models.network import Network
from longshort.tasks.language_model import LanguageModelTask
from longshort.training.loop import generator_of
from longshort.windows.files import TextData
from longshort.windows.text import Stretch, Vocabulary

WORDS, EMBEDDING, STEPS, ROWS, BATCHES = 10_000, 200, 35, 20, 40


def text() -> np.ndarray:
    """Words at random, frequent ones first, enough for the batches of an epoch."""
    draw = np.random.Generator(np.random.Philox(0))
    return np.minimum(draw.zipf(1.2, STEPS * ROWS * BATCHES + 1) - 1, WORDS - 1).astype(np.int32)


def ptb(times: int) -> dict[str, Any]:
    """train-ptb."""
    found = interleaved({"native": _our_language_model(), "torch": _torchs_language_model()}, times)
    words = {name: STEPS * ROWS * BATCHES / own["seconds"] for name, own in found.items()}
    return {"unit": "words a second", "value": words["native"], "ratio_vs": {"torch": words["native"] / words["torch"]}, "all": words}


def _our_language_model() -> Round:
    ids = text()
    spec = TextWindows(lookback=STEPS, min_count=1, max_vocabulary=WORDS, validation=0.1, test=0.1)
    data = TextData(spec, ids, {"train": Stretch(0, len(ids), 1)}, Vocabulary(tuple(map(str, range(WORDS)))), {}, [])
    task = LanguageModelTask.of(data, Settings(embedding_size=EMBEDDING, dropout=0.2, tied=False))
    variant = Variant(cell="lstm", hidden_size=EMBEDDING, num_layers=2, bidirectional=False, dropout=0.2)
    return driven(Network(task, variant, "native", [generator_of(0)]), task, "native", len(os.sched_getaffinity(0)), ROWS)


def _torchs_language_model() -> Round:
    ids = torch.from_numpy(text().astype(np.int64))
    read, target = ids[:-1].view(ROWS, -1, STEPS).transpose(0, 1), ids[1:].view(ROWS, -1, STEPS).transpose(0, 1)
    table, layers, head = (
        nn.Embedding(WORDS, EMBEDDING),
        nn.LSTM(EMBEDDING, EMBEDDING, 2, batch_first=True, dropout=0.2),
        nn.Linear(EMBEDDING, WORDS),
    )
    dropout, loss = nn.Dropout(0.2), nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam([*table.parameters(), *layers.parameters(), *head.parameters()], lr=RATE)

    def epoch() -> None:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        for some, wanted in zip(read, target, strict=True):
            optimiser.zero_grad()
            states, _ = layers(dropout(table(some)))
            loss(head(dropout(states)).flatten(0, 1), wanted.flatten()).backward()
            optimiser.step()

    return epoch
