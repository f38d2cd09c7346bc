"""Rows: the lines of a price file become observations, each cell read by the one style of its file.

`carefully` reads any file, cell by cell; `quick` reads those that are clean, and gives the same. Whether values make
sense together is `rules`' business.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from longshort.errors import DataRefused
from longshort.ingestion import cells
from longshort.ingestion.cells import Decimal_, Order
from longshort.ingestion.columns import LABELS, PRICES
from longshort.ingestion.form import Form, delimiter_name, split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Steps = NDArray[np.signedinteger[Any]]  # days as int32, or seconds as int64

Unit = Literal["D", "s"]  # of dates: days, or seconds for what is intraday
VALUES = (*PRICES, "adj_close", "volume")
NO_TRADE = "no trade"  # a row without any price: nothing was lost, so it does not count as bad
LINE_END = re.compile(r"\r\n|\r|\n")  # not splitlines(), which also cuts at U+2028 and form feeds, so line numbers would differ
_EPOCH = dt.date(1970, 1, 1).toordinal()
ORDERS: dict[Order, str] = {"ymd": "year, month, day", "dmy": "day, month, year", "mdy": "month, day, year"}
_TIMES = "times of day left out"
_AS_WRITTEN = "as written"
_DAY_SECONDS = 86_400
_NO_TIME = -1
_AT_THE_ENDS = 7  # days, more than any offset has
POINT = "with a decimal point"
_COUNTED = {cells.EXCEL: "excel", cells.EPOCH_S: "epoch_s", cells.EPOCH_MS: "epoch_ms"}


@dataclass(frozen=True)
class Fault:
    """Why a row is set aside: the rule, the place of the cell in the row, and the sentence."""

    rule: str
    place: int
    what: str


@dataclass
class Tally:
    """How often something was repaired or seen, and where first."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, line: int, count: int = 1) -> None:
        """Count it."""
        self.counts[what] += count
        self.first[what] = min(line, self.first.get(what, line))

    def as_json(self) -> list[dict[str, str | int]]:
        """What, how often and where first, in the order of the first places."""
        order = sorted(self.counts, key=lambda what: (self.first[what], what))
        return [{"what": what, "count": self.counts[what], "line": self.first[what]} for what in order]


@dataclass
class Observations:
    """A file's rows as columns, in the file's order: a line, or in wide files a line and a ticker.

    owner    place of the row's ticker in ``tickers``
    day      days since 1970-01-01; of a series `by_second` seconds, as int64
    values   open, high, low, close, adj_close, volume as float64, NaN where there is none (volumes stay below 2**53)
    faults   by place among the rows
    merged   rows that only repeat the header, by place
    read_as  how the cells were read, in words
    line_of  the text of a line by its number
    time     seconds after midnight, -1 for what no clock shows; None where no date has a time. zone: theirs, in words
    unit     of ``day``: D days, s seconds
    """

    line: NDArray[np.int64]
    owner: NDArray[np.int32]
    tickers: list[str]
    day: Steps
    values: dict[str, NDArray[np.float64]]
    faults: dict[int, Fault]
    merged: set[int]
    repairs: Tally
    warnings: Tally
    read_as: dict[str, str | int]
    line_of: Callable[[int], str]
    time: NDArray[np.int32] | None = None
    zone: str = ""
    unit: Unit = "D"

    def by_second(self, date_place: int) -> Observations:
        """The same with each row at its own second, its time of day no longer left out; a time that is none is a fault."""
        assert self.time is not None
        told = {what: count for what, count in self.repairs.counts.items() if what != _TIMES}
        repairs = Tally(Counter(told), {what: self.repairs.first[what] for what in told})
        day = self.day.astype(np.int64) * _DAY_SECONDS + self.time
        odd = Fault("date", date_place, "the time of day is none that a clock shows; expected one such as 16:30:00")
        faults = dict.fromkeys(np.flatnonzero(self.time == _NO_TIME).tolist(), odd) | self.faults
        return replace(self, day=day, unit="s", faults=faults, repairs=repairs, read_as={**self.read_as, "times": self.zone})


@dataclass(frozen=True)
class Style:
    """How a person said that a file is to be read, where they did."""

    date_format: str | None = None
    decimal: Decimal_ | None = None
    zone: str | None = None  # of the exchange, for stamps with a time and a zone
    every_row: bool = False  # each row is a step: times need be no exchange's


@dataclass(frozen=True)
class _Dates:
    """What a column of dates says, by line: days, seconds after midnight (of all days or of none), and what is no date."""

    days: dict[int, int]
    times: dict[int, int]
    faults: dict[int, Fault]
    read: str
    zone: str = _AS_WRITTEN


def described(form: Form, tickers: int) -> dict[str, str | int]:
    """The layout of a file, in words."""
    return {"layout": form.layout, "delimiter": delimiter_name(form.delimiter), "tickers": tickers}


def missing(absent: list[str], present: list[str], places: Mapping[str, int], row: list[str]) -> Fault:
    """The fault of a row in which prices are missing; ``present`` are those that its file has."""
    told = f"{', '.join(LABELS[meaning] for meaning in absent)} {'is' if len(absent) == 1 else 'are'} missing"
    if len(absent) == len(present):
        return Fault(NO_TRADE, places[absent[0]], f"{told}: no trade")
    return Fault("number", places[absent[0]], f"{told} ('{row[places[absent[0]]]}'); expected a price")


def carefully(text: str, form: Form, style: Style, name: str, ticker: str) -> Observations:
    """Read any file of a form, cell by cell.

    raises  DataRefused when quotes do not pair, when dates or numbers are of several styles or leave open which it
            is, or when two currencies stand in one column
    """
    lines = LINE_END.split(text)
    repairs, warnings = Tally(), Tally()
    body: list[tuple[int, list[str]]] = []
    faults_of_line: dict[int, Fault] = {}
    repeated: set[int] = set()
    numbers = [number for number in range(form.header + 1, len(lines) + 1) if lines[number - 1].strip()]
    for number in numbers:
        line = lines[number - 1]
        row = split(line, form.delimiter, f"{name}:{number}")
        if len(row) == form.width + 1 and not row[-1]:
            repairs.add("an empty field at the end of rows left out", number)
            row = row[:-1]
        elif len(row) == form.width - 1 and not form.names[-1]:
            row = [*row, ""]
        if tuple(row) == form.names:
            repeated.add(number)
        elif len(row) != form.width:
            faults_of_line[number] = _fields(row, form.width)
        body.append((number, row))
    if numbers and numbers[-1] in faults_of_line and not text.endswith(("\n", "\r")):
        warnings.add("the last line is cut short: the file looks truncated", numbers[-1])
    good = [(number, row) for number, row in body if number not in faults_of_line and number not in repeated]
    dates = _days(good, form, style, name, repairs)
    decimal, numbers_read = _decimal(good, form, style, name)

    own_tickers: dict[str, int] = {}
    out_line: list[int] = []
    out_owner: list[int] = []
    out_day: list[int] = []
    out_time: list[int] = []
    out_values: dict[str, list[float]] = {meaning: [] for meaning in VALUES}
    faults: dict[int, Fault] = {}
    merged: set[int] = set()
    currencies: dict[int, dict[str, int]] = {}
    nothing = dict.fromkeys(VALUES, np.nan)
    for number, row in body:
        for series in form.series:
            place = len(out_line)
            known = series.ticker or ticker
            fault: Fault | None = faults_of_line.get(number)
            values = nothing
            if number in repeated:
                merged.add(place)
            elif fault is None:
                if form.ticker is not None:
                    known = row[form.ticker]
                    fault = None if known else Fault("ticker", form.ticker, "the ticker is missing; expected one")
                fault = fault or dates.faults.get(number)
                if fault is None:
                    values, fault = _values(row, series.places, decimal, number, repairs, warnings, currencies)
            if fault is not None:
                faults[place] = fault
            out_line.append(number)
            out_owner.append(own_tickers.setdefault(known, len(own_tickers)))
            out_day.append(dates.days.get(number, 0))
            out_time.append(dates.times.get(number, 0))
            for meaning in VALUES:
                out_values[meaning].append(values[meaning])
    _refuse_two_currencies(currencies, form, name)
    if repeated:
        repairs.add("the header, repeated among the rows, left out", min(repeated), len(repeated))
    return Observations(
        np.array(out_line, np.int64),
        np.array(out_owner, np.int32),
        list(own_tickers),
        np.array(out_day, np.int32),
        {meaning: np.array(column, np.float64) for meaning, column in out_values.items()},
        faults,
        merged,
        repairs,
        warnings,
        {**described(form, len(own_tickers)), "dates": dates.read, "numbers": numbers_read},
        lambda number: lines[number - 1],
        np.array(out_time, np.int32) if dates.times else None,
        dates.zone,
    )


def _fields(row: list[str], width: int) -> Fault:
    cause = "is there a thousands comma without quotes?" if len(row) > width else "is the line cut short?"
    return Fault("fields", min(len(row), width), f"{len(row)} fields, the header has {width}: {cause}")


def _values(
    row: list[str],
    places: Mapping[str, int],
    decimal: Decimal_,
    line: int,
    repairs: Tally,
    warnings: Tally,
    currencies: dict[int, dict[str, int]],
) -> tuple[dict[str, float], Fault | None]:
    """The numbers of one observation; what is missing is NaN."""
    values = dict.fromkeys(VALUES, np.nan)
    for meaning, place in places.items():
        cell = row[place]
        try:
            found = cells.number(cell, decimal, scaled=meaning == "volume")
        except cells.Unreadable:
            wanted = "a whole number" if meaning == "volume" else "a number such as 1008.64"
            return values, Fault("number", place, f"{LABELS[meaning]} is '{cell}'; expected {wanted}")
        for repair in found.repairs:
            repairs.add(f"{repair} in {LABELS[meaning]}", line)
        if found.currency:
            currencies.setdefault(place, {}).setdefault(found.currency, line)
        if found.value is not None:
            values[meaning] = found.value
    volume = values["volume"]
    if not np.isnan(volume):
        if not 0 <= volume <= cells.MOST_VOLUME:
            what = f"Volume is '{row[places['volume']]}'; expected a whole number from 0 to {cells.MOST_VOLUME:,}, or nothing"
            return values, Fault("number", places["volume"], what)
        if volume != round(volume):
            repairs.add("fractions of volumes rounded in Volume", line)
            values["volume"] = float(round(volume))
    present = [meaning for meaning in PRICES if meaning in places]
    absent = [meaning for meaning in present if np.isnan(values[meaning])]
    if absent:
        return values, missing(absent, present, places, row)
    if "volume" in places and np.isnan(volume):
        warnings.add("volume is missing", line)
    return values, None


def _refuse_two_currencies(currencies: dict[int, dict[str, int]], form: Form, name: str) -> None:
    for place, found in currencies.items():
        if len(found) > 1:
            told = ", ".join(f"{sign} (first on line {line})" for sign, line in found.items())
            line = sorted(found.values())[1]
            raise DataRefused(
                f"{name}:{line}:{place + 1}: column '{form.names[place]}' holds two currencies: {told}; expected one; convert or "
                "split the file."
            )


# --- the style of a file ----------------------------------------------------------------------


def _decimal(rows: list[tuple[int, list[str]]], form: Form, style: Style, name: str) -> tuple[Decimal_, str]:
    """The decimal mark of all numbers of a file, and how to say it.

    raises  DataRefused when cells speak for both, or all leave it open
    """
    words: dict[Decimal_, str] = {".": POINT, ",": "with a decimal comma"}
    if style.decimal:
        return style.decimal, f"{words[style.decimal]} (as given)"
    first: dict[str, tuple[int, int, str]] = {}
    price_places = [place for one in form.series for meaning, place in one.places.items() if meaning != "volume"]
    volume_places = [place for one in form.series for meaning, place in one.places.items() if meaning == "volume"]
    for places in (price_places, volume_places):
        for number, row in rows:
            for place in places:
                cell = row[place]
                if "," in cell or "." in cell:
                    told = cells.decimal_evidence(cell)
                    if told and told not in first:
                        first[told] = (number, place, cell)
        if "." in first or "," in first:
            break
        if places is price_places and "?" in first:
            break  # volumes do not tell of prices
    if "." in first and "," in first:
        (_, _, point), (line, place, comma) = sorted((first["."], first[","]))
        raise DataRefused(
            f"{name}:{line}:{place + 1}: numbers of two styles: '{point}' on line {min(first['.'][0], first[','][0])} and '{comma}' here; "
            "expected one decimal mark in a file; say which with --decimal . or --decimal ,"
        )
    if "," in first:
        return ",", words[","]
    if "." not in first and "?" in first:
        line, place, cell = first["?"]
        if place in price_places:
            raise DataRefused(
                f"{name}:{line}:{place + 1}: '{cell}' may be {cell.replace(',', '')} or {cell.replace(',', '.')}; expected a cell "
                "that tells, and there is none; say which with --decimal . or --decimal ,"
            )
    return ".", words["."]


def _days(rows: list[tuple[int, list[str]]], form: Form, style: Style, name: str, repairs: Tally) -> _Dates:
    """The day and the time of each line, the faults of lines that name none, and how they were read."""
    column = [(number, row[form.date] if form.time is None else f"{row[form.date]} {row[form.time]}") for number, row in rows]
    if style.date_format and "%" in style.date_format:
        return _by_pattern(column, form, style.date_format)
    known = {cell: cells.stamp(cell) for cell in {cell for _, cell in column}}
    families: dict[str, list[int]] = {}
    for number, cell in column:
        if (found := known[cell]) is not None:
            families.setdefault(found.family, []).append(number)
    if not families:
        first = column[0] if column else (form.header, "")
        if not column:
            return _Dates({}, {}, {}, "none")
        raise DataRefused(
            f"{name}:{first[0]}:{form.date + 1}: '{first[1]}' is no date that is known, nor is any other; expected dates such as "
            "2024-01-31; give their form with --date-format, such as --date-format '%d.%m.%Y'."
        )
    _refuse_mixed(families, name, form)
    family = next(iter(families))
    sample = next(stamp for stamp in known.values() if stamp is not None)
    stamps = [(number, known[cell]) for number, cell in column]
    if family in _COUNTED:
        convert, words = _counted(family, style, name, families[family][0], form)
    else:
        if sample.short_year and style.date_format is None:
            raise DataRefused(
                f"{name}:{families[family][0]}:{form.date + 1}: years of two digits; expected four, since 69 may be 1969 or 2069; "
                "give the form with --date-format, such as --date-format '%d/%m/%y'."
            )
        order = _order([(number, stamp) for number, stamp in stamps if stamp], sample, style, name, form)
        words = f"{family.partition(' or ')[0] if sample.fixed else _shown(family, order)} ({ORDERS[order]})"

        def convert(found: cells.Stamp) -> int | None:
            day = cells.day(found.parts, order)
            return None if day is None else day.toordinal() - _EPOCH

    zone = _zone(stamps, convert, style, name, form, repairs)
    days: dict[int, int] = {}
    times: dict[int, int] = {}
    faults: dict[int, Fault] = {}
    for (number, cell), (_, found) in zip(column, stamps, strict=True):
        value = None if found is None else convert(found)
        if found is None or value is None:
            faults[number] = Fault("date", form.date, f"Date is '{cell}'; expected a day such as {words}")
            continue
        seconds = _second(found, family)
        days[number], time = (value, seconds or 0) if zone is None else _in_zone(found, value, zone)
        if seconds is not None:
            times[number] = time if found.clock else _NO_TIME
    where = _AS_WRITTEN if zone is None and family not in _COUNTED else str(zone or "UTC")
    return _Dates(days, times, faults, words, where)


def _second(found: cells.Stamp, family: str) -> int | None:
    """The seconds after its midnight that a stamp names; None when it names none."""
    if family not in (cells.EPOCH_S, cells.EPOCH_MS):
        return found.time
    return found.parts[0] // (1 if family == cells.EPOCH_S else 1000) % _DAY_SECONDS


def _by_pattern(column: list[tuple[int, str]], form: Form, pattern: str) -> _Dates:
    days: dict[int, int] = {}
    times: dict[int, int] = {}
    faults: dict[int, Fault] = {}
    for number, cell in column:
        try:
            found = dt.datetime.strptime(cell, pattern)
        except ValueError:
            faults[number] = Fault("date", form.date, f"Date is '{cell}'; expected the form {pattern}")
            continue
        days[number] = found.date().toordinal() - _EPOCH
        times[number] = found.hour * 3600 + found.minute * 60 + found.second
    return _Dates(days, times, faults, f"{pattern} (as given)")


def _refuse_mixed(families: dict[str, list[int]], name: str, form: Form) -> None:
    if len(families) == 1:
        return
    told = "; ".join(f"{len(lines):,} as {family}, first on line {lines[0]}" for family, lines in families.items())
    line = sorted(lines[0] for lines in families.values())[1]
    raise DataRefused(f"{name}:{line}:{form.date + 1}: dates of {len(families)} forms: {told}; expected one; mend the file, or split it.")


def _shown(family: str, order: Order) -> str:
    day_first, _, month_first = family.partition(" or ")
    return day_first if order == "dmy" else month_first.partition(" with")[0]


def _order(stamps: list[tuple[int, cells.Stamp]], sample: cells.Stamp, style: Style, name: str, form: Form) -> Order:
    """Which of day and month comes first, by evidence from all rows.

    raises  DataRefused when rows speak for both, or none does and the calendar does not tell either
    """
    if sample.fixed:
        return "ymd"
    if style.date_format in ("dmy", "mdy"):
        return "dmy" if style.date_format == "dmy" else "mdy"
    only: dict[Order, int] = {}
    for number, found in stamps:
        as_dmy, as_mdy = cells.day(found.parts, "dmy"), cells.day(found.parts, "mdy")
        if as_dmy and not as_mdy:
            only.setdefault("dmy", number)
        elif as_mdy and not as_dmy:
            only.setdefault("mdy", number)
    if len(only) == 2:
        line = max(only.values())
        raise DataRefused(
            f"{name}:{line}:{form.date + 1}: dates of two orders: line {only['dmy']} can only be day, month, year, and line "
            f"{only['mdy']} only month, day, year; expected one; mend the file, or split it."
        )
    if only:
        return next(iter(only))
    likely: list[Order] = [order for order in ("dmy", "mdy") if _like_sessions([cells.day(found.parts, order) for _, found in stamps])]
    if len(likely) == 1:
        return likely[0]
    number, found = stamps[0]
    raise DataRefused(
        f"{name}:{number}:{form.date + 1}: {'/'.join(map(str, found.parts))} may be {cells.day(found.parts, 'dmy')} or "
        f"{cells.day(found.parts, 'mdy')}; expected a row that tells, and there is none; say which with --date-format dmy or "
        "--date-format mdy."
    )


def _like_sessions(days: list[dt.date | None]) -> bool:
    """Whether days are weekdays only, and as close as sessions are."""
    known = sorted({day for day in days if day})
    if len(known) < 2 or any(day.weekday() > 4 for day in known):
        return False
    gaps = sorted((later - day).days for day, later in itertools.pairwise(known))
    return gaps[len(gaps) // 2] <= 4


def _counted(family: str, style: Style, name: str, line: int, form: Form) -> tuple[Callable[[cells.Stamp], int | None], str]:
    kind = _COUNTED[family]
    if style.date_format != kind:
        raise DataRefused(
            f"{name}:{line}:{form.date + 1}: the dates look like {family}; expected dates such as 2024-01-31; if that is what they "
            f"are, say so with --date-format {kind}."
        )
    if kind == "excel":
        return lambda found: found.parts[0] - 25569, "spreadsheet day numbers (as given)"
    scale = 86_400 if kind == "epoch_s" else 86_400_000
    return lambda found: found.parts[0] // scale, f"{'seconds' if kind == 'epoch_s' else 'milliseconds'} since 1970 (as given)"


def _zone(
    stamps: Iterable[tuple[int, cells.Stamp | None]],
    convert: Callable[[cells.Stamp], int | None],
    style: Style,
    name: str,
    form: Form,
    repairs: Tally,
) -> dt.tzinfo | None:
    """The zone that stamps with a zone of their own are told in: the exchange's. None where they stay as written.

    convert  the day that a stamp names as it is written
    raises   DataRefused when some stamps have a zone and some have none, or no exchange's zone fits and not every row is a step
    """
    timed = [(number, found) for number, found in stamps if found is not None and found.time is not None]
    if not timed:
        return None
    zoned = [number for number, found in timed if found.offset is not None]
    if zoned and len(zoned) != len(timed):
        line = next(number for number, found in timed if found.offset is None)
        raise DataRefused(
            f"{name}:{line}:{form.date + 1}: a time without a zone, and line {zoned[0]} has one; expected one form; mend the file."
        )
    repairs.add(_TIMES, timed[0][0], len(timed))
    if not zoned or all(found.time == 0 for _, found in timed):
        return None
    import zoneinfo

    dated = [(found, day) for _, found in timed if (day := convert(found)) is not None]
    candidates = [style.zone] if style.zone else ["America/New_York", "Europe/London", "Europe/Paris", "Asia/Tokyo", "Asia/Kolkata", "UTC"]
    fitting = (zone for zone in candidates if style.zone or len({_in_zone(*each, zoneinfo.ZoneInfo(zone))[1] for each in dated}) == 1)
    zone = next(fitting, "UTC" if style.every_row else None)  # of steps within days none fits, and in UTC no hour comes twice
    if zone is None:
        raise DataRefused(
            f"{name}:{timed[0][0]}:{form.date + 1}: times with a zone that are no exchange's midnight or close; expected a date a row; "
            "name the exchange with --calendar, such as --calendar XNYS, or take each row as a step of its own with --calendar none."
        )
    repairs.add(f"times converted to {zone}", timed[0][0], len(timed))
    return zoneinfo.ZoneInfo(zone)


def _in_zone(found: cells.Stamp, day: int, zone: dt.tzinfo) -> tuple[int, int]:
    """The day, and the seconds after its midnight, of a stamp with a zone somewhere else; ``day`` is the day that is written."""
    seconds = found.time or 0
    if not _AT_THE_ENDS < day + _EPOCH < dt.date.max.toordinal() - _AT_THE_ENDS:
        return day, seconds  # another zone may lie beyond the first year or the last
    midnight = dt.datetime.fromordinal(day + _EPOCH).replace(tzinfo=dt.UTC)
    there = (midnight + dt.timedelta(seconds=seconds - (found.offset or 0))).astimezone(zone)
    return there.date().toordinal() - _EPOCH, there.hour * 3600 + there.minute * 60 + there.second
