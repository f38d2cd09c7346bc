"""What each regulariser of a language model gives: one text, one size of network, three seeds; perplexity on validation and test."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
import torch

from longshort.config import LanguageModelTask as Settings
from longshort.config import Optimisation, Variant
from longshort.evaluation.tables import spread
from longshort.models.encoder import at_hand
from longshort.models.network import Network
from longshort.systems import sources
from longshort.tasks.language_model import LanguageModelTask
from longshort.training.loop import Member, generator_of, means, state_of, train

DOCUMENTS, HIDDEN, SEEDS = 40, 64, (0, 1, 2)
# as many epochs for all, at a rate that has come down by the last; the best one is kept
HOW = Optimisation(optimizer="adam", learning_rate=0.005, decay=0.85, batch_size=16, max_epochs=14, patience=3, clip_norm=1.0)
# of the network, and of what stands before and behind it
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "none": ({}, {}),
    "dropout 0.3": ({"dropout": 0.3}, {"dropout": 0.3}),
    "tied weights": ({}, {"tied": True}),
    "variational dropout 0.3": ({"variational_dropout": 0.3}, {}),
    "weight dropout 0.5": ({"weight_dropout": 0.5}, {}),
    "layer normalisation": ({"cell": "lstm_layer_norm"}, {}),
    "dropout and tied weights": ({"dropout": 0.3}, {"dropout": 0.3, "tied": True}),
    "variational, weight dropout, tied": ({"variational_dropout": 0.3, "weight_dropout": 0.5}, {"tied": True}),
}


def regularisers(_: int) -> dict[str, Any]:
    """regularisers."""
    data = sources.topics(DOCUMENTS).data
    train_part = data.stretches["train"]
    found: dict[str, Any] = {}
    for name, (network, task) in KINDS.items():
        began = time.process_time()
        variant = Variant(**{"cell": "lstm", "hidden_size": HIDDEN, "num_layers": 1, "bidirectional": False, "dropout": 0.0, **network})
        own = LanguageModelTask.of(data, Settings(**{"embedding_size": HIDDEN, "dropout": 0.0, "tied": False, "carried": True, **task}))
        runs = [_perplexities(own, variant, seed) for seed in SEEDS]
        parts = {part: [run[part] for run in runs] for part in runs[0]}
        found[name] = {part: [round(float(np.mean(own)), 1), round(spread(own), 1)] for part, own in parts.items()}
        found[name]["processor seconds"] = round(time.process_time() - began)
        print(name, found[name], file=sys.stderr, flush=True)
    best = min(found, key=lambda name: found[name]["validation"][0])
    words = f"{train_part.stop - train_part.start:,} words to learn from, {len(data.vocabulary):,} different"
    said = {
        "unit": "perplexity on test, mean and standard deviation of three seeds",
        "value": found[best]["test"],
        "best on validation": best,
    }
    return said | {"data": words, "all": found}


def _perplexities(task: LanguageModelTask, variant: Variant, seed: int) -> dict[str, float]:
    """Of the best epoch, and which that was."""
    torch.set_num_threads(1)
    cpu, engine = torch.device("cpu"), at_hand("native", variant)
    (done,) = train([Member(f"s{seed}", seed, task, HOW)], variant, engine, cpu, [None], lambda *_: None)
    if done.dropped:
        sys.exit(done.dropped)
    network = Network(task, variant, engine, [generator_of(seed)])
    network.load_state_dict(state_of(network, done.best_weights))
    found = {part: math.exp(means(network, [task], part, cpu, [0])[0].loss) for part in ("validation", "test")}
    return {**found, "best epoch": done.best_epoch}
