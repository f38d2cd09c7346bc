"""A network trained as its item is, for a few epochs, and asked what it came to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from longshort.config import Optimisation, Variant
from longshort.errors import DataRefused
from longshort.models import artefact
from longshort.models.artefact import Model
from longshort.models.network import Network
from longshort.tasks.task import Task
from longshort.training.loop import Member, Progress, state_of, train


class Learner:
    """Trains networks of one item's settings, always on the CPU, from the same seed."""

    def __init__(self, variant: Variant, settings: Optimisation, engine: str, seed: int) -> None:
        self._variant, self._settings, self._engine, self._seed = variant, settings, engine, seed

    def epochs(self, task: Task, count: int) -> Progress:
        """What the network comes to in so many epochs, whatever its validation says.

        raises  DataRefused when it diverges
        """
        return self._train(task, self._settings.model_copy(update={"max_epochs": count, "patience": count}))

    def model(self, task: Task, most: int) -> Model:
        """The best epoch of at most so many, as a model that can be asked.

        raises  DataRefused when it diverges
        """
        settings = self._settings.model_copy(update={"max_epochs": min(self._settings.max_epochs, most)})
        best = self._train(task, settings).best_weights
        state = state_of(Network(task, self._variant, self._engine), best)
        with tempfile.TemporaryDirectory() as folder:
            card = {"description": task.description(), "origin": {"engine": self._engine}}
            artefact.save(Path(folder), task.name, task, self._variant, state, card)
            return artefact.load(Path(folder))

    def _train(self, task: Task, settings: Optimisation) -> Progress:
        member = Member("audit", self._seed, task, settings)
        progress = train([member], self._variant, self._engine, torch.device("cpu"), [None], lambda *_: None)[0]
        if progress.dropped:
            raise DataRefused(f"the network of the audit diverged: {progress.dropped}")
        return progress


def same(one: Progress, other: Progress) -> bool:
    """Whether two trainings came to the same bytes: the weights, and the losses on the training part."""
    losses = [[epoch["train_loss"] for epoch in each.history] for each in (one, other)]
    return losses[0] == losses[1] and torch.equal(one.weights, other.weights)
