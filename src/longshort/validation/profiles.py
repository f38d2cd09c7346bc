"""Profiles: the figures of a table that a quality page shows. Pure: tables in, arrays out, nothing written or judged."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longshort.validation.frames import GOES_ON, WORD

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Days = NDArray[np.datetime64]

PRICES = ("open", "high", "low", "close", "adj_close", "volume")


# --- prices -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prices:
    """Daily or intraday prices, ticker by ticker in alphabetical order, oldest first.

    tickers   their names; rows ``starts[k]`` to ``starts[k + 1]`` belong to ticker k
    days      (rows,) days since 1970, or seconds of what is intraday
    columns   name -> (rows,) values, NaN where nothing is known
    unplaced  rows without ticker or date, which are nowhere else
    intraday  whether ``days`` are seconds
    """

    tickers: list[str]
    starts: Numbers
    days: Numbers
    columns: dict[str, Floats]
    unplaced: int
    intraday: bool = False

    @property
    def rows(self) -> int:
        return len(self.days)

    @property
    def step(self) -> str:
        """What a row is to a reader."""
        return "row" if self.intraday else "session"

    def when(self, day: int) -> date:
        """An entry of ``days`` as a date, or as a datetime."""
        return datetime.fromtimestamp(int(day), UTC).replace(tzinfo=None) if self.intraday else as_date(day)

    @functools.cached_property
    def owner(self) -> Numbers:
        """(rows,) the number of each row's ticker."""
        return np.repeat(np.arange(len(self.tickers)), np.diff(self.starts))

    @functools.cached_property
    def moves(self) -> Floats:
        """(rows,) log return of the close since the row before; NaN in a ticker's first row and where a close is none."""
        close = self.columns["close"]
        with np.errstate(all="ignore"):
            moves = np.diff(np.log(np.where(np.isfinite(close) & (close > 0), close, np.nan)), prepend=np.nan)
        moves[self.starts[:-1]] = np.nan
        return moves

    @functools.cached_property
    def stale(self) -> NDArray[np.bool_]:
        """(rows,) whether the close is that of the row before, of the same ticker."""
        close = self.columns["close"]
        same = np.zeros(self.rows, bool)
        same[1:] = close[1:] == close[:-1]
        same[self.starts[:-1]] = False
        return same

    def largest(self, most: int) -> Numbers:
        """Rows with the largest moves up or down, largest first."""
        size = np.nan_to_num(np.abs(self.moves))
        found = np.flatnonzero(size > 0)
        if len(found) > most:
            found = found[size[found] >= np.partition(size[found], -most)[-most]]
        return found[np.argsort(-size[found], kind="stable")][:most]

    def per_ticker(self, ufunc: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """(tickers,) a reduction over each ticker's rows."""
        return ufunc.reduceat(values, self.starts[:-1]) if len(self.tickers) else values[:0]


def of_prices(table: pa.Table) -> Prices | None:
    """The prices of a tidy table; None when it lacks ticker, date or close, or they are of other types."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = {field.name: field.type for field in table.schema}
    if len(types) < len(table.schema) or not {"ticker", "date", "close"} <= set(types):
        return None
    known = types["ticker"] in (pa.string(), pa.large_string()) and types["date"] in (pa.date32(), pa.timestamp("ms"))
    if not known or not _is_number(types["close"]):
        return None
    whole = table
    if table["ticker"].null_count or table["date"].null_count:
        whole = table.filter(pc.and_(pc.is_valid(table["ticker"]), pc.is_valid(table["date"])))
    coded = whole["ticker"].combine_chunks().dictionary_encode()
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    owner = rank[coded.indices.to_numpy(zero_copy_only=False)] if len(names) else np.empty(0, np.int64)
    intraday = types["date"] != pa.date32()
    dates = whole["date"].combine_chunks().to_numpy(zero_copy_only=False)
    days = dates.astype("datetime64[s]" if intraday else "datetime64[D]").astype(np.int64)
    columns = {name: _floats(whole[name]) for name in PRICES if name in types and _is_number(types[name])}
    later = (owner[1:] > owner[:-1]) | ((owner[1:] == owner[:-1]) & (days[1:] >= days[:-1]))
    if not later.all():
        sort = np.lexsort((days, owner))
        owner, days, columns = owner[sort], days[sort], {name: values[sort] for name, values in columns.items()}
    starts = np.searchsorted(owner, np.arange(len(names) + 1)).astype(np.int64)
    return Prices([names[n] for n in order], starts, days, columns, table.num_rows - whole.num_rows, intraday)


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _floats(column: Any) -> Floats:
    """A column as numbers, NaN where it is null."""
    return column.combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)


@dataclass(frozen=True)
class Coverage:
    """Which sessions of a calendar the tickers have, each between its own first and last.

    sessions     (sessions,) days since 1970, from the first row to the last
    expected     (sessions,) tickers that were due
    present      (sessions,) tickers that are there
    missing      (tickers,) sessions that are not there
    elsewhere    rows on days that are no session
    gaps         (gaps, 3) ticker, first and last missing session as places in ``sessions``; in the order of the table
    """

    sessions: Numbers
    expected: Numbers
    present: Numbers
    missing: Numbers
    elsewhere: int
    gaps: Numbers

    def longest(self, most: int) -> Numbers:
        """The longest gaps, longest first."""
        return self.gaps[np.argsort(-(self.gaps[:, 2] - self.gaps[:, 1]), kind="stable")][:most]

    def by_month(self) -> tuple[Numbers, Numbers, Numbers]:
        """(months since 1970, expected, present), oldest first."""
        months, where = np.unique(self.sessions.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64), return_inverse=True)
        expected, present = (np.bincount(where, values, len(months)).astype(np.int64) for values in (self.expected, self.present))
        return months, expected, present


def coverage(prices: Prices, sessions: Days) -> Coverage:
    """Hold the tickers' days against a calendar's sessions, which reach from the first day to the last."""
    calendar = sessions.astype("datetime64[D]").astype(np.int64)
    place = np.searchsorted(calendar, prices.days)
    held = np.zeros(prices.rows, bool)
    if len(calendar):
        held = calendar[np.minimum(place, len(calendar) - 1)] == prices.days
    owner, place = prices.owner[held], place[held]
    once = np.ones(len(owner), bool)  # a date that a ticker has twice counts once
    once[1:] = (owner[1:] != owner[:-1]) | (place[1:] != place[:-1])
    owner, place = owner[once], place[once]
    heads = np.flatnonzero(np.diff(owner, prepend=-1))
    tails = np.append(heads[1:] - 1, len(owner) - 1) if len(heads) else heads
    due = np.zeros(len(calendar) + 1, np.int64)
    np.add.at(due, place[heads], 1)
    np.add.at(due, place[tails] + 1, -1)
    missing = np.zeros(len(prices.tickers), np.int64)
    missing[owner[heads]] = place[tails] - place[heads] + 1 - (tails - heads + 1)
    jump = np.flatnonzero((owner[1:] == owner[:-1]) & (place[1:] > place[:-1] + 1))
    gaps = np.stack([owner[jump], place[jump] + 1, place[jump + 1] - 1], axis=1)
    present = np.bincount(place, minlength=len(calendar)).astype(np.int64)
    return Coverage(calendar, np.cumsum(due)[:-1], present, missing, int((~held).sum()), gaps)


@dataclass(frozen=True)
class Moments:
    """What a distribution is like; skew and excess kurtosis are 0 for a normal one, NaN where there is no spread."""

    count: int
    mean: float
    deviation: float
    skew: float
    kurtosis: float


def moments(values: Floats) -> Moments:
    """The moments of finite values, as populations have them.

    >>> moments(np.array([-1.0, 1.0, -1.0, 1.0]))
    Moments(count=4, mean=0.0, deviation=1.0, skew=0.0, kurtosis=-2.0)
    """
    if not len(values):
        return Moments(0, *[float("nan")] * 4)
    mean, deviation = float(values.mean()), float(values.std())
    if deviation <= 1e-12 * max(abs(mean), 1e-12):
        return Moments(len(values), mean, deviation, float("nan"), float("nan"))
    scaled = (values - mean) / deviation
    squares = scaled * scaled
    return Moments(len(values), mean, deviation, float((squares * scaled).mean()), float((squares * squares).mean()) - 3)


def looks_like_split(move: float) -> str:
    """The split that a log return has the size of, within 3 %, or ''; small moves are none.

    >>> looks_like_split(np.log(0.5)), looks_like_split(np.log(1 / 7.1)), looks_like_split(np.log(10)), looks_like_split(-0.2)
    ('2:1', '7:1', '1:10', '')
    """
    size = abs(move)
    for new, old in ((3, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (10, 1), (15, 1), (20, 1), (25, 1), (50, 1), (100, 1)):
        if abs(size - np.log(new / old)) < 0.03:
            return f"{new}:{old}" if move < 0 else f"{old}:{new}"
    return ""


def as_date(day: int) -> date:
    """Days since 1970 as a date."""
    return date.fromordinal(int(day) + date(1970, 1, 1).toordinal())


# --- text -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """The figures of a corpus.

    names       of the documents, in the order of the table
    words       word in lower case -> how often it occurs, by falling count, then alphabet
    per_document, per_line
                (documents,) and (lines that are not blank,) words
    characters  of all documents
    lines       of all documents, blank ones too
    repeated    line -> how often it occurs, of lines that are not blank and occur more than once, most often first
    """

    names: list[str]
    words: dict[str, int]
    per_document: Numbers
    per_line: Numbers
    characters: int
    lines: int
    repeated: dict[str, int]

    @property
    def total(self) -> int:
        """All words."""
        return int(self.per_document.sum())

    @functools.cached_property
    def counts(self) -> Numbers:
        """(vocabulary,) how often each word occurs, most frequent first."""
        return np.fromiter(self.words.values(), np.int64, len(self.words))

    def unknown(self, least: int) -> tuple[float, int]:
        """The share of all words that are rarer than ``least`` times, and how many different words are not."""
        known = int(np.searchsorted(-self.counts, -least, side="right"))
        return (float(1 - self.counts[:known].sum() / self.total) if self.total else 0.0), known


def of_texts(table: pa.Table) -> Texts | None:
    """The figures of a tidy text table; None when it lacks document or text, or they are no text."""
    import pyarrow as pa

    kinds = (pa.string(), pa.large_string())
    types = {field.name: field.type for field in table.schema}
    if len(types) < len(table.schema) or types.get("document") not in kinds or types.get("text") not in kinds:
        return None
    spelt: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    names: list[str] = []
    per_document: list[int] = []
    per_line: list[int] = []
    characters = lines = held = 0
    line_goes_on = False
    # one row at a time: all of them as Python text would take several times their size
    cells = zip(*((cell for column in table[name].chunks for cell in column) for name in ("document", "text")), strict=True)
    for name, content in ((name.as_py() or "", text.as_py() or "") for name, text in cells):
        if not (names and held >= GOES_ON and name == names[-1]):  # else it goes on with the document above
            names.append(name)
            per_document.append(0)
            line_goes_on = False
        for row in content.splitlines():
            bare = row.strip()
            found = WORD.findall(bare)
            spelt.update(found)
            per_document[-1] += len(found)
            if line_goes_on and per_line:
                per_line[-1] += len(found)
            else:
                lines += 1
                if bare:
                    per_line.append(len(found))
                    if len(bare) < GOES_ON:
                        seen[bare] += 1
            line_goes_on = False
        line_goes_on = not content.endswith("\n")
        characters += len(content)
        held = len(content)
    folded: Counter[str] = Counter()
    for word, number in spelt.items():
        folded[word.lower()] += number
    repeated = {row: number for row, number in sorted(seen.items(), key=lambda entry: (-entry[1], entry[0])) if number > 1}
    return Texts(
        names,
        dict(sorted(folded.items(), key=lambda entry: (-entry[1], entry[0]))),
        np.array(per_document, np.int64),
        np.array(per_line, np.int64),
        characters,
        lines,
        repeated,
    )


# --- labelled text ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Labelled:
    """Rows of text with labels, with tags, or in pairs; or of numbers with captions.

    told_by       what a row is told by: its text, its source, or its vector, which is called after the first row that has it
    sides         text, or source and target, or caption -> its figures; a row is a document there
    labels        label -> part -> rows; the part is '' where files say none. The most frequent label first
    tags          tag -> how often, most often first
    parts         part -> rows
    repeated      text (or source, or vector) -> rows, of those that stand in several rows, most often first
    contradicted  text -> label -> rows, of those with several labels, in the order of the table
    across        (earlier part, part, rows of it whose text stands in the earlier one)
    numbers       column -> lowest, highest, mean and standard deviation
    """

    told_by: str
    sides: dict[str, Texts]
    labels: dict[str, dict[str, int]]
    tags: dict[str, int]
    parts: dict[str, int]
    repeated: dict[str, int]
    contradicted: dict[str, dict[str, int]]
    across: list[tuple[str, str, int]]
    numbers: dict[str, tuple[float, float, float, float]]

    @property
    def rows(self) -> int:
        return len(next(iter(self.sides.values())).names)


LABELLED_COLUMNS = {
    "classify": ("text", "label"),
    "tag": ("text", "tags", "label"),
    "translate": ("source", "target"),
    "caption": ("caption",),  # beside the numbers
}
_IN_ORDER = ("train", "validation", "test")


def of_labelled(table: pa.Table, task: str) -> Labelled | None:
    """The figures of a tidy table of labelled text; None when it lacks a column of its task, or one is no text."""
    import pyarrow as pa

    wanted = LABELLED_COLUMNS[task]
    types = {field.name: field.type for field in table.schema}
    if len(types) < len(table.schema) or not all(types.get(name) in (pa.string(), pa.large_string()) for name in wanted):
        return None
    if task == "caption" and not all(_is_number(kind) for name, kind in types.items() if name not in (*wanted, "part")):
        return None
    columns = {name: [cell or "" for cell in table[name].to_pylist()] for name in wanted}
    part = [cell or "" for cell in table["part"].to_pylist()] if "part" in types else [""] * table.num_rows
    numbers = {name: _floats(table[name]) for name in types if name not in (*wanted, "part")} if task == "caption" else {}
    texts, told_by = (_named_vectors(numbers, table.num_rows), "vector") if task == "caption" else (columns[wanted[0]], wanted[0])
    sides = {}
    for name in wanted[:1] if "label" in wanted else wanted:
        rows = [f"row {n}" for n in range(1, table.num_rows + 1)]
        numbered = pa.table({"document": pa.array(rows, pa.string()), "text": pa.array(columns[name], pa.string())})
        found = of_texts(numbered)
        assert found is not None
        sides[name] = found
    counts = Counter(zip(columns.get("label", []), part, strict=False))
    totals = Counter(columns.get("label", []))
    ordered = sorted(totals, key=lambda label: (-totals[label], label))
    said: dict[str, Counter[str]] = {}
    for text, label in zip(texts, columns.get("label", []), strict=False):
        said.setdefault(text, Counter())[label] += 1
    tags = Counter(tag for row in columns.get("tags", []) for tag in row.split())
    sizes = Counter(part)
    held = {name: {text for text, own in zip(texts, part, strict=True) if own == name} for name in _IN_ORDER if name in sizes}
    again = Counter(texts)
    return Labelled(
        told_by,
        sides,
        {label: {name: counts[label, name] for name in sizes} for label in ordered},
        dict(sorted(tags.items(), key=lambda entry: (-entry[1], entry[0]))),
        {name: sizes[name] for name in (*_IN_ORDER, "") if name in sizes},
        {text: n for text, n in sorted(again.items(), key=lambda entry: (-entry[1], entry[0])) if n > 1},
        {text: dict(labels) for text, labels in said.items() if len(labels) > 1},
        [
            (earlier, later, sum(own == later and text in held[earlier] for text, own in zip(texts, part, strict=True)))
            for n, earlier in enumerate(held)
            for later in list(held)[n + 1 :]
        ],
        {
            name: (float(own.min()), float(own.max()), float(own.mean()), float(own.std()))
            for name, all_of in numbers.items()
            if len(own := all_of[np.isfinite(all_of)])
        },
    )


def _named_vectors(numbers: dict[str, Floats], count: int) -> list[str]:
    """Each row's vector by the number of the first row that has it."""
    first: dict[bytes, str] = {}
    whole = np.column_stack(list(numbers.values())) + 0.0 if numbers else np.zeros((count, 0))  # -0 is 0
    return [first.setdefault(row.tobytes(), f"row {n}") for n, row in enumerate(whole, start=1)]
