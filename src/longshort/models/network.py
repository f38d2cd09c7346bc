"""A network: a task's front, the recurrent layers, the task's head."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from longshort.config import Variant
from longshort.models.encoder import Encoder


class Shape(Protocol):
    """The part of a task that a network is built from."""

    @property
    def inputs(self) -> int:
        """Features of each step that reaches the recurrent layers."""

    def front(self) -> nn.Module:
        """The module before the recurrent layers."""

    def head(self, width: int) -> nn.Module:
        """The module behind them."""


class Network(nn.Module):
    """One network for one task; `Shape` says what it reads and answers."""

    def __init__(self, shape: Shape, variant: Variant) -> None:
        super().__init__()
        self.front = shape.front()
        self.encoder = Encoder(shape.inputs, variant)
        self.head = shape.head(self.encoder.width)

    def encode(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """What the task's batches hold first -> states (batch, steps, width) and final (batch, width)."""
        return self.encoder(self.front(read))

    def forward(self, read: Tensor) -> Tensor:
        """The task's answer; rows of a batch do not see each other."""
        return self.head(*self.encode(read))
