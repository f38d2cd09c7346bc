"""A backtest, as an illustration: what a forecast would have earned by its direction alone. It is no advice, and no model is chosen by it.

Long where the next session's price is forecast to rise, else without a position; equal shares of the capital for the tickers that have a
forecast, set anew each session at its close. There are costs and no other frictions: no spread that widens, no order that moves the price.
Pure NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def long_flat(tickers: NDArray[Any], sessions: NDArray[Any], said: Array, came: Array, cost: float) -> dict[str, float]:
    """Hold a ticker for a session when its forecast change is above 0.

    tickers, sessions  (forecasts,) whom and when
    said, came         (forecasts,) change from the last close to the session's, as a share of it
    cost               of what is bought or sold, as a share: 0.0005 is five hundredths of a percent
    returns            return and costs over the whole time, as shares of the capital at its start; drawdown, the deepest fall from a
                       height, as a share of that; turnover, what is bought and sold a session, as a share of the capital; held, the
                       share of the capital that was in the market

    >>> both = np.array(["A", "A"]), np.array([1, 2])
    >>> long_flat(*both, np.array([0.1, -0.1]), np.array([0.5, -0.5]), cost=0.0) == {
    ...     "return": 0.5, "costs": 0.0, "drawdown": 0.0, "turnover": 1.0, "held": 0.5}
    True
    """
    _, row = np.unique(sessions, return_inverse=True)
    names, column = np.unique(tickers, return_inverse=True)
    positions, changes, there = (np.zeros((int(row.max()) + 1, len(names))) for _ in range(3))
    positions[row, column], changes[row, column], there[row, column] = said > 0, came, 1.0
    shares = positions / there.sum(axis=1, keepdims=True)
    traded = np.abs(np.diff(shares, axis=0, prepend=0.0)).sum(axis=1)
    growth = (1 + (shares * changes).sum(axis=1)) * (1 - cost * traded)
    capital = np.concatenate([[1.0], np.cumprod(growth)])
    return {
        "return": float(capital[-1] - 1),
        "costs": float((capital[:-1] * cost * traded).sum()),
        "drawdown": float((1 - capital / np.maximum.accumulate(capital)).max()),
        "turnover": float(traded.mean()),
        "held": float(shares.sum(axis=1).mean()),
    }
