"""What the library is told of a whole network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longshort.config import Variant
from longshort.models import masks
from longshort.models.cells import CELLS, Cell, shapes
from longshort.models.cells.cell import starts
from longshort.models.compiled import cells, library

Shapes = dict[str, tuple[int, ...]]


def named(cell: Cell, activation: str) -> str:
    """The library's cell for one of the catalogue."""
    name = next(name for name, known in CELLS.items() if known is cell)
    return cells.RECTIFIED[name][activation] if name in cells.RECTIFIED else name


def layer_of(name: str, found: cells.Found, inputs: int, hidden: int, backwards: bool) -> library.Layer:
    """A layer as the library takes it; `found` must outlive it."""
    number = library.opened().cell(cells.ALIASES.get(name, name).encode())
    kept = (library.address(found.starts.get(state)) for state in ("h", "c"))
    return library.Layer(library.address(found.matrix), library.address(found.vectors), *kept, number, inputs, hidden, backwards)


def layers_of(variant: Variant, inputs: int) -> list[tuple[int, int, Shapes]]:
    """Layer, direction, and its parameters' shapes in the order of a row, without the axis of members; forward first."""
    cell, hidden = CELLS[variant.cell], variant.hidden_size
    directions = 2 if variant.bidirectional else 1
    found = []
    for depth in range(variant.num_layers):
        own = shapes(cell, hidden * directions if depth else inputs, hidden)
        if variant.initial_state == "learned":
            own |= starts(cell, hidden)
        found += [(depth, direction, own) for direction in range(directions)]
    return found


class Told:
    """Layers and a head; keeps alive what the library's `network` points to."""

    def __init__(
        self,
        variant: Variant,
        inputs: int,
        steps: int,
        horizon: int,
        quantiles: Sequence[float] = (),
        asked: bool = True,
        words: int = 0,
        edge_dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        """horizon: of a forecaster, else 0; words: of a language model's vocabulary, else 0.

        variant       which `cells.without` says nothing against
        quantiles     that a forecaster's head names; asked: whether the library shall name them too
        edge_dropout  on embeddings and before the head
        tied          whether the head's weights are the table of embeddings, which begins a row
        """
        cell, width = CELLS[variant.cell], variant.hidden_size * (2 if variant.bidirectional else 1)
        name = named(cell, variant.activation or cell.activation)
        self._found: list[cells.Found] = []
        first, layers = words * inputs, []
        for _, direction, own in layers_of(variant, inputs):
            self._found.append(cells.find(name, own, first))
            layers.append(layer_of(name, self._found[-1], own["W"][0], variant.hidden_size, bool(direction)))
            first += self._found[-1].size
        # (width, answers), the bias last, which ends a row
        answers = words or horizon * (1 + len(quantiles))
        head = np.arange(words * inputs).reshape(words, inputs).T if tied else first + np.arange(width * answers).reshape(-1, answers)
        first += 0 if tied else head.size
        head = np.concatenate([head, [np.arange(first, first + answers)]])
        self._head = np.ascontiguousarray(head if asked else head[:, :horizon], np.int32)
        self._levels = np.array(quantiles if asked else (), np.float32)
        self._layers = (library.Layer * len(layers))(*layers)
        self.network = library.Network(
            self._layers,
            library.address(self._head),
            first + answers,
            *(variant.num_layers, 2 if variant.bidirectional else 1, inputs, steps, horizon, variant.residual),
            *_dropout(variant.dropout),
            *(words, 0),
            *_dropout(edge_dropout),
            *(len(self._levels), library.address(self._levels)),
        )


def _dropout(rate: float) -> tuple[int, np.float32]:
    """Below which value of 16 bits something is dropped, and what the rest is multiplied by."""
    threshold = masks.threshold(rate)
    return threshold, np.float32(65536 / (65536 - threshold))
