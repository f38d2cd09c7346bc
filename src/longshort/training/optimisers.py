"""Optimisers of a fleet: all parameters of a member are one row, and each member has its own rate, moments and steps.

Rows do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """What an optimiser remembers: averages, each (members, parameters), and how many steps each member has taken."""

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


OPTIMIZERS = {"adam": (adam, 2), "rmsprop": (rmsprop, 1)}


def fresh(optimizer: str, rows: Rows) -> Moments:
    """The moments before the first step."""
    _, averages = OPTIMIZERS[optimizer]
    made = tuple(torch.zeros_like(rows.weights) for _ in range(averages))
    for place in rows.fixed:  # what a step is divided by: so every optimiser leaves them where they are, in every engine
        made[-1][:, place] = torch.inf
    return Moments(made, [0] * len(rows.weights))
