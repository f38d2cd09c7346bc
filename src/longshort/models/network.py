"""A network, or a fleet of them: a task's front, the recurrent layers, the task's head; and a decoder where the head speaks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from longshort.config import Variant
from longshort.errors import ConfigError
from longshort.models import masks
from longshort.models.cells import CELLS
from longshort.models.encoder import Carried, Encoder, drawn
from longshort.models.masks import Behind, Masks, stream
from longshort.tasks.layers import Generators
from longshort.tasks.speech import Speech


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
    """A fleet of networks of one shape for one task; every parameter has the axis of members in front.

    decoder  of a head that speaks: layers of the same cell, as wide as the encoder's states and forward alone; None of other heads
    """

    def __init__(self, shape: Shape, variant: Variant, engine: str, generators: Generators | None = None) -> None:
        """Freshly begun, each member from its generator; by default one member, from torch's. raises ConfigError; see `Encoder`."""
        super().__init__()
        generators = generators or (torch.default_generator,)
        self.members = len(generators)
        self.dropout, self.lengths = shape.dropout, shape.lengths
        self.front = shape.front(generators)
        self.encoder = Encoder(shape.inputs, variant, engine, generators)
        self.head = shape.head(self.front, self.encoder.width, self.encoder.final_width, generators)
        self.decoder = None
        if isinstance(self.head, Speech):
            self.decoder = Encoder(self.head.reads, as_decoder(variant), engine, generators)

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
        """The task's answer; members do not see each other, nor do rows of a batch. raises  ValueError of a network that speaks"""
        if self.decoder is not None:
            raise ValueError("this network says a sequence of words, one by one: ask `decode`, or `models.decoding.search`.")
        return self.head(*self.encode(read, draw, carried), self.lengths(read))

    def decode(
        self,
        fed: Tensor,
        heard: tuple[Tensor, Tensor, Tensor | None],
        draw: Masks | None = None,
        carried: Carried | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What a head that speaks comes to after each word of its own that it is fed.

        fed      ids (K, batch, words), the first of which is what every row begins with
        heard    states, final and lengths of what the encoder read, as `encode` and `Shape.lengths` give them
        carried  see `Encoder.forward`: words may be fed one by one
        returns  as `Speech.forward`
        raises   ValueError of a network without decoder
        """
        if self.decoder is None or not isinstance(self.head, Speech):
            raise ValueError("this network has no decoder: its task asks for no sequence of words.")
        behind = None if draw is None else Behind(draw, len(self.encoder.layers))
        words = self._dropped(self.head.embeddings(fed), behind, masks.FRONT)
        summary = heard[1].unsqueeze(2).expand(-1, -1, fed.shape[2], -1)
        states, _ = self.decoder(torch.cat([words, summary], dim=-1), behind, carried=carried)
        return self.head(self._dropped(states, behind, masks.HEAD), heard[0], heard[2])

    def _dropped(self, states: Tensor, draw: Masks | None, kind: int) -> Tensor:
        """Dropout on (K, batch, steps, features)."""
        draw = drawn(self, draw, self.dropout > 0)
        if draw is None or self.dropout == 0:
            return states
        _, batch, steps, features = states.shape
        return states * draw.factors_for(states, kind, stream(0), self.dropout, (batch, steps, features))


def as_decoder(variant: Variant) -> Variant:
    """The variant of a decoder beside an encoder: as wide as its states, and forward alone, since it cannot read what it has not said.

    raises  ConfigError of a cell that attends: that is done once, after the last step, and a decoder answers at every step
    """
    if CELLS[variant.cell].attends:
        raise ConfigError(
            f"models.variants: cell '{variant.cell}' attends to its states once, when it has read all, and a decoder answers at every "
            "step. Take cell 'lstm', with the task's own `attention`."
        )
    wider = 2 if variant.bidirectional else 1
    sizes = {"hidden_size": wider * variant.hidden_size, "projection_size": wider * variant.projection_size}
    return variant.model_copy(update={"bidirectional": False, **sizes})
