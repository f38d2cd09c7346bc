# ruff: noqa: E501
"""Prices, input by input: every kind of export, every fault that files were seen to have, and what becomes of it.

The ids C01 to C64 are those of docs/inputs.md. `good()` is a clean file; each entry spoils it in one way.
An entry is a line, however long: so the table can be read down.
"""

from __future__ import annotations

import codecs
import datetime as dt
import gzip
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import projects
import pytest

from longshort.errors import DataRefused
from longshort.ingestion import prices, rules
from longshort.ingestion.prices import AS_IT_IS, Asked
from longshort.ingestion.reading import Reading
from longshort.ingestion.rules import EVERY_ROW, Calendar, Limits

SYDNEY = zoneinfo.ZoneInfo("Australia/Sydney")
A_HUNDRED = Limits(needed=100)
HEADER = "Date,Open,High,Low,Close,Volume"
DAYS = projects.days(300, dt.date(2016, 1, 4))
NEW_YORK = Calendar("XNYS", np.array([(day - dt.date(1970, 1, 1)).days for day in projects.days(900, dt.date(2015, 1, 2))], np.int32))


def walk(count: int = 300, seed: int = 1, at: float = 100.0) -> list[list[float]]:
    """Open, high, low and close of so many sessions, in cents, and volumes."""
    draw = np.random.Generator(np.random.Philox(seed))
    close = at * np.exp(np.cumsum(draw.normal(0, 0.01, count)))
    rows = np.stack([close * 1.001, close * 1.02, close * 0.98, close], axis=1).round(2)
    return [[*row, float(volume)] for row, volume in zip(rows.tolist(), draw.integers(10_000, 99_000, count).tolist(), strict=True)]


PRICES = walk()
Row = list[str]


def rows(of: list[list[float]] = PRICES, dates: list[dt.date] = DAYS, form: str = "%Y-%m-%d") -> list[Row]:
    """The cells of a clean file."""
    return [[day.strftime(form), *(f"{price:.2f}" for price in row[:4]), f"{row[4]:.0f}"] for day, row in zip(dates, of, strict=False)]


def csv(body: list[Row], header: str = HEADER, delimiter: str = ",", end: str = "\n") -> bytes:
    """Cells as they are in a file; what has the delimiter in it is quoted."""
    lines = [header.replace(",", delimiter), *(delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in body)]
    return (end.join(lines) + end).encode()


def good() -> list[Row]:
    """A clean file's cells."""
    return rows()


def bars() -> list[Row]:
    """A clean file's prices every six minutes of three days, a hundred a day."""
    return [[f"2016-01-{4 + n // 100:02d} {9 + n % 100 // 10:02d}:{n % 10 * 6:02d}:00", *row[1:]] for n, row in enumerate(good())]


def changed(place: int, column: int, cell: str) -> Callable[[], bytes]:
    """A clean file with one other cell; places count from the newest when negative."""

    def make() -> bytes:
        body = good()
        body[place][column] = cell
        return csv(body)

    return make


def every(column: int, how: Callable[[str], str], **more: Any) -> Callable[[], bytes]:
    """A clean file with a column written otherwise."""
    return lambda: csv([[how(cell) if place == column else cell for place, cell in enumerate(row)] for row in good()], **more)


def prices_written(how: Callable[[str], str], **more: Any) -> Callable[[], bytes]:
    """A clean file with all prices written otherwise."""
    return lambda: csv([[row[0], *map(how, row[1:5]), row[5]] for row in good()], **more)


def dated(form: str, **more: Any) -> Callable[[], bytes]:
    """A clean file with dates of another form."""
    return lambda: csv(rows(form=form), **more)


def with_lines(*lines: str, at: int | None = None) -> Callable[[], bytes]:
    """A clean file with more lines, at its end or after so many."""

    def make() -> bytes:
        body = csv(good()).decode().splitlines()
        place = len(body) if at is None else at
        return ("\n".join([*body[:place], *lines, *body[place:]]) + "\n").encode()

    return make


def scaled(factor: float, first: int, last: int | None, columns: range = range(1, 5)) -> Callable[[], bytes]:
    """A clean file with prices of some rows on another scale."""

    def make() -> bytes:
        body = good()
        for row in body[first:last]:
            for column in columns:
                row[column] = f"{float(row[column]) * factor:.4f}"
        return csv(body)

    return make


@dataclass(frozen=True)
class Refused:
    """Exit 3 with these words, at this place."""

    said: str
    asked: Asked = AS_IT_IS
    limits: Limits = A_HUNDRED


@dataclass(frozen=True)
class Taken:
    """Taken in: how many rows were set aside and by what rule, merged, and what is said of repairs and warnings.

    same  whether the table is that of the clean file
    """

    aside: int = 0
    rule: str = ""
    merged: int = 0
    said: tuple[str, ...] = ()
    same: bool = True
    asked: Asked = AS_IT_IS
    limits: Limits = A_HUNDRED
    calendar: Calendar = NEW_YORK


def close_only(quoted: bool = False) -> bytes:
    return csv([[row[0], row[4]] for row in good()], "Date,Close")


def wide() -> bytes:
    return csv([[a[0], a[4], b[4]] for a, b in zip(rows(), rows(walk(seed=2)), strict=True)], "Date,AAA,BBB")


def long(name: str = "Name", tickers: tuple[str, ...] = ("AAA", "BBB")) -> bytes:
    body = [[*row, ticker] for seed, ticker in enumerate(tickers, start=1) for row in rows(walk(seed=seed))]
    return csv(body, f"{HEADER},{name}")


def stacked() -> bytes:
    """What yfinance's download().to_csv() writes."""
    body = [",".join([row[0], row[4], row[2], row[3], row[1], row[5]]) for row in good()]
    return ("\n".join(["Price,Close,High,Low,Open,Volume", "Ticker," + ",".join(["AAPL"] * 5), "Date,,,,,", *body]) + "\n").encode()


def two_splits() -> bytes:
    return scaled(0.5, 100, None)()


def twice_interleaved() -> bytes:
    return csv([row for pair in zip(rows(), rows(walk(seed=2, at=900.0)), strict=True) for row in pair])


def cut(by: int) -> Callable[[], bytes]:
    return lambda: csv(good())[:-by]


def reordered() -> bytes:
    return csv([[row[5], row[4], row[0], row[3], row[2], row[1], "x"] for row in good()], " VOLUME ,close,DATE,low,high,Open,comment")


def shuffled() -> bytes:
    body = good()
    np.random.Generator(np.random.Philox(3)).shuffle(body)
    return csv(body)


def holiday(volume: str, repeat: bool) -> Callable[[], bytes]:
    def make() -> bytes:
        body = good()
        place = next(index for index, row in enumerate(body) if row[0] == "2016-07-01")  # a Friday; Monday the 4th is a holiday
        before = body[place]
        body.insert(place + 1, ["2016-07-04", *(before[1:5] if repeat else ["90", "91", "89", "90"]), volume])
        return csv(body)

    return make


def stale(count: int) -> bytes:
    body = good()
    for row in body[100 : 100 + count]:
        row[1:5] = ["100.50", "102.00", "99.00", "100.00"]
    return csv(body)


def undecidable() -> bytes:
    """Days up to the 12th only, as far from one another either way: 4 May and 5 April."""
    return csv([["04/05/2016", *good()[0][1:]], ["05/04/2016", *good()[1][1:]]])


AMBIGUOUS = csv([[row[0], *(f"{float(cell) * 10:,.0f}" for cell in row[1:5])] for row in rows(walk(at=300))], "Date,Open,High,Low,Close")

INPUTS: list[tuple[str, bytes | Callable[[], bytes], Refused | Taken]] = [
    # files that hold nothing, or nothing of the kind
    ("C01 empty", b"", Refused(r"AAPL\.csv:1:1: the file is empty \(0 bytes")),
    ("C01 only a byte order mark", codecs.BOM_UTF8, Refused("the file is empty")),
    ("C01 only line ends", b"\n\n\r\n", Refused("the file is empty")),
    ("C02 header only", f"{HEADER}\n".encode(), Refused(r"AAPL\.csv:1:1: there is a header but no row of data \(0 rows\)")),
    ("C03 a column misspelt", lambda: csv(good(), "Date,Open,High,Low,Cl0se,Volume"), Refused(r"no column Close among .*'Cl0se': did you mean Close\?")),
    ("C03 a price misspelt", lambda: csv(good(), "Date,Open,Hihg,Low,Close,Volume"), Refused(r"no column High among .*'Hihg': did you mean High\?")),
    ("C03 no dates", lambda: csv([row[1:] for row in good()], "Open,High,Low,Close,Volume"), Refused("no column of dates among")),
    ("C04 a column twice", lambda: csv([[*row, row[1]] for row in good()], f"{HEADER},Open"), Refused(r":1:33: column 'Open' stands at 7, and 'Open' at 2")),
    ("C05 reordered, other case, spaces, one more", reordered, Taken()),
    ("C06 unquoted thousands", lambda: b"\n".join([HEADER.encode(), *(f"{row[0]},1,{row[1]},{row[2]},{row[3]},{row[4]},{row[5]}".encode() for row in good())]),
     Refused(r"AAPL\.csv:2:\d+: 7 fields, the header has 6: is there a thousands comma without quotes\?; 300 of 300 rows")),
    ("C06 a comma at the end of every row", lambda: b"\n".join([HEADER.encode(), *(",".join([*row, ""]).encode() for row in good())]), Taken(said=("empty field at the end",))),
    ("C07 one long row", with_lines("2017-03-15,1,2,3,4,5,6"), Taken(1, "fields")),
    ("C08 one short row", with_lines("2017-03-15,1,2"), Taken(1, "fields")),
    ("C09 cut in the last row", cut(15), Taken(1, "fields", said=("looks truncated",), same=False)),
    ("C10 a row twice", lambda: csv([*good(), good()[7]]), Taken(merged=1, said=("identical rows of one date merged",))),
    ("C11 a date with other values", lambda: csv([*good(), [good()[7][0], "1", "1", "1", "1", "1"]]), Taken(2, "contradiction", same=False, limits=Limits(needed=100))),
    ("C11 many dates with other values", lambda: csv([*good(), *([row[0], "1", "1", "1", "1", "1"] for row in good()[:9])]), Refused(r"18 of 309 rows share a date with other values.*--on-dup last")),
    ("C11 the last is asked for", lambda: csv([*([row[0], "91", "92", "90", "91", "1"] for row in good()[:3]), *good()]),
     Taken(3, "contradiction", limits=Limits(needed=100, on_duplicate="last"))),
    ("C12 newest first", lambda: csv(good()[::-1]), Taken(said=("newest first, sorted",))),
    ("C13 shuffled", shuffled, Taken(said=("rows out of order, sorted", "are day and month read the right way"))),
    # dates
    ("C14 day first", dated("%d/%m/%Y"), Taken(said=("31/01/2017 (day, month, year)",))),
    ("C14 month first", dated("%m/%d/%Y"), Taken(said=("01/31/2017 (month, day, year)",))),
    ("C14 day first with points", dated("%d.%m.%Y"), Taken(said=("31.01.2017 (day, month, year)",))),
    ("C14 both", lambda: csv([["13/01/2016", *good()[0][1:]], ["01/14/2016", *good()[1][1:]]]), Refused("dates of two orders: line 2 can only be day, month, year, and line 3")),
    ("C15 undecided", undecidable, Refused("4/5/2016 may be 2016-05-04 or 2016-04-05; .*--date-format dmy")),
    ("C15 told by the calendar", lambda: csv(rows(dates=projects.days(8, dt.date(2016, 2, 1)), form="%d/%m/%Y")),
     Taken(same=False, limits=Limits(needed=1), said=("day, month, year",))),
    ("C15 given", undecidable, Taken(same=False, asked=Asked(date_format="mdy"), limits=Limits(needed=1), calendar=EVERY_ROW)),
    ("C16 two forms", lambda: csv([*good()[:9], ["15.01.2016", *good()[9][1:]], *good()[10:]]), Refused(r":11:1: dates of 2 forms: 299 as 2017-01-31, first on line 2; 1 as .*, first on line 11")),
    ("C17 years of two digits", dated("%d/%m/%y"), Refused("years of two digits.*--date-format")),
    ("C17 given", dated("%d/%m/%y"), Taken(asked=Asked(date_format="%d/%m/%y"))),
    ("C18 seconds", every(0, lambda day: f"{dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp():.0f}"), Refused("--date-format epoch_s")),
    ("C18 seconds given", every(0, lambda day: f"{dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp():.0f}"), Taken(asked=Asked(date_format="epoch_s"))),
    ("C18 milliseconds given", every(0, lambda day: f"{dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp() * 1000:.0f}"), Taken(asked=Asked(date_format="epoch_ms"))),
    ("C18 a spreadsheet's days", every(0, lambda day: str((dt.date.fromisoformat(day) - dt.date(1899, 12, 30)).days)), Refused("--date-format excel")),
    ("C18 a spreadsheet's days given", every(0, lambda day: str((dt.date.fromisoformat(day) - dt.date(1899, 12, 30)).days)), Taken(asked=Asked(date_format="excel"))),
    ("C19 no such day", with_lines("2017-02-30,100,101,99,100,5"), Taken(1, "date")),
    ("C20 times with the exchange's zone", every(0, lambda day: f"{day} 00:00:00-05:00"), Taken(said=("times of day left out",))),
    ("C20 midnights of New York in UTC", every(0, lambda day: f"{day}T05:00:00Z"), Taken(same=True, said=("times converted to",))),
    ("C20 midnights of Sydney in UTC", every(0, lambda day: f"{dt.datetime.fromisoformat(day).replace(tzinfo=SYDNEY).astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"), Taken(asked=Asked(zone="Australia/Sydney"), said=("times converted to Australia/Sydney",))),
    ("C20 some with a zone", lambda: csv([[f"{row[0]} 16:00:00{'Z' if place > 5 else ''}", *row[1:]] for place, row in enumerate(good())]), Refused("dates of 2 forms|a time without a zone")),
    ("C21 before 1900", with_lines("1899-12-29,100,101,99,100,5", at=1), Taken(1, "date")),
    ("C21 in the future", with_lines("2031-01-06,100,101,99,100,5"), Taken(1, "date", calendar=Calendar("XNYS", NEW_YORK.sessions, (DAYS[-1] - dt.date(1970, 1, 1)).days))),
    ("C22 a holiday that repeats the price", holiday("0", repeat=True), Taken(merged=1, said=("days without a session that repeat the price before",))),
    ("C22 a holiday with a price of its own", holiday("500", repeat=False), Taken(1, "no session")),
    ("C23 a session that is not over", lambda: csv(good()), Taken(1, "session not over", same=False, said=("was not over",), calendar=Calendar("XNYS", NEW_YORK.sessions, (DAYS[-2] - dt.date(1970, 1, 1)).days))),
    ("C24 a long gap", lambda: csv([*good()[:100], *good()[115:]]), Taken(same=False, said=("15 sessions are missing between",))),
    # numbers
    ("C25 quoted thousands", lambda: csv([[row[0], *(f"{float(cell) * 1000:,.2f}" for cell in row[1:5]), row[5]] for row in good()]), Taken(same=False, said=("thousands separators removed in Close",))),
    ("C26 decimal commas", prices_written(lambda cell: cell.replace(".", ","), delimiter=";"), Taken(said=("decimal commas read in Close",))),
    ("C26 decimal commas and points for thousands", lambda: csv([[row[0], *(f"{float(cell) * 1000:,.2f}".translate(str.maketrans(",.", ".,")) for cell in row[1:5]), row[5]] for row in good()], delimiter=";"), Taken(same=False, said=("decimal commas read", "thousands separators removed"))),
    ("C26 both", changed(20, 4, "38,98"), Refused(r"numbers of two styles: .*--decimal")),
    ("C26 open", AMBIGUOUS, Refused(r"'\d,\d{3}' may be \d{4} or \d\.\d{3}; .*--decimal")),
    ("C26 given", AMBIGUOUS, Taken(same=False, asked=Asked(decimal=","))),
    ("C27 dollars", prices_written(lambda cell: f"${cell}"), Taken(said=("currency signs removed in Close",))),
    ("C27 euros behind a no-break space", prices_written(lambda cell: f"{cell}\u00a0€"), Taken(said=("currency signs removed",))),
    ("C27 apostrophes and narrow spaces", lambda: csv([[row[0], *(f"{float(cell) * 1000:,.2f}".replace(",", "'") for cell in row[1:5]), row[5]] for row in good()]), Taken(same=False, said=("thousands separators removed",))),
    ("C27 two currencies", lambda: csv([[row[0], row[1], row[2], row[3], f"{'€' if place == 50 else '$'}{row[4]}", row[5]] for place, row in enumerate(good())]), Refused("holds two currencies: .*€ .first on line 52")),
    ("C28 volumes in millions", every(5, lambda cell: f"{float(cell) / 1e6:.6f}M"), Taken(said=("counts in thousands, millions or billions written out in Volume",))),
    ("C28 prices in thousands", changed(20, 4, "1.2K"), Taken(1, "number", same=False)),
    ("C29 percent among prices", changed(20, 4, "1.2%"), Taken(1, "number", same=False)),
    ("C29 a column of change", lambda: csv([[*row, "-0.41%"] for row in good()], f"{HEADER},Change %"), Taken()),
    ("C30 negative in brackets", changed(20, 4, "(10.5)"), Taken(1, "price", same=False)),
    ("C30 negative behind", changed(20, 4, "10.5-"), Taken(1, "price", same=False)),
    ("C30 another minus", changed(20, 4, "\u221210.5"), Taken(1, "price", same=False)),
    ("C30 digits of full width", every(4, lambda cell: cell.translate(str.maketrans("0123456789", "０１２３４５６７８９"))), Taken(said=("digits of another script read",))),
    ("C30 underscores", changed(20, 4, "1_000"), Taken(1, "number", same=False)),
    ("C30 hexadecimal", changed(20, 4, "0x10"), Taken(1, "number", same=False)),
    ("C30 an exponent", lambda: csv([[*row[:5], f"{float(row[5]) / 1000}e3"] for row in good()]), Taken()),
    ("C31 no volume", changed(20, 5, ""), Taken(same=False, said=("volume is missing",))),
    ("C31 no price at all", lambda: csv([[row[0], *(["null"] * 4 if place == 20 else row[1:5]), row[5]] for place, row in enumerate(good())]), Taken(1, "no trade", same=False)),
    ("C31 no trade on a tenth of the days", lambda: csv([[row[0], *([""] * 4 if place % 10 == 5 else row[1:5]), row[5]] for place, row in enumerate(good())]), Taken(30, "no trade", same=False)),
    *[(f"C31 {word or 'blank'} for a price", changed(20, 2, word), Taken(1, "number", same=False)) for word in ("", "NaN", "null", "N/A", "-", "--", "none")],
    ("C32 infinite", changed(20, 4, "inf"), Taken(1, "number", same=False)),
    ("C32 beyond floating point", changed(20, 4, "1e400"), Taken(1, "price", same=False)),
    ("C32 too large", changed(20, 4, "1e10"), Taken(1, "price", same=False)),
    ("C32 too large a volume", changed(20, 5, "99999999999999"), Taken(1, "number", same=False)),
    ("C33 zero", changed(20, 3, "0"), Taken(1, "price", same=False)),
    ("C33 negative", changed(20, 3, "-5"), Taken(1, "price", same=False)),
    ("C34 no volume traded", changed(20, 5, "0"), Taken(same=False, said=("volume is zero",))),
    # prices together
    ("C35 high below low", changed(20, 2, "1"), Taken(1, "high below low", same=False)),
    ("C36 close outside", lambda: changed(20, 4, f"{PRICES[20][1] * 1.03:.2f}")(), Taken(1, "outside the range", same=False)),
    ("C36 open outside", lambda: changed(20, 1, f"{PRICES[20][1] * 1.03:.2f}")(), Taken(1, "outside the range", same=False)),
    ("C36 by a hair", lambda: changed(20, 4, f"{PRICES[20][1] * 1.003:.2f}")(), Taken(same=False)),
    ("C37 close of another scale", scaled(2.002, 0, 130, range(4, 5)), Refused(r"AAPL\.csv:2:\d+: AAPL: Close looks unadjusted: it is 2\.00\d? × the scale of Open, High and Low until 2016-07-08 \(130 rows\).*--adjust ratio.*--price Open")),
    ("C37 repaired", scaled(2.002, 0, 130, range(4, 5)), Taken(same=False, limits=Limits(needed=100, adjust="ratio"), said=("Close divided by 2.00",))),
    ("C37 left out", scaled(2.002, 0, 130, range(4, 5)), Taken(same=False, asked=Asked(price="Open"))),
    ("C38 a split", two_splits, Refused(r"all prices go to 1/2 of the day before on 2016-05-26 \(.*--adjust auto")),
    ("C38 repaired", two_splits, Taken(same=False, limits=Limits(needed=100, adjust="auto"), said=("prices before 2016-05-26 multiplied by 0.5",))),
    ("C38 kept as it is", two_splits, Taken(same=False, limits=Limits(needed=100, adjust="none"))),
    ("C39 one row in pence", scaled(100, 50, 51), Taken(1, "scale", same=False)),
    ("C39 a block in pence", scaled(100, 50, 150), Refused("a hundredfold, and stays: two currency units")),
    ("C40 stale for twelve sessions", lambda: stale(12), Taken(same=False, said=("Close stays 100 from",))),
    ("C40 stale throughout", lambda: stale(180), Refused(r"Close repeats the day before in 60% of the rows")),
    ("C41 constant", lambda: csv([[row[0], "5", "5", "5", "5", "9"] for row in good()]), Refused("Close is 5 throughout")),
    ("C42 a day of +90 %", scaled(1.9, 150, None), Taken(same=False, said=("Close goes from",))),
    ("C43 too few", lambda: csv(good()[:80]), Refused("80 sessions; expected at least 100 .*, 20 more")),
    # several tickers
    ("C44 a ticker column", long, Taken(same=False)),
    ("C44 two price levels in turn", twice_interleaved, Refused("2 rows a date: .*several tickers")),
    ("C45 tickers that look like something else", lambda: long("Ticker", ("NA", "NULL", "TRUE", "1E5", "MAR1")), Taken(same=False)),
    ("wide", wide, Taken(same=False)),
    ("yfinance's header lines", stacked, Taken()),
    ("a close alone", close_only, Taken(same=False)),
    # bytes
    ("C46 a byte order mark", lambda: codecs.BOM_UTF8 + csv(good()), Taken()),
    ("C47 UTF-16 with its mark", lambda: csv(good()).decode().encode("utf-16"), Taken()),
    ("C47 UTF-16 without", lambda: csv(good()).decode().encode("utf-16-le"), Refused("this is probably UTF-16, little-endian")),
    ("C48 bytes of cp1252", lambda: csv(good(), "Date,Open,High,Low,Close,Volumé").decode().encode("cp1252"), Refused(r"AAPL\.csv:1:31: .*0xE9.*--encoding")),
    ("C48 given", lambda: csv(good(), "Date,Open,High,Low,Close,Volumé").decode().encode("cp1252"), Taken(asked=Asked(encoding="cp1252"))),
    ("C49 CRLF", lambda: csv(good(), end="\r\n"), Taken()),
    ("C49 CR", lambda: csv(good(), end="\r"), Taken()),
    ("C49 mixed", lambda: csv(good()).replace(b"\n", b"\r\n", 40), Taken()),
    ("C50 NUL bytes", lambda: csv(good())[:-300] + bytes(300), Refused(r"NUL byte at offset \d[\d,]*, was the file damaged by a crash\?")),
    ("C51 a cell of a megabyte", lambda: csv([*good(), ["x" * (2**20 + 1), "1", "1", "1", "1", "1"]]), Refused("a cell of more than 1,048,576 characters")),
    ("C51 a line of ten megabytes", lambda: csv(good()) + b"x," * (6 * 2**20), Refused(r"a line of 12,582,912 characters")),
    ("C51 ten thousand columns", lambda: csv(good(), HEADER + ",x" * 10_001), Refused(r"10,007 fields; expected at most 10,000")),
    ("C52 an open quote", changed(20, 4, '"12'), Refused(r"AAPL\.csv:22:\d+: the quotes do not pair")),
    *[(f"C53 {name}", lambda sign=sign: csv(good(), delimiter=sign), Taken()) for name, sign in (("semicolons", ";"), ("tabs", "\t"), ("bars", "|"))],
    ("C54 the header again", with_lines(HEADER, at=100), Taken(merged=1, said=("the header, repeated among the rows",))),
    ("C54 a footer", with_lines("Source: somewhere"), Taken(1, "fields")),
    ("C54 a preamble", lambda: b"Prices of AAPL\nfrom somewhere\n" + csv(good()), Refused(r"line 3 looks like one; .*--skip-rows 2")),
    ("C54 left out", lambda: b"Prices of AAPL\nfrom somewhere\n" + csv(good()), Taken(asked=Asked(skip_rows=2))),
    ("C54 no header", lambda: csv(good()).partition(b"\n")[2], Refused("the first line is a row of data")),
    ("C55 a gzip.gz", lambda: gzip.compress(csv(good()), mtime=0), Taken()),
    ("C55 a gzip cut short.gz", lambda: gzip.compress(csv(good()), mtime=0)[:-500], Refused("the archive is cut short")),
    ("C55 a web page", b"<!DOCTYPE html><html>log in</html>", Refused(r"HTML page \(a login or an error page\?\)")),
    ("C55 a workbook", b"PK\x03\x04rest", Refused("a zip archive or an Excel workbook")),
    ("C55 Parquet", b"PAR1rest", Refused("a Parquet file")),
    ("C55 a gzip by another name", lambda: gzip.compress(csv(good()), mtime=0), Refused("this is a gzip archive")),
    ("C56 a bomb.gz", gzip.compress(b"0" * 2**24, mtime=0), Refused(r"unpack to more than 3,[0-9,]+")),
    ("C62 a volume beyond float32", lambda: csv([[*row[:5], "16777217"] for row in good()]), Taken(same=False)),
    ("C64 a ticker that is a formula", lambda: long("Ticker", ("AAA", "=CMD()", "../X", "<B>")), Taken(900, "ticker", same=False)),
    ("monthly", lambda: csv([[f"{2000 + place // 12}-{place % 12 + 1:02d}-28", *row[1:]] for place, row in enumerate(good())]), Refused("a monthly series, 31 days from row to row.*--calendar none")),
    ("monthly, asked for", lambda: csv([[f"{2000 + place // 12}-{place % 12 + 1:02d}-28", *row[1:]] for place, row in enumerate(good())]), Taken(same=False, calendar=EVERY_ROW)),
    ("intraday", lambda: csv(bars()), Refused("an intraday series, 100 rows a day.*--calendar none")),
    ("intraday, asked for", lambda: csv(bars()), Taken(same=False, calendar=EVERY_ROW, said=("as written", "2016-01-04 09:00:00", "2016-01-06 18:54:00"))),
    ("intraday, newest first", lambda: csv(bars()[::-1]), Taken(same=False, calendar=EVERY_ROW, said=("newest first, sorted",))),
    ("intraday, out of order", lambda: csv([*bars()[:20], bars()[21], bars()[20], *bars()[22:]]), Taken(same=False, calendar=EVERY_ROW, said=("rows out of order, sorted",))),
    ("intraday, a second twice", lambda: csv([*bars()[:20], bars()[19], *bars()[20:]]), Taken(merged=1, same=False, calendar=EVERY_ROW, said=("identical rows of one time merged",))),
    ("intraday, a second with other values", lambda: csv([*bars()[:20], [bars()[19][0], *bars()[20][1:]], *bars()[20:]]), Taken(2, "contradiction", same=False, calendar=EVERY_ROW)),
    ("intraday, a second with other values, the last kept", lambda: csv([*bars()[:20], [bars()[19][0], *bars()[20][1:]], *bars()[20:]]), Taken(1, "contradiction", same=False, calendar=EVERY_ROW, limits=Limits(needed=100, on_duplicate="last"))),
    ("intraday, one time that is none", lambda: csv([*bars()[:20], ["2016-02-30 10:00:00", *bars()[20][1:]], *bars()[21:]]), Taken(1, "date", same=False, calendar=EVERY_ROW)),
    *[(f"intraday, a time {time} that is none", lambda time=time: csv([*bars()[:20], [f"2016-01-04 {time}", *bars()[20][1:]], *bars()[21:]]), Taken(1, "date", same=False, calendar=EVERY_ROW)) for time in ("10:75:00", "25:00:00", "10:00:61")],
    ("a time that is none, of a daily series", lambda: csv([[f"{row[0]} {'16:75' if place == 9 else '16:00'}:00", *row[1:]] for place, row in enumerate(good())]), Taken(said=("times of day left out",))),
    ("intraday, with a zone", lambda: csv([[f"{row[0]}-05:00", *row[1:]] for row in bars()]), Refused("no exchange's midnight or close.*--calendar none")),
    ("intraday, with a zone, asked for", lambda: csv([[f"{row[0]}-05:00", *row[1:]] for row in bars()]), Taken(same=False, calendar=EVERY_ROW, asked=Asked(every_row=True), said=("times converted to UTC", "2016-01-04 14:00:00"))),
    ("intraday, date and time in two columns", lambda: csv([[*row[0].split(" "), *row[1:]] for row in bars()], HEADER.replace("Date", "Date,Time")), Taken(same=False, calendar=EVERY_ROW, said=("2016-01-06 18:54:00",))),
    ("intraday, of 1950", lambda: csv([[row[0].replace("2016", "1950"), *row[1:]] for row in bars()]), Taken(same=False, calendar=EVERY_ROW, said=("1950-01-04 09:00:00",))),
    ("intraday, one row before 1900", lambda: csv([["1899-12-31 23:59:59", *bars()[0][1:]], *bars()[1:]]), Taken(1, "date", same=False, calendar=EVERY_ROW)),
    ("intraday, by a pattern", lambda: csv([[row[0][2:], *row[1:]] for row in bars()]), Taken(same=False, calendar=EVERY_ROW, asked=Asked(date_format="%y-%m-%d %H:%M:%S"), said=("2016-01-06 18:54:00",))),
    ("intraday, seconds since 1970", lambda: csv([[str(int(dt.datetime.fromisoformat(f"{row[0]}+00:00").timestamp())), *row[1:]] for row in bars()]), Taken(same=False, calendar=EVERY_ROW, asked=Asked(date_format="epoch_s"), said=("UTC", "2016-01-06 18:54:00"))),
    ("several tickers at one time, every row asked for", lambda: csv([[f"2016-01-{4 + place // 100:02d} 16:00:00", *row[1:]] for place, row in enumerate(good())]), Refused("100 rows a date: are several tickers in one file")),
    ("a close at 16:00, every row asked for", dated("%Y-%m-%d 16:00:00"), Taken(calendar=EVERY_ROW, said=("times of day left out",))),
    ("a last trade at any time, every row asked for", lambda: csv([[f"{row[0]} {15 + place % 2}:00:00", *row[1:]] for place, row in enumerate(good())]), Taken(calendar=EVERY_ROW, said=("times of day left out",))),
]  # fmt: skip


def read(data: bytes, asked: Asked, limits: Limits, calendar: Calendar, quick: bool = True, name: str = "AAPL.csv") -> Reading:
    return prices.parse(data, name, asked, {}, limits, calendar, quick)


def clean() -> Reading:
    return read(csv(good()), Asked(), Limits(needed=100), NEW_YORK)


@pytest.mark.parametrize("quick", [True, False], ids=["quickly", "carefully"])
@pytest.mark.parametrize(("kind", "data", "outcome"), INPUTS, ids=[entry[0] for entry in INPUTS])
def test_each_input_has_its_outcome(kind, data, outcome, quick):
    content = data() if callable(data) else data
    name = "AAPL.csv.gz" if kind.endswith(".gz") else "AAPL.csv"
    if isinstance(outcome, Refused):
        with pytest.raises(DataRefused) as refusal:
            read(content, outcome.asked, outcome.limits, NEW_YORK, quick, name)
        said = str(refusal.value)
        assert re.search(outcome.said, said), said
        assert re.match(r"AAPL\.csv:\d+:\d+: |AAPL\.csv\.gz: ", said) and said.count("; ") >= 2, (
            "where; what was found; what was expected; what to do"
        )
        return
    reading = read(content, outcome.asked, outcome.limits, outcome.calendar, quick, name)
    told = " / ".join([*map(str, reading.read_as.values()), *(each["what"] for each in reading.repairs + reading.warnings)])
    assert (reading.counts.quarantined, reading.counts.merged) == (outcome.aside, outcome.merged), (reading.quarantined[:3], told)
    assert {row.rule for row in reading.quarantined} == ({outcome.rule} if outcome.rule else set())
    for words in outcome.said:
        assert words in told, told
    if outcome.same:
        assert reading.table.equals(clean().table)


@pytest.mark.few(54)
@pytest.mark.parametrize(("data", "outcome"), [entry[1:] for entry in INPUTS], ids=[entry[0] for entry in INPUTS])
def test_the_quick_way_and_the_careful_way_agree_to_the_byte(data, outcome):
    content = data() if callable(data) else data

    def told(quick: bool) -> object:
        try:
            reading = read(content, outcome.asked, outcome.limits, getattr(outcome, "calendar", NEW_YORK), quick)
        except DataRefused as refusal:
            return str(refusal)
        return reading.table.to_pydict(), reading.as_json(), reading.quarantined

    assert told(True) == told(False)


def test_rows_of_an_intraday_series_keep_their_second_and_their_order():
    body = bars()
    reading = read(csv(body[::-1]), AS_IT_IS, A_HUNDRED, EVERY_ROW)
    assert reading.table["date"].to_pylist() == [dt.datetime.fromisoformat(row[0]) for row in body]
    assert reading.table.drop_columns("date").equals(clean().table.drop_columns("date")) and reading.table.schema == prices.schema("s")
    assert [each["what"] for each in reading.repairs] == ["newest first, sorted"], "no time of day is left out"


def test_several_tickers_at_one_time_are_no_intraday_series_where_every_row_is_asked_for_either():
    body = [[f"2016-01-{4 + place // 100:02d} 16:00:00", *row[1:]] for place, row in enumerate(good())]
    with pytest.raises(DataRefused, match="100 rows a date: are several tickers in one file"):
        read(csv(body), AS_IT_IS, A_HUNDRED, EVERY_ROW)


def test_times_with_zones_are_in_order_of_utc_so_that_an_hour_that_comes_twice_is_two_hours():
    hours = [
        f"2015-11-01 {hour:02d}:{minute:02d}:00{zone}"
        for hour, zone in ((0, "-04:00"), (1, "-04:00"), (1, "-05:00"), (2, "-05:00"))
        for minute in range(60)
    ]
    body = [[time, *row[1:]] for time, row in zip(hours, good(), strict=False)]
    reading = read(csv(body), Asked(every_row=True), A_HUNDRED, EVERY_ROW)
    assert reading.counts.kept == 240 and reading.read_as["times"] == "UTC"
    assert reading.table["date"].to_pylist() == [dt.datetime(2015, 11, 1, 4) + dt.timedelta(minutes=n) for n in range(240)]


@pytest.mark.parametrize(("place", "said"), [(150, ""), (200, "all prices go to 1/2 of the row before on 2016-01-06 09:00:00")])
def test_a_share_splits_overnight_and_never_within_a_day(place, said):
    body = bars()
    for row in body[place:]:
        row[1:5] = [f"{float(cell) / 2 * float(body[place - 1][4]) / float(good()[place][4]):.4f}" for cell in row[1:5]]
    if not said:
        assert read(csv(body), AS_IT_IS, A_HUNDRED, EVERY_ROW).counts.kept == 300
        return
    with pytest.raises(DataRefused, match=said):
        read(csv(body), AS_IT_IS, A_HUNDRED, EVERY_ROW)


def test_files_that_are_read_together_are_each_what_they_are_alone():
    plain = [csv(rows(walk(seed=seed))) for seed in range(2, 12)]
    usual = [
        data
        for _, data, outcome in INPUTS
        if isinstance(outcome, Taken) and (outcome.asked, outcome.limits, outcome.calendar) == (AS_IT_IS, A_HUNDRED, NEW_YORK)
    ]
    contents = [*plain[:5], *(data() if callable(data) else data for data in usual), *plain[5:]]
    files = {f"T{place:03}.csv": data for place, data in enumerate(contents) if data[:2] != b"\x1f\x8b"}
    found = prices.together(files, AS_IT_IS, {}, A_HUNDRED, lambda days: NEW_YORK)
    assert {f"T{place:03}.csv" for place in [*range(5), *range(len(contents) - 5, len(contents))]} <= set(found), "clean ones are"
    assert 10 < len(found) < len(files), "some are odd and read together, some are left to be read alone"
    for name, reading in found.items():
        alone = read(files[name], AS_IT_IS, A_HUNDRED, NEW_YORK, quick=False, name=name)
        assert reading.table.to_pydict() == alone.table.to_pydict(), name
        assert (reading.as_json(), reading.quarantined) == (alone.as_json(), alone.quarantined), name


ODDITIES = {
    "price": ("close", 1e9 + 1), "negative": ("open", -1.0), "no price": ("low", np.nan), "high below low": ("high", 1.0), "outside": ("close", 103.5),
    "idle": ("volume", 0.0), "jump": (("open", "high", "low", "close"), 190.0), "pence": (("open", "high", "low", "close"), 10_000.0),
}  # fmt: skip


@pytest.mark.parametrize("place", [0, 1, 150, 298, 299])
@pytest.mark.parametrize("kind", list(ODDITIES))
def test_a_ticker_with_anything_odd_is_not_calm_and_its_neighbours_are(kind, place):
    columns = np.array(PRICES).T
    values = {meaning: np.tile(column, 3) for meaning, column in zip(("open", "high", "low", "close", "volume"), columns, strict=True)}
    values["adj_close"] = np.full(900, np.nan)
    day = np.tile(np.array([(each - dt.date(1970, 1, 1)).days for each in DAYS], np.int32), 3)
    places = {meaning: number for number, meaning in enumerate(("open", "high", "low", "close", "volume"), start=1)}
    starts = np.array([0, 300, 600, 900])
    assert rules.calm(day, values, starts, places, A_HUNDRED, NEW_YORK).tolist() == [True, True, True]
    which, value = ODDITIES[kind]
    for meaning in [which] if isinstance(which, str) else which:
        values[meaning][300 + place] = value
    assert rules.calm(day, values, starts, places, A_HUNDRED, NEW_YORK).tolist() == [True, False, True]


def test_a_ticker_whose_days_are_odd_is_not_calm():
    values = {meaning: np.array(PRICES).T[place] for place, meaning in enumerate(("open", "high", "low", "close", "volume"))}
    values["adj_close"] = np.full(300, np.nan)
    day = np.array([(each - dt.date(1970, 1, 1)).days for each in DAYS], np.int32)
    places, starts = {"close": 4}, np.array([0, 300])

    def calm(days: Any, own: dict[str, Any] = values, limits: Limits = A_HUNDRED, calendar: Calendar = NEW_YORK) -> bool:
        return bool(rules.calm(days, own, starts, places, limits, calendar)[0])

    assert calm(day)
    assert not calm(day[::-1]) and not calm(np.concatenate([day[:1], day[:-1]]))
    assert not calm(np.concatenate([day[:-1], [day[-1] + 1000]])), "a gap"
    assert not calm(np.where(day == day[7], day[7] + 1, day) if day[8] - day[7] > 1 else np.where(day == day[4], day[4] + 1, day)), (
        "no session"
    )
    assert not calm(day, calendar=Calendar("XNYS", NEW_YORK.sessions, int(day[-2]))), "a session that was not over"
    assert not calm(day, limits=Limits(needed=301))
    assert not calm(day[:1] + 30 * np.arange(300), calendar=Calendar("auto", day[:1] + 30 * np.arange(300))), "monthly"
    still = values["close"].copy()
    still[100:109] = 100.0
    assert calm(day, {**values, "close": still}), "nine days at one price are nothing"
    still[109] = 100.0
    assert not calm(day, {**values, "close": still}), "ten are told"
    assert not calm(day, {**values, "close": np.repeat(values["close"][::5], 5)}), "stale in most rows"
