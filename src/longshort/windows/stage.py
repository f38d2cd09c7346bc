"""The shell of the windows room: `data/ingestion` and `data/validation` in, `data/windows` out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longshort import sessions, storage
from longshort.config import Params, PriceWindows
from longshort.errors import DataRefused
from longshort.windows import files, prices, text

if TYPE_CHECKING:
    import pyarrow as pa


def run(root: Path, item: str, params: Params) -> None:
    """Cut one data set into windows.

    raises  CorruptArtefact, or DataRefused when the data set is too short or does not vary
    """
    source, judged = root / "data/ingestion" / item, root / "data/validation" / item
    storage.verify(source)
    storage.verify(judged)
    if not storage.read_json(judged / "result.json")["success"]:
        raise DataRefused(
            f"{judged / 'result.json'}: validation refused '{item}'. Run `longshort stage validation --item {item}` for the reasons."
        )
    table = storage.read_table(source / "table.parquet")
    try:
        with storage.new_artefact(root / "data/windows" / item) as folder:
            if params.ingestion.datasets[item].task == "forecast":
                account = storage.read_json(source / "account.json") if (source / "account.json").exists() else {}
                spec, lacking = prices.possible(params.windows.forecast, account.get("prices", prices.PRICES))
                if lacking:
                    print(f"windows of {item}: without {', '.join(lacking)}, which the data set has no prices for")
                calendar = sessions.of_dataset(source, params.validation.forecast.calendar)
                files.write_prices(folder, price_data(table, spec, calendar))
            else:
                files.write_text(folder, text_data(table, item, params))
    except DataRefused as error:
        raise type(error)(f"{source / 'table.parquet'}: {error}") from None


def price_data(table: pa.Table, spec: PriceWindows, calendar: str) -> files.PriceData:
    """Series, parts and scaler of a tidy price table."""
    columns = tidy_columns(table)
    series = prices.make_series(columns, spec, session_numbers(calendar, columns["date"]))
    parts = prices.make_parts(series, spec)
    return files.PriceData(spec, series, parts, prices.fit_scaler(series, parts["train"], spec), calendar)


def tidy_columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The tidy table's columns as arrays; a missing volume is NaN."""
    frame = table.to_pandas()
    columns = {name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in ("open", "high", "low", "close", "volume")}
    return {"ticker": frame["ticker"].to_numpy(str), "date": frame["date"].to_numpy("datetime64[D]"), **columns}


def session_numbers(calendar: str, dates: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.int64]]:
    """A function from dates to their place among the calendar's sessions."""
    if calendar == sessions.EVERY_ROW:
        own = np.unique(dates)
        return lambda asked: np.searchsorted(own, asked).astype(np.int64)
    days = sessions.sessions(calendar, dates.min().item(), dates.max().item()).to_numpy("datetime64[D]")
    return lambda asked: np.searchsorted(days, asked).astype(np.int64)


def documents(table: pa.Table) -> Iterator[str]:
    """The texts of a tidy table; rows of one name are one text, which was too long for a row."""
    rows = zip(
        (cell for column in table["document"].chunks for cell in column),
        (cell for column in table["text"].chunks for cell in column),
        strict=True,
    )
    for _, own in itertools.groupby(rows, lambda row: row[0].as_py()):
        yield "".join(cell.as_py() for _, cell in own)


def text_data(table: pa.Table, item: str, params: Params) -> files.TextData:
    """Ids, parts and vocabulary of a tidy text table; says what was read before the split was clean.

    raises  DataRefused when a fifth of the validation part's words and more are unknown, or a part is too short
    """
    spec = params.windows.language_model
    parts, dropped, stood = text.split(text.paragraphs(documents(table)), spec)
    for overlap in stood:
        if overlap.found:
            print(f"windows of {item}: {overlap}")
    for part, count in dropped.items():
        if count:
            print(f"windows of {item}: {count:,} words dropped from {part}, the paragraphs of such runs; none is left")
    vocabulary = text.make_vocabulary(parts["train"], spec)
    ids, stretches = text.make_stretches(parts, vocabulary, spec)
    train, validation = ((word for block in parts[part] for word in block.words) for part in ("train", "validation"))
    print(f"windows of {text.judge_unknown(train, validation, item, spec.min_count, spec.max_vocabulary)}")
    return files.TextData(spec, ids, stretches, vocabulary, dropped, stood)
