"""What every task offers to the networks in `models` and to the one loop in `training`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import Params
from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators

if TYPE_CHECKING:
    from longshort.models.masks import Masks

Batch = tuple[Tensor, Tensor]  # what the network reads, and what it should have said
Numbers = NDArray[np.int64]
Stretch = tuple[int, Numbers, Numbers | None]  # rank of the first window, where each begins, how much of each is charged (None: all)


class Network(Protocol):
    """What a task asks of a fleet of networks that it charges; `models.network` has it."""

    head: nn.Module

    def encode(self, read: Tensor, draw: Masks | None = None) -> tuple[Tensor, Tensor]:
        """The recurrent layers' states (K, batch, steps, width) and final state (K, batch, final_width)."""

    def __call__(self, read: Tensor, draw: Masks | None = None) -> Tensor:
        """The answer."""


class Task(Protocol):
    """A task with its examples at hand; K is the number of members of a fleet that is asked it."""

    @property
    def name(self) -> TaskName:
        """The task's name."""

    @property
    def inputs(self) -> int:
        """Features of each step that reaches the recurrent layers."""

    @property
    def dropout(self) -> float:
        """The share that is dropped of what the recurrent layers read, and of their states before the head."""

    @property
    def uncharged(self) -> float:
        """The target of what is not charged."""

    def front(self, generators: Generators) -> nn.Module:
        """The module before the recurrent layers: what the network reads -> (K, batch, steps, inputs)."""

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """The module behind them: states (K, batch, steps, width) and final (K, batch, final_width) -> the answer."""

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """One pass over a part, for one member. Shuffled for ``train`` as a pure function of seed and epoch, in order elsewhere."""

    def order(self, part: str, seed: int, epoch: int, size: int) -> Iterator[Stretch]:
        """Where the windows of the same pass begin in the series or the text, in its order, at most ``size`` at a time."""

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None) -> tuple[Tensor, Tensor]:
        """Each member's summed loss on its batch (K,), and over how many terms (K,), so that means are exact whatever the batch sizes.

        read    the members' batches, the axis of members in front; target likewise, `uncharged` where nothing is asked
        draw    where the batch stands in its epoch, for the network's dropout; only handed on
        """

    def description(self) -> dict[str, Any]:
        """What a served model must know besides its weights, as JSON."""


def open_task(name: TaskName, folder: Path, params: Params) -> Task:
    """The task of a windows artefact (already verified), with its settings from params.yaml."""
    from longshort.tasks.forecast import ForecastTask
    from longshort.tasks.language_model import LanguageModelTask
    from longshort.windows import files

    if name == "forecast":
        return ForecastTask.of(files.read_prices(folder))
    return LanguageModelTask.of(files.read_text(folder), params.tasks.language_model)
