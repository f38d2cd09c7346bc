"""Prices: the bytes of an export become daily prices, a row a ticker and session, or prices by the second where every row is a step.

`form` finds the layout, `rows` reads the cells, `rules` judges what they say together; here they are put in a row.
Everything is text until it matches a grammar: no parser guesses (pandas reads the ticker NA as missing, a row with an
unquoted 1,008.64 as shifted columns). Pure: bytes in, table out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort.errors import DataRefused
from longshort.ingestion import disguise, encoding, quick, rows, rules, source
from longshort.ingestion import form as forms
from longshort.ingestion.cells import Decimal_
from longshort.ingestion.columns import PRICES
from longshort.ingestion.form import Form
from longshort.ingestion.reading import Counts, Quarantined, Reading
from longshort.ingestion.rows import VALUES, Fault, Observations, Style, Tally, Unit
from longshort.ingestion.rules import EVERY_ROW, NO_LIMITS, Calendar, Limits, Settled

if TYPE_CHECKING:
    import datetime as dt

    import pyarrow as pa
    from numpy.typing import NDArray

    from longshort.ingestion.rows import Steps

_TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.^=_&-]{0,39}")
_HEAD_CHARACTERS = 11 * 2**20  # more than the longest line that is read
_HEAD_LINES = 40

Values = tuple[Any, ...]  # date, open, high, low, close, adj_close, volume


@dataclass(frozen=True)
class Asked:
    """What a person said about the files of a data set, where a file leaves it open; see `config.Read`.

    zone       of the exchange that they named: times with a zone of their own are told in it
    every_row  whether they take each row as a step of its own
    """

    ticker: str | None = None
    date_format: str | None = None
    decimal: Decimal_ | None = None
    price: str | None = None
    encoding: str | None = None
    skip_rows: int = 0
    zone: str | None = None
    every_row: bool = False


AS_IT_IS = Asked()


@dataclass(frozen=True)
class Observed:
    """A file's form and its observations, before they are judged."""

    name: str
    form: Form
    seen: Observations
    notes: tuple[str, ...]


def parse(
    data: bytes,
    name: str,
    asked: Asked = AS_IT_IS,
    more: Mapping[str, list[str]] | None = None,
    limits: Limits = NO_LIMITS,
    calendar: Calendar = EVERY_ROW,
    quickly: bool = True,
) -> Reading:
    """Read a file and judge it: `observe`, then `settle`.

    quickly  whether what is clean may go the quick way, which gives the same
    raises   DataRefused, beginning with ``name:line:column``
    """
    return settle(observe(data, name, asked, more or {}, quickly), asked, limits, calendar, quickly)


def observe(data: bytes, name: str, asked: Asked, more: Mapping[str, list[str]], quickly: bool = True) -> Observed:
    """Read the cells of a file.

    more     a person's own column names by meaning
    quickly  whether a clean file may be read the quick way
    raises  DataRefused, beginning with ``name:line:column``, when the file is no table of prices by day
    """
    data = source.unpack(data, name)
    told: tuple[str, ...] = ()
    plain = data.isascii() and b"\0" not in data and asked.encoding is None
    if plain and (data[:512].strip() or data.strip()):
        disguise.refuse_other_kinds(data[:512], name)
        text = None
        head = data[:_HEAD_CHARACTERS].decode()
    else:
        text, told = encoding.decode(data, name, asked.encoding)
        head = text
    many = _HEAD_LINES + asked.skip_rows
    first = rows.LINE_END.split(head[:_HEAD_CHARACTERS], maxsplit=many)[:many]
    lines = [(number, line) for number, line in enumerate(first, start=1) if line.strip()]
    form = forms.find(lines, name, asked.skip_rows, asked.price, more)
    style = Style(asked.date_format, asked.decimal, asked.zone, asked.every_row)
    ticker = ticker_of(name, asked.ticker) if form.ticker is None and form.series[0].ticker is None else ""
    if asked.ticker and form.series[0].ticker and len(form.series) == 1:
        ticker = asked.ticker
        form = Form(**{**vars(form), "series": (forms.Series(form.series[0].places),)})
    seen = quick.alone(data, form, style, name, ticker) if quickly and plain else None
    if seen is None:
        seen = rows.carefully(data.decode() if text is None else text, form, style, name, ticker)
    if not len(seen.line):
        raise DataRefused(
            f"{name}:{form.header}:1: there is a header but no row of data (0 rows); expected a row a day; export the file again."
        )
    return Observed(name, form, seen, told + _notes(form))


def _notes(form: Form) -> tuple[str, ...]:
    return form.notes + ((f"ignored columns: {', '.join(form.ignored)}",) if form.ignored else ())


def settle(observed: Observed, asked: Asked, limits: Limits, calendar: Calendar, quickly: bool = True) -> Reading:
    """Judge what was observed.

    quickly  whether tickers of which nothing can be said are kept without asking every rule
    raises   DataRefused when the file's ticker is refused, or all of its tickers are
    """
    if calendar.sessions is None and rules.is_intraday(observed.seen):
        observed = replace(observed, seen=observed.seen.by_second(observed.form.date))
    form, seen = observed.form, observed.seen
    _name_tickers(seen, form, asked)
    order = np.argsort(seen.owner, kind="stable") if len(seen.tickers) > 1 else np.arange(len(seen.owner))
    ends = np.cumsum(np.bincount(seen.owner, minlength=len(seen.tickers)))
    places_of = [dict(series.places) for series in form.series]
    calm = np.zeros(len(ends), bool)
    if quickly and len(places_of) == 1 and seen.unit == "D":
        calm = _calm(seen, order, ends, places_of[0], limits, calendar)
    settled: list[Settled] = []
    for owner in range(len(seen.tickers)):
        own = order[(ends[owner - 1] if owner else 0) : ends[owner]]
        if calm[owner]:
            settled.append(rules.as_it_is(seen, owner, own))
            continue
        places = places_of[min(owner, len(places_of) - 1)]
        settled.append(rules.settle(seen, owner, own, places, form.date, limits, calendar))
    _refuse_broken_file(observed, limits)
    refused = [state for state in settled if state.refused]
    if len(refused) == len(settled):
        raise DataRefused(_refusal(observed, refused))
    return _reading(observed, settled, order, ends)


def _calm(
    seen: Observations, order: NDArray[np.int64], ends: NDArray[np.int64], places: dict[str, int], limits: Limits, calendar: Calendar
) -> NDArray[np.bool_]:
    """Of which tickers no rule has anything to say; those with rows that are set aside or merged already are not among them."""
    if not len(order) or not np.diff(ends, prepend=0).all():
        return np.zeros(len(ends), bool)
    ordered = len(seen.tickers) == 1 or bool((np.diff(seen.owner) >= 0).all())
    day = seen.day if ordered else seen.day[order]
    values = seen.values if ordered else {meaning: column[order] for meaning, column in seen.values.items()}
    calm = rules.calm(day, values, np.concatenate([[0], ends]), places, limits, calendar)
    calm[seen.owner[[*seen.faults, *seen.merged]]] = False
    return calm


def together(
    files: Mapping[str, bytes],
    asked: Asked,
    more: Mapping[str, list[str]],
    limits: Limits,
    covering: Callable[[Steps], Calendar],
) -> dict[str, Reading]:
    """Read and judge clean files of a ticker each, those with the same header in one go.

    covering  the calendar, as far as days reach
    returns   the readings of those that are clean, as `observe` and `settle` would give them; the others are left to these
    """
    style = Style(asked.date_format, asked.decimal, asked.zone)
    alike: dict[bytes, dict[str, str]] = {}
    for name, data in files.items():
        if quick.is_plain(data) and (ticker := ticker_of(name, asked.ticker, default="")):
            alike.setdefault(data[: data.find(b"\n") + 1], {})[name] = ticker
    readings: dict[str, Reading] = {}
    for header, tickers in alike.items():
        names = list(tickers)
        form = forms.of_header(header.decode().rstrip("\r\n"), names[0], more) if asked.price is None and not asked.skip_rows else None
        if form is None or not quick.is_known(form, style):
            continue
        for first, columns in quick.together([files[name] for name in names], form):
            some = {name: tickers[name] for name in names[first : first + len(columns.sound)]}
            calendar = covering(columns.day[np.repeat(columns.sound, np.diff(columns.starts))])
            readings |= _calm_together(some, form, columns, limits, calendar)
            for place, name in enumerate(some):
                if name not in readings and columns.sound[place]:
                    seen = quick.observations(columns, place, files[name], form, name, tickers[name])
                    readings[name] = settle(Observed(name, form, seen, _notes(form)), asked, limits, calendar)
    return readings


def _calm_together(
    tickers: Mapping[str, str], form: Form, columns: quick.Columns, limits: Limits, calendar: Calendar
) -> dict[str, Reading]:
    """Of the files that were read together, those that are kept as they are; ``tickers`` by their names."""
    places, notes, names = form.series[0].places, _notes(form), list(tickers)
    readings: dict[str, Reading] = {}
    calm = columns.sound & rules.calm(columns.day, columns.values, columns.starts, places, limits, calendar)
    if "volume" in places:  # where it is missing, that is told
        calm &= ~np.logical_or.reduceat(np.isnan(columns.values["volume"]), columns.starts[:-1])
    table = _tidy(list(tickers.values()), np.diff(columns.starts), columns.day, columns.values)
    had = tuple(price for price in PRICES if price in places)
    for place in np.flatnonzero(calm).tolist():
        name = names[place]
        start, stop = int(columns.starts[place]), int(columns.starts[place + 1])
        span = {"first": rules.day_name(int(columns.day[start])), "last": rules.day_name(int(columns.day[stop - 1]))}
        read_as = {**quick.read_as(form, 1), "ticker": tickers[name], **span}
        counts = Counts(stop - start, stop - start, 0, 0)
        readings[name] = Reading(table.slice(start, stop - start), counts, (), notes, read_as, prices=had)
    return readings


def _name_tickers(seen: Observations, form: Form, asked: Asked) -> None:
    """Tickers in capitals, as text; rows whose ticker is none are set aside."""
    if form.ticker is not None and asked.ticker and len(seen.tickers) == 1:
        seen.tickers[0] = asked.ticker
    changed = [re.sub(r"\s+", "_", ticker.strip().upper()).replace("/", ".") for ticker in seen.tickers]
    for owner, ticker in enumerate(changed):
        if not _TICKER.fullmatch(ticker):
            for place in np.flatnonzero(seen.owner == owner).tolist():
                what = f"the ticker is '{seen.tickers[owner][:40]}'; expected up to 40 of A-Z, 0-9 and . ^ = _ & -"
                seen.faults.setdefault(place, Fault("ticker", form.ticker or 0, what))
    seen.tickers[:] = changed


def _refuse_broken_file(observed: Observed, limits: Limits) -> None:
    """A file whose rows do not have its header's fields is refused whole, whatever its tickers."""
    seen = observed.seen
    broken = [place for place, fault in seen.faults.items() if fault.rule in ("fields", "date")]
    if len(broken) > max(limits.most_bad * len(seen.line), len(observed.form.series)):
        first = min(broken)
        fault, line = seen.faults[first], int(seen.line[first])
        share = f"{len(broken):,} of {len(seen.line):,} rows ({len(broken) / len(seen.line):.1%}) cannot be read"
        raise DataRefused(
            f"{observed.name}:{line}:{forms.column_of(seen.line_of(line), fault.place, observed.form.delimiter)}: {fault.what}; {share}; "
            f"expected at most {limits.most_bad:.0%}; mend these rows, or export the file again."
        )


def _refusal(observed: Observed, refused: list[Settled]) -> str:
    first = refused[0]
    line, place = first.at
    column = forms.column_of(observed.seen.line_of(line), place, observed.form.delimiter)
    more = f" So are the other {len(refused) - 1} tickers." if len(refused) > 1 else ""
    return f"{observed.name}:{line}:{column}: {first.ticker}: {first.refused}.{more}"


def _reading(observed: Observed, settled: list[Settled], order: NDArray[np.int64], ends: NDArray[np.int64]) -> Reading:
    form, seen, name = observed.form, observed.seen, observed.name
    faults: dict[int, Fault] = {}
    repairs, warnings = _copy(seen.repairs), _copy(seen.warnings)
    merged, refused, factors = 0, [], []
    kept = [state for state in settled if not state.refused]
    several = len(settled) > 1
    for owner, state in enumerate(settled):
        if state.refused:
            refused.append({"ticker": state.ticker, "what": f"line {state.at[0]}: {state.refused}"})
            fault = Fault("refused", 0, f"{state.ticker} is refused: {state.refused}")
            for place in order[(ends[owner - 1] if owner else 0) : ends[owner]].tolist():
                faults[place] = state.faults.get(place, fault)
            continue
        faults |= state.faults
        merged += len(state.merged)
        factors += [{"ticker": state.ticker, **factor} for factor in state.factors]
        for own, whole in ((state.repairs, repairs), (state.warnings, warnings)):
            for what, count in own.counts.items():
                whole.add(f"{state.ticker}: {what}" if several and _names_a_day(what) else what, own.first[what], count)
    no_trade = sum(fault.rule == rows.NO_TRADE for fault in faults.values())
    if no_trade:
        warnings.add(
            "rows without any price: no trade",
            min(int(seen.line[p]) for p, fault in faults.items() if fault.rule == rows.NO_TRADE),
            no_trade,
        )
    bad = tuple(
        Quarantined(
            name,
            line := int(seen.line[place]),
            forms.column_of(raw := seen.line_of(line), fault.place, form.delimiter),
            fault.rule,
            fault.what,
            raw,
        )
        for place, fault in sorted(faults.items(), key=lambda item: (int(seen.line[item[0]]), item[0]))
    )
    table = _table(kept, seen.unit)
    read_as = dict(seen.read_as)
    if table.num_rows:
        days = np.concatenate([state.day for state in kept])
        first, last = (rules.day_name(int(day), seen.unit) for day in (days.min(), days.max()))
        read_as |= {"ticker": kept[0].ticker, "first": first, "last": last}
    counts = Counts(len(seen.line), sum(len(state.kept) for state in kept), len(bad), merged)
    had = tuple(price for price in PRICES if all(price in series.places for series in form.series))
    return Reading(table, counts, bad, observed.notes, read_as, repairs.as_json(), warnings.as_json(), refused, factors, had)


def _names_a_day(what: str) -> bool:
    return re.search(r"\d{4}-\d{2}-\d{2}", what) is not None


def _copy(tally: Tally) -> Tally:
    return Tally(tally.counts.copy(), dict(tally.first))


def schema(unit: Unit = "D") -> pa.Schema:
    """The tidy price table: ticker, date, open, high, low, close, adj_close (null where there is none), volume (likewise).

    unit  of the dates: days, or whole seconds of what is intraday, which Parquet holds as milliseconds
    """
    import pyarrow as pa

    kind = pa.date32() if unit == "D" else pa.timestamp("ms")
    numbers = [(meaning, pa.float64()) for meaning in VALUES if meaning != "volume"]
    return pa.schema([("ticker", pa.string()), ("date", kind), *numbers, ("volume", pa.int64())])


def _table(settled: list[Settled], unit: Unit) -> pa.Table:
    """The tidy table of tickers, by ticker and date."""
    settled = sorted(settled, key=lambda state: state.ticker)
    return _tidy(
        [state.ticker for state in settled],
        np.array([len(state.kept) for state in settled]),
        np.concatenate([state.day for state in settled]),
        {meaning: np.concatenate([state.values[meaning] for state in settled]) for meaning in VALUES},
        unit,
    )


def _tidy(tickers: list[str], sizes: NDArray[np.int64], day: Steps, values: dict[str, NDArray[np.float64]], unit: Unit = "D") -> pa.Table:
    """The tidy table of tickers with so many rows each, one after the other."""
    import pyarrow as pa

    owner = np.repeat(np.arange(len(tickers), dtype=np.int32), sizes)
    ticker = pa.DictionaryArray.from_arrays(owner, pa.array(tickers, pa.string())).cast(pa.string())
    of = schema(unit)
    dates = pa.array(day, pa.int32()) if unit == "D" else pa.array(1000 * day)
    arrays = [ticker, dates.view(of.field("date").type)]
    for meaning in VALUES:
        column = values[meaning]
        absent = np.isnan(column)
        if meaning == "volume":
            arrays.append(pa.array(np.where(absent, 0, column).astype(np.int64), mask=absent if absent.any() else None))
        else:
            arrays.append(pa.array(column, mask=absent if absent.any() else None))
    return pa.table(arrays, schema=of)


def make_table(ticker: str, found: list[Values]) -> pa.Table:
    """The tidy price table of one ticker.

    found    (date, open, high, low, close, adj_close, volume), in the order that the table shall have
    """
    import pyarrow as pa

    columns = zip(*found, strict=True)
    return pa.table([[ticker] * len(found), *(list(column) for column in columns)], schema=schema())


def ticker_of(name: str, given: str | None = None, default: str | None = None) -> str:
    """The ticker that a file's name states, unless one is given.

    default  of a name that states none
    raises   DataRefused when the name is no ticker, and there is no default

    >>> ticker_of("brk-b.csv"), ticker_of("nflx.us.txt.gz"), ticker_of("DAX Historical Data.csv")
    ('BRK-B', 'NFLX.US', 'DAX')
    """
    path = PurePath(name)
    stem = PurePath(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
    stem = re.sub(r"(?i)[ _-]*(historical[ _-]*(data|prices)?|stock[ _-]*price[ _-]*history)$", "", stem)
    ticker = given or re.sub(r"\s+", "_", stem.strip().upper())
    if not _TICKER.fullmatch(ticker):
        if default is not None:
            return default
        raise DataRefused(
            f"{name}:1:1: the file's name says that the ticker is '{ticker[:60]}'; expected up to 40 of A-Z, 0-9 and . ^ = _ & -, "
            "with a letter or digit first; rename the file after its ticker, such as AAPL.csv, or say it with --ticker."
        )
    return ticker


def last_complete(calendar: str, moment: dt.datetime) -> int:
    """The last session of an exchange that was over at a moment, in days since 1970."""
    from longshort import sessions

    return (sessions.last_closed(calendar, moment) - rules._DAY).days
