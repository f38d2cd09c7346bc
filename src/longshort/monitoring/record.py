"""Record: forecasts as they were written, before anybody knew what would come. Append-only; a table of the newest lies in reports/.

What is written here is never made again from later data, so what a model is said to have known is what it knew.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import clock, journal, storage
from longshort.errors import LongshortError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from longshort.evaluation.forecasts import Array, Outcomes
    from longshort.models import artefact
    from longshort.serving import Forecast

HEADER = (
    *("ticker", "session", "forecast", "low", "high", "coverage"),
    *("last_session", "last_price", "model", "version", "alias", "data_sha256"),
)


def place(root: Path, dataset: str) -> Path:
    """Where a data set's forecasts are written."""
    return root / "mlflow/store/forecasts" / f"{dataset}.jsonl"


def newest(root: Path, dataset: str) -> Path:
    """The table of the newest ones."""
    return root / "reports/forecasts" / f"{dataset}.csv"


def write(root: Path, dataset: str, table: pa.Table, model: artefact.Model, by: dict[str, str], coverage: float) -> tuple[int, list[str]]:
    """Write what a model says of every ticker's next sessions, once: the same version over the same data is not asked twice.

    by        model, version and alias of what serves
    returns   how many tickers were forecast, and why others were not, a sentence each
    """
    from longshort import serving

    data_sha256 = storage.verify(root / "data/ingestion" / dataset)
    said, silent = [], []
    for ticker in sorted(set(table["ticker"].to_pylist())):
        try:
            said.append(serving.forecast(model, table, ticker, coverage))
        except LongshortError as error:
            silent.append(f"no forecast of {ticker}: {error}")
    entry = {**by, "data_sha256": data_sha256, "coverage": coverage, "forecasts": [_plain(one) for one in said]}
    if said and not any(all(old.get(name) == entry[name] for name in entry) for old in journal.read(place(root, dataset))):
        journal.append(place(root, dataset), {"time": clock.stamp(clock.now()), **entry})
    if said:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADER, *(row for one in said for row in _rows(one, by, data_sha256))])
        storage.write_bytes(newest(root, dataset), text.getvalue().encode())
    return len(said), silent


def _plain(one: Forecast) -> dict[str, Any]:
    return {
        "ticker": one.ticker,
        "last_session": one.last_session.isoformat(),
        "last_price": one.last_price,
        "sessions": [session.isoformat() for session in one.sessions],
        "levels": one.levels,
        "low": one.low,
        "high": one.high,
    }


def _rows(one: Forecast, by: dict[str, str], data_sha256: str) -> list[tuple[str, ...]]:
    bands = zip(one.sessions, one.levels, one.low, one.high, strict=True)
    about = str(one.coverage), one.last_session.isoformat(), repr(one.last_price), by["model"], by["version"], by["alias"], data_sha256
    return [(one.ticker, day.isoformat(), *("" if v is None else repr(v) for v in band), *about) for day, *band in bands]


def said_before(root: Path, dataset: str, version: str, found: Outcomes, bands: Array) -> tuple[Outcomes, Array, int]:
    """Put what a version had written in the place of what it would have said; how many rows that were.

    found  of one step ahead, with the prices that came
    bands  (windows, 1, 2) as `forecasts.bands` gives them
    """
    rows = {(str(t), _day(target)): row for row, (t, target) in enumerate(zip(found.tickers, found.targets, strict=True))}
    forecast, bands, replaced = found.forecast.copy(), bands.copy(), set()
    for entry in journal.read(place(root, dataset)):
        for one in entry["forecasts"] if entry["version"] == version else ():
            row = rows.get((one["ticker"], one["sessions"][0]))
            if row is None or row in replaced:
                continue  # not come yet; or it had been said before, from data that were mended later
            replaced.add(row)
            forecast[row, 0] = one["levels"][0]
            if one["high"][0] is not None:
                bands[row, 0] = (np.array([one["low"][0], one["high"][0]]) - one["levels"][0]) / found.last[row]
    return replace(found, forecast=forecast), bands, len(replaced)


def _day(target: NDArray[Any] | np.datetime64) -> str:
    moment = target.item()
    assert isinstance(moment, dt.date)
    return moment.isoformat()
