"""Sequences of different lengths: a padded batch is as its rows one by one, in outputs and in gradients, for every cell and direction.

The tutorial's four rows have 2, 1, 2 and 2 steps; what is missing is padded with zeros. A second batch has other numbers in the
padding, and has to give the same: a mask that multiplies by zero and a padding that happens to be zero would look alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from longshort.errors import UsageError
from longshort.evaluation.pictures import BARS, INK, MUTED, as_png, house_style, new_figure
from longshort.evaluation.tables import Table
from longshort.models.cells import CELLS
from longshort.models.encoder import Encoder
from longshort.systems.cell import ROWS
from longshort.systems.heatmaps import greatest, heat, name_fields, write_values
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.systems.stepping import variant_of
from longshort.training.loop import generator_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LENGTHS = [2, 1, 2, 2]
ANYTHING = 1e3  # what stands in the padding of the second batch
SAID = {False: "one direction", True: "two directions"}
COLUMNS = ("outputs", "final state", "gradient", "behind the end")


@dataclass(frozen=True)
class Differences:
    """Greatest differences of a padded batch from its rows one by one.

    outputs, final   of states at every step, and of the state at a row's last one
    gradient         of the loss with respect to weights and inputs, those of the padding among them, which have to be 0
    behind           the greatest output behind a row's end
    """

    outputs: float
    final: float
    gradient: float
    behind: float

    def row(self) -> list[float]:
        """As they stand in the table."""
        return [self.outputs, self.final, self.gradient, self.behind]


def run(occasion: Occasion) -> Outcome:
    """Every cell of the catalogue in one direction and in two, or the one that is set. The figure is the greatest difference of all.

    raises  UsageError when a setting is none of the cell's that was named
    """
    names = [occasion.settings["cell"]] if "cell" in occasion.settings else list(CELLS)
    directions = [occasion.settings["bidirectional"]] if "bidirectional" in occasion.settings else [False, True]
    rows: list[list[str | float]] = []
    encoders, refused = {}, []
    for name in names:
        try:
            encoders[name] = [_encoder(occasion, name, both) for both in directions]
        except UsageError as error:
            refused.append(error)
    if not encoders:
        raise refused[0]
    largest = behind = 0.0
    for name, own in encoders.items():
        every = [compare(encoder) for encoder in own]
        rows.append([name, *(value for found in every for value in found.row())])
        worst = max(value for found in every for value in found.row()[:3])
        largest, behind = max(largest, worst), max(behind, *(found.behind for found in every))
        occasion.say(f"{name}: together as alone, to {worst:.0e}")
    shown, runs = encoders.get("gru", own)[-1], len(encoders) * len(directions)
    return Outcome(
        data="the tutorial's eight rows, lengths 2, 1, 2, 2",
        real=True,
        figures=[
            Figure("greatest difference of a padded batch from its rows alone", largest),
            Figure("greatest output behind a row's end", behind),
        ],
        settings={
            "cells": len(encoders),
            "numbers": "float64",
            "seed": occasion.seeds[0],
            **({"refused": len(refused)} if refused else {}),
        },
        tables={"cells": Table(["cell", *(f"{column}, {SAID[both]}" for both in directions for column in COLUMNS)], rows)},
        pictures={"states": _picture(shown, runs, largest)},
        said="\n".join(
            [
                f"{len(encoders)} cells, {' and '.join(SAID[both] for both in directions)}: a padded batch gives what its rows give one by "
                f"one, in outputs and gradients, to {largest:.0e}; behind a row's end stands {behind:g}",
                *(f"left out: {error}" for error in refused),
            ]
        ),
    )


def _encoder(occasion: Occasion, name: str, bidirectional: bool) -> Encoder:
    variant = variant_of(occasion, name, hidden_size=5, bidirectional=bidirectional)
    return Encoder(3, variant, "reference", [generator_of(occasion.seeds[0])]).double().eval()


def compare(encoder: Encoder) -> Differences:
    """A padded batch, with zeros and with anything in its padding, beside its rows one by one."""
    draw = torch.Generator().manual_seed(0)
    of_states, of_final = (
        torch.randn(4, *shape, generator=draw, dtype=torch.float64) for shape in ((2, encoder.width), (encoder.final_width,))
    )
    alone = _alone(encoder, of_states, of_final)
    found = [_together(encoder, _padded(filling), of_states, of_final) for filling in (0.0, ANYTHING)]
    kept = _kept()[..., None]
    outputs, final, gradient, behind = 0.0, 0.0, 0.0, 0.0
    for states, last, gradients in found:
        outputs = max(outputs, _greatest((states - alone[0]) * kept))
        final = max(final, _greatest(last - alone[1]))
        gradient = max(gradient, *(_greatest(mine - its) for mine, its in zip(gradients, alone[2], strict=True)))
        behind = max(behind, _greatest(states * ~kept))
    return Differences(outputs, final, gradient, behind)


Read = tuple[Tensor, Tensor, list[Tensor]]  # states (4, 2, width), final (4, final_width), gradients of inputs and of every weight


def _kept() -> Tensor:
    """(4, 2), true at the steps that are a row's own."""
    return torch.arange(2) < torch.tensor(LENGTHS)[:, None]


def _padded(filling: float) -> Tensor:
    """(4, 2, 3)."""
    return torch.tensor(ROWS, dtype=torch.float64).masked_fill(~_kept()[..., None], filling)


def _together(encoder: Encoder, read: Tensor, of_states: Tensor, of_final: Tensor) -> Read:
    """The batch at once; the loss is a weighted sum of all that the rows give."""
    read.requires_grad_()
    states, final = encoder(read[None], lengths=torch.tensor(LENGTHS))
    loss = (states[0] * of_states).sum() + (final[0] * of_final).sum()
    return states[0].detach(), final[0].detach(), list(torch.autograd.grad(loss, [read, *encoder.parameters()]))


def _alone(encoder: Encoder, of_states: Tensor, of_final: Tensor) -> Read:
    """Each row by itself, without padding; what it gives stands in a batch of zeros."""
    rows = _padded(0.0)
    states, final = torch.zeros_like(of_states), torch.zeros_like(of_final)
    total = [torch.zeros_like(each) for each in (rows, *encoder.parameters())]
    for number, length in enumerate(LENGTHS):
        read = rows[number : number + 1, :length].clone().requires_grad_()
        own, last = encoder(read[None])
        loss = (own[0, 0] * of_states[number, :length]).sum() + (last[0, 0] * of_final[number]).sum()
        of_read, *of_weights = torch.autograd.grad(loss, [read, *encoder.parameters()])
        states[number, :length], final[number] = own[0, 0].detach(), last[0, 0].detach()
        at_the_end = torch.cat([own[0, 0, -1, : encoder.size], own[0, 0, 0, encoder.size :]])  # backwards the end is the first step
        final[number, -encoder.width :] = at_the_end.detach()
        total[0][number, :length] = of_read[0]
        for sum_, gradient in zip(total[1:], of_weights, strict=True):
            sum_ += gradient
    return states, final, total


def _greatest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _picture(encoder: Encoder, runs: int, largest: float) -> bytes:
    """The four rows, units by steps, and the final state beside each; padding is hatched. PNG bytes."""
    with torch.inference_mode():
        states, final = (each[0].numpy() for each in encoder(_padded(0.0)[None], lengths=torch.tensor(LENGTHS)))
    size, directions = encoder.size, 2 if encoder.variant.bidirectional else 1
    final = final[:, -directions * size :]  # where a cell attends, its context stands before the states
    limit = max(1.0, greatest(states))
    with house_style():
        title = f"Behind a row's end stands nothing, and its final state is its own last one: {runs} runs agree to {largest:.0e}"
        figure = new_figure(title, height=1.3 + 2.3 * directions)
        grid = figure.subplots(directions, len(LENGTHS), squeeze=False)
        for direction, line in enumerate(grid):
            units = slice(direction * size, (direction + 1) * size)
            for number, (axes, length) in enumerate(zip(line, LENGTHS, strict=True)):
                fields = np.stack([*states[number, :, units], final[number, units]], axis=1)
                image = heat(axes, fields, limit)
                _hatch(axes, length, size)
                if size <= 10:
                    write_values(axes, fields, limit, size=7.5)
                axes.axvline(1.5, color="white", linewidth=6)
                last = 0 if direction else length - 1
                axes.add_patch(Rectangle((last - 0.46, -0.46), 0.88, size - 0.08, fill=False, edgecolor=INK, linewidth=1.6, zorder=3))
                name_fields(
                    axes, [] if number or size > 10 else [f"unit {unit + 1}" for unit in range(size)], ["step 1", "step 2", "final"]
                )
                axes.set_title(f"{length} step{'s' * (length > 1)}", loc="left", fontsize=10, color=INK, pad=5)
            line[0].set_ylabel(("reads backwards", "reads forwards")[direction == 0])
        bar = figure.colorbar(image, ax=grid.ravel().tolist(), pad=0.01, aspect=20 * directions)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        figure.supxlabel(f"{encoder.cell.title}; hatched: padding; framed: where the final state is from", fontsize=9, color=MUTED)
        return as_png(figure)


def _hatch(axes: Axes, length: int, size: int) -> None:
    """Padding, from the row's end to the last step."""
    for step in range(length, 2):
        axes.add_patch(Rectangle((step - 0.5, -0.5), 1, size, facecolor="#f2f2f2", edgecolor=BARS, hatch="///", linewidth=0))
