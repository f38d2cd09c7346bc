"""Prices, any bytes at all: a table whose account balances, or our own refusal; never a crash, a hang, or two answers."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow.compute
import pyarrow.csv  # noqa: F401  # imports are not an example's time
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from longshort.errors import DataRefused
from longshort.ingestion import prices
from longshort.ingestion.prices import AS_IT_IS, Asked
from longshort.ingestion.rules import EVERY_ROW, Calendar, Limits

SESSIONS = np.array([day for day in range(10_000, 22_000) if (day + 3) % 7 < 5], np.int32)
WEEKDAYS = Calendar("24/5", SESSIONS, 21_000)
LIMITS = Limits(needed=1, most_bad=0.5)
NUMBERS = [
    *(
        "1",
        "10.5",
        "1,008.64",
        "1.008,64",
        "1008,64",
        "$10",
        "10 €",
        "(5)",
        "5-",
        "\u22125",
        "１２",
        "1e3",
        "1e400",
        "inf",
        "nan",
        "NaN",
        "",
    ),
    *("-", "null", "1_0", "0x1", "+1", ".5", "5.", "1.2%", "7.5M", "0", "-0", "99999999999999999999", "=1+1", "<b>", '"', "'"),
]
TIMES = [
    "9999-12-31 23:00:00Z",
    "0001-01-01 00:30:00+05:00",
    "2024-01-31 24:00",
    "2024-01-31 10:00:00.5",
    "2024-01-31 10:00:00",
    "2024-01-31 4:00 PM",
]
DATES = [
    *("2024-01-31", "2024-02-30", "31/01/2024", "01/31/2024", "1/2/2024", "31.01.24", "20240131", "2024-01", "45293", "1706659200", ""),
    *("Jan 31, 2024", "31 janv. 2024", "2024-01-31T21:00:00Z", "2024-01-31 16:00", "2024-01-31 00:00:00-05:00", "9999-12-31", "0001-01-01"),
    *("٢٠٢٤-٠١-٣١", "total"),
]
NAMES = [
    "Date",
    "date ",
    "Time",
    "Open",
    "High",
    "Low",
    "Close",
    "Adj Close",
    "Volume",
    "Ticker",
    "Name",
    "",
    "x",
    "Último",
    "AAPL.Close",
    "MSFT",
    "Price",
]
HEADER = ["Date", "Open", "High", "Low", "Close", "Volume"]
cell = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.sampled_from(DATES), st.text(max_size=4))


@st.composite
def tables(draw: st.DrawFn, a_day: int = 1) -> bytes:
    """A small export, and what went wrong with it: cells, rows, the header, the bytes.

    a_day  rows that a day has; with more than one they have times, and a zone or none
    """
    count = draw(st.integers(1, 15))
    zone = draw(st.sampled_from(["", "", "Z", "-05:00", "+99:59"])) if a_day > 1 else ""
    closes = draw(st.lists(st.floats(50, 99), min_size=count, max_size=count))
    first = draw(st.dates(dt.date(2001, 1, 1), dt.date(2024, 1, 1)))
    days = [str(first + dt.timedelta(place + 2 * (place // 5))) for place in range(count)]
    if a_day > 1:
        days = [f"{first + dt.timedelta(place // a_day)} {10 + place % a_day}:{place:02d}:00{zone}" for place in range(count)]
    rows = [
        [day, f"{close:.2f}", f"{close * 1.02:.2f}", f"{close * 0.98:.2f}", f"{close:.2f}", "500"]
        for day, close in zip(days, closes, strict=True)
    ]
    for _ in range(draw(st.integers(0, 3))):
        rows[draw(st.integers(0, count - 1))][draw(st.integers(0, 5))] = draw(cell)
    for _ in range(draw(st.sampled_from([0, 0, 1]))):
        rows.insert(draw(st.integers(0, count)), draw(st.one_of(st.lists(cell, max_size=9), st.sampled_from(rows))))
    header = draw(
        st.one_of(st.just(HEADER), st.just(HEADER), st.permutations(HEADER), st.lists(st.sampled_from(NAMES), min_size=1, max_size=8))
    )
    mark = draw(st.sampled_from([",", ",", ";", "\t", "|"]))
    quote = draw(st.sampled_from([False, False, True]))
    lines = [mark.join(f'"{entry}"' if quote else entry for entry in entries) for entries in [header, *rows]]
    data = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines).encode("utf-8", "surrogatepass")
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data


def outcome(data: bytes, quick: bool, asked: Asked = AS_IT_IS, calendar: Calendar = WEEKDAYS) -> object:
    """The table and account, or the words of the refusal."""
    try:
        reading = prices.parse(data, "AAPL.csv", asked, {}, LIMITS, calendar, quick)
    except DataRefused as refusal:
        return str(refusal)
    counts = reading.counts
    assert counts.rows_in == counts.kept + counts.quarantined + counts.merged
    assert (reading.table.num_rows, len(reading.quarantined)) == (counts.kept, counts.quarantined)
    keys = list(zip(reading.table["ticker"].to_pylist(), reading.table["date"].to_pylist(), strict=True))
    assert keys == sorted(set(keys))
    # as text, in which one NaN is the other
    return str(reading.table.to_pydict()), reading.as_json(), reading.quarantined


@settings(max_examples=800, deadline=dt.timedelta(seconds=2), derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(tables(), tables(), tables(), st.binary(max_size=200)))
@example(b"Date,Open,High,Low,Close,Volume\n2024-01-30,10,11,9,10,5\n2024-01-31,10,inf,9,10.5,5\n2024-02-01,10,11,9,10,5\n")
@example(b"Date,Open,High,Low,Close,Volume\n2024-01-30,.5,11,9,10,5\n2024-01-31,10,11,9,10.5,5\n2024-02-01,10,11,9,10,5\n")
@example(b"Date,Close\n2024-01-31,1e400\n2024-02-01,2\n2024-02-02,1\n")
def test_any_bytes_are_a_table_that_balances_or_a_refusal_and_both_ways_agree(data):
    assert outcome(data, quick=True) == outcome(data, quick=False)


@pytest.mark.long
@settings(max_examples=300, deadline=dt.timedelta(seconds=2), derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(tables(a_day=5), st.sampled_from(TIMES), st.integers(0, 400))
@example(b"Date,Close\n" + b"".join(b"2024-01-31 %d:00:00Z,%d\n" % (hour, hour) for hour in range(10, 20)), "9999-12-31 23:00:00Z", 25)
def test_any_bytes_with_times_are_a_table_that_balances_or_a_refusal_where_every_row_is_asked_for(data, time, place):
    asked = Asked(every_row=True)
    assert outcome(data, True, asked, EVERY_ROW) == outcome(data, False, asked, EVERY_ROW)
    lines = data.splitlines(keepends=True)
    lines.insert(1 + place % max(len(lines), 1), f"{time},10,11,9,10.5,500\n".encode())
    outcome(b"".join(lines), True, asked, EVERY_ROW)
