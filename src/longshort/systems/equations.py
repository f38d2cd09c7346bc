"""The printed equations of a cell, worked out as a reader would: a row at a time, a step at a time, in NumPy and float64.

They stand here once more, apart from the rules of the catalogue and from its products of whole batches, so that one can be held
against the other. `longshort variants lstm` prints the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from longshort.models.cells import CELLS

Array = NDArray[np.float64]
Quantities = dict[str, Array]  # gates and states of one step by their letters, each (hidden,)


class Named:
    """A layer's weights by gate, turned so that ``w.W("i") @ x`` is the printed W_i x.

    cell     its name in the catalogue
    weights  as the layer keeps them: W (inputs, gates·hidden), R (hidden, gates·hidden), vectors (blocks·hidden,)
    """

    def __init__(self, cell: str, weights: Mapping[str, Array]) -> None:
        self.hidden = weights["W"].shape[1] // len(CELLS[cell].gates)
        self._gates, self._weights = CELLS[cell].gates, weights

    def W(self, gate: str) -> Array:
        """(hidden, inputs)."""
        return self._weights["W"][:, self._block(gate)].T

    def R(self, gate: str) -> Array:
        """(hidden, hidden)."""
        return self._weights["R"][:, self._block(gate)].T

    def b(self, gate: str) -> Array:
        """(hidden,)."""
        return self._weights["b"][self._block(gate)]

    def vector(self, name: str) -> Array:
        """(hidden,), such as a GRU's second bias."""
        return self._weights[name]

    def start(self, state: str) -> Array:
        """(hidden,), the state before the first step."""
        return self._weights.get(f"start_{state}", np.zeros(self.hidden))

    def _block(self, gate: str) -> slice:
        first = self._gates.index(gate) * self.hidden
        return slice(first, first + self.hidden)


Activation = Callable[[Array], Array]
Equations = Callable[[Named, Array, Quantities, Activation], Quantities]  # (weights, x, the step before, tanh or what stands for it)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ)."""
    return 1 / (1 + np.exp(-x))


def _rnn(w: Named, x: Array, before: Quantities, tanh: Activation) -> Quantities:
    h = before["h"]
    return {"h": tanh(w.W("h") @ x + w.R("h") @ h + w.b("h"))}


def _lstm(w: Named, x: Array, before: Quantities, tanh: Activation) -> Quantities:
    h, c = before["h"], before["c"]
    i = sigmoid(w.W("i") @ x + w.R("i") @ h + w.b("i"))
    f = sigmoid(w.W("f") @ x + w.R("f") @ h + w.b("f"))
    o = sigmoid(w.W("o") @ x + w.R("o") @ h + w.b("o"))
    g = tanh(w.W("g") @ x + w.R("g") @ h + w.b("g"))
    c = f * c + i * g
    return {"f": f, "i": i, "g": g, "o": o, "c": c, "h": o * tanh(c)}


def _gru(w: Named, x: Array, before: Quantities, tanh: Activation) -> Quantities:
    h = before["h"]
    r = sigmoid(w.W("r") @ x + w.R("r") @ h + w.b("r"))
    z = sigmoid(w.W("z") @ x + w.R("z") @ h + w.b("z"))
    n = tanh(w.W("n") @ x + w.b("n") + r * (w.R("n") @ h + w.vector("b_r")))
    return {"r": r, "z": z, "n": n, "h": (1 - z) * n + z * h}


EQUATIONS: dict[str, Equations] = {"rnn": _rnn, "rnn_relu": _rnn, "lstm": _lstm, "lstm_np": _lstm, "gru": _gru}

ACTIVATIONS: dict[str, Activation] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "linear": lambda x: x,
}


def worked_out(cell: str, weights: Mapping[str, Array], steps: Array, activation: str) -> Quantities:
    """One layer in one direction over whole sequences.

    cell      one of `EQUATIONS`
    weights   see `Named`
    steps     (batch, steps, inputs)
    returns   gates and states by their letters, each (batch, steps, hidden), in the order in which they are worked out
    """
    w, equations, tanh = Named(cell, weights), EQUATIONS[cell], ACTIVATIONS[activation]
    rows = []
    for row in steps:
        now = {state: w.start(state) for state in CELLS[cell].states}
        told = []
        for x in row:
            now = equations(w, x, now, tanh)
            told.append(now)
        rows.append(told)
    return {name: np.array([[now[name] for now in told] for told in rows]) for name in rows[0][0]}
