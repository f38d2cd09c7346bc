"""Baselines of prices: what costs little to fit, and what a network must therefore beat, on the same windows. Pure NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def last_value(last: ArrayLike, horizon: int) -> Array:
    """Forecast that nothing changes.

    last     (windows,) the level at each window's origin
    returns  (windows, horizon), the same level at every step

    A price is close to a random walk, whose best forecast under squared error is its last value (Meese and
    Rogoff, 1983, on exchange rates). A network on price levels learns to repeat that value too, which looks
    like a good forecast in a picture; only beside this line does it show that nothing was foreseen.

    >>> last_value([10.0, 12.0], horizon=2).tolist()
    [[10.0, 10.0], [12.0, 12.0]]
    """
    return np.repeat(np.asarray(last, np.float64)[:, None], horizon, axis=1)
