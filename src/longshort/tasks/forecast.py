"""Forecast: the next values of a series from the values before (many to one), and quantiles of them where they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators, Linears
from longshort.tasks.task import Batch, Charge, Network, Numbers, Stretch
from longshort.windows.files import PriceData
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class FinalStateHead(nn.Module):
    """The state after the last step of the past names all future steps at once (direct forecasting), and so many quantiles of each."""

    def __init__(self, width: int, horizon: int, generators: Generators, quantiles: Sequence[float] = ()) -> None:
        super().__init__()
        self.horizon, self.quantiles = horizon, quantiles
        self.linear = Linears(width, horizon * (1 + len(quantiles)), generators)

    def forward(self, states: Tensor, final: Tensor, lengths: None = None) -> Tensor:
        """final (K, batch, width) -> the point forecast (K, batch, horizon), in scaled units; the states before it are not used."""
        return self.linear(final)[..., : self.horizon]

    def whole(self, final: Tensor) -> Tensor:
        """final (K, batch, width) -> (K, batch, 1 + quantiles, horizon): the point forecast, then each quantile as the layer names it."""
        return self.linear(final).unflatten(-1, (-1, self.horizon))


@dataclass(frozen=True)
class ForecastShape:
    """What a forecaster's front and head are built from; enough to build them again beside saved weights.

    quantiles  levels in (0, 1), ascending, that the head names beside the point forecast; models of before it was asked have none
    """

    inputs: int
    horizon: int
    quantiles: Sequence[float] = field(default=(), kw_only=True)
    dropout: ClassVar[float] = 0.0

    def lengths(self, read: Tensor) -> None:
        """Windows are of one length."""

    def front(self, generators: Generators) -> nn.Module:
        """Prices need nothing before the recurrent layers."""
        return nn.Identity()

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From the final state to the horizon."""
        return FinalStateHead(final_width, self.horizon, generators, self.quantiles)


@dataclass(frozen=True)
class ForecastTask(ForecastShape):
    """Windows of a price data set; the loss is the mean squared error in scaled units, and the pinball loss of each quantile."""

    data: PriceData
    scaled: NDArray[np.float32]  # (steps, columns), held once; windows are gathered from it
    name: TaskName = "forecast"
    judged: ClassVar[bool] = False
    padding: ClassVar[float] = 0.0
    uncharged: ClassVar[float] = math.nan
    carried: ClassVar[bool] = False

    @classmethod
    def of(cls, data: PriceData, quantiles: Sequence[float] = ()) -> ForecastTask:
        """The task over one data set."""
        return cls(len(data.spec.columns), data.spec.horizon, data, data.scaler.apply(data.series.values), quantiles=tuple(quantiles))

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

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """Each member's squared error and pinball losses, summed over batch and horizon; windows are shuffled, so nothing is carried."""
        _, final = network.encode(read, draw)
        return charge(cast(FinalStateHead, network.head).whole(final), target, self.quantiles)

    def description(self) -> dict[str, Any]:
        """Spec, scaler and calendar."""
        return self.data.description()

    def extent(self) -> dict[str, dict[str, Any]]:
        """See `Task`."""
        return self.data.extent()

    def earlier(self) -> list[ForecastTask]:
        """See `Task`."""
        return [self.of(fold, self.quantiles) for fold in self.data.earlier]


def charge(answer: Tensor, target: Tensor, quantiles: Sequence[float]) -> Charge:
    """Each member's squared error and pinball losses, summed over batch and horizon (K,), and over how many targets (K,).

    answer  (K, batch, 1 + quantiles, horizon), the point forecast first
    target  (K, batch, horizon), NaN where nothing is asked
    """
    charged = ~target.isnan()
    point, *named = answer.unbind(2)
    losses = _sums(torch.where(charged, point - target, 0.0).square())
    for said, level in zip(named, quantiles, strict=True):
        losses = losses + _sums(pinball(torch.where(charged, target - said, 0.0), level))
    return Charge(losses, charged.flatten(1).sum(1))


def pinball(above: Tensor, level: float) -> Tensor:
    """What a quantile costs: ``level`` a unit that the target lies above it, 1 - level a unit below (Koenker and Bassett, 1978).

    above  (...), target - quantile

    >>> pinball(torch.tensor([2.0, -2.0]), 0.75).tolist()
    [1.5, 0.5]
    """
    return level * above + (-above).relu()


def _sums(values: Tensor) -> Tensor:
    """The sum of each member's values, (K,); added up member by member, in the order that each has alone."""
    return torch.stack([own.sum() for own in values])
