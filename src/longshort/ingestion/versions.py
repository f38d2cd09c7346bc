"""Versions: what a new version of a price data set changes in the one that was held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_COMPARED = ("open", "high", "low", "close", "volume")


def compare(before: pa.Table, after: pa.Table) -> dict[str, Any]:
    """The sessions that both have and those that only one has, by ticker and date.

    returns  held: sessions before; new, gone, changed; first: the first changed one {ticker, date, column, before, after}
    """
    old, fresh = (table.to_pandas().set_index(["ticker", "date"]) for table in (before, after))
    common = old.index.intersection(fresh.index)
    was, now = old.loc[common], fresh.loc[common]
    other = np.zeros(len(common), bool)
    told: dict[str, Any] = {"held": len(old), "new": len(fresh.index.difference(old.index)), "gone": len(old.index.difference(fresh.index))}
    columns = {}
    for name in _COMPARED:
        one, two = was[name].to_numpy(np.float64, na_value=np.nan), now[name].to_numpy(np.float64, na_value=np.nan)
        columns[name] = ~((one == two) | (np.isnan(one) & np.isnan(two)))
        other |= columns[name]
    told["changed"] = int(other.sum())
    if other.any():
        place = int(np.flatnonzero(other)[0])
        column = next(name for name in _COMPARED if columns[name][place])
        ticker, day = common[place]
        told["first"] = {
            "ticker": str(ticker),
            "date": str(day),
            "column": column,
            "before": float(was[column].iloc[place]),
            "after": float(now[column].iloc[place]),
        }
    return told


def first_words(told: dict[str, Any]) -> str:
    """The first session with other values, in words."""
    first = told.get("first")
    return (
        f" (first {first['ticker']} on {first['date']}: {first['column']} {first['before']:g} is now {first['after']:g})" if first else ""
    )
