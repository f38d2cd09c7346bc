"""The engine `torch`: the kernels behind nn.LSTM, nn.GRU and nn.RNN, where a cell is one of theirs.

torch keeps weights as (gates·hidden, inputs), its LSTM in the order i, f, g, o, and adds two biases where here is
one; `to_torch` and `from_torch` go between. Its kernels have nothing inside the loop that could be dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from longshort.config import Variant
from longshort.models.cells import Cell
from longshort.models.cells.kernels import GATES, without_kernel
from longshort.models.engines.engine import Epochs, Inside, States, member_by_member, start

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.task import Task


class Kernels:
    """Runs the cells that torch has."""

    def runs(self, variant: Variant) -> str | None:
        """See `cells.kernels`."""
        return without_kernel(variant)

    def absent(self) -> str | None:
        """Always None."""
        return None

    def epochs(self, network: Network, tasks: Sequence[Task]) -> Epochs | None:
        """Always None."""
        return None

    def forward(self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside) -> Tensor:
        """See `Engine`."""
        return self.carry(cell, activation, weights, steps, inside, {})[0]

    def carry(
        self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States
    ) -> tuple[Tensor, States]:
        """See `Engine`."""
        return member_by_member(lambda *one: _run(cell, activation, *one), weights, steps, inside, before)


def _run(
    cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States
) -> tuple[Tensor, States]:
    names, hidden = torch_weights(cell, weights), weights["R"].shape[-1] // len(cell.gates)
    flat = list(names.values())
    h = start(cell, weights, "h", steps[:, 0], weights["R"].shape[1], before)
    settings = (True, 1, 0.0, torch.is_grad_enabled(), False, False)  # biases, layers, dropout, training, bidirectional, batch first
    if "c" in cell.states:
        states, h, c = torch.lstm(steps[0], (h, start(cell, weights, "c", steps[:, 0], hidden, before)), flat, *settings)
        return states.unsqueeze(0), {"h": h, "c": c}
    kernel = torch.gru if cell.gates == "rzn" else {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}[activation]
    states, h = kernel(steps[0], h, flat, *settings)
    return states.unsqueeze(0), {"h": h}


def torch_weights(cell: Cell, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One layer's weights of one member (its axis kept) as torch's module of one layer names and orders them; gradients flow through."""
    order = _order(cell)
    hidden = weights["R"].shape[-1] // len(cell.gates)
    bias_hh = torch.zeros_like(weights["b"][0])
    if "b_r" in weights:  # of the gate n alone, the last
        bias_hh = torch.cat([bias_hh[:-hidden], weights["b_r"][0]])
    made = {
        "weight_ih_l0": _blocks(weights["W"][0], order).t().contiguous(),
        "weight_hh_l0": _blocks(weights["R"][0], order).t().contiguous(),
        "bias_ih_l0": _blocks(weights["b"][0], order),
        "bias_hh_l0": bias_hh,
    }
    return made | ({"weight_hr_l0": weights["P"][0].t().contiguous()} if cell.projects else {})


def weights_from_torch(cell: Cell, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `torch_weights`; torch's two biases are added where there is one here."""
    order = _order(cell)
    back = [order.index(number) for number in range(len(order))]
    bias, shift = state["bias_ih_l0"], state["bias_hh_l0"].clone()
    made = {"W": _blocks(state["weight_ih_l0"].t(), back), "R": _blocks(state["weight_hh_l0"].t(), back)}
    if "b_r" in cell.vectors:
        hidden = len(shift) // len(order)
        made["b_r"], shift[-hidden:] = shift[-hidden:].clone(), 0
    made["b"] = _blocks(bias + shift, back)
    if cell.projects:
        made["P"] = state["weight_hr_l0"].t()
    return {name: weight.unsqueeze(0).contiguous() for name, weight in made.items()}


def _order(cell: Cell) -> list[int]:
    """Where each of torch's gates stands among ours."""
    theirs = next(order for name, order in GATES.items() if set(order) == set(cell.gates))
    return [cell.gates.index(gate) for gate in theirs]


def _blocks(weights: Tensor, order: Sequence[int]) -> Tensor:
    """The last axis, in equal blocks, put in another order."""
    if list(order) == sorted(order):
        return weights
    blocks = weights.chunk(len(order), dim=-1)
    return torch.cat([blocks[number] for number in order], dim=-1)
