"""Whole passes over a task's windows: what is read, layers, dropout, head, loss, gradient, clipping and optimiser in one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longshort.models.compiled import library
from longshort.models.compiled.library import WIDEST
from longshort.models.compiled.told import Told
from longshort.models.engines.engine import AT_ONCE, Learning, Passed
from longshort.models.engines.native.layer import QUICKEST

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.forecast import ForecastTask
    from longshort.tasks.language_model import LanguageModelTask
    from longshort.tasks.task import Stretch, WindowedTask

Floats = NDArray[np.float32]


class WholePasses(ABC):
    """The passes of one shape of network over one task; weights are a member's row, in the order of `training.optimisers.Rows`."""

    def __init__(self, network: Network, task: WindowedTask, width: int, tiles: int, **head: Any) -> None:
        """width: a number of `library.widths`; tiles: one of `library.tiles`, for passes in bfloat16; head: what `Told` is told of it."""
        self._task = task
        self._encoder, self._dropout = network.encoder, network.dropout
        self._width, self._tiles = width, library.TILES + tiles
        self._inputs, self._head = task.inputs, head
        self._told: dict[int, Told] = {}

    def _network(self, steps: int) -> library.Network:
        """What the library is told of the network over windows of so many steps."""
        if steps not in self._told:
            self._told[steps] = Told(self._encoder.variant, self._inputs, steps, edge_dropout=self._dropout, **self._head)
        return self._told[steps].network

    @abstractmethod
    def source(self) -> dict[str, Any]:
        """What the library reads windows out of."""

    def learn(self, weights: Tensor, averages: tuple[Tensor, ...], steps: int, how: Learning) -> Passed:
        """See `Epochs`."""
        first, second = (*averages, None)[:2]
        way = library.Optimiser(
            *(None if row is None else _row(row).data_ptr() for row in (weights, first, second)),
            steps,
            how.optimizer == "adam",
            *(how.learning_rate, how.clip_norm, how.mean_keeps, how.square_keeps, how.epsilon),
        )
        computed_by = self._tiles if how.precision == "bfloat16" else self._width
        outcome, states = library.Outcome(), None
        for stretch in self._task.order("train", how.seed, how.epoch, how.batch_size, AT_ONCE):
            states = self._states(stretch, states)
            work = self._pass(stretch, states, seed=how.seed, epoch=how.epoch)
            library.call("train", computed_by, self._network(stretch.steps), work, way, outcome)
            if outcome.failed:
                failed = outcome.failed, outcome.failed_loss / max(outcome.failed_terms, 1), outcome.failed_norm
                return Passed(outcome.loss, outcome.terms, way.steps, *failed)
        return Passed(outcome.loss, outcome.terms, way.steps, right=outcome.right)

    def score(self, weights: Tensor, part: str) -> Passed:
        """See `Epochs`."""
        outcome, states = library.Outcome(), None
        for stretch in self._task.order(part, 0, 0, 1, AT_ONCE):
            states = self._states(stretch, states)
            work = self._network(stretch.steps), self._pass(stretch, states)
            library.call("score", self._width, *work, _row(weights).data_ptr(), outcome)
        return Passed(outcome.loss, outcome.terms, 0, right=outcome.right)

    def _states(self, stretch: Stretch, before: Floats | None) -> Floats | None:
        """What the batches of a pass hand on, and the calls that it is made of; None where each window begins anew."""
        if before is not None or not self._task.carried:
            return before
        return np.zeros((self._encoder.variant.num_layers, 2, stretch.rows, self._encoder.size), np.float32)

    def _pass(self, stretch: Stretch, states: Floats | None, **draw: int) -> library.Pass:
        self._kept = stretch, states  # while the library reads them
        addresses = map(library.address, (stretch.starts, stretch.counts, states))
        where = dict(zip(("firsts", "counts", "states"), addresses, strict=True))
        stand = {"windows": len(stretch.starts), "place": stretch.place, "batch": stretch.rows, "step": stretch.place // stretch.rows}
        return library.Pass(**self.source(), **where, **stand, **draw, threads=torch.get_num_threads())


class ForecastPasses(WholePasses):
    """Of a forecaster."""

    def __init__(self, network: Network, task: ForecastTask, width: int = WIDEST, tiles: int = QUICKEST) -> None:
        self._values = task.scaled
        super().__init__(network, task, width, tiles, horizon=task.horizon, quantiles=task.quantiles)

    def source(self) -> dict[str, Any]:
        """The scaled series."""
        return {"values": library.address(self._values)}


class LanguageModelPasses(WholePasses):
    """Of a language model."""

    def __init__(self, network: Network, task: LanguageModelTask, width: int = WIDEST, tiles: int = QUICKEST) -> None:
        self._ids = np.ascontiguousarray(task.data.ids, np.int32)
        super().__init__(network, task, width, tiles, horizon=0, words=task.vocabulary_size, tied=task.tied)

    def source(self) -> dict[str, Any]:
        """The ids of the text."""
        return {"ids": library.address(self._ids)}


def _row(row: Tensor) -> Tensor:
    assert row.dtype == torch.float32 and row.is_contiguous() and row.device.type == "cpu"
    return row
