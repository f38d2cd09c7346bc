"""The recurrent layers of a network one step at a time, where an engine reads whole sequences at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from longshort.config import Variant
from longshort.errors import UsageError
from longshort.models.cells import CELLS, refusal
from longshort.models.encoder import Encoder
from longshort.models.engines import Inside
from longshort.models.engines.engine import States
from longshort.models.engines.reference import step_by_step
from longshort.systems.equations import EQUATIONS, worked_out
from longshort.systems.occasion import Occasion

Weights = Mapping[str, Tensor]


def variant_of(occasion: Occasion, cell: str, **own: Any) -> Variant:
    """`Occasion.variant` of a cell; one that projects its state projects it to half of its units, where nothing else is said.

    raises  UsageError, also when the cell has none of an option
    """
    variant = occasion.variant(cell=cell, **own)
    if CELLS[variant.cell].projects and not variant.projection_size:
        variant = variant.model_copy(update={"projection_size": max(variant.hidden_size // 2, 1)})
    if reason := refusal(variant.cell, CELLS[variant.cell], variant):
        raise UsageError(f"--set: {reason}")
    return variant


def is_written(variant: Variant) -> bool:
    """Whether the printed equations stand in `equations` for this cell with these settings."""
    return variant.cell in EQUATIONS and not variant.zoneout


def step(encoder: Encoder, weights: Weights, x: Tensor, before: States) -> States:
    """The states of one layer after a step; gradients flow into those ``before`` it, which are empty ahead of the first.

    x  (K, batch, inputs)
    """
    activation = encoder.variant.activation or encoder.cell.activation
    return step_by_step(encoder.cell, activation, weights, x.unsqueeze(1), Inside(zoneout=encoder.variant.zoneout), before)[1]


def cell_by_cell(encoder: Encoder, steps: Tensor) -> Tensor:
    """What `Encoder.forward` gives for states, by calling the catalogue's cell once a step.

    steps    (K, batch, steps, inputs)
    returns  (K, batch, steps, width)
    """

    def run(weights: Weights, read: Tensor) -> Tensor:
        states: States = {}
        told = []
        for x in read.unbind(1):
            states = step(encoder, weights, x, states)
            told.append(states["h"])
        return torch.stack(told, dim=1)

    return layered(encoder, steps, run)


def by_hand(encoder: Encoder, steps: Tensor) -> Tensor | None:
    """The same by the printed equations, of a lone network, in float64; None where they are not written out for its cell or options."""
    if not is_written(encoder.variant):
        return None

    def run(weights: Weights, read: Tensor) -> Tensor:
        own = {key: weight[0].detach().double().numpy() for key, weight in weights.items()}
        told = worked_out(encoder.variant.cell, own, read[0].transpose(0, 1).numpy(), encoder.variant.activation or encoder.cell.activation)
        return torch.from_numpy(told["h"]).transpose(0, 1).unsqueeze(0)

    return layered(encoder, steps.double(), run)


def layered(encoder: Encoder, steps: Tensor, run: Callable[[Weights, Tensor], Tensor]) -> Tensor:
    """Layer upon layer, each in its directions, nothing dropped.

    run  of one layer in one direction: its weights and (K, steps, batch, inputs) to h at every step, (K, steps, batch, size)
    """
    read = steps.transpose(1, 2)
    for layer in range(len(encoder.layers)):
        forward, *backward = encoder.directions(layer)
        ahead = [run(forward.tensors(), read), *(run(each.tensors(), read.flip(1)).flip(1) for each in backward)]
        states = torch.cat(ahead, dim=-1)
        read = read + states if encoder.variant.residual and layer else states
    return read.transpose(1, 2)
