"""Weights of a fleet: one set a member, begun from that member's generator alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from longshort.config import Variant
from longshort.models.cells import Cell


class Weights(nn.Module):
    """Named parameters, each (members, *shape)."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], members: int) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(members, *shape)))

    def tensors(self) -> dict[str, Tensor]:
        """Name -> parameter, in the order of the shapes."""
        return dict(self.named_parameters())

    def members(self) -> Iterator[dict[str, Tensor]]:
        """Each member's own, to be written into."""
        names = self.tensors()
        for k in range(len(next(iter(names.values())))):
            yield {name: parameter.data[k] for name, parameter in names.items()}


def begin(weights: Weights, cell: Cell, variant: Variant, generators: Sequence[torch.Generator]) -> None:
    """Give a layer's weights their first values, each member's from its generator, so that no member's hang on another's."""
    for member, generator in zip(weights.members(), generators, strict=True):
        for name, weight in member.items():
            _begin(name, weight, cell, variant, generator)
        if variant.initialisation == "nguyen_widrow":
            _spread(member["W"], member["b"], variant.hidden_size, generator)
        _begin_gates(member["b"], cell, variant, generator)


def begin_uniform(weights: Weights, width: int, generators: Sequence[torch.Generator]) -> None:
    """All uniform in ±1/√width."""
    for member, generator in zip(weights.members(), generators, strict=True):
        for weight in member.values():
            weight.uniform_(-1 / math.sqrt(width), 1 / math.sqrt(width), generator=generator)


def _begin(name: str, weight: Tensor, cell: Cell, variant: Variant, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(variant.hidden_size)  # as torch's modules have it
    low = cell.vectors[name].low if name in cell.vectors else None
    high = cell.vectors[name].high if name in cell.vectors else None
    if name.startswith("start_"):
        weight.zero_()
    elif low is not None and high is not None:
        weight.uniform_(low, high, generator=generator)
    elif variant.initialisation == "torch":
        weight.uniform_(-bound, bound, generator=generator)
    elif weight.dim() == 1:
        weight.zero_()
    elif name.startswith("R"):
        nn.init.orthogonal_(weight, generator=generator)
    else:
        nn.init.xavier_uniform_(weight, generator=generator)  # Glorot's; over all gates together, as Keras has it


def _spread(W: Tensor, b: Tensor, hidden_size: int, generator: torch.Generator) -> None:
    """Each unit's W of one length, and its b within it: so its threshold lies somewhere among inputs from -1 to 1, and units divide
    them among each other (Nguyen and Widrow, 1990). W: (inputs, gates·hidden).
    """
    length = 0.7 * hidden_size ** (1 / len(W))
    W.mul_(length / W.norm(dim=0))
    b.uniform_(-length, length, generator=generator)


def _begin_gates(b: Tensor, cell: Cell, variant: Variant, generator: torch.Generator) -> None:
    """The biases of gates that keep and let in, where a setting says what they begin with."""
    if cell.forget is None:
        return
    gate, sign = cell.forget
    blocks = dict(zip(cell.biased or cell.gates, b.chunk(len(cell.biased or cell.gates)), strict=True))
    if variant.forget_bias is not None:
        blocks[gate].fill_(sign * variant.forget_bias)
    elif variant.chrono_steps:
        memory = torch.empty_like(blocks[gate]).uniform_(1, variant.chrono_steps - 1, generator=generator).log()
        blocks[gate].copy_(sign * memory)
        if cell.writes is not None:
            blocks[cell.writes].copy_(-sign * memory)
    elif variant.initialisation == "keras" and cell.forget == ("f", 1):  # Keras knows it of the LSTM alone: a GRU's b is 0
        blocks[gate].fill_(1.0)
