"""Prices: the bytes of a CSV become daily prices of one ticker.

The dialect is narrow on purpose: commas, UTF-8, a header with Date, Open, High, Low, Close, Volume and perhaps
Adj Close, dates as 2024-01-31, plain numbers. Everything is text until it matches that grammar: no parser guesses
(pandas reads the ticker NA as missing, a row with an unquoted 1,008.64 as shifted columns). Pure: bytes in, table out.
"""

from __future__ import annotations

import csv
import datetime as dt
import difflib
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from longshort.errors import DataRefused
from longshort.ingestion.reading import Counts, Quarantined, Reading
from longshort.ingestion.source import decode

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BAD = 0.01  # share of a file's rows that may be quarantined; beyond it the export is wrong, not the row
MOST_CONSECUTIVE = 50  # a longer hole is a missing stretch of history
LEAST_PRICE, MOST_PRICE, MOST_VOLUME = 1e-6, 1e9, 10**13

_HEADER = {"date": "Date", "open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume", "adj close": "Adj Close"}
_OPTIONAL = "adj close"
_PRICES = ("open", "high", "low", "close")

_TICKER = re.compile(r"[A-Z0-9][A-Z0-9.^=-]{0,19}")
_LINE_END = re.compile(r"\r\n|\r|\n")  # not splitlines(), which also cuts at U+2028 and form feeds, so line numbers would differ
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)  # fromisoformat also takes 20240131 and 2024-W05-3
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)  # float() also takes 1_000, nan and Arabic digits
_VOLUME = re.compile(r"(\d+)(\.0*)?", re.ASCII)

Values = tuple[dt.date, float, float, float, float, float | None, int | None]  # date, open, high, low, close, adj_close, volume
Columns = dict[str, int]  # name of a known column, lower case -> its place in the row


@dataclass(frozen=True)
class _Row:
    line: int
    raw: str
    values: Values


class _Fault(Exception):
    """A row breaks a rule, at a field (a place in the row)."""

    def __init__(self, rule: str, field: int, what: str) -> None:
        super().__init__(what)
        self.rule, self.field, self.what = rule, field, what


def parse(data: bytes, name: str) -> Reading:
    """Read one ticker's daily prices; the ticker is the file's stem in capitals.

    The table is sorted by date, each date once (columns: see `make_table`). A row that breaks a rule is quarantined
    as it was; identical rows of one date are merged; rows of one date that contradict one another are all quarantined.

    raises  DataRefused, beginning with ``name:line:column``, when the file is no such CSV, or when more than
            1 % of its rows or more than 50 consecutive ones are bad
    """
    ticker = ticker_of(name)
    lines = [(number, line) for number, line in enumerate(_LINE_END.split(decode(data, name)), start=1) if line.strip()]
    (header_line, header), body = lines[0], lines[1:]
    width, columns, notes = _read_header(header, f"{name}:{header_line}")
    if not body:
        raise DataRefused(f"{name}:{header_line}:1: there is a header but no row of data; expected a row a day; export the file again.")

    rows: list[_Row] = []
    bad: list[Quarantined] = []
    for number, line in body:
        try:
            rows.append(_Row(number, line, _read_row(_split(line, f"{name}:{number}"), width, columns)))
        except _Fault as fault:
            bad.append(Quarantined(name, number, _column(line, fault.field), fault.rule, fault.what, line))
    kept, contradictions, merged = _one_row_a_date(rows, name, columns)
    bad = sorted(bad + contradictions, key=lambda row: row.line)
    _refuse_when_too_many(bad, [number for number, _ in body], name)
    counts = Counts(rows_in=len(body), kept=len(kept), quarantined=len(bad), merged=merged)
    return Reading(make_table(ticker, kept), counts, tuple(bad), notes)


def make_table(ticker: str, rows: list[Values]) -> pa.Table:
    """The tidy price table of one ticker.

    rows     (date, open, high, low, close, adj_close, volume), in the order that the table shall have
    returns  ticker string, date date32, open, high, low, close float64, adj_close float64 (null when the
             file has none), volume int64 (null when missing)
    """
    import pyarrow as pa

    schema = pa.schema(
        [("ticker", pa.string()), ("date", pa.date32())]
        + [(price, pa.float64()) for price in (*_PRICES, "adj_close")]
        + [("volume", pa.int64())]
    )
    columns = zip(*rows, strict=True)
    return pa.table([[ticker] * len(rows), *(list(column) for column in columns)], schema=schema)


def ticker_of(name: str) -> str:
    """The ticker that a file's name states.

    raises  DataRefused when the name is no ticker

    >>> ticker_of("brk-b.csv")
    'BRK-B'
    """
    ticker = PurePath(name).stem.upper()
    if not _TICKER.fullmatch(ticker):
        raise DataRefused(
            f"{name}:1:1: the file's name says that the ticker is '{ticker}'; expected up to 20 of A-Z, 0-9 and . ^ = -, "
            "with a letter or digit first; rename the file after its ticker, such as AAPL.csv."
        )
    return ticker


def _split(line: str, where: str) -> list[str]:
    """The cells of one line, without surrounding spaces."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True))]
    except csv.Error as error:
        raise DataRefused(
            f"{where}:{line.rfind(chr(34)) + 1 or 1}: the line is not valid CSV ({error}); "
            "expected quotes in pairs and cells below 128 KiB; mend the line."
        ) from None


def _read_header(line: str, where: str) -> tuple[int, Columns, tuple[str, ...]]:
    """How many fields a row has, which of them are known columns, and a note on the others."""
    cells = _split(line, where)
    columns: Columns = {}
    ignored: list[str] = []
    for place, cell in enumerate(cells):
        known = cell.lower()
        if known not in _HEADER:
            ignored.append(f"'{cell}' ({place + 1})")
        elif known in columns:
            raise DataRefused(
                f"{where}:{_column(line, place)}: column '{cell}' stands at {columns[known] + 1} and again at {place + 1}; "
                "expected each column once; delete or rename one of the two."
            )
        else:
            columns[known] = place
    missing = [known for known in _HEADER if known not in columns and known != _OPTIONAL]
    if missing:
        raise DataRefused(f"{where}:1: {_missing(missing, cells)}")
    return len(cells), columns, (f"ignored columns: {', '.join(ignored)}",) if ignored else ()


def _missing(missing: list[str], cells: list[str]) -> str:
    unknown = {cell.lower(): cell for cell in cells if cell.lower() not in _HEADER}
    suggestions = ""
    for known in missing:
        for close in difflib.get_close_matches(known, unknown, n=1):
            suggestions += f" ('{unknown[close]}': did you mean {_HEADER[known]}?)"
    names = ", ".join(_HEADER[known] for known in missing)
    return (
        f"no column {names} among {', '.join(map(repr, cells))}{suggestions}; expected Date, Open, High, Low, Close, Volume "
        "and perhaps Adj Close, separated by commas; rename the columns, or export the file again."
    )


def _read_row(cells: list[str], width: int, columns: Columns) -> Values:
    if len(cells) != width:
        cause = "is there a thousands comma without quotes?" if len(cells) > width else "is the line cut short?"
        raise _Fault("fields", min(len(cells), width), f"{len(cells)} fields, the header has {width}: {cause}")
    opened, high, low, close = (_price(cells, columns, name) for name in _PRICES)
    adjusted = _price(cells, columns, _OPTIONAL) if _OPTIONAL in columns and cells[columns[_OPTIONAL]] else None
    return _date(cells, columns), opened, high, low, close, adjusted, _volume(cells, columns)


def _date(cells: list[str], columns: Columns) -> dt.date:
    cell = cells[columns["date"]]
    try:
        if _DATE.fullmatch(cell):
            return dt.date.fromisoformat(cell)
    except ValueError:
        pass  # 2023-02-30 has the form of a date and is none
    raise _Fault("date", columns["date"], f"Date is '{cell}'; expected a date such as 2024-01-31")


def _price(cells: list[str], columns: Columns, name: str) -> float:
    cell = cells[columns[name]]
    if not _NUMBER.fullmatch(cell):
        raise _Fault("number", columns[name], f"{_HEADER[name]} is '{cell}'; expected a plain number such as 1008.64")
    price = float(cell)
    if not LEAST_PRICE <= price <= MOST_PRICE:
        raise _Fault("price", columns[name], f"{_HEADER[name]} is {cell}; expected a price from {LEAST_PRICE:g} to {MOST_PRICE:g}")
    return price


def _volume(cells: list[str], columns: Columns) -> int | None:
    cell = cells[columns["volume"]]
    if not cell:
        return None
    whole = _VOLUME.fullmatch(cell)
    if not whole or len(whole[1]) > 20 or int(whole[1]) > MOST_VOLUME:
        raise _Fault("number", columns["volume"], f"Volume is '{cell}'; expected a whole number from 0 to {MOST_VOLUME:,}, or nothing")
    return int(whole[1])


def _one_row_a_date(rows: list[_Row], name: str, columns: Columns) -> tuple[list[Values], list[Quarantined], int]:
    """The rows to keep, oldest first; those that contradict one another; and how many were merged into an identical one."""
    by_date: dict[dt.date, list[_Row]] = defaultdict(list)
    for row in rows:
        by_date[row.values[0]].append(row)
    kept: list[Values] = []
    contradictions: list[Quarantined] = []
    merged = 0
    for date, same in sorted(by_date.items()):
        if len({row.values for row in same}) == 1:
            kept.append(same[0].values)
            merged += len(same) - 1
            continue
        numbers = ", ".join(str(row.line) for row in same)
        what = f"Date {date} has different values on lines {numbers}; expected one row a date"
        contradictions += [Quarantined(name, row.line, _column(row.raw, columns["date"]), "contradiction", what, row.raw) for row in same]
    return kept, contradictions, merged


def _refuse_when_too_many(bad: list[Quarantined], numbers: list[int], name: str) -> None:
    """``numbers`` are the lines of all rows, in order."""
    faulty = {row.line for row in bad}
    run = longest = start = 0
    for number in numbers:
        run = run + 1 if number in faulty else 0
        if run > longest:
            longest, start = run, number
    if len(bad) > MOST_BAD * len(numbers):
        share = f"{len(bad):,} of {len(numbers):,} rows ({len(bad) / len(numbers):.1%}) cannot be read; expected at most {MOST_BAD:.0%}"
    elif longest > MOST_CONSECUTIVE:
        share = f"{longest} consecutive rows, to line {start}, cannot be read; expected at most {MOST_CONSECUTIVE}"
    else:
        return
    first = bad[0]
    raise DataRefused(f"{name}:{first.line}:{first.column}: {first.what}; {share}; mend these rows, or export the file again.")


def _column(line: str, field: int) -> int:
    """The character, from 1, at which a field of a line begins; one past the line when it has no such field.

    >>> _column('2024-01-31,"1,008.64",5', 2)
    23
    """
    quoted = False
    for position, character in enumerate(line):
        if field == 0:
            return position + 1
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            field -= 1
    return len(line) + 1
