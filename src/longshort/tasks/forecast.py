"""Forecast: the next values of a series from the values before (many to one)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators, Linears
from longshort.tasks.task import Batch, Network, Numbers, Stretch
from longshort.windows.files import PriceData
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class FinalStateHead(nn.Module):
    """The state after the last step of the past names all future steps at once (direct forecasting)."""

    def __init__(self, width: int, horizon: int, generators: Generators) -> None:
        super().__init__()
        self.linear = Linears(width, horizon, generators)

    def forward(self, states: Tensor, final: Tensor) -> Tensor:
        """final (K, batch, width) -> (K, batch, horizon), in scaled units; the states before it are not used."""
        return self.linear(final)


@dataclass(frozen=True)
class ForecastShape:
    """What a forecaster's front and head are built from; enough to build them again beside saved weights."""

    inputs: int
    horizon: int
    dropout: ClassVar[float] = 0.0

    def front(self, generators: Generators) -> nn.Module:
        """Prices need nothing before the recurrent layers."""
        return nn.Identity()

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From the final state to the horizon."""
        return FinalStateHead(final_width, self.horizon, generators)


@dataclass(frozen=True)
class ForecastTask(ForecastShape):
    """Windows of a price data set; the loss is the mean squared error in scaled units."""

    data: PriceData
    scaled: NDArray[np.float32]  # (steps, columns), held once; windows are gathered from it
    name: TaskName = "forecast"
    uncharged: ClassVar[float] = math.nan
    carried: ClassVar[bool] = False

    @classmethod
    def of(cls, data: PriceData) -> ForecastTask:
        """The task over one data set."""
        return cls(len(data.spec.columns), data.spec.horizon, data, data.scaler.apply(data.series.values))

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of past (batch, lookback, columns) and future (batch, horizon), both scaled."""
        for _, numbers in self._numbers(part, seed, epoch, size):
            past, future = self.data.parts[part].gather(self.scaled, numbers)
            yield torch.from_numpy(past), torch.from_numpy(future)

    def order(self, part: str, seed: int, epoch: int, size: int, most: int) -> Iterator[Stretch]:
        """See `Task`."""
        for start, numbers in self._numbers(part, seed, epoch, max(most // size, 1) * size):
            starts = np.ascontiguousarray(self.data.parts[part].first_steps(numbers), np.int64)
            yield Stretch(start, starts, None, self.data.spec.lookback, size)

    def _numbers(self, part: str, seed: int, epoch: int, size: int) -> Iterator[tuple[int, Numbers]]:
        count = len(self.data.parts[part])
        for start in range(0, count, size):
            numbers = np.arange(start, min(start + size, count))
            yield start, shuffled(count, seed, epoch, numbers) if part == "train" else numbers

    def loss(
        self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None
    ) -> tuple[Tensor, Tensor]:
        """Each member's squared error, summed over batch and horizon; windows are shuffled, so nothing is carried."""
        charged = ~target.isnan()
        errors = torch.where(charged, network(read, draw) - target, 0.0)
        return _sums(errors.square()), charged.flatten(1).sum(1)

    def description(self) -> dict[str, Any]:
        """Spec, scaler and calendar."""
        return self.data.description()

    def extent(self) -> dict[str, dict[str, Any]]:
        """See `Task`."""
        return self.data.extent()


def _sums(values: Tensor) -> Tensor:
    """The sum of each member's values, (K,); added up member by member, in the order that each has alone."""
    return torch.stack([own.sum() for own in values])
