"""Versions: what a new version of a price data set changes in the one that was held."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import storage

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_COMPARED = ("open", "high", "low", "close", "volume")
_SECONDS = 2**40  # more than a calendar has, so that a ticker and a second are one number


def compare(before: pa.Table, after: pa.Table) -> dict[str, Any]:
    """The sessions that both have and those that only one has, by ticker and date.

    before, after  tidy tables with a row or more
    returns  held: sessions before; new, gone, changed; first: the first changed one {ticker, date, column, before, after}
    """
    tickers = sorted({*before["ticker"].unique().to_pylist(), *after["ticker"].unique().to_pylist()})
    old, fresh = _keys(before, tickers), _keys(after, tickers)
    there = np.minimum(np.searchsorted(fresh, old), len(fresh) - 1)  # both are sorted, as tidy tables are
    places = np.flatnonzero(fresh[there] == old)
    counterparts = there[places]
    told: dict[str, Any] = {"held": len(old), "new": len(fresh) - len(places), "gone": len(old) - len(places)}
    columns = {}
    for name in _COMPARED:
        was, now = _numbers(before, name)[places], _numbers(after, name)[counterparts]
        columns[name] = (was != now) & ~(np.isnan(was) & np.isnan(now))
    other = np.logical_or.reduce(list(columns.values()))
    told["changed"] = int(other.sum())
    if told["changed"]:
        place = int(np.flatnonzero(other)[0])
        column = next(name for name in _COMPARED if columns[name][place])
        row = int(places[place])
        told["first"] = {
            "ticker": before["ticker"][row].as_py(),
            "date": str(before["date"][row].as_py()),
            "column": column,
            "before": float(_numbers(before, column)[row]),
            "after": float(_numbers(after, column)[counterparts[place]]),
        }
    return told


def kept(folder: Path, dataset: str, version: str, terms: object) -> Path:
    """Where the tidy table of a version is kept, so that the next one can be compared without reading the old files again.

    terms  on which they were read; what other terms or other code made is not found there. All of it can be lost without loss
    """
    key = hashlib.sha256(f"{version} {terms!r} {_code()}".encode()).hexdigest()
    return folder / f"{dataset}.{key[:16]}.parquet"


def recall(path: Path) -> pa.Table | None:
    """The table that was kept; None when there is none, or it is damaged."""
    try:
        return storage.read_table(path)
    except (OSError, ValueError):  # pyarrow's errors are of these
        return None


def forget_others(path: Path) -> None:
    """Remove what was kept of other versions of a data set, and what a killed process left."""
    dataset = path.name.partition(".")[0]
    for other in (*path.parent.glob(f"{dataset}.*.parquet"), *path.parent.glob(f".{dataset}.*")):
        if other != path:
            other.unlink(missing_ok=True)


@functools.cache
def _code() -> str:
    """The digest of this room: a table that other code made is made again."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()


def first_words(told: dict[str, Any]) -> str:
    """The first session with other values, in words."""
    first = told.get("first")
    return (
        f" (first {first['ticker']} on {first['date']}: {first['column']} {first['before']:g} is now {first['after']:g})" if first else ""
    )


def _keys(table: pa.Table, tickers: list[str]) -> NDArray[np.int64]:
    """A number for each row that is its ticker and second; a day is its midnight."""
    import pyarrow as pa
    import pyarrow.compute as pc

    owner = pc.index_in(table["ticker"], pa.array(tickers, pa.string())).to_numpy().astype(np.int64)
    dates: NDArray[np.datetime64] = table["date"].to_numpy()
    return owner * _SECONDS + dates.astype("datetime64[s]").astype(np.int64)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy()
