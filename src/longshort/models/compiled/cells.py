"""Where the library's cells find their weights: which gates x feeds, and which the past.

A layer's weights are one matrix to the library, with a row for each feature of x, one for the bias, one for each
unit of h, and one more for each unit of a state that the cell makes; `layer.h` draws it. This module says where its
elements stand in a row of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longshort.config import Variant
from longshort.models.cells import CELLS
from longshort.models.cells.cell import recurrent

Places = NDArray[np.int32]
NOWHERE = -1


@dataclass(frozen=True)
class Gates:
    """The gates of the library's cell, in its order: those that x alone feeds, both, and those that the past alone feeds.

    x       the gates that x feeds, in the letters of the catalogue
    past    those that h feeds; a letter that stands in both, but not where they meet, is a gate that is known in two parts
    made    the gate that a state feeds that the cell makes of h, always the first
    biases  gate -> the vector that is its bias in the past's part
    """

    x: str
    past: str
    made: str = ""
    biases: Mapping[str, str] | None = None

    @property
    def order(self) -> str:
        """All gates."""
        both = next(length for length in range(min(len(self.x), len(self.past)), -1, -1) if self.x.endswith(self.past[:length]))
        return self.x + self.past[both:]


GATES: dict[str, Gates] = {
    **{name: Gates("h", "h") for name in ("rnn", "rnn_relu")},
    "indrnn": Gates("h", ""),
    **{name: Gates("ifog", "ifog") for name in ("lstm", "lstm_np", "alstm")},
    "lstm_1997": Gates("iog", "iog"),
    **{name: Gates("ifoz", "ifoz") for name in ("lstm_peephole", "lstm_niaf", "lstm_noaf")},
    "lstm_nig": Gates("foz", "foz"),
    **{name: Gates("ioz", "ioz") for name in ("lstm_nfg", "lstm_cifg")},
    "lstm_nog": Gates("ifz", "ifz"),
    "gru": Gates("nrz", "rzn", biases={"n": "b_r"}),
    "gru_reset_before": Gates("nrz", "rz", made="n"),
    "mgu": Gates("nf", "f", made="n"),
    "mut2": Gates("nrz", "rz", made="n"),
    "janet": Gates("fg", "fg"),
    "ugrnn": Gates("gc", "gc"),
    "minlstm": Gates("ifn", ""),
    "mingru": Gates("zn", ""),
    "sru": Gates("frns", ""),
}
RECTIFIED = {"rnn": {"tanh": "rnn", "relu": "rnn_relu"}, "rnn_relu": {"tanh": "rnn", "relu": "rnn_relu"}}
IN_LOOP = ("variational_dropout", "recurrent_dropout", "zoneout")
ALIASES = {"lstm_np": "lstm", "alstm": "lstm"}  # the same rule; what differs is outside the layer


def without(variant: Variant) -> str | None:
    """Why the library cannot run a variant, as the rest of a sentence; None when it can."""
    if variant.cell not in GATES:
        return f"the library has no cell '{variant.cell}', only {', '.join(GATES)}"
    for option in IN_LOOP:
        if getattr(variant, option):
            return f"`{option}` acts inside the loop over time, where the library drops nothing"
    usual = CELLS[variant.cell].activation
    if variant.activation not in (None, usual) and variant.activation not in RECTIFIED.get(variant.cell, ()):
        return f"the library's cell '{variant.cell}' has no activation '{variant.activation}'"
    return None


@dataclass(frozen=True)
class Found:
    """Where one layer's weights stand in a row.

    matrix   (rows, gates · hidden), NOWHERE where there is no weight
    vectors  (vectors · hidden,)
    starts   h and c -> (hidden,), where they are learned
    size     how many parameters the layer has
    """

    matrix: Places
    vectors: Places
    starts: dict[str, Places]
    size: int


def find(name: str, shapes: Mapping[str, tuple[int, ...]], first: int = 0) -> Found:
    """Where the weights of a layer are found.

    shapes  its parameters' shapes in the order of the row, without the axis of members
    first   where the layer begins in the row
    """
    cell, gates = CELLS[name], GATES[name]
    at, end = {}, first
    for key, shape in shapes.items():
        at[key] = np.arange(end, end + math.prod(shape), dtype=np.int32).reshape(shape)
        end += math.prod(shape)
    hidden = shapes["W"][1] // len(cell.gates)
    biases = gates.biases or {}
    past = _columns(at["R"], cell.products["h"] if gates.past else "", hidden) if gates.past else {}
    x = _columns(at["W"], cell.gates, hidden)
    b = _columns(at["b"], cell.gates if cell.biased is None else cell.biased, hidden)
    made = _columns(at[recurrent(next(key for key in cell.products if key != "h"))], gates.made, hidden) if gates.made else {}
    columns = []
    for number, gate in enumerate(gates.order):
        by_x, by_past = number < len(gates.x), number >= len(gates.order) - len(gates.past)
        bias = b.get(gate) if by_x else at[biases[gate]]
        parts = [
            x[gate] if by_x else _nowhere(len(at["W"]), hidden),
            _nowhere(1, hidden) if bias is None else bias.reshape(1, hidden),
            past[gate] if by_past else _nowhere(hidden, hidden),
        ]
        if gates.made:
            parts.append(made.get(gate, _nowhere(hidden, hidden)))
        columns.append(np.concatenate(parts))
    own = [at[key] for key in cell.vectors if key not in biases.values()]
    return Found(
        np.ascontiguousarray(np.concatenate(columns, axis=1)),
        np.concatenate([*own, np.empty(0, np.int32)]),
        {state: at[f"start_{state}"] for state in ("h", "c") if f"start_{state}" in at},
        end - first,
    )


def _columns(block: Places, gates: str, hidden: int) -> dict[str, Places]:
    """The columns of each gate."""
    return {gate: block[..., number * hidden : (number + 1) * hidden] for number, gate in enumerate(gates)}


def _nowhere(rows: int, columns: int) -> Places:
    return np.full((rows, columns), NOWHERE, np.int32)
