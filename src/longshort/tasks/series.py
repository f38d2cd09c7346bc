"""Series: the next value at every step of a window (many to many of equal length)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators, Linears
from longshort.tasks.rows import in_order
from longshort.tasks.task import Batch, Charge, Network, Numbers
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class EveryStepHead(nn.Module):
    """Each step's state is projected to the value behind it."""

    def __init__(self, width: int, generators: Generators) -> None:
        super().__init__()
        self.linear = Linears(width, 1, generators)

    def forward(self, states: Tensor, final: Tensor, lengths: None = None) -> Tensor:
        """states (K, batch, steps, width) -> values (K, batch, steps)."""
        return self.linear(states)[..., 0]


@dataclass(frozen=True)
class SeriesTask:
    """Windows of a series; the loss is the squared error, the mean over steps.

    values    (steps, features) float32; column 0 is what is named
    lookback  steps of a window
    starts    part -> (windows,) the step at which each begins; it needs one step more than it reads
    """

    values: NDArray[np.float32]
    lookback: int
    starts: dict[str, Numbers]
    name: TaskName = "forecast"
    dropout: ClassVar[float] = 0.0
    judged: ClassVar[bool] = False
    padding: ClassVar[float] = 0.0
    uncharged: ClassVar[float] = math.nan
    carried: ClassVar[bool] = False

    @property
    def inputs(self) -> int:
        """Features of a step."""
        return int(self.values.shape[1])

    def lengths(self, read: Tensor) -> None:
        """Windows are of one length."""

    def front(self, generators: Generators) -> nn.Module:
        """Values need nothing before the recurrent layers."""
        return nn.Identity()

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From each state to the next value."""
        return EveryStepHead(width, generators)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of windows (batch, lookback, features), and of the values one step later (batch, lookback)."""
        starts = self.starts[part]
        for some in in_order(len(starts), size):
            own = starts[shuffled(len(starts), seed, epoch, some) if part == "train" else some]
            steps = own[:, None] + np.arange(self.lookback + 1)
            yield torch.from_numpy(self.values[steps[:, :-1]]), torch.from_numpy(self.values[steps[:, 1:], 0])

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """Each member's squared error, summed over steps."""
        charged = ~target.isnan()
        errors = torch.where(charged, cast(nn.Module, network)(read, draw) - target, 0.0)
        return Charge(torch.stack([own.square().sum() for own in errors]), charged.flatten(1).sum(1))

    def description(self) -> dict[str, Any]:
        """How long windows are."""
        return {"lookback": self.lookback, "features": self.inputs}

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many windows each part holds."""
        return {part: {"windows": len(starts)} for part, starts in self.starts.items()}

    def earlier(self) -> list[SeriesTask]:
        """None: there is one fold."""
        return []
