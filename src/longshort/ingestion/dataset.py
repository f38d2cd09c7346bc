"""Dataset: several files become one tidy table and one account. Pure but for reading the files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import sessions, storage
from longshort.config import LABELLED, Params, Task
from longshort.errors import DataRefused
from longshort.ingestion import captions, labelled, parts, prices, recognition, rules, source, text, vocabulary
from longshort.ingestion.columns import PRICES
from longshort.ingestion.encoding import Errors
from longshort.ingestion.prices import Asked, Observed
from longshort.ingestion.reading import Counts, Quarantined, Reading, total
from longshort.ingestion.rows import Observations
from longshort.ingestion.rules import EARLIEST, NO_LIMITS, Calendar, Limits

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from longshort.ingestion.rows import Steps

LATEST = (dt.date(2200, 1, 1) - dt.date(1970, 1, 1)).days
WORKERS = 2  # batches of files read side by side
TOGETHER = 64  # files that are read in one go where they are alike
AHEAD = 2  # such batches that may have been read and wait to be written
ALL = "all files together"
SAMPLED = 20  # files that tell the exchange of a data set

Files = Mapping[str, Path | bytes]


@dataclass(frozen=True)
class Terms:
    """On what terms the files of a data set are read: what a person asked for, and the limits.

    calendar  an exchange, ``none``, or ``auto``
    columns   a person's own column names by meaning
    errors    what to do about bytes that are no character of a text; strict: whether a warning about a text is a refusal
    window    tokens that a text must have
    taken     when the files were taken in, if that is known; a session that was not over then is held back
    """

    asked: Asked = prices.AS_IT_IS
    limits: Limits = NO_LIMITS
    calendar: str = "auto"
    columns: Mapping[str, list[str]] | None = None
    prefer: str | None = None
    errors: Errors = "strict"
    strict: bool = False
    window: int = 1
    taken: dt.datetime | None = None


@dataclass(frozen=True)
class Dataset:
    """What the files became.

    account     what became of every row, as JSON: rows_in == kept + quarantined + merged, in all and per file
    quarantine  the rows set aside, as JSON lines by file name; empty when there are none
    table       tidy: prices by ticker and date, documents by name, or rows of `labelled.COLUMNS` file by file, with the part of each
                where the files say it; None where it went elsewhere piece by piece
    """

    account: dict[str, Any]
    quarantine: dict[str, bytes]
    table: pa.Table | None


def terms(params: Params, item: str, taken: dt.datetime | None = None) -> Terms:
    """The terms that params.yaml states for a data set."""
    read, rules = params.ingestion.datasets[item].read, params.validation.forecast
    calendar = read.calendar or rules.calendar
    return Terms(
        Asked(
            read.ticker,
            read.date_format,
            read.decimal,
            read.price,
            read.encoding,
            read.skip_rows,
            sessions.zone(calendar),
            calendar == sessions.EVERY_ROW,
        ),
        Limits(
            rules.tolerance,
            read.most_bad,
            read.most_together,
            rules.min_sessions,
            params.windows.forecast.max_gap,
            read.adjust,
            read.on_duplicate,
        ),
        calendar,
        {str(meaning): names for meaning, names in params.ingestion.columns.items()},
        read.prefer,
        read.errors or "strict",
        read.strict,
        params.windows.language_model.lookback + 1,
        taken,
    )


def assemble(files: Files, task: Task, stated: Terms = Terms()) -> Dataset:
    """Read all files of a data set into one table.

    files   content or place by file name, at least one; their order does not matter
    raises  DataRefused when a file is refused, or files contradict one another
    """
    _check_names(files)
    if task in LABELLED:
        return _labelled(files, task, stated)
    if task == "forecast":
        return _prices(files, stated)
    import pyarrow as pa

    rows: list[pa.Table] = []
    found = pour_texts(files, stated, rows.append)
    return dataclasses.replace(found, table=pa.concat_tables(rows).combine_chunks())


def pour(files: Files, stated: Terms, into: Callable[[pa.Table], None]) -> Dataset | None:
    """Read price files of a ticker each, by ticker, and hand each one's rows on at once: no more than a few files are held.

    into     takes the rows of a file, by ticker and date
    returns  the data set without its table; None where a ticker came out of order or is intraday, so that `assemble` must be asked
    raises   as `assemble`
    """
    _check_names(files)
    names = sorted(files, key=lambda name: (prices.ticker_of(name, default=""), name))
    last = ""
    readings: dict[str, Reading] = {}
    nothing = prices.schema().empty_table()  # an empty slice would hold on to all that it was cut from
    calendar, hashes, found = _readings(files, names, stated)
    for name, reading in found:
        first, final = (reading.table["ticker"][place].as_py() for place in (0, -1)) if reading.table.num_rows else (last, last)
        if (reading.table.num_rows and first <= last) or reading.table.schema != nothing.schema:
            return None
        last = final
        into(reading.table)
        readings[name] = dataclasses.replace(reading, table=nothing)
    return _told(dict(sorted(readings.items())), hashes, calendar, (), None)


def pour_texts(files: Files, stated: Terms, into: Callable[[pa.Table], None]) -> Dataset:
    """Read texts by name, and hand their rows on at once: no more than a few MiB are held, however large a text is.

    into     takes a row of the tidy table, or several
    returns  the data set without its table
    raises   as `assemble`: what was handed on before is of no data set then
    """
    _check_names(files)
    hashes: dict[str, str] = {}
    readings: dict[str, Reading] = {}
    count = vocabulary.Count()
    for name in sorted(files):
        content = files[name]

        def keep(row: str, name: str = name) -> None:
            count.feed(row)
            into(text.make_table([(name, row)]))

        if isinstance(content, Path):
            source.check_regular(content)
            hashes[name], chunks = storage.sha256(content), source.chunks(content)
        else:
            whole = source.unpack(content, name)
            hashes[name] = hashlib.sha256(content).hexdigest()
            chunks = (whole[start : start + source.CHUNK] for start in range(0, len(whole), source.CHUNK))
        readings[name] = text.pour(chunks, name, keep, stated.asked.encoding, stated.errors, stated.strict)
    warnings = vocabulary.judge(count.census(), next(iter(readings)), stated.window)
    if warnings and stated.strict:
        raise DataRefused(f"{warnings[0]} A warning is a refusal here because of `--strict`.")
    return _told(readings, hashes, None, warnings, None)


def account_of(files: Files, task: Task, stated: Terms) -> dict[str, Any]:
    """The account that files would have; their rows are not held.

    raises  as `assemble`
    """
    if task == "language-model":
        return pour_texts(files, stated, lambda _: None).account
    poured = pour(files, stated, lambda _: None) if task == "forecast" and len(files) > 1 else None
    return (poured or assemble(files, task, stated)).account


def _check_names(files: Files) -> None:
    for name in files:
        if not name.isprintable():
            raise DataRefused(f"{name!r}: the file's name holds characters that cannot be shown; expected printable ones; rename the file.")


def _prices(files: Files, stated: Terms) -> Dataset:
    calendar, hashes, found = _readings(files, sorted(files), stated)
    readings = dict(found)
    _refuse_two_units(readings)
    readings = _one_history_a_ticker(readings, stated.prefer)
    return _told(readings, hashes, calendar, (), _joined([reading.table for reading in readings.values()]))


def _labelled(files: Files, task: Task, stated: Terms) -> Dataset:
    import pyarrow as pa

    part = parts.parts_of(sorted(files))
    hashes: dict[str, str] = {}
    readings: dict[str, Reading] = {}
    for bundle in recognition.bundles(task, files):
        contents = {name: _bytes(files[name]) for name in bundle}
        hashes |= {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        readings |= _rows(contents, task, stated)
    tables = {name: reading.table for name, reading in readings.items()}
    whole = pa.concat_tables(captions.in_one_order(tables) if task == "caption" else tables.values()).combine_chunks()
    if part:
        owners = [part[name] for name, reading in readings.items() for _ in range(reading.counts.kept)]
        whole = whole.append_column("part", pa.array(owners, pa.string()))
    notes: list[str] = []
    if sum(reading.counts.kept > 0 for reading in readings.values()) > 1:
        columns = labelled.COLUMNS[task]
        told = captions.rows_of(whole) if task == "caption" else zip(*(whole[name].to_pylist() for name in columns), strict=True)
        notes = labelled.repeats(list(told), columns, ALL, before=f"{ALL}: ")
    warnings = [
        note for note in (*(note for reading in readings.values() for note in reading.notes), *notes) if note.startswith("warning: ")
    ]
    if warnings and stated.strict:
        raise DataRefused(f"{warnings[0].removeprefix('warning: ')} A warning is a refusal here because of `--strict`.")
    made = _told(readings, hashes, None, tuple(notes), whole)
    if part:
        made.account["parts"] = {name: owners.count(name) for name in ("train", "validation", "test") if name in owners}
    return made


def _rows(contents: dict[str, bytes], task: Task, stated: Terms) -> dict[str, Reading]:
    """What files that are read together became, by name."""
    names, named, errors = tuple(contents), stated.asked.encoding, stated.errors
    if task == "translate":
        return {names[0]: labelled.read_pairs(contents[names[0]], names[0], named, errors)}
    if task == "caption":
        return {names[0]: captions.read_table(contents[names[0]], names[0], named, errors, stated.asked.decimal)}
    if task == "tag":
        words, tags, labels = contents.values()
        reading = labelled.read_tagged(words, tags, labels, (names[0], names[1], names[2]), named, errors)
        beside = Reading(reading.table.slice(0, 0), Counts(0, 0, 0, 0), (), (f"its lines are accounted for in {names[0]}",))
        return {names[0]: reading, **dict.fromkeys(names[1:], beside)}
    if recognition.is_table(names[0]):
        return {names[0]: labelled.read_table(contents[names[0]], names[0], named, errors)}
    return labelled.read_files(contents, named, errors)


def _told(
    readings: dict[str, Reading], hashes: dict[str, str], calendar: dict[str, Any] | None, notes: tuple[str, ...], table: pa.Table | None
) -> Dataset:
    account: dict[str, Any] = {
        **total(reading.counts for reading in readings.values()).as_json(),
        "files": [{"name": name, "sha256": hashes[name], **reading.as_json()} for name, reading in readings.items()],
    }
    if notes:
        account["notes"] = list(notes)
    if calendar is not None:
        account["calendar"] = calendar
        account["prices"] = [price for price in PRICES if all(price in reading.prices for reading in readings.values())]
    quarantine = {
        f"{name}.{hashes[name][:8]}.jsonl": _json_lines(reading.quarantined) for name, reading in readings.items() if reading.quarantined
    }
    return Dataset(account, quarantine, table)


def _bytes(content: Path | bytes) -> bytes:
    return source.read(content) if isinstance(content, Path) else content


def _readings(files: Files, names: list[str], stated: Terms) -> tuple[dict[str, Any], dict[str, str], Iterator[tuple[str, Reading]]]:
    """The exchange of the files, their digests (complete when they have been read), and what each became, in the order of ``names``.

    Some files are read together, and two such batches at a time: pyarrow, NumPy and the digests leave Python's lock to the other.
    """
    hashes: dict[str, str] = {}

    def bytes_of(name: str) -> bytes:
        data = _bytes(files[name])
        hashes[name] = hashlib.sha256(data).hexdigest()
        return data

    def observe(name: str, data: bytes) -> Observed:
        return prices.observe(data, name, stated.asked, stated.columns or {})

    sample = {name: observe(name, bytes_of(name)) for name in names[:: max(1, len(names) // SAMPLED)][:SAMPLED]}
    calendar, told = _calendar([observed.seen for observed in sample.values()], stated)

    def covering(days: Steps) -> Calendar:
        return _covering(calendar, days)

    def read(some: list[str]) -> list[tuple[str, Reading]]:
        data = {name: bytes_of(name) for name in some if name not in sample}
        done = prices.together(data, stated.asked, stated.columns or {}, stated.limits, covering) if len(data) > 1 else {}
        for name in some:
            if name not in done:
                observed = sample.pop(name, None) or observe(name, data[name])
                done[name] = prices.settle(observed, stated.asked, stated.limits, covering(_known_days(observed.seen)))
        return [(name, done[name]) for name in some]

    def found() -> Iterator[tuple[str, Reading]]:
        with ThreadPoolExecutor(WORKERS) as pool:
            waiting: deque[Future[list[tuple[str, Reading]]]] = deque()
            for first in range(0, len(names), TOGETHER):
                waiting.append(pool.submit(read, names[first : first + TOGETHER]))
                if len(waiting) > AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    return told, hashes, found()


def _calendar(seen: list[Observations], stated: Terms) -> tuple[Calendar, dict[str, Any]]:
    """The calendar of the data set, and how the account tells of it."""
    days = np.unique(np.concatenate([_known_days(one) for one in seen])).astype("datetime64[D]")
    if stated.calendar == sessions.EVERY_ROW or not len(days):
        return rules.EVERY_ROW, {"name": sessions.EVERY_ROW}
    if len(days) > 2 and np.median(np.diff(days).astype(int)) >= rules.SPARSE:
        return Calendar("auto", days.astype(np.int32)), {"name": "auto"}  # no exchange's days: `rules` refuses the series by its name
    told: dict[str, Any] = {"name": stated.calendar, "stated": True}
    if stated.calendar == "auto":
        name, score = sessions.best(days)
        told = {"name": name, "score": score}
    complete = None if stated.taken is None else prices.last_complete(told["name"], stated.taken)
    return Calendar(told["name"], _sessions(told["name"], days), complete), told


def _covering(calendar: Calendar, days: Steps) -> Calendar:
    """The calendar, as far as known days reach; it was made for a sample of the files."""
    if calendar.sessions is None or calendar.name == "auto" or not len(days) or not len(calendar.sessions):
        return calendar
    if calendar.sessions[0] <= days.min() and days.max() <= calendar.sessions[-1]:
        return calendar
    return dataclasses.replace(calendar, sessions=_sessions(calendar.name, np.append(days, calendar.sessions[[0, -1]])))


def _known_days(seen: Observations) -> Steps:
    """The days of rows that have one; a row of the year 9999 is set aside later."""
    days = np.delete(seen.day, list(seen.faults)) if seen.faults else seen.day
    return days[(days >= EARLIEST) & (days <= LATEST)]


def _sessions(name: str, days: NDArray[Any]) -> NDArray[np.int32]:
    """The sessions of an exchange over all days, but for single ones that its calendar does not reach.

    raises  ConfigError where that are many
    """
    asked = days.astype("datetime64[D]")
    known = sessions.within_reach(name, asked)
    asked = known if len(known) else asked
    return sessions.trading_days(name, asked.min().item(), asked.max().item()).astype(np.int32)


def _refuse_two_units(readings: dict[str, Reading]) -> None:
    """Rows by the day and rows by the second are no one data set: a step would be of two lengths."""
    daily = [name for name, reading in readings.items() if reading.table.schema == prices.schema()]
    if daily and len(daily) < len(readings):
        name = next(name for name in readings if name not in daily)
        raise DataRefused(
            f"{name}:1:1: an intraday series, and {daily[0]} has a row a date; expected one kind in a data set; take them in as two."
        )


def _one_history_a_ticker(readings: dict[str, Reading], prefer: str | None) -> dict[str, Reading]:
    """Files that hold the same ticker: rows that agree are merged, and rows that contradict one another are refused.

    raises  DataRefused with the first session that differs, unless the newer file is preferred
    """
    holders: dict[str, list[str]] = {}
    for name, reading in readings.items():
        for ticker in reading.table["ticker"].unique().to_pylist():
            holders.setdefault(ticker, []).append(name)
    for ticker, names in holders.items():
        if len(names) > 1:
            readings = _merged(readings, ticker, names, prefer)
    return readings


def _merged(readings: dict[str, Reading], ticker: str, names: list[str], prefer: str | None) -> dict[str, Reading]:
    import pyarrow as pa
    import pyarrow.compute as pc

    own = {name: readings[name].table.filter(pc.equal(readings[name].table["ticker"], ticker)) for name in names}
    # the file that reaches further speaks last, and its rows stand
    order = sorted(names, key=lambda name: (own[name]["date"][-1].as_py(), name))
    rows: dict[dt.date, tuple[str, tuple[Any, ...]]] = {}
    merged = dict.fromkeys(names, 0)
    for name in order:
        for row in own[name].drop_columns(["ticker"]).to_pylist():
            day, values = row["date"], tuple(row.values())
            held = rows.get(day)
            if held is not None:
                if held[1] != values and prefer != "newer":
                    field = next(key for key, one, other in zip(row, held[1], values, strict=True) if one != other)
                    old = dict(zip(row, held[1], strict=True))
                    raise DataRefused(
                        f"{name}:1:1: {ticker} on {day} has {field} {row[field]}, and {old[field]} in {held[0]}; expected files that "
                        "agree where they overlap; take the rows of the file that reaches further with --prefer newer, or leave one out."
                    )
                merged[held[0]] += 1
            rows[day] = (name, values)
    kept: dict[str, list[Any]] = {name: [] for name in names}
    for _, (name, values) in sorted(rows.items()):
        kept[name].append((ticker, *values))
    result = dict(readings)
    for name in names:
        others = readings[name].table.filter(pc.not_equal(readings[name].table["ticker"], ticker))
        part = pa.table([list(column) for column in zip(*kept[name], strict=True)], schema=others.schema) if kept[name] else None
        table = pa.concat_tables([others, part]) if part is not None else others
        counts = readings[name].counts
        result[name] = dataclasses.replace(
            readings[name],
            table=table,
            counts=Counts(counts.rows_in, counts.kept - merged[name], counts.quarantined, counts.merged + merged[name]),
            repairs=[
                *readings[name].repairs,
                *(
                    [{"what": f"{ticker}: rows that another file holds too, merged", "count": merged[name], "line": 2}]
                    if merged[name]
                    else []
                ),
            ],
        )
    return result


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table, by ticker and date; one chunk a column, so that its bytes do not depend on how rows were spread over files."""
    import pyarrow as pa

    table = pa.concat_tables(tables).combine_chunks()
    tickers = [(one["ticker"][0].as_py(), one["ticker"][-1].as_py()) for one in tables if one.num_rows]
    if all(one[1] < other[0] for one, other in itertools.pairwise(tickers)):
        return table
    return table.sort_by([("ticker", "ascending"), ("date", "ascending")]).combine_chunks()


def _json_lines(rows: tuple[Quarantined, ...]) -> bytes:
    return b"".join(json.dumps(vars(row), sort_keys=True, ensure_ascii=False).encode() + b"\n" for row in rows)
