"""A trained network as it is asked in service: windows as they come in, or a stream of steps.

A stream answers the window that ends with the newest step. The steps before that are known earlier, and are run ahead; when the
newest comes, one step is left. Its answer is the window's own, bit for bit: it begins, as each window does, from the state
before the first step, and never from what older steps left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.models.compiled.forecaster import NOT_AHEAD, NativeForecaster, refuse_both_ways, refuse_others, without
from longshort.models.compiled.library import WIDEST
from longshort.models.network import Network
from longshort.tasks.forecast import FinalStateHead

Floats = NDArray[np.float32]


class Stream(Protocol):
    """Windows that end with a step that comes in; for one thread at a time."""

    def ahead(self, past: Floats) -> None:
        """Run the steps of the coming window that are known: (lookback - 1, inputs), scaled, oldest first. Raises ValueError."""

    def tick(self, newest: Sequence[float] | Floats) -> Floats:
        """The answer once the newest step is known.

        newest   (inputs,), scaled
        returns  (horizon,), scaled: the bits of the whole window's
        raises   ValueError when nothing was run ahead since the last tick, or for another number of features
        """


class Forecaster(Protocol):
    """A lone network over windows (lookback, inputs), scaled, oldest step first, to answers (horizon,), scaled."""

    lookback: int
    inputs: int
    horizon: int

    def answers(self, windows: Floats) -> Floats:
        """(windows, lookback, inputs) to (windows, horizon), each with the bits that it has alone. Raises ValueError."""

    def stream(self) -> Stream:
        """A stream of its own. Raises ValueError when the network is bidirectional."""


def forecaster(network: Network, lookback: int) -> Forecaster:
    """A trained network's forecaster: in the compiled library where it can run it, otherwise by the network's engine.

    raises  ValueError when the network is a fleet of several
    """
    if network.members != 1:
        raise ValueError(f"a fleet of {network.members} networks has no forecast of its own. Take one member with `Model.of`.")
    return native(network, lookback) if without(network.encoder.variant) is None else EngineForecaster(network, lookback)


def native(network: Network, lookback: int, width: int = WIDEST) -> NativeForecaster:
    """A network of one member in the compiled library; what becomes of the network later does not reach it. See `NativeForecaster`."""
    parameters = [weight.detach() for weight in network.parameters()]
    row = torch.cat([weight.reshape(-1) for weight in parameters]).to("cpu", torch.float32).numpy()
    inputs, head = network.encoder.directions(0)[0].tensors()["W"].shape[1], cast(FinalStateHead, network.head)
    return NativeForecaster(network.encoder.variant, row, inputs, head.horizon, lookback, width, head.quantiles)


class EngineForecaster:
    """By the network's own engine: for what the library cannot run, or a machine without it. At each tick a stream runs the whole window.

    The answers to several windows at once are those to each alone to the rounding, where the engine is torch.
    """

    def __init__(self, network: Network, lookback: int) -> None:
        """network: in evaluation mode."""
        self._network, self.lookback = network, lookback
        self.inputs = network.encoder.directions(0)[0].tensors()["W"].shape[1]
        self.horizon = cast(FinalStateHead, network.head).horizon

    @torch.inference_mode()
    def answers(self, windows: Floats) -> Floats:
        """See `Forecaster`."""
        refuse_others(windows, (len(windows), self.lookback, self.inputs))
        return self._network(torch.from_numpy(np.ascontiguousarray(windows, np.float32))[None])[0].numpy()

    def stream(self) -> Stream:
        """See `Forecaster`."""
        refuse_both_ways(self._network.encoder.variant)
        return WholeWindows(self)


class WholeWindows:
    """A stream that has nothing run ahead."""

    def __init__(self, of: Forecaster) -> None:
        self._of = of
        self._past: Floats | None = None

    def ahead(self, past: Floats) -> None:
        """See `Stream`."""
        refuse_others(past, (self._of.lookback - 1, self._of.inputs))
        self._past = past.astype(np.float32)

    def tick(self, newest: Sequence[float] | Floats) -> Floats:
        """See `Stream`."""
        if self._past is None:
            raise ValueError(NOT_AHEAD)
        step = np.array(newest, np.float32)
        refuse_others(step, (self._of.inputs,))
        window, self._past = np.concatenate([self._past, step[None]]), None
        return self._of.answers(window[None])[0]
