"""The training loop: epochs until validation stops getting better, the best weights kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longshort.config import Optimisation
from longshort.errors import TrainingDiverged
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks.task import Task

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),  # Kingma and Ba, 2015
    "rmsprop": torch.optim.RMSprop,  # Tieleman and Hinton, 2012
}
# batches outside training are not learned from, so their size is a matter of memory alone
SCORING_BATCH = 256


@dataclass(frozen=True)
class Epoch:
    """One pass: mean losses in the task's unit, whether validation was the best so far, and its wall time."""

    number: int  # from 1
    train_loss: float
    validation_loss: float
    best: bool
    seconds: float = field(compare=False)

    def result(self) -> dict[str, Any]:
        """What is the same on every run; the wall time is not."""
        return {"epoch": self.number, "train_loss": self.train_loss, "validation_loss": self.validation_loss, "best": self.best}


@dataclass
class Progress:
    """All that a run has come to: continue from it and nothing is different."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    best_weights: dict[str, Tensor]
    history: list[dict[str, Any]]  # `Epoch.result` of each epoch, oldest first

    @property
    def best_epoch(self) -> int:
        """The number of the epoch with the lowest validation loss."""
        return max(entry["epoch"] for entry in self.history if entry["best"])

    def is_over(self, settings: Optimisation) -> bool:
        """Whether patience has run out or the limit is reached."""
        last = self.history[-1]["epoch"] if self.history else 0
        return bool(self.history) and (last - self.best_epoch >= settings.patience or last >= settings.max_epochs)


def train(
    network: Network,
    task: Task,
    settings: Optimisation,
    seed: int,
    device: torch.device,
    resumed: Progress | None,
    after_epoch: Callable[[Epoch, Progress], None],
) -> Progress:
    """Train until validation has not improved for ``settings.patience`` epochs.

    network      freshly initialised; changed in place
    resumed      where an earlier process got to, or None
    after_epoch  called with each epoch and the state to go on from; it may raise to stop
    raises       TrainingDiverged at the first loss or gradient that is not finite
    """
    network.to(device)
    optimizer = OPTIMIZERS[settings.optimizer](network.parameters(), lr=settings.learning_rate)
    progress = Progress(network.state_dict(), optimizer.state_dict(), {}, [])
    if resumed is not None:
        network.load_state_dict(resumed.weights)
        optimizer.load_state_dict(resumed.optimizer)
        progress = resumed
    while not progress.is_over(settings):
        number = len(progress.history) + 1
        began = time.monotonic()
        seed_everything(seed, number)
        train_loss = _learn(network, task, optimizer, settings, seed, number, device)
        validation_loss = mean_loss(network, task, "validation", device)
        if not math.isfinite(validation_loss):
            raise TrainingDiverged(f"epoch {number}, after its last step: validation loss {validation_loss:g}. {_remedy(task, settings)}")
        lowest = min((entry["validation_loss"] for entry in progress.history), default=math.inf)
        best = validation_loss < lowest
        epoch = Epoch(number, train_loss, validation_loss, best, time.monotonic() - began)
        weights = copy.deepcopy(network.state_dict())
        progress = Progress(
            weights,
            copy.deepcopy(optimizer.state_dict()),
            weights if best else progress.best_weights,
            [*progress.history, epoch.result()],
        )
        after_epoch(epoch, progress)
    return progress


def seed_everything(seed: int, epoch: int) -> None:
    """Set torch's generators from (seed, epoch); epoch 0 is initialisation.

    Drawn anew each epoch, so that no generator's state has to outlive a crash.
    """
    torch.manual_seed(int(np.random.Philox(key=[seed, epoch]).random_raw() >> np.uint64(1)))


def _learn(
    network: Network,
    task: Task,
    optimizer: torch.optim.Optimizer,
    settings: Optimisation,
    seed: int,
    epoch: int,
    device: torch.device,
) -> float:
    network.train()
    total, terms, place = 0.0, 0, 0
    for step, (read, target) in enumerate(task.batches("train", settings.batch_size, seed, epoch)):
        optimizer.zero_grad(set_to_none=True)
        loss, count = task.loss(network, read.to(device), target.to(device), Draw((seed,), epoch, place))
        place += len(read)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        if not (torch.isfinite(norm) and torch.isfinite(loss)):
            raise TrainingDiverged(
                f"epoch {epoch}, step {step + 1}: loss {loss.item() / count:g}, gradient norm {norm.item():g}. {_remedy(task, settings)}"
            )
        optimizer.step()
        total, terms = total + loss.item(), terms + count
    return total / terms


@torch.inference_mode()
def mean_loss(network: Network, task: Task, part: str, device: torch.device) -> float:
    """Mean loss over a part, in the task's unit, dropout off."""
    network.eval()
    total, terms = 0.0, 0
    for read, target in task.batches(part, SCORING_BATCH, seed=0, epoch=0):
        loss, count = task.loss(network, read.to(device), target.to(device))
        total, terms = total + loss.item(), terms + count
    return total / terms


def _remedy(task: Task, settings: Optimisation) -> str:
    return f"Lower `training.{task.name}.learning_rate` (now {settings.learning_rate:g}) in params.yaml."
