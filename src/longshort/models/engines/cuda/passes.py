"""Whole passes on a device: series, weights, masks and sums lie there, and a batch costs the host two copies and a replay.

A step of training is one function over static tensors: windows are gathered by where they begin, masks drawn, the network run
forwards and backwards, gradients clipped and weights moved, for all members of a fleet. It asks nothing of what the tensors
hold, so that `graphs` can record it. What the loop in `training` decides by looking, is decided by selecting: a row that is padding
is not charged, and a member that has failed, or has no batch left, keeps its weights. Sums are read once a pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longshort.models.engines.cuda.graphs import Graphed, Recorder, Streams
from longshort.models.engines.cuda.masks import DeviceDraw, constants
from longshort.models.engines.engine import AT_ONCE, SCORING_BATCH, Learning, Passed
from longshort.models.network import Network
from longshort.tasks.cross_entropy import IGNORED
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.language_model import LanguageModelTask
from longshort.tasks.task import Task, WindowedTask


class Source(ABC):
    """The examples of a fleet's tasks, on the device, those of members that share them once."""

    def __init__(self, members: Sequence[Any], device: torch.device) -> None:
        """members: the array that each member's windows are cut from, (steps, ...)."""
        places = {id(array): (array, 0) for array in members}
        first = 0
        for key, (array, _) in places.items():
            places[key], first = (array, first), first + len(array)
        self.offsets = [places[id(array)][1] for array in members]
        self.values = torch.from_numpy(np.concatenate([array for array, _ in places.values()])).to(device)

    @abstractmethod
    def windows(self, firsts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """A batch as the task's `batches` has it, the axis of members in front.

        firsts  (members, batch) where each window begins in `values`
        counts  (members, batch) how much of each is charged; 0: padding
        """

    def _cut(self, firsts: Tensor, begin: int, end: int) -> Tensor:
        return self.values[firsts.unsqueeze(-1) + torch.arange(begin, end, device=firsts.device)]


class Prices(Source):
    """Of forecasters."""

    def __init__(self, tasks: Sequence[ForecastTask], device: torch.device) -> None:
        super().__init__([task.scaled for task in tasks], device)
        self._lookback, self._span = tasks[0].data.spec.lookback, tasks[0].data.spec.span

    def windows(self, firsts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        future = self._cut(firsts, self._lookback, self._span)[..., 0]
        return self._cut(firsts, 0, self._lookback), future.masked_fill((counts == 0).unsqueeze(-1), ForecastTask.uncharged)


class Words(Source):
    """Of language models."""

    def __init__(self, tasks: Sequence[LanguageModelTask], device: torch.device) -> None:
        super().__init__([task.data.ids for task in tasks], device)
        self._lookback = tasks[0].data.spec.lookback

    def windows(self, firsts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """See `Source`."""
        ids = self._cut(firsts, 0, self._lookback + 1).long()
        context = torch.arange(self._lookback, device=firsts.device) < self._lookback - counts.unsqueeze(-1)
        return ids[..., :-1], ids[..., 1:].masked_fill(context, IGNORED)


def source_of(tasks: Sequence[Task], device: torch.device) -> Source | None:
    """Where windows are cut from; None for a task that is neither forecast nor language model."""
    prices = [task for task in tasks if isinstance(task, ForecastTask)]
    texts = [task for task in tasks if isinstance(task, LanguageModelTask)]
    if len(prices) == len(tasks):
        return Prices(prices, device)
    return Words(texts, device) if len(texts) == len(tasks) else None


class Batch:
    """A batch's places in static tensors, and the sums over the batches of a pass.

    firsts, counts  see `Source.windows`
    losses          (members,) float64, summed; terms: (members,) int64, over how many
    """

    def __init__(self, members: int, size: int, device: torch.device) -> None:
        self.firsts, self.counts = torch.zeros(2, members, size, dtype=torch.int64, device=device)
        self.losses = torch.zeros(members, dtype=torch.float64, device=device)
        self.terms = torch.zeros(members, dtype=torch.int64, device=device)

    def put(self, firsts: Tensor, counts: Tensor) -> None:
        """Write the next batch's places."""
        self.firsts.copy_(firsts)
        self.counts.copy_(counts)


class Step:
    """A step of training over static tensors; see this module's head.

    taken                           (members,) int64, the steps that the optimiser has taken
    failed                          (members,) int64, the number, from 1, of the step at which a member failed; 0: none
    failed_losses and failed_norms  of that step
    """

    def __init__(
        self, network: Network, task: Task, source: Source, rows: Sequence[Tensor], how: Learning, recorder: Recorder | None
    ) -> None:
        """rows: the weights, of which the network's parameters are views, and the optimiser's averages; each (members, parameters)."""
        self._network, self._task, self._source = network, task, source
        self._parameters = list(network.parameters())
        (self._weights, *self._averages), self._kind = rows, _kind(how)
        device, members = self._weights.device, network.members
        self.batch = Batch(members, how.batch_size, device)
        whole = torch.zeros(5, members, dtype=torch.int64, device=device)
        self.taken, self.failed, self._seeds, self._epoch, self._place = *whole[:3], whole[3, 0], whole[4, 0]
        floats = torch.zeros(4, members, device=device)
        self._rates, self._limits, self.failed_losses, self.failed_norms = floats
        self._draw = DeviceDraw(self._seeds, self._epoch, self._place, constants(device))
        self._size = how.batch_size
        self.run = Graphed(self._work, recorder)

    def fits(self, rows: Sequence[Tensor], how: Learning) -> bool:
        """Whether this is a step for arrays that lie there, with settings that are part of a recording."""
        mine = [self._weights, *self._averages]
        return _kind(how) == self._kind and [row.data_ptr() for row in mine] == [row.data_ptr() for row in rows]

    def begin(self, steps: Sequence[int], hows: Mapping[int, Learning]) -> None:
        """Write what a pass begins with; the members that are not asked get no batches."""
        for k, how in hows.items():
            self._seeds[k], self._rates[k], self._limits[k] = how.seed, how.learning_rate, how.clip_norm
        self._epoch.fill_(next(iter(hows.values())).epoch)
        self.taken.copy_(torch.tensor(steps))
        for sums in (self._place, self.failed, self.batch.losses, self.batch.terms):
            sums.zero_()

    def passed(self, members: Sequence[int]) -> dict[int, Passed]:
        """What each came to; waits for the device."""
        sums = [self.batch.losses, self.batch.terms, self.taken, self.failed, self.failed_losses, self.failed_norms]
        rows = torch.stack([row.double() for row in sums], dim=1).tolist()
        return {k: Passed(loss, int(terms), int(taken), int(failed), *at) for k in members for loss, terms, taken, failed, *at in [rows[k]]}

    def _work(self) -> None:
        self._network.train()
        read, target = self._source.windows(self.batch.firsts, self.batch.counts)
        with torch.enable_grad():
            losses, asked, _ = self._task.loss(self._network, read, target, self._draw)
            shares = losses / asked.clamp(min=1)
            found = torch.autograd.grad(shares.sum(), self._parameters, allow_unused=True, materialize_grads=True)
        gradients = torch.cat([gradient.reshape(len(gradient), -1) for gradient in found], dim=1)
        norms, shares = torch.linalg.vector_norm(gradients, dim=1), shares.detach()
        active = (asked > 0) & (self.failed == 0)
        finite = norms.isfinite() & losses.detach().isfinite()
        self.batch.losses += torch.where(active, losses.detach().double(), 0.0)
        self.batch.terms += torch.where(active, asked, 0)
        fails = active & ~finite
        self.failed_losses.copy_(torch.where(fails, shares, self.failed_losses))
        self.failed_norms.copy_(torch.where(fails, norms, self.failed_norms))
        self.failed += torch.where(fails, self._place // self._size + 1, 0)
        gradients *= (self._limits / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1)
        self._move(gradients, active & finite)
        self._place += self._size

    def _move(self, gradients: Tensor, moves: Tensor) -> None:
        """Adam's step (Kingma and Ba, 2015) or RMSProp's (Tieleman and Hinton, 2012), for the members that are to be moved."""
        optimizer, _, mean_keeps, square_keeps, epsilon = self._kind
        self.taken += moves
        *means, squares = self._averages
        square = square_keeps * squares + (1 - square_keeps) * gradients.square()
        if optimizer == "adam":
            steps = self.taken.double()
            mean = means[0].lerp(gradients, 1 - mean_keeps)
            bias = (1 - square_keeps**steps).sqrt().float().unsqueeze(1)
            rate = (self._rates / (1 - mean_keeps**steps)).float().unsqueeze(1)
            changes = [(means[0], mean), (self._weights, self._weights - rate * mean / (square.sqrt() / bias + epsilon))]
        else:
            changes = [(self._weights, self._weights - self._rates.unsqueeze(1) * gradients / (square.sqrt() + epsilon))]
        for rows, new in [(squares, square), *changes]:
            rows.copy_(torch.where(moves.unsqueeze(1), new, rows))


class Score:
    """The loss of a batch outside training, over static tensors."""

    def __init__(self, network: Network, task: Task, source: Source, device: torch.device, recorder: Recorder | None) -> None:
        self._network, self._task, self._source = network, task, source
        self.batch = Batch(network.members, SCORING_BATCH, device)
        self.run = Graphed(self._work, recorder)

    @torch.no_grad()
    def _work(self) -> None:
        self._network.eval()
        losses, asked, _ = self._task.loss(self._network, *self._source.windows(self.batch.firsts, self.batch.counts))
        self.batch.losses += losses.double()
        self.batch.terms += asked


class WholePasses:
    """The passes of a fleet over its tasks; see `Epochs`."""

    def __init__(self, network: Network, tasks: Sequence[WindowedTask], source: Source, recorder: Recorder | None = None) -> None:
        """recorder: of what the device does; by default that of a GPU, and none elsewhere."""
        self._network, self._tasks, self._source = network, tasks, source
        self._device = source.values.device
        self._recorder = Streams(self._device) if recorder is None and self._device.type == "cuda" else recorder
        self._step: Step | None = None
        self._score: Score | None = None

    def learn(self, weights: Tensor, averages: tuple[Tensor, ...], steps: Sequence[int], hows: Mapping[int, Learning]) -> dict[int, Passed]:
        """See `Epochs`. A member that fails keeps the weights that it failed with, and its batches go by."""
        how, rows = next(iter(hows.values())), (weights, *averages)
        if self._step is None or not self._step.fits(rows, how):
            self._step = Step(self._network, self._tasks[0], self._source, rows, how, self._recorder)
        self._step.begin(steps, hows)
        for places in self._places("train", {k: (own.seed, own.epoch) for k, own in hows.items()}, how.batch_size):
            self._step.batch.put(*places)
            self._step.run()
        return self._step.passed(list(hows))

    def score(self, weights: Tensor, part: str, members: Sequence[int]) -> dict[int, Passed]:
        """See `Epochs`."""
        if self._score is None:
            self._score = Score(self._network, self._tasks[0], self._source, self._device, self._recorder)
        batch = self._score.batch
        batch.losses.zero_()
        batch.terms.zero_()
        for places in self._places(part, dict.fromkeys(members, (0, 0)), SCORING_BATCH):
            batch.put(*places)
            self._score.run()
        losses, terms = batch.losses.tolist(), batch.terms.tolist()
        return {k: Passed(losses[k], terms[k], 0) for k in members}

    def _places(self, part: str, orders: Mapping[int, tuple[int, int]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """What `Batch.put` takes, batch by batch; many go to the device at once. orders: seed and epoch of each member that is asked."""
        passes = [self._tasks[k].order(part, *order, size, AT_ONCE) for k, order in orders.items()]
        for stretches in zip_longest(*passes):
            longest = max(len(stretch.starts) for stretch in stretches if stretch is not None)
            places = np.zeros((2, self._network.members, -(-longest // size) * size), np.int64)
            for k, stretch in zip(orders, stretches, strict=True):
                if stretch is not None:
                    own = slice(len(stretch.starts))
                    places[0, k, own] = stretch.starts + self._source.offsets[k]
                    places[1, k, own] = 1 if stretch.counts is None else stretch.counts
            there = torch.from_numpy(places).to(self._device).view(2, self._network.members, -1, size)
            for firsts_and_counts in there.unbind(2):
                yield firsts_and_counts[0], firsts_and_counts[1]


def _kind(how: Learning) -> tuple[str, int, float, float, float]:
    """What of the settings is part of a recording."""
    return how.optimizer, how.batch_size, how.mean_keeps, how.square_keeps, how.epsilon
