"""A network, or a fleet of them: a task's front, the recurrent layers, the task's head."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from longshort.config import Variant
from longshort.models import masks
from longshort.models.encoder import Carried, Encoder, drawn
from longshort.models.masks import Masks, stream
from longshort.tasks.layers import Generators


class Shape(Protocol):
    """The part of a task that a network is built from."""

    @property
    def inputs(self) -> int:
        """Features of each step that reaches the recurrent layers."""

    @property
    def dropout(self) -> float:
        """The share that is dropped of what the recurrent layers read, and of their states before the head."""

    def lengths(self, read: Tensor) -> Tensor | None:
        """How many steps of each row are its own, (K, batch); None: all."""

    def front(self, generators: Generators) -> nn.Module:
        """The module before the recurrent layers."""

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """The module behind them."""


class Network(nn.Module):
    """A fleet of networks of one shape for one task; every parameter has the axis of members in front."""

    def __init__(self, shape: Shape, variant: Variant, engine: str, generators: Generators | None = None) -> None:
        """Freshly begun, each member from its generator; by default one member, from torch's. raises ConfigError; see `Encoder`."""
        super().__init__()
        generators = generators or (torch.default_generator,)
        self.members = len(generators)
        self.dropout, self.lengths = shape.dropout, shape.lengths
        self.front = shape.front(generators)
        self.encoder = Encoder(shape.inputs, variant, engine, generators)
        self.head = shape.head(self.front, self.encoder.width, self.encoder.final_width, generators)

    def encode(self, read: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> tuple[Tensor, Tensor]:
        """What the task's batches hold first, the axis of members in front.

        draw     where the batch stands, in training; nothing is dropped in evaluation
        carried  see `Encoder.forward`
        returns  states (K, batch, steps, width) and final (K, batch, final_width)
        """
        steps = self._dropped(self.front(read), draw, masks.FRONT)
        states, final = self.encoder(steps, draw, lengths=self.lengths(read), carried=carried)
        return self._dropped(states, draw, masks.HEAD), final

    def forward(self, read: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Tensor:
        """The task's answer; members do not see each other, nor do rows of a batch."""
        return self.head(*self.encode(read, draw, carried), self.lengths(read))

    def _dropped(self, states: Tensor, draw: Masks | None, kind: int) -> Tensor:
        """Dropout on (K, batch, steps, features)."""
        draw = drawn(self, draw, self.dropout > 0)
        if draw is None or self.dropout == 0:
            return states
        _, batch, steps, features = states.shape
        return states * draw.factors_for(states, kind, stream(0), self.dropout, (batch, steps, features))
