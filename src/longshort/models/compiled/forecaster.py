"""One window at a time, as a served network is asked: units lie side by side in the library's lanes, where a batch has windows."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longshort.config import Variant
from longshort.models.cells import CELLS
from longshort.models.compiled import cells, library
from longshort.models.compiled.library import WIDEST
from longshort.models.compiled.told import Told

Floats = NDArray[np.float32]
LINE = 64  # bytes of a line of the cache
NOT_AHEAD = "there was a tick since the last `ahead`. Call `ahead` with the steps before the newest one first."


def refuse_others(steps: Floats, shape: tuple[int, ...]) -> None:
    """Raises ValueError for steps of another shape."""
    if steps.shape != shape:
        raise ValueError(f"steps come in as {steps.shape}; the network reads {shape}, the last of them its features.")


def refuse_both_ways(variant: Variant) -> None:
    """Raises ValueError when a network cannot be streamed."""
    if variant.bidirectional:
        raise ValueError(
            "the network is bidirectional: its backward layers begin with the newest step, so nothing of a window can be run before "
            "that is known. Ask for whole windows, or train a variant with `bidirectional: false`."
        )


def without(variant: Variant) -> str | None:
    """Why the library cannot forecast with networks of a variant, as the rest of a sentence; None when it can."""
    if CELLS[variant.cell].attends:
        return f"the library has no attention, which cell '{variant.cell}' ends with"
    return cells.without(variant) or library.absent()


class NativeForecaster:
    """A lone network in the library; see `models.forecaster.Forecaster`. Weights are taken over once.

    Its answers are the same bytes for every vector width. They are the engine's own of a batch to the rounding of float32: a batch
    adds R·h to where W·x stopped, and here the two are summed apart, since the one is known before the other.
    """

    def __init__(
        self, variant: Variant, row: Floats, inputs: int, horizon: int, lookback: int, width: int = WIDEST, quantiles: Sequence[float] = ()
    ) -> None:
        """variant: which `without` says nothing against; width: a number of `library.widths`.

        row        (parameters,) layers, the head's weights (states, answers) and its bias, in the order of `told.layers_of`
        quantiles  that the head names too, behind the horizon; they are not asked for here
        """
        self.lookback, self.horizon, self.inputs = lookback, horizon, inputs
        self._variant, self._width = variant, width
        self._told = Told(variant, inputs, lookback, horizon, quantiles, asked=False)
        self._packed = self._floats(0)
        library.opened().pack_forecaster(width, self._told.network, library.address(row), library.address(self._packed))
        self._room, self._lock, self._forecast = Room(self), threading.Lock(), library.opened().forecast
        self._window, self._answer = np.empty((lookback, self.inputs), np.float32), np.empty(self.horizon, np.float32)
        self._where = self._room.address, library.address(self._window), library.address(self._answer)

    def _floats(self, which: int) -> Floats:
        """As many zeros as the library needs of a kind, from a line of the cache on."""
        size = library.opened().forecaster_size(self._width, self._told.network, which)
        made = np.zeros(size + LINE // 4, np.float32)
        first = -made.ctypes.data % LINE // 4
        return made[first : first + size]

    def answers(self, windows: Floats) -> Floats:
        """See `Forecaster`."""
        refuse_others(windows, (len(windows), self.lookback, self.inputs))
        found = np.empty((len(windows), self.horizon), np.float32)
        with self._lock:  # there is one room to work in
            for window, answer in zip(windows, found, strict=True):
                self._window[:] = window  # whose address is known
                self._forecast(*self._where)
                answer[:] = self._answer
        return found

    def stream(self) -> NativeStream:
        """See `Forecaster`."""
        refuse_both_ways(self._variant)
        return NativeStream(self, Room(self))


class Room:
    """What the library works with, and in; each has states of its own."""

    def __init__(self, of: NativeForecaster) -> None:
        self._kept = of, of._floats(1)
        where = (library.address(of._packed), library.address(self._kept[1]), of._width)
        self._own = library.Forecaster(ctypes.pointer(of._told.network), *where)
        self.address = ctypes.addressof(self._own)


class NativeStream:
    """See `Stream`. What a tick needs is made ready before it: addresses are looked up once."""

    def __init__(self, of: NativeForecaster, room: Room) -> None:
        self._past, self._room, self._ready = np.empty((of.lookback - 1, of.inputs), np.float32), room, False
        self._newest, self._answer = (ctypes.c_float * of.inputs)(), np.empty(of.horizon, np.float32)
        self._known = room.address, library.address(self._past)
        self._where = room.address, ctypes.addressof(self._newest), library.address(self._answer)
        self._ahead, self._tick = library.opened().ahead, library.without_leave("tick")

    def ahead(self, past: Floats) -> None:
        """See `Stream`."""
        refuse_others(past, self._past.shape)
        self._past[:] = past
        self._ahead(*self._known)
        self._ready = True

    def tick(self, newest: Sequence[float] | Floats) -> Floats:
        """See `Stream`."""
        if not self._ready:
            raise ValueError(NOT_AHEAD)
        self._newest[:] = newest  # type: ignore[call-overload]
        self._ready = False
        self._tick(*self._where)
        return self._answer.copy()
