"""The engine `reference`: a cell's rule in a loop over time, as it stands in the catalogue.

The input's product is made for all steps before the loop, and a step makes one product for all gates that read
the same. A cell that is linear in its past is solved by a scan that doubles its reach: log₂ steps in place of
steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from longshort.config import Variant
from longshort.models.cells import Cell, Step
from longshort.models.cells.cell import state_sizes
from longshort.models.engines.engine import Epochs, Inside, States, member_by_member, start

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.task import Task


class Reference:
    """Runs every cell with every option."""

    def runs(self, variant: Variant) -> str | None:
        """Always None."""
        return None

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
        """See `Engine`. On a CPU members run one by one, elsewhere in one batched product."""

        def run(weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States) -> tuple[Tensor, States]:
            if cell.linear is not None and not inside.zoneout:
                return by_scan(cell, activation, weights, steps, inside, before)
            return step_by_step(cell, activation, weights, steps, inside, before)

        if steps.device.type == "cpu":
            return member_by_member(run, weights, steps, inside, before)
        return run(weights, steps, inside, before)


def step_by_step(
    cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States
) -> tuple[Tensor, States]:
    """The loop; see `Engine.carry`."""
    step = _step(cell, activation, weights)
    step.state_mask = inside.state_mask
    shares = _shares(cell, weights, steps) if cell.hoisted else steps
    updates = None if inside.update_mask is None else inside.update_mask.unbind(1)
    projection = weights["P"].shape[-1] if cell.projects else 0
    sizes = state_sizes(cell, step.hidden, projection)
    states = tuple(start(cell, weights, name, steps[:, 0], size, before) for name, size in sizes.items())
    outputs = []
    for number, step.x in enumerate(shares.unbind(1)):  # a view by index would cost a gradient of the whole each step
        if updates is not None:
            step.update_mask = updates[number]
        new = cell.rule(step, *states)
        states = _zoned(cell, states, new, number, inside) if inside.zoneout else new
        outputs.append(states[0])
    return torch.stack(outputs, dim=1), dict(zip(sizes, states, strict=True))


def by_scan(
    cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States
) -> tuple[Tensor, States]:
    """h = a ⊙ h₋₁ + b for all steps at once (Hillis and Steele, 1986); see `Engine.carry`."""
    assert cell.linear is not None
    step = _step(cell, activation, weights)
    step.x, step.update_mask = _shares(cell, weights, steps), inside.update_mask
    kept, written = cell.linear(step)
    first = start(cell, weights, "h", steps[:, 0], step.hidden, before)
    written = torch.cat([written[:, :1] + kept[:, :1] * first.unsqueeze(1), written[:, 1:]], dim=1)
    reach = 1
    while reach < steps.shape[1]:
        # each step has taken in the `reach` steps that end with it; now it takes in those of the one before them
        later, earlier = slice(reach, None), slice(None, -reach)
        written = torch.cat([written[:, :reach], written[:, later] + kept[:, later] * written[:, earlier]], dim=1)
        kept = torch.cat([kept[:, :reach], kept[:, later] * kept[:, earlier]], dim=1)
        reach *= 2
    return written, {"h": written[:, -1]}


def _step(cell: Cell, activation: str, weights: Mapping[str, Tensor]) -> Step:
    return Step(cell, weights, weights["W"].shape[-1] // len(cell.gates), activation)


def _shares(cell: Cell, weights: Mapping[str, Tensor], steps: Tensor) -> Tensor:
    """W·x + b of all steps, or W·x where the cell adds b by itself."""
    rows = steps.flatten(1, 2)
    shares = torch.baddbmm(weights["b"].unsqueeze(1), rows, weights["W"]) if cell.biased is None else rows.bmm(weights["W"])
    return shares.view(*steps.shape[:3], -1)


def _zoned(cell: Cell, old: tuple[Tensor, ...], new: tuple[Tensor, ...], number: int, inside: Inside) -> tuple[Tensor, ...]:
    states = []
    for name, before, after in zip(cell.states, old, new, strict=True):
        if name not in cell.zoned:
            states.append(after)
        elif inside.zoned:
            states.append(torch.where(inside.zoned[name][:, number], before, after))
        else:
            states.append(after.lerp(before, inside.zoneout))
    return tuple(states)
