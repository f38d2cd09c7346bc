"""What the library is told of a whole network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from longshort.models import masks
from longshort.models.compiled import cells, library
from longshort.models.engines.native.engine import named
from longshort.models.engines.native.layer import layer_of

if TYPE_CHECKING:
    from longshort.models.encoder import Encoder


class Told:
    """Layers and a head; keeps alive what the library's `network` points to."""

    def __init__(
        self, encoder: Encoder, inputs: int, steps: int, answers: int, words: int = 0, edge_dropout: float = 0.0, tied: bool = False
    ) -> None:
        """answers: of the head; words: of a language model's vocabulary, else 0; edge_dropout: on embeddings and before the head.

        tied  whether the head's weights are the table of embeddings, which begins a row
        """
        variant = encoder.variant
        name = named(encoder.cell, variant.activation or encoder.cell.activation)
        self._found: list[cells.Found] = []
        first, layers = words * inputs, []
        for depth in range(variant.num_layers):
            for direction, weights in enumerate(encoder.directions(depth)):
                shapes = {key: tuple(weight.shape[1:]) for key, weight in weights.tensors().items()}
                self._found.append(cells.find(name, shapes, first))
                layers.append(layer_of(name, self._found[-1], shapes["W"][0], variant.hidden_size, bool(direction)))
                first += self._found[-1].size
        # (width, answers), the bias last, which ends a row
        head = np.arange(words * inputs).reshape(words, inputs).T.ravel() if tied else np.arange(first, first + encoder.width * answers)
        first += 0 if tied else head.size
        self._head = np.concatenate([head, np.arange(first, first + answers)]).astype(np.int32)
        self._layers = (library.Layer * len(layers))(*layers)
        self.network = library.Network(
            self._layers,
            library.address(self._head),
            first + answers,
            *(variant.num_layers, 2 if variant.bidirectional else 1, inputs, steps, 0 if words else answers, variant.residual),
            *_dropout(variant.dropout),
            *(words, 0),
            *_dropout(edge_dropout),
        )


def _dropout(rate: float) -> tuple[int, np.float32]:
    """Below which value of 16 bits something is dropped, and what the rest is multiplied by."""
    threshold = masks.threshold(rate)
    return threshold, np.float32(65536 / (65536 - threshold))
