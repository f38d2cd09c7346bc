"""A network: a task's front, the recurrent layers, the task's head."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from longshort.config import Variant
from longshort.models import masks
from longshort.models.encoder import Encoder, drawn
from longshort.models.masks import Draw, stream


class Shape(Protocol):
    """The part of a task that a network is built from."""

    @property
    def inputs(self) -> int:
        """Features of each step that reaches the recurrent layers."""

    @property
    def dropout(self) -> float:
        """The share that is dropped of what the recurrent layers read, and of their states before the head."""

    def front(self) -> nn.Module:
        """The module before the recurrent layers."""

    def head(self, width: int, final_width: int) -> nn.Module:
        """The module behind them."""


class Network(nn.Module):
    """One network for one task; `Shape` says what it reads and answers."""

    def __init__(self, shape: Shape, variant: Variant, engine: str) -> None:
        """Freshly initialised from torch's generator. raises ConfigError; see `Encoder`."""
        super().__init__()
        self.dropout = shape.dropout
        self.front = shape.front()
        self.encoder = Encoder(shape.inputs, variant, engine)
        self.head = shape.head(self.encoder.width, self.encoder.final_width)

    def encode(self, read: Tensor, draw: Draw | None = None) -> tuple[Tensor, Tensor]:
        """What the task's batches hold first -> states (batch, steps, width) and final (batch, final_width).

        draw  where the batch stands, in training; nothing is dropped in evaluation
        """
        steps = self._dropped(self.front(read), draw, masks.FRONT)
        states, final = self.encoder(steps.unsqueeze(0), draw)
        return self._dropped(states[0], draw, masks.HEAD), final[0]

    def forward(self, read: Tensor, draw: Draw | None = None) -> Tensor:
        """The task's answer; rows of a batch do not see each other."""
        return self.head(*self.encode(read, draw))

    def _dropped(self, states: Tensor, draw: Draw | None, kind: int) -> Tensor:
        """Dropout on (batch, steps, features)."""
        draw = drawn(self, draw, self.dropout > 0)
        if draw is None or self.dropout == 0:
            return states
        batch, steps, features = states.shape
        return states * torch.from_numpy(draw.factors(kind, stream(0), self.dropout, (batch, steps, features))[0]).to(states)
