"""Quick: clean price files read by pyarrow, one alone or many of one form together.

A file is clean when it is ASCII without quotes, its dates are written 2024-01-31, its numbers plain, and every row has
as many fields as the header. What is read here is what `rows.carefully` reads, to the bit; anything else is left to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from longshort.ingestion import cells
from longshort.ingestion.columns import PRICES
from longshort.ingestion.form import Form, split
from longshort.ingestion.rows import ORDERS, POINT, VALUES, Observations, Style, Tally, described, missing

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_NOTHING = ["", "-", "null", "NULL", "NaN", "nan", "N/A"]
_THREADS_FROM = 2**22  # bytes from which on pyarrow's threads are worth their start


@dataclass(frozen=True)
class Columns:
    """The rows of clean files, file after file.

    starts   first row of each file; a last entry for the end
    day      days since 1970-01-01
    values   as in `Observations`
    tickers  of the ticker column, owner: the place of each row's there; of files of one ticker both are empty
    sound    whether each file is clean
    """

    starts: NDArray[np.int64]
    day: NDArray[np.int32]
    values: dict[str, NDArray[np.float64]]
    tickers: list[str]
    owner: NDArray[np.int32]
    sound: NDArray[np.bool_]


def is_plain(data: bytes) -> bool:
    """Whether a file's bytes can be those of a clean one."""
    return data.isascii() and not (b'"' in data or b"\0" in data or (b"\r" in data and data.count(b"\r") != data.count(b"\r\n")))


def is_known(form: Form, style: Style) -> bool:
    """Whether files of a form can be read here, as a person wants them read."""
    if style.date_format or style.decimal == "," or form.time is not None or len(form.series) > 1:
        return False
    used = {form.date, *form.series[0].places.values(), *([] if form.ticker is None else [form.ticker])}
    return len(used) == len(form.series[0].places) + 1 + (form.ticker is not None)  # no column has two meanings


def alone(data: bytes, form: Form, style: Style, name: str, ticker: str) -> Observations | None:
    """Read a clean file.

    returns  None when it is not clean, and `rows.carefully` must look
    """
    if not is_known(form, style) or not is_plain(data):
        return None
    columns = _read([data], form)
    return None if columns is None or not columns.sound[0] else observations(columns, 0, data, form, name, ticker)


def together(files: list[bytes], form: Form) -> list[tuple[int, Columns]]:
    """Read clean files of one form and one ticker each in one go; what spoils it is found by halves.

    files    `is_plain`, and of a form that `is_known` and has no ticker column
    returns  the place of the first of some files in a row, and their columns; files that are not in any are not clean
    """
    columns = _read(files, form)
    if columns is not None:
        return [(0, columns)]
    if len(files) == 1:
        return []
    half = len(files) // 2
    return [*together(files[:half], form), *((half + place, found) for place, found in together(files[half:], form))]


def observations(columns: Columns, place: int, data: bytes, form: Form, name: str, ticker: str) -> Observations:
    """The observations of one of the files that were read; ``data`` is what it holds."""
    start, stop = int(columns.starts[place]), int(columns.starts[place + 1])
    values = {meaning: column[start:stop] for meaning, column in columns.values.items()}
    tickers = list(columns.tickers) or [form.series[0].ticker or ticker]
    owner = columns.owner[start:stop] if columns.tickers else np.zeros(stop - start, np.int32)
    line = np.arange(form.header + 1, form.header + 1 + stop - start)
    lines: list[NDArray[np.int64]] = []

    def line_of(number: int) -> str:
        if not lines:
            lines.append(np.flatnonzero(np.frombuffer(data, np.uint8) == 10))
        ends = lines[0]
        begin = 0 if number == 1 else int(ends[number - 2]) + 1
        end = int(ends[number - 1]) if number - 1 < len(ends) else len(data)
        return data[begin:end].decode().rstrip("\r")

    repairs, warnings, faults = Tally(), Tally(), {}
    places = form.series[0].places
    present = [meaning for meaning in PRICES if meaning in places]
    empty = np.logical_or.reduce([np.isnan(values[meaning]) for meaning in present])
    for row in np.flatnonzero(empty).tolist():
        raw = split(line_of(int(line[row])), form.delimiter, f"{name}:{line[row]}")
        faults[row] = missing([meaning for meaning in present if np.isnan(values[meaning][row])], present, places, raw)
    if "volume" in places:
        without = np.flatnonzero(np.isnan(values["volume"]) & ~empty)
        if len(without):
            warnings.add("volume is missing", int(line[without[0]]), len(without))
    return Observations(
        line, owner, tickers, columns.day[start:stop], values, faults, set(), repairs, warnings, read_as(form, len(tickers)), line_of
    )


def read_as(form: Form, tickers: int) -> dict[str, str | int]:
    """How a clean file was read, in words."""
    return {**described(form, tickers), "dates": f"2017-01-31 ({ORDERS['ymd']})", "numbers": POINT}


def _read(files: list[bytes], form: Form) -> Columns | None:
    """The columns of files of one form; None when some cell is not what it should be."""
    bodies = [body if body.endswith(b"\n") else body + b"\n" for body in (data[_start_of(data, form.header) :] for data in files)]
    counts = np.array([body.count(b"\n") for body in bodies])
    if not counts.all():
        return None
    table = _table(bodies, form)
    if table is None or table.num_rows != counts.sum():
        return None
    places, starts = form.series[0].places, np.concatenate([[0], np.cumsum(counts)])
    dates = table.column(str(form.date))
    bad = [dates.is_null().to_numpy()] if dates.null_count else []
    values = {}
    for meaning in VALUES:
        column = _numbers(table.column(str(places[meaning]))) if meaning in places else np.full(table.num_rows, np.nan)
        values[meaning] = column
        if meaning in places and np.isinf(column).any():
            bad.append(np.isinf(column))
    if "volume" in places:
        volume = values["volume"]
        right = np.isnan(volume) | ((volume == np.floor(volume)) & (volume >= 0) & (volume <= cells.MOST_VOLUME))
        if not right.all():
            bad.append(~right)
    sound = np.ones(len(files), bool)
    if bad:
        sound = ~np.logical_or.reduceat(np.logical_or.reduce(bad), starts[:-1])
    tickers, owner = [], np.empty(0, np.int32)
    if form.ticker is not None:
        named = table.column(str(form.ticker)).unify_dictionaries().combine_chunks()
        tickers, owner = [entry.strip() for entry in named.dictionary.to_pylist()], named.indices.to_numpy()
        if len(set(tickers)) != len(tickers) or "" in tickers:
            return None
    days = dates.fill_null(0) if dates.null_count else dates
    return Columns(starts, days.cast("int32").to_numpy(), values, tickers, owner, sound)


def _table(bodies: list[bytes], form: Form) -> pa.Table | None:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    kinds = {str(form.date): pa.date32(), **{str(place): pa.float64() for place in form.series[0].places.values()}}
    if form.ticker is not None:
        kinds[str(form.ticker)] = pa.dictionary(pa.int32(), pa.string())
    body = bodies[0] if len(bodies) == 1 else b"".join(bodies)
    try:
        return pacsv.read_csv(
            pa.BufferReader(body),
            read_options=pacsv.ReadOptions(
                column_names=[str(place) for place in range(form.width)], use_threads=len(body) > _THREADS_FROM, block_size=2**20
            ),
            parse_options=pacsv.ParseOptions(delimiter=form.delimiter, quote_char=False, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), null_values=_NOTHING, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column as numbers, NaN where there is none."""
    found: NDArray[np.float64] = (column.fill_null(np.nan) if column.null_count else column).to_numpy()
    return found


def _start_of(data: bytes, header: int) -> int:
    """Where the line after the header begins."""
    end = -1
    for _ in range(header):
        end = data.find(b"\n", end + 1)
        if end < 0:
            return len(data)
    return end + 1
