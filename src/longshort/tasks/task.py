"""What every task offers to the networks in `models` and to the one loop in `training`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import Params
from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks

Batch = tuple[Tensor, Tensor]  # what the network reads, and what it should have said
Numbers = NDArray[np.int64]


class Stretch(NamedTuple):
    """Windows that follow one another in the order of a pass.

    place   the rank in the pass of the first
    starts  (windows,) where each begins in the series or the text
    counts  (windows,) how many of the last tokens of each are charged; None: all that it has
    steps   that each reads
    rows    windows of a batch
    """

    place: int
    starts: Numbers
    counts: Numbers | None
    steps: int
    rows: int


class Charge(NamedTuple):
    """What a batch costs, by member.

    losses  (K,) summed; terms (K,) over how many, so that means are exact whatever the batch sizes
    right   (K,) how many of the terms were answered rightly; None where there is no right or wrong
    """

    losses: Tensor
    terms: Tensor
    right: Tensor | None = None


class Network(Protocol):
    """What a task asks of a fleet of networks that it charges; `models.network` has it."""

    head: nn.Module

    def encode(self, read: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> tuple[Tensor, Tensor]:
        """The recurrent layers' states (K, batch, steps, width) and final state (K, batch, final_width)."""

    def decode(
        self,
        fed: Tensor,
        heard: tuple[Tensor, Tensor, Tensor | None],
        draw: Masks | None = None,
        carried: Carried | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Of a head that is a `speech.Speech`: what it answers."""

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
    def carried(self) -> bool:
        """Whether each row of a batch goes on from the state that the same row of the batch before came to, from the first of a pass on."""

    @property
    def judged(self) -> bool:
        """Whether an answer is right or wrong, and an epoch tells how many were right."""

    @property
    def padding(self) -> float:
        """What stands in a batch behind a row that is shorter than others."""

    @property
    def uncharged(self) -> float:
        """The target of what is not charged."""

    def lengths(self, read: Tensor) -> Tensor | None:
        """How many steps of each row of a batch are its own, (K, batch); None: all."""

    def front(self, generators: Generators) -> nn.Module:
        """The module before the recurrent layers: what the network reads -> (K, batch, steps, inputs)."""

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """The module behind them: states (K, batch, steps, width), final (K, batch, final_width) and lengths -> the answer."""

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """One pass over a part, for one member. Shuffled for ``train`` as a pure function of seed and epoch, in order elsewhere."""

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """What each member is charged for its batch.

        read    the members' batches, the axis of members in front; target likewise, `uncharged` where nothing is asked
        draw    where the batch stands in its epoch, for the network's dropout; only handed on, as is ``carried``
        """

    def description(self) -> dict[str, Any]:
        """What a served model must know besides its weights, as JSON."""

    def extent(self) -> dict[str, dict[str, Any]]:
        """Where each part of its data lies, as JSON: what a model has learned from, and what it has not seen."""

    def earlier(self) -> list[Self]:
        """The same task over each fold before its own, oldest first."""


class WindowedTask(Task, Protocol):
    """A task whose examples are windows of one length, which an engine can cut itself."""

    def order(self, part: str, seed: int, epoch: int, size: int, most: int) -> Iterator[Stretch]:
        """Where the windows of a pass begin in the series or the text, in its order: at most so many at a time, or one batch."""


def open_task(name: TaskName, folder: Path, params: Params) -> Task:
    """The task of a windows artefact (already verified), with its settings from params.yaml."""
    from longshort.tasks.caption import CaptionTask
    from longshort.tasks.classify import ClassifyTask
    from longshort.tasks.forecast import ForecastTask
    from longshort.tasks.language_model import LanguageModelTask
    from longshort.tasks.tag import TagTask
    from longshort.tasks.translate import TranslateTask
    from longshort.windows import files

    if name == "forecast":
        return ForecastTask.of(files.read_prices(folder), params.tasks.forecast.quantiles)
    if name == "language-model":
        return LanguageModelTask.of(files.read_text(folder), params.tasks.language_model)
    if name == "classify":
        return ClassifyTask.of(files.read_classify(folder), params.tasks.classify)
    if name == "tag":
        return TagTask.of(files.read_tag(folder), params.tasks.tag)
    if name == "caption":
        return CaptionTask.of(files.read_caption(folder), params.tasks.caption)
    return TranslateTask.of(files.read_translate(folder), params.tasks.translate)
