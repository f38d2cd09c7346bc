"""Form: how an export is laid out, found from its first lines.

One ticker a file, a ticker column (long), a column a ticker (wide), or columns of several tickers under two
header lines (yfinance). What is found is said to the person; what is truly open is refused with the option to give.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from longshort.errors import DataRefused
from longshort.ingestion import cells, columns
from longshort.ingestion.columns import LABELS, PRICES

MOST_COLUMNS = 10_000
MOST_LINE = 10 * 2**20  # characters
MOST_CELL = 2**20
TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.^=_&/ -]{0,39}")
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_LOOKED_AT = 11  # the header and ten rows
_PREFIXED = (
    re.compile(r"(?P<ticker>[A-Z0-9^][A-Z0-9^=.&-]*)[._ /|:]+(?P<field>[A-Za-z][A-Za-z ]*)"),
    re.compile(r"(?P<field>[A-Za-z][a-z]+(?: [A-Z][a-z]+)*)[._ /|:]+(?P<ticker>[A-Z0-9^][A-Z0-9^=.&-]*)"),
)

Lines = list[tuple[int, str]]  # line numbers from 1, and the lines that hold something


@dataclass(frozen=True)
class Series:
    """The columns of one ticker: meaning -> place. Without a ticker, the ticker column or the file's name tells it."""

    places: Mapping[str, int]
    ticker: str | None = None


@dataclass(frozen=True)
class Form:
    """How a file is laid out.

    header   number of its last header line
    width    fields of a row
    date     place of the date; time: of a time of its own; ticker: of the ticker column, where there is one
    names    the header's cells, by place
    """

    layout: str
    delimiter: str
    header: int
    width: int
    names: tuple[str, ...]
    date: int
    time: int | None
    ticker: int | None
    series: tuple[Series, ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def split(line: str, delimiter: str, where: str) -> list[str]:
    """The cells of one line, without surrounding spaces.

    raises  DataRefused when its quotes do not pair, or a cell or the line is larger than any export's
    """
    if len(line) > MOST_LINE:
        raise DataRefused(
            f"{where}:1: a line of {len(line):,} characters; expected at most {MOST_LINE:,}; is this a table with a row a line?"
        )
    if '"' not in line:
        parts = [cell.strip() for cell in line.split(delimiter)]
    else:
        try:
            csv.field_size_limit(MOST_LINE + 1)
            parts = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True))]
        except csv.Error as error:
            raise DataRefused(
                f"{where}:{line.rfind(chr(34)) + 1 or 1}: the quotes do not pair ({error}); expected each quoted cell to end on its line; "
                "mend the line."
            ) from None
    if len(parts) > MOST_COLUMNS:
        raise DataRefused(f"{where}:1: {len(parts):,} fields; expected at most {MOST_COLUMNS:,}; is '{delimiter}' the delimiter?")
    if any(len(part) > MOST_CELL for part in parts):
        raise DataRefused(f"{where}:1: a cell of more than {MOST_CELL:,} characters; expected a number, a date or a name; mend the line.")
    return parts


def column_of(line: str, place: int, delimiter: str) -> int:
    """The character, from 1, at which a field of a line begins; one past the line when it has no such field.

    >>> column_of('2024-01-31,"1,008.64",5', 2, ",")
    23
    """
    quoted = False
    for position, sign in enumerate(line):
        if place == 0:
            return position + 1
        if sign == '"':
            quoted = not quoted
        elif sign == delimiter and not quoted:
            place -= 1
    return len(line) + 1


def find(lines: Lines, name: str, skip: int, price: str | None, more: Mapping[str, list[str]]) -> Form:
    """The form of a file.

    lines   its first lines that hold something, the header among them
    skip    lines before the header that a person said to leave out
    price   the column that a person wants as close, by its name in the file
    more    a person's own column names by meaning
    raises  DataRefused with the place, what was found, and the option or the mend
    """
    lines = [(number, line) for number, line in lines if number > skip]
    if not lines:
        raise DataRefused(f"{name}:{skip + 1}:1: nothing is left after --skip-rows {skip}; expected a header and rows; skip fewer.")
    delimiter = _delimiter(lines, more)
    head = [(number, split(line, delimiter, f"{name}:{number}")) for number, line in lines[: _LOOKED_AT + 2]]
    if stacked := _stacked(head, delimiter, more):
        return stacked
    number, names = head[0]
    where = f"{name}:{number}"
    rows = [row for _, row in head[1:]]
    _refuse_data_first(names, where, lines[0][1])
    found = _meanings(names, rows, where, lines[0][1], delimiter, more)
    if "date" not in found:
        _refuse_no_date(lines, names, rows, delimiter, name, more)
    return _form(names, found, delimiter, number, where, price, rows)


def of_header(line: str, name: str, more: Mapping[str, list[str]]) -> Form | None:
    """The form of files of one ticker that this first line tells by itself, whatever rows follow, if their dates are dates.

    returns  None where rows have a say in it
    """
    present = [sign for sign in _DELIMITERS if sign in line]
    if len(present) != 1 or line.count(present[0]) > MOST_COLUMNS:
        return None
    names = split(line, present[0], f"{name}:1")
    found = [columns.meaning(cell, more) for cell in names]
    own = [meaning[0] for meaning in found if meaning and not meaning[1]]
    if any(meaning and meaning[1] for meaning in found) or len(set(own)) != len(own):
        return None
    if not {"date", "close"} <= set(own) or {"ticker", "time", "change"} & set(own):
        return None
    try:
        return find([(1, line)], name, 0, None, more)
    except DataRefused:
        return None  # it is refused when the file is read by itself, in its own words


def _delimiter(lines: Lines, more: Mapping[str, list[str]]) -> str:
    """The sign that cuts the header into the most names that are known, and then into the most."""
    present = [sign for sign in _DELIMITERS if sign in lines[0][1]]
    if len(present) == 1 or any(lines[0][1].count(sign) > MOST_COLUMNS for sign in present):
        return max(present, key=lines[0][1].count)  # too many fields are refused by `split`

    def score(sign: str) -> tuple[int, int, int]:
        try:
            cut = [split(line, sign, "") for _, line in lines[:_LOOKED_AT]]
        except DataRefused:
            return (-1, 0, 0)
        known = sum(columns.meaning(cell, more) is not None for cell in cut[0])
        return (known, sum(len(row) == len(cut[0]) for row in cut) if len(cut[0]) > 1 else 0, len(cut[0]))

    return max(_DELIMITERS, key=score)


def _meanings(
    names: list[str], rows: list[list[str]], where: str, line: str, delimiter: str, more: Mapping[str, list[str]]
) -> dict[str, int]:
    """Meaning -> place; a weak name counts only where no own name stands."""
    own: dict[str, int] = {}
    weak: dict[str, int] = {}
    for place, cell in enumerate(names):
        meaning = columns.meaning(cell, more)
        if meaning is None:
            continue
        group = weak if meaning[1] else own
        if meaning[0] in group and meaning[0] not in ("ticker", "change", "date"):
            first = names[group[meaning[0]]]
            raise DataRefused(
                f"{where}:{column_of(line, place, delimiter)}: column '{cell}' stands at {place + 1}, and '{first}' at "
                f"{group[meaning[0]] + 1} means {LABELS.get(meaning[0], meaning[0])} too; expected each once; delete or rename one "
                "of the two."
            )
        group.setdefault(meaning[0], place)
    found = {**weak, **own}
    if "date" in found and rows and not any(cells.stamp(_cell(row, found["date"])) for row in rows):
        dated = _dated(rows, len(names))  # `Date` may hold something else: a name is a hint, the cells are evidence
        if dated is not None:
            found["date"] = dated
    if "date" not in found and "time" in found:
        found["date"] = found.pop("time")  # TradingView calls its dates so
    if "date" not in found and (dated := _dated(rows, len(names))) is not None and dated not in found.values():
        found["date"] = dated
    return found


def _cell(row: list[str], place: int) -> str:
    return row[place] if place < len(row) else ""


def _dated(rows: list[list[str]], width: int) -> int | None:
    """The first column whose every cell has the form of a date with a mark or a month in it."""
    for place in range(width):
        stamps = [cells.stamp(_cell(row, place)) for row in rows]
        if stamps and all(stamp is not None and stamp.family not in (cells.EXCEL, cells.EPOCH_S, cells.EPOCH_MS) for stamp in stamps):
            return place
    return None


def _form(
    names: list[str], found: dict[str, int], delimiter: str, number: int, where: str, price: str | None, rows: list[list[str]]
) -> Form:
    places = {meaning: found[meaning] for meaning in (*PRICES, "adj_close", "volume") if meaning in found}
    notes: list[str] = []
    ticker = found.get("ticker")
    used = {found["date"], *([found["time"]] if "time" in found else []), *([ticker] if ticker is not None else [])}
    others = [place for place, cell in enumerate(names) if place not in used and place not in places.values() and cell]
    if price is not None:
        chosen = [place for place, cell in enumerate(names) if columns.bare(cell) == columns.bare(price)]
        if not chosen:
            raise DataRefused(f"{where}:1: --price {price}: no such column among {', '.join(map(repr, names))}; name one of them.")
        notes.append(f"close is column '{names[chosen[0]]}', as --price says")
        places["close"] = chosen[0]
        others = [place for place in others if place != chosen[0]]
    series: tuple[Series, ...]
    layout = "a ticker column" if ticker is not None else "one ticker"
    if not any(meaning in places for meaning in PRICES):
        series, layout, extra = _without_prices(names, others, places, rows, where, ticker)
        others = [place for place in others if place not in {p for one in series for p in one.places.values()}]
        notes += extra
        if layout == "a column a ticker":
            ticker = None
    else:
        _refuse_missing(names, others, places, where)
        series = (Series(places),)
    absent = [LABELS[meaning] for meaning in PRICES if meaning not in series[0].places]
    if absent and "close" in series[0].places and len(absent) < 3:
        notes.append(f"no column {', '.join(absent)}")
    ignored = tuple(f"'{names[place]}' ({place + 1})" for place in others if "change" not in found or place != found["change"])
    return Form(
        layout, delimiter, number, len(names), tuple(names), found["date"], found.get("time"), ticker, series, ignored, tuple(notes)
    )


def _without_prices(
    names: list[str], others: list[int], places: dict[str, int], rows: list[list[str]], where: str, ticker: int | None
) -> tuple[tuple[Series, ...], str, list[str]]:
    """Files without Open, High, Low and Close by name: columns such as AAPL.Open, a column a ticker, or one series."""
    prefixed: dict[str, dict[str, int]] = {}
    for place in others:
        for pattern in _PREFIXED:
            match = pattern.fullmatch(names[place])
            meaning = columns.meaning(match["field"]) if match else None
            if match and meaning and meaning[0] in (*PRICES, "adj_close", "volume"):
                prefixed.setdefault(match["ticker"].upper(), {}).setdefault(meaning[0], place)
                break
    prefixed = {name: own for name, own in prefixed.items() if "close" in own}
    if prefixed:
        layout = "one ticker" if len(prefixed) == 1 else "columns of several tickers"
        return tuple(Series(own, name) for name, own in prefixed.items()), layout, [f"columns of {', '.join(list(prefixed)[:5])}"]
    numeric = [place for place in others if rows and _numeric(found := [_cell(row, place) for row in rows]) and not _running(found)]
    if not numeric:
        raise DataRefused(
            f"{where}:1: no column of prices among {', '.join(map(repr, names))}; expected Open, High, Low, Close, or a column of "
            "numbers a ticker; rename the columns, add their names to `ingestion.columns` in params.yaml, or name one with --price."
        )
    if ticker is None and len(numeric) > 1:
        return tuple(Series({"close": place}, names[place].strip().upper()) for place in numeric), "a column a ticker", []
    if len(numeric) > 1:
        raise DataRefused(
            f"{where}:1: {', '.join(repr(names[place]) for place in numeric)} may all be the price; expected a column Close; "
            "name the one that is with --price."
        )
    own = {**places, "close": numeric[0]}
    return (
        (Series(own),),
        "one series" if ticker is None else "a ticker column",
        [f"close is column '{names[numeric[0]]}', the only one of numbers"],
    )


def _numeric(found: list[str]) -> bool:
    filled = [cell for cell in found if cell.lower() not in cells.MISSING]

    def readable(cell: str) -> bool:
        for decimal in (".", ","):
            try:
                cells.number(cell, decimal)
                return True
            except cells.Unreadable:
                continue
        return False

    return bool(filled) and all(map(readable, filled))


def _running(found: list[str]) -> bool:
    """Whether a column only numbers the rows, as a data frame's index does."""
    return len(found) > 2 and all(cell.isdecimal() for cell in found) and len({int(cell) - place for place, cell in enumerate(found)}) == 1


def _refuse_missing(names: list[str], others: list[int], places: dict[str, int], where: str) -> None:
    """A missing column is refused where its name was nearly hit, or where Close is missing; a close alone is a series too."""
    unknown = {columns.bare(names[place]): names[place] for place in others}
    for meaning in PRICES:
        if meaning in places:
            continue
        near = difflib.get_close_matches(meaning, unknown, n=1, cutoff=0.75)
        if near or meaning == "close":
            hint = f" ('{unknown[near[0]]}': did you mean {LABELS[meaning]}?)" if near else ""
            raise DataRefused(
                f"{where}:1: no column {LABELS[meaning]} among {', '.join(map(repr, names))}{hint}; expected Date, Open, High, Low, Close, "
                "Volume or their names in other languages; rename it, add its name to `ingestion.columns` in params.yaml, or name the "
                "column with --price."
            )


def _stacked(head: list[tuple[int, list[str]]], delimiter: str, more: Mapping[str, list[str]]) -> Form | None:
    """The two or three header lines that yfinance writes: fields, tickers, and perhaps the date's name alone."""
    if len(head) < 3:
        return None
    (_, first), (second_number, second) = head[0], head[1]
    if len(first) != len(second) or len(first) < 2:
        return None
    fields = [columns.meaning(cell, more) for cell in first[1:]]
    turned = [columns.meaning(cell, more) for cell in second[1:]]
    if all(fields) and not all(cell == "" for cell in second[1:]) and not any(cells.stamp(cell) for cell in second):
        kinds, owners = fields, second[1:]
    elif all(turned) and not any(cells.stamp(cell) for cell in second) and not all(fields):
        kinds, owners = turned, first[1:]
    else:
        return None
    if columns.bare(second[0]) not in ("ticker", "tickers", "symbols", "price", "date", "attributes", "") or _numeric(owners):
        return None
    third_number, third = head[2]
    header = third_number if not any(third[1:]) and not cells.stamp(third[0]) else second_number
    series: dict[str, dict[str, int]] = {}
    for place, (kind, owner) in enumerate(zip(kinds, owners, strict=True), start=1):
        if kind and kind[0] in (*PRICES, "adj_close", "volume") and owner:
            series.setdefault(owner.upper(), {}).setdefault(kind[0], place)
    if not series or any("close" not in places for places in series.values()):
        return None
    layout = "one ticker" if len(series) == 1 else "columns of several tickers"
    names = tuple(f"{one} {other}".strip() for one, other in zip(first, second, strict=True))
    own = tuple(Series(places, ticker) for ticker, places in series.items())
    return Form(layout, delimiter, header, len(first), names, 0, None, None, own, notes=(f"{header - head[0][0] + 1} header lines",))


def _refuse_data_first(names: list[str], where: str, line: str) -> None:
    if any(cells.stamp(cell) for cell in names) and _numeric([cell for cell in names if not cells.stamp(cell)]):
        raise DataRefused(
            f"{where}:1: the first line is a row of data ({line[:60]}); expected a header; put one such as "
            "Date,Open,High,Low,Close,Volume above it."
        )


def _refuse_no_date(
    lines: Lines, names: list[str], rows: list[list[str]], delimiter: str, name: str, more: Mapping[str, list[str]]
) -> None:
    number, line = lines[0]
    for later, text in lines[1:]:
        cut = split(text, _delimiter([(later, text)], more), f"{name}:{later}")
        known = [meaning[0] for cell in cut if (meaning := columns.meaning(cell, more))]
        if "date" in known and len(known) > 1:
            raise DataRefused(
                f"{name}:{number}:1: '{line[:60]}' is no header, and line {later} looks like one; expected the header first; "
                f"leave the lines before it out with --skip-rows {later - 1}."
            )
    unknown = {columns.bare(cell): cell for cell in names}
    near = difflib.get_close_matches("date", unknown, n=1, cutoff=0.6)
    hint = f" ('{unknown[near[0]]}': did you mean Date?)" if near else ""
    raise DataRefused(
        f"{name}:{number}:1: no column of dates among {', '.join(map(repr, names[:20]))}{hint}; expected a column Date; rename it, "
        "or add its name to `ingestion.columns` in params.yaml."
    )


def delimiter_name(delimiter: str) -> str:
    """What a person calls a delimiter."""
    return _DELIMITERS[delimiter]
