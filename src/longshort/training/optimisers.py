"""Optimisers of a fleet: all parameters of a member are one row, and each member has its own rate, moments and steps.

Rows do not see each other. Behind an epoch of their own, weights may be averaged over steps: the iterates of a rate that stays go round
the bottom of the valley, and their mean lies in it (Polyak and Juditsky, 1992; Merity et al., 2018).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from longshort.config import Optimisation
from longshort.models.network import Network

BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults
Keeps = tuple[float, float]  # the shares that averages of gradients and of their squares keep


def keeps_of(settings: Optimisation) -> Keeps:
    """Those of a member's optimiser."""
    return BETAS if settings.optimizer == "adam" else (0.0, settings.smoothing)


class Rows:
    """A fleet's parameters and gradients as two arrays, a row a member: (members, parameters of one).

    The network's own parameters are views of the first from here on. Those of modules that say that they are ``fixed`` never move.
    """

    def __init__(self, network: Network) -> None:
        self._parameters = list(network.parameters())
        kept = {id(parameter) for module in network.modules() if getattr(module, "fixed", False) for parameter in module.parameters()}
        self._ends = np.cumsum([parameter[0].numel() for parameter in self._parameters]).tolist()
        self.weights = torch.cat([parameter.detach().reshape(network.members, -1) for parameter in self._parameters], dim=1)
        self.gradients = torch.zeros_like(self.weights)
        for parameter, own in zip(self._parameters, self._cut(self.weights), strict=True):
            parameter.data = own.view(parameter.shape)
        places = zip([0, *self._ends], self._ends, self._parameters, strict=False)
        self.fixed = [slice(first, end) for first, end, parameter in places if id(parameter) in kept]

    def _cut(self, rows: Tensor) -> tuple[Tensor, ...]:
        return rows.tensor_split(self._ends[:-1], dim=1)

    def backward(self, loss: Tensor) -> None:
        """Fill the gradients with those of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter, own in zip(self._parameters, self._cut(self.gradients), strict=True):
            if parameter.grad is None:
                own.zero_()
            else:
                own.copy_(parameter.grad.view(own.shape))
            parameter.grad = None

    def clip(self, most: Sequence[float]) -> list[float]:
        """Scale each member's gradient down to a norm; returns the norms before it."""
        norms = []
        for gradient, limit in zip(self.gradients, most, strict=True):
            norm = torch.linalg.vector_norm(gradient)
            gradient.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
            norms.append(norm)
        return torch.stack(norms).tolist()


@dataclass
class Moments:
    """What an optimiser remembers: averages, each (members, parameters), and how many steps each member has taken.

    Where weights are averaged, the last of the averages is theirs; until then it is the weights.
    """

    averages: tuple[Tensor, ...]
    steps: list[int]


def adam(rows: Rows, moments: Moments, rates: Sequence[float], keeps: Sequence[Keeps], members: Sequence[int]) -> None:
    """One step of Adam (Kingma and Ba, 2015) for some of the members."""
    for k in members:
        moments.steps[k] += 1
        gradient, mean, square = rows.gradients[k], moments.averages[0][k], moments.averages[1][k]
        mean_keeps, square_keeps = keeps[k]
        mean.lerp_(gradient, 1 - mean_keeps)
        square.mul_(square_keeps).addcmul_(gradient, gradient, value=1 - square_keeps)
        unbiased = (square.sqrt() / (1 - square_keeps ** moments.steps[k]) ** 0.5).add_(EPSILON)
        rows.weights[k].addcdiv_(mean, unbiased, value=-rates[k] / (1 - mean_keeps ** moments.steps[k]))


def rmsprop(rows: Rows, moments: Moments, rates: Sequence[float], keeps: Sequence[Keeps], members: Sequence[int]) -> None:
    """One step of RMSProp (Tieleman and Hinton, 2012) for some of the members."""
    for k in members:
        moments.steps[k] += 1
        gradient, square = rows.gradients[k], moments.averages[0][k]
        square.mul_(keeps[k][1]).addcmul_(gradient, gradient, value=1 - keeps[k][1])
        rows.weights[k].addcdiv_(gradient, square.sqrt().add_(EPSILON), value=-rates[k])


def sgd(rows: Rows, moments: Moments, rates: Sequence[float], keeps: Sequence[Keeps], members: Sequence[int]) -> None:
    """One step of stochastic gradient descent for some of the members."""
    for k in members:
        moments.steps[k] += 1
        for place in rows.fixed:
            rows.gradients[k, place] = 0
        rows.weights[k].add_(rows.gradients[k], alpha=-rates[k])


OPTIMIZERS = {"adam": (adam, 2), "rmsprop": (rmsprop, 1), "sgd": (sgd, 0)}


def fresh(settings: Optimisation, rows: Rows) -> Moments:
    """The moments before the first step."""
    _, averages = OPTIMIZERS[settings.optimizer]
    made = [torch.zeros_like(rows.weights) for _ in range(averages)]
    for place in rows.fixed if made else ():  # what a step is divided by: so they stay where they are, in every engine
        made[-1][:, place] = torch.inf
    if settings.averaged_after is not None:
        made.append(rows.weights.clone())
    return Moments(tuple(made), [0] * len(rows.weights))


class Averaging:
    """The mean of a fleet's weights over the steps behind an epoch; every epoch counts alike."""

    def __init__(self, rows: Rows, moments: Moments, epochs: int) -> None:
        """Before an epoch's first step. epochs: how many are averaged with it; below 1 the mean is what the weights are in its end."""
        self._weights, self._mean, self._epochs = rows.weights, moments.averages[-1], epochs
        self._own = torch.empty_like(rows.weights if epochs > 0 else rows.weights[:0])  # of this epoch

    def step(self, step: int) -> None:
        """After a step of the epoch, counted from 0."""
        if self._epochs > 0:
            self._own.lerp_(self._weights, 1 / (step + 1)) if step else self._own.copy_(self._weights)

    def end(self) -> None:
        """After the epoch's last step."""
        self._mean.lerp_(self._own, 1 / self._epochs) if self._epochs > 0 else self._mean.copy_(self._weights)


@contextlib.contextmanager
def averaged(rows: Rows, moments: Moments) -> Iterator[None]:
    """Meanwhile the network has the mean of its weights; behind it those that the next step moves."""
    own = rows.weights.clone()
    rows.weights.copy_(moments.averages[-1])
    yield
    rows.weights.copy_(own)
