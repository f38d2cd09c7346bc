"""A recurrent cell by hand: the tutorial's two steps through RNN, LSTM and GRU in three ways, which give the same numbers.

by hand        the printed equations in NumPy, a row and a step at a time
cell by cell   the catalogue's cell, called once a step
whole          the whole sequence through the network's layers, by each engine that there is
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longshort.config import Variant
from longshort.evaluation.pictures import INK, MUTED, as_png, house_style, new_figure
from longshort.evaluation.tables import Table
from longshort.models.cells import CELLS
from longshort.models.encoder import Encoder
from longshort.models.engines import ENGINES
from longshort.systems.heatmaps import greatest, heat, name_fields, write_values
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.systems.stepping import by_hand, cell_by_cell, variant_of
from longshort.training.loop import generator_of

# the tutorial's: what each of four rows reads at the first step and at the second
ROWS = [[[0, 1, 2], [9, 8, 7]], [[3, 4, 5], [0, 0, 0]], [[6, 7, 8], [6, 5, 4]], [[9, 0, 1], [3, 2, 1]]]
STEPS = ("first step", "second step")
TUTORIALS = ("rnn", "lstm", "gru")

Array = NDArray[np.float64]


def run(occasion: Occasion) -> Outcome:
    """The three ways; the figure is the greatest difference between any of them and the first. Nothing is trained.

    raises  UsageError when a setting is none of the cell's
    """
    names = TUTORIALS if "cell" not in occasion.settings else (occasion.settings["cell"],)
    variants = [variant_of(occasion, name, hidden_size=5) for name in names]
    outputs: dict[str, Array] = {}
    rows: list[list[str | float]] = []
    unwritten = []
    for variant in variants:
        outputs[variant.cell], differences, written = _three_ways(variant, occasion.seeds[0])
        rows += [[variant.cell, *row] for row in differences]
        if not written:
            unwritten.append(f"{variant.cell} is not written out by hand as it is set: its cell, step by step, stands in place of that")
    largest = max(float(row[-1]) for row in rows)
    said = [*unwritten, *(f"{name}, {step}\n{_as_text(own[:, t])}" for name, own in outputs.items() for t, step in enumerate(STEPS))]
    units = range(1, max(own.shape[-1] for own in outputs.values()) + 1)
    told = [
        [name, t + 1, row + 1, *own[row, t].tolist()] for name, own in outputs.items() for t in range(len(STEPS)) for row in range(len(own))
    ]
    return Outcome(
        data="the tutorial's eight rows",
        real=True,
        figures=[Figure("greatest difference between the ways", largest)],
        settings={"hidden_size": variants[0].hidden_size, "seed": occasion.seeds[0], "cells": list(outputs)},
        tables={
            "outputs": Table(["cell", "step", "row", *(f"unit {unit}" for unit in units)], told),
            "differences": Table(["cell", "way", "numbers", "greatest difference"], rows),
        },
        pictures={"outputs": _picture(outputs, largest, not unwritten)},
        said="\n\n".join(said),
    )


def _three_ways(variant: Variant, seed: int) -> tuple[Array, list[list[str | float]], bool]:
    """The outputs (rows, steps, width), how far each other way is from them, and whether they are by hand."""
    encoder = Encoder(3, variant, "reference", [generator_of(seed)]).double().eval()
    read = torch.tensor([ROWS], dtype=torch.float64)
    with torch.inference_mode():
        stepped, written = cell_by_cell(encoder, read), by_hand(encoder, read)
        expected = stepped if written is None else written
        rows: list[list[str | float]] = [] if written is None else [["cell by cell", "float64", _difference(stepped, expected)]]
        rows.append(["whole, reference", "float64", _difference(encoder(read)[0], expected)])
        for name, engine in ENGINES.items():
            if engine.runs(variant) is None and engine.absent() is None:
                device = "cuda" if name == "cuda" else "cpu"
                own = Encoder(3, variant, name, [generator_of(seed)]).eval().to(device)
                rows.append([f"whole, {name}", "float32", _difference(own(read.float().to(device))[0].cpu(), expected)])
    return expected[0].numpy(), rows, written is not None


def _difference(found: Tensor, expected: Tensor) -> float:
    """The greatest; of outputs above 1, which only an unbounded activation gives, as a share of them."""
    return float(((found - expected).abs() / expected.abs().clamp(min=1)).max())


def _as_text(values: Array) -> str:
    """Rows of numbers, a line each."""
    return "\n".join("  ".join(f"{value:8.5f}" for value in row) for row in values)


def _picture(outputs: dict[str, Array], largest: float, by_hand: bool) -> bytes:
    """A line of maps a cell, a map a step; PNG bytes."""
    with house_style():
        ways = "By hand, cell by cell and whole" if by_hand else "Cell by cell and whole"
        within = np.format_float_positional(float(f"{largest:.0e}"))
        figure = new_figure(f"{ways}: the same numbers, to {within}", height=0.9 + 1.75 * len(outputs))
        grid = figure.subplots(len(outputs), 2, squeeze=False)
        for number, (name, own) in enumerate(outputs.items(), start=1):
            limit, width = greatest(own), own.shape[-1]
            units = [f"unit {unit + 1}" for unit in range(width)] if number == len(outputs) and width <= 6 else []
            for t, (axes, step) in enumerate(zip(grid[number - 1], STEPS, strict=True)):
                image = heat(axes, own[:, t], limit)
                if width <= 10:
                    write_values(axes, own[:, t], limit)
                name_fields(axes, [f" {row[t][0]}  {row[t][1]}  {row[t][2]} " for row in ROWS], units)
                axes.set_title(f"{CELLS[name].title.partition(',')[0]}, {step}", loc="left", fontsize=10, color=INK, pad=5)
            bar = figure.colorbar(image, ax=grid[number - 1].tolist(), pad=0.01, aspect=12)
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=0)
        figure.supxlabel("left of each row stand the three numbers that it reads at that step", fontsize=9, color=MUTED)
        return as_png(figure)
