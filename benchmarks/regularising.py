"""What each regulariser of a language model gives: one text, one size of network, three seeds; perplexity on validation and test."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longshort.config import LanguageModelTask as Settings
from longshort.config import Optimisation, Variant
from longshort.evaluation.tables import spread
from longshort.models.encoder import Carried, at_hand
from longshort.models.masks import Masks
from longshort.models.network import Network
from longshort.systems import sources
from longshort.tasks.cross_entropy import IGNORED
from longshort.tasks.language_model import LanguageModelTask
from longshort.tasks.task import Charge
from longshort.training.loop import Member, generator_of, means, state_of, train

DOCUMENTS, HIDDEN, SEEDS = 40, 64, (0, 1, 2)
# as many epochs for all, at a rate that has come down by the last; the best one is kept
HOW = Optimisation(optimizer="adam", learning_rate=0.005, decay=0.92, batch_size=16, max_epochs=30, patience=5, clip_norm=1.0)
SGD = {"optimizer": "sgd", "learning_rate": 10.0}
AVERAGED = {"decay": 1.0, "averaged_after": 7, "max_epochs": 20}  # where the rate stays fewer epochs do
DROPOUT = {"dropout": 0.3}
# of the network, of what stands before and behind it, and of how it is trained
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "none": ({}, {}, {}),
    "dropout 0.3": (DROPOUT, DROPOUT, {}),
    "tied weights": ({}, {"tied": True}, {}),
    "variational dropout 0.3": ({"variational_dropout": 0.3}, {}, {}),
    "weight dropout 0.5": ({"weight_dropout": 0.5}, {}, {}),
    "layer normalisation": ({"cell": "lstm_layer_norm"}, {}, {}),
    "label smoothing 0.1": ({}, {}, {}),
    "SGD": ({}, {}, SGD),
    "averaged SGD": ({}, {}, SGD | AVERAGED),
    "averaged Adam": ({}, {}, AVERAGED),
    "dropout and tied weights": (DROPOUT, DROPOUT | {"tied": True}, {}),
    "variational, weight dropout, tied": ({"variational_dropout": 0.3, "weight_dropout": 0.5}, {"tied": True}, {}),
    "dropout, SGD": (DROPOUT, DROPOUT, SGD),
    "dropout, averaged SGD": (DROPOUT, DROPOUT, SGD | AVERAGED),
    "weight dropout, averaged SGD": ({"weight_dropout": 0.5}, {}, SGD | AVERAGED),
    "weight dropout, layer normalisation": ({"cell": "lstm_layer_norm", "weight_dropout": 0.5}, {}, {}),
}
SMOOTHED, SMOOTHING = "label smoothing 0.1", 0.1  # no setting of a language model


def regularisers(_: int) -> dict[str, Any]:
    """regularisers."""
    data = sources.topics(DOCUMENTS).data
    train_part = data.stretches["train"]
    found: dict[str, Any] = {}
    for name, (network, settings, how) in KINDS.items():
        began = time.process_time()
        variant = Variant(**{"cell": "lstm", "hidden_size": HIDDEN, "num_layers": 1, "bidirectional": False, "dropout": 0.0, **network})
        task = LanguageModelTask.of(
            data, Settings(**{"embedding_size": HIDDEN, "dropout": 0.0, "tied": False, "carried": True, **settings})
        )
        if name == SMOOTHED:
            task = Smoothed(**vars(task))
        runs = [_perplexities(task, variant, HOW.model_copy(update=how), seed) for seed in SEEDS]
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


class Smoothed(LanguageModelTask):
    """A language model, in training with a share of each target spread over all words (Szegedy et al., 2016)."""

    def loss(self, network: Any, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """See `Task`."""
        if draw is None:
            return super().loss(network, read, target, draw, carried)
        logits = network.head(*network.encode(read, draw, carried))
        losses = nn.functional.cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="sum", label_smoothing=SMOOTHING)
        return Charge(losses[None], (target != IGNORED).flatten(1).sum(1))


def _perplexities(task: LanguageModelTask, variant: Variant, how: Optimisation, seed: int) -> dict[str, float]:
    """Of the best epoch, and which that was."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    # whole passes in the compiled library have a loss of their own
    cpu, engine = torch.device("cpu"), "torch" if isinstance(task, Smoothed) else at_hand("native", variant)
    (done,) = train([Member(f"s{seed}", seed, task, how)], variant, engine, cpu, [None], lambda *_: None)
    if done.dropped:
        sys.exit(done.dropped)
    network = Network(task, variant, engine, [generator_of(seed)])
    network.load_state_dict(state_of(network, done.best_weights))
    found = {part: math.exp(means(network, [task], part, cpu, [0])[0].loss) for part in ("validation", "test")}
    return {**found, "best epoch": done.best_epoch}
