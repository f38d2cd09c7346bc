"""Heat maps: units by steps, or rows by units, in the colours of the house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from longshort.evaluation.pictures import INK, MODEL, MUTED, NAIVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Array = NDArray[np.float64]

# blue and vermilion are told apart by colour-blind eyes, and their middle is white: nothing is no colour
SIGNED = LinearSegmentedColormap.from_list("signed", [NAIVE, "#ffffff", MODEL])
SHARE = LinearSegmentedColormap.from_list("share", ["#ffffff", "#56b4e9", MODEL, "#00304d"])


def heat(axes: Axes, values: Array, limit: float, signed: bool = True) -> AxesImage:
    """A field a value, row 0 above; ``signed`` from -limit to limit, else from 0 to limit."""
    colours, low = (SIGNED, -limit) if signed else (SHARE, 0.0)
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=limit, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def write_values(axes: Axes, values: Array, limit: float, size: float = 8.0) -> None:
    """Each value in its field, white where the field is dark."""
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.75 * limit else INK
        text = f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0: a zero has no sign
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def name_fields(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """What stands beside the rows and under the columns; empty lists leave a side bare."""
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.tick_params(labelcolor=MUTED)


def greatest(values: Array) -> float:
    """The limit of a map of these, never 0."""
    return float(np.abs(values).max()) or 1.0
