"""A trained network's files, asked in the library: without torch, whose import takes longer than all that is asked.

What is read is `models.artefact`'s; what the library cannot run, or does not find as it should be, is left to that.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort import storage
from longshort.config import LABELLED, Variant
from longshort.models.compiled.forecaster import NativeForecaster, without
from longshort.models.compiled.told import layers_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Served:
    """A network, or a fleet of a network a ticker, that the library can ask, one window at a time.

    card     the whole of model.json
    tensors  by name as `artefact.save` wrote them, each (members, *shape)
    sha256   digest of the artefact
    """

    card: dict[str, Any]
    tensors: dict[str, Floats]
    sha256: str

    def forecasts(self, member: int, past: Floats) -> Floats:
        """Past windows (windows, lookback, inputs), scaled, to what a member answers: (windows, horizon), scaled; a forecaster's."""
        return self._forecaster(member, past.shape[1]).answers(past)

    def scores(self, ids: NDArray[np.integer[Any]]) -> Floats:
        """Passages (passages, words) to the score of every word of the vocabulary after each, (passages, vocabulary); a language model's.

        The final state of a passage is that of its last word, so it is a forecast of as many values as there are words to tell apart.
        """
        return self._forecaster(0, ids.shape[1]).answers(self.tensors["front.table"][0][ids])

    @functools.cached_property
    def _forecasters(self) -> dict[tuple[int, int], NativeForecaster]:
        return {}

    def _forecaster(self, member: int, steps: int) -> NativeForecaster:
        """Of windows of so many steps; made once."""
        if (member, steps) not in self._forecasters:
            variant, inputs, head = Variant(**self.card["variant"]), self.card["shape"]["inputs"], self._head(member)
            row = np.concatenate([self.tensors[name][member].ravel() for name in _layers(variant, inputs)] + head)
            quantiles = self.card["shape"].get("quantiles", ())
            horizon = len(head[-1]) // (1 + len(quantiles))
            self._forecasters[member, steps] = NativeForecaster(variant, row, inputs, horizon, steps, quantiles=quantiles)
        return self._forecasters[member, steps]

    def _head(self, member: int) -> list[Floats]:
        """The head's weights (states, answers), row by row, and its bias."""
        if self.card["shape"].get("tied"):
            return [self.tensors["front.table"][member].T.ravel(), self.tensors["head.bias"][member]]
        return [self.tensors["head.linear.weight"][member].ravel(), self.tensors["head.linear.bias"][member]]


def opened(folder: Path) -> Served | None:
    """Verify, then read a model; None where the library cannot ask it.

    raises  CorruptArtefact when any byte is not as it was written
    """
    from safetensors.numpy import load

    sha256 = storage.verify(folder)
    card = storage.read_json(folder / "model.json")
    try:
        return of(card, load((folder / "weights.safetensors").read_bytes()), sha256)
    except (KeyError, ValueError):  # of another form: who reads it with torch says what is wrong
        return None


def of(card: dict[str, Any], tensors: dict[str, Floats], sha256: str) -> Served | None:
    """A network's arrays, see `Served`; None where the library cannot ask it, or they are not those of its variant.

    raises  KeyError, ValueError when the card is of another form
    """
    variant, inputs, found = Variant(**card["variant"]), card["shape"]["inputs"], Served(card, tensors, sha256)
    if without(variant) or "engine" not in card["origin"] or card["task"] in LABELLED:
        return None
    if card["task"] == "language-model" and variant.bidirectional:
        return None
    weights, bias = found._head(0)
    states = variant.hidden_size * (2 if variant.bidirectional else 1)
    wanted = {name: (len(next(iter(tensors.values()))), *shape) for name, shape in _layers(variant, inputs).items()}
    fit = all(tensors[name].shape == shape for name, shape in wanted.items()) and weights.size == states * bias.size
    return found if fit else None


def _layers(variant: Variant, inputs: int) -> dict[str, tuple[int, ...]]:
    """The names of the layers' parameters, in the order of a row, and their shapes without the axis of members."""
    layers = layers_of(variant, inputs)
    return {f"encoder.layers.{depth}.{direction}.{name}": shape for depth, direction, own in layers for name, shape in own.items()}
