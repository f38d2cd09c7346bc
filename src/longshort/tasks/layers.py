"""Layers of fronts and heads, for a fleet: weights with an axis of members in front, each begun from its member's generator.

On a CPU members go one by one: that is as fast, and gives each the bits that it has alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Generators = Sequence[torch.Generator]


class Linears(nn.Module):
    """A linear layer a member. weight (K, inputs, outputs), bias (K, outputs), uniform in ±1/√inputs as in torch."""

    def __init__(self, inputs: int, outputs: int, generators: Generators) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.stack([torch.empty(inputs, outputs).uniform_(-bound, bound, generator=g) for g in generators]))
        self.bias = nn.Parameter(torch.stack([torch.empty(outputs).uniform_(-bound, bound, generator=g) for g in generators]))

    def forward(self, read: Tensor) -> Tensor:
        """(K, ..., inputs) to (K, ..., outputs)."""
        rows = read.flatten(1, -2)
        if read.device.type == "cpu":
            answers = [torch.addmm(bias, own, weight) for own, weight, bias in zip(rows, self.weight, self.bias, strict=True)]
            answer = answers[0].unsqueeze(0) if len(answers) == 1 else torch.stack(answers)
        else:
            answer = torch.baddbmm(self.bias.unsqueeze(1), rows, self.weight)
        return answer.view(*read.shape[:-1], -1)


class Embeddings(nn.Module):
    """Words as vectors, a table a member: (K, vocabulary, size), uniform in ±0.1."""

    def __init__(self, vocabulary: int, size: int, generators: Generators) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.stack([torch.empty(vocabulary, size).uniform_(-0.1, 0.1, generator=g) for g in generators]))

    def forward(self, ids: Tensor) -> Tensor:
        """ids (K, batch, steps) to (K, batch, steps, size)."""
        if len(ids) == 1:
            return nn.functional.embedding(ids[0], self.table[0]).unsqueeze(0)
        return self.table[torch.arange(len(ids), device=ids.device).view(-1, 1, 1), ids]
