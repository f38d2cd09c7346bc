"""A tutorial's short story: three words in, one number a word, two LSTMs of 512, 112 words, one window a step, RMSProp.

Ours learns the numbers and is charged for all three words that follow one another; the others are given numbers, and charged for the last.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from peers.peer import STORY_HIDDEN, STORY_LAYERS, STORY_LOOKBACK, STORY_STEPS, STORY_WORDS
from side import Round, apart, interleaved
from stock import RATE
from torch import nn

from longshort.config import LanguageModelTask as Settings
from longshort.config import TextWindows, Variant
from longshort.models.engines import ENGINES
from longshort.models.engines.engine import Learning
from longshort.models.network import Network
from longshort.tasks.language_model import LanguageModelTask
from longshort.training.loop import generator_of
from longshort.training.optimisers import EPSILON, Rows
from longshort.windows.files import TextData
from longshort.windows.text import Stretch, Vocabulary

SQUARES = (0.0, 0.99)  # of RMSProp, as the others have it


def story(times: int) -> dict[str, Any]:
    """train-story."""
    own = {f"native, {threads} thread{'s' * (threads > 1)}": _ours(threads) for threads in (1, 2)}
    peers: dict[str, Round] = {f"torch{said}": _torchs(onednn) for said, onednn in (("", True), (" without oneDNN", False))}
    if made := apart("jax-story"):
        peers["jax"] = made
    found = interleaved(own | peers, times)
    rates = {name: STORY_STEPS / one["seconds"] for name, one in found.items()}
    processor = {name: 1000 * one["processor_seconds"] / STORY_STEPS for name, one in found.items()}
    best = max(rates[name] for name in own)
    ratios = {peer: best / rates[peer] for peer in peers}
    return {"unit": "steps a second", "value": best, "ratio_vs": ratios, "all": rates, "processor_ms_a_step": processor}


def _ours(threads: int) -> Round:
    ids = np.random.Generator(np.random.Philox(0)).integers(0, STORY_WORDS, STORY_STEPS * STORY_LOOKBACK + 1).astype(np.int32)
    spec = TextWindows(lookback=STORY_LOOKBACK, min_count=1, max_vocabulary=STORY_WORDS, validation=0.1, test=0.1)
    data = TextData(spec, ids, {"train": Stretch(0, len(ids), 1)}, Vocabulary(tuple(map(str, range(STORY_WORDS)))), {}, [])
    task = LanguageModelTask.of(data, Settings(embedding_size=1, dropout=0.0, tied=False))
    variant = Variant(cell="lstm", hidden_size=STORY_HIDDEN, num_layers=STORY_LAYERS, bidirectional=False, dropout=0.0)
    network = Network(task, variant, "native", [generator_of(0)])
    rows = Rows(network)
    averages = (torch.zeros_like(rows.weights),)
    inside = ENGINES["native"].epochs(network, [task])
    assert inside is not None
    past = {"steps": 0, "epoch": 0}

    def epoch() -> dict[str, float]:
        torch.set_num_threads(threads)
        past["epoch"] += 1
        wall, processor = time.perf_counter(), time.process_time()
        how = Learning(0, past["epoch"], 1, "rmsprop", RATE, 1.0, *SQUARES, EPSILON)
        steps = inside.learn(rows.weights, averages, [past["steps"]], {0: how})[0].steps
        share = STORY_STEPS / (steps - past["steps"])  # an epoch begins at another word each time, and may have one window more or fewer
        past["steps"] = steps
        return {"seconds": share * (time.perf_counter() - wall), "processor_seconds": share * (time.process_time() - processor)}

    return epoch


def _torchs(onednn: bool) -> Round:
    """A plain script in torch, on one thread as in `stock.torchs`. oneDNN lays out the weights anew in each step."""
    layers, head = nn.LSTM(1, STORY_HIDDEN, STORY_LAYERS, batch_first=True), nn.Linear(STORY_HIDDEN, STORY_WORDS)
    optimiser = torch.optim.RMSprop([*layers.parameters(), *head.parameters()], lr=RATE)
    loss = nn.CrossEntropyLoss()
    past, word = torch.rand(STORY_STEPS, 1, STORY_LOOKBACK, 1), torch.randint(STORY_WORDS, (STORY_STEPS, 1))

    def steps() -> None:
        torch.set_num_threads(1)
        with torch.backends.mkldnn.flags(enabled=onednn):
            for read, wanted in zip(past, word, strict=True):
                optimiser.zero_grad()
                loss(head(layers(read)[0][:, -1]), wanted).backward()
                optimiser.step()

    return steps
