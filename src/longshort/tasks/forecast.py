"""Forecast: the next values of a series from the values before (many to one)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import Task as TaskName
from longshort.tasks.task import Batch, Network
from longshort.windows.files import PriceData
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.masks import Draw


class FinalStateHead(nn.Module):
    """The state after the last step of the past names all future steps at once (direct forecasting)."""

    def __init__(self, width: int, horizon: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, horizon)

    def forward(self, states: Tensor, final: Tensor) -> Tensor:
        """final (batch, width) -> (batch, horizon), in scaled units; the states before it are not used."""
        return self.linear(final)


@dataclass(frozen=True)
class ForecastShape:
    """What a forecaster's front and head are built from; enough to build them again beside saved weights."""

    inputs: int
    horizon: int
    dropout: ClassVar[float] = 0.0

    def front(self) -> nn.Module:
        """Prices need nothing before the recurrent layers."""
        return nn.Identity()

    def head(self, width: int, final_width: int) -> nn.Module:
        """From the final state to the horizon."""
        return FinalStateHead(final_width, self.horizon)


@dataclass(frozen=True)
class ForecastTask(ForecastShape):
    """Windows of a price data set; the loss is the mean squared error in scaled units."""

    data: PriceData
    scaled: NDArray[np.float32]  # (steps, columns), held once; windows are gathered from it
    name: TaskName = "forecast"

    @classmethod
    def of(cls, data: PriceData) -> ForecastTask:
        """The task over one data set."""
        return cls(len(data.spec.columns), data.spec.horizon, data, data.scaler.apply(data.series.values))

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of past (batch, lookback, columns) and future (batch, horizon), both scaled."""
        windows = self.data.parts[part]
        for start in range(0, len(windows), size):
            numbers = np.arange(start, min(start + size, len(windows)))
            if part == "train":
                numbers = shuffled(len(windows), seed, epoch, numbers)
            past, future = windows.gather(self.scaled, numbers)
            yield torch.from_numpy(past), torch.from_numpy(future)

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Draw | None = None) -> tuple[Tensor, int]:
        """Summed squared error over batch and horizon."""
        return torch.square(network(read, draw) - target).sum(), target.numel()

    def description(self) -> dict[str, Any]:
        """Spec, scaler and calendar."""
        return self.data.description()
