"""Whole passes over a forecaster's windows: gather, layers, dropout, head, loss, gradient, clipping and optimiser in one call."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longshort.models import masks
from longshort.models.engines.engine import Learning, Passed
from longshort.models.engines.native import cells, library
from longshort.models.engines.native.engine import named
from longshort.models.engines.native.layer import WIDEST, layer_of
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.forecast import ForecastTask

AT_ONCE = 2**16  # windows of one call: an order of 25 million is not held, and Ctrl-C is heard between two calls


class ForecastEpochs:
    """The passes of one shape of network over one task; weights are a member's row, in the order of `training.optimisers.Rows`."""

    def __init__(self, network: Network, task: ForecastTask, width: int = WIDEST) -> None:
        self._encoder, self._task, self._width = network.encoder, task, width

    @functools.cached_property
    def _network(self) -> library.Network:
        """What the library is told of the network; arrays that it points to are kept beside it."""
        encoder, variant, task = self._encoder, self._encoder.variant, self._task
        name = named(encoder.cell, variant.activation or encoder.cell.activation)
        directions = 2 if variant.bidirectional else 1
        self._found: list[cells.Found] = []
        first, layers = 0, []
        for depth in range(variant.num_layers):
            for direction, weights in enumerate(encoder.directions(depth)):
                shapes = {key: tuple(weight.shape[1:]) for key, weight in weights.tensors().items()}
                self._found.append(cells.find(name, shapes, first))
                layers.append(layer_of(name, self._found[-1], shapes["W"][0], variant.hidden_size, bool(direction)))
                first += self._found[-1].size
        spec = task.data.spec
        head = (encoder.width + 1) * spec.horizon
        self._head = np.arange(first, first + head, dtype=np.int32)
        self._layers = (library.Layer * len(layers))(*layers)
        threshold = masks.threshold(variant.dropout)
        return library.Network(
            self._layers,
            library.address(self._head),
            first + head,
            *(variant.num_layers, directions, task.inputs, spec.lookback, spec.horizon, variant.residual),
            threshold,
            np.float32(65536 / (65536 - threshold)),
        )

    def learn(self, weights: Tensor, averages: tuple[Tensor, ...], steps: int, how: Learning) -> Passed:
        """See `Epochs`."""
        first, second = (*averages, None)[:2]
        way = library.Optimiser(
            *(None if row is None else _row(row).data_ptr() for row in (weights, first, second)),
            steps,
            how.optimizer == "adam",
            *(how.learning_rate, how.clip_norm, how.mean_keeps, how.square_keeps, how.epsilon),
        )
        outcome = library.Outcome()
        for number, firsts in self._order("train", how.seed, how.epoch, AT_ONCE // how.batch_size * how.batch_size or how.batch_size):
            step = number // how.batch_size
            work = self._pass(firsts, number, how.seed, how.epoch, how.batch_size, step)
            library.call("train", self._width, self._network, work, way, outcome)
            if outcome.failed:
                return Passed(
                    outcome.loss,
                    outcome.terms,
                    way.steps,
                    outcome.failed,
                    outcome.failed_loss / max(outcome.failed_terms, 1),
                    outcome.failed_norm,
                )
        return Passed(outcome.loss, outcome.terms, way.steps)

    def score(self, weights: Tensor, part: str) -> Passed:
        """See `Epochs`."""
        outcome = library.Outcome()
        for _, firsts in self._order(part, 0, 0, AT_ONCE):
            work = self._pass(firsts, 0, 0, 0, 1, 0)
            library.call("score", self._width, self._network, work, _row(weights).data_ptr(), outcome)
        return Passed(outcome.loss, outcome.terms, 0)

    def _order(self, part: str, seed: int, epoch: int, size: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Where windows begin in the series, some at a time, as `ForecastTask.batches` takes them; with the rank of the first."""
        windows = self._task.data.parts[part]
        for start in range(0, len(windows), size):
            numbers = np.arange(start, min(start + size, len(windows)))
            if part == "train":
                numbers = shuffled(len(windows), seed, epoch, numbers)
            yield start, np.ascontiguousarray(windows.first_steps(numbers), np.int64)

    def _pass(self, firsts: NDArray[np.int64], place: int, seed: int, epoch: int, batch: int, step: int) -> library.Pass:
        self._firsts = firsts  # kept while the library reads it
        where = (library.address(self._task.scaled), library.address(firsts), len(firsts), place)
        return library.Pass(*where, seed, epoch, batch, step, torch.get_num_threads())


def _row(row: Tensor) -> Tensor:
    assert row.dtype == torch.float32 and row.is_contiguous() and row.device.type == "cpu"
    return row
